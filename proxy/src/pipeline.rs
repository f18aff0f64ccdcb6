//! THE PAGE: the way of a request, top to bottom.
//!
//! The shape is fixed here and checked by the compiler; configuration changes values, never the
//! shape. Everything answers with a [`ResponseFuture`](middleware::ResponseFuture) that is ready at
//! once for a fresh hit, so a hit passes the layers above the cache without a box or a clone.

use middleware::cache::{Cache, CacheLayer};
use middleware::conditional::{Conditional, ConditionalLayer};
use middleware::content_coding::{ContentCoding, ContentCodingLayer, settles_vary};
use middleware::etag::{Etag, EtagLayer};
use middleware::forwarding::{Forwarding, ForwardingLayer};
use middleware::limits::{Limits, LimitsLayer};
use middleware::request_log::{RequestLog, RequestLogLayer};
use middleware::respond::{Respond, RespondLayer};
use tower::ServiceBuilder;

use config::Settings;
use config::route::RouteSettings;

use crate::routing::Router;
use crate::shared::{Core, Shared};
use crate::upstream::Upstream;

/// What every request passes before a route is known.
pub type FrontStack = RequestLog<InnerStack>;

/// The same for requests that no client makes: they are neither logged nor counted as requests.
pub type InnerStack = Respond<Limits<Forwarding<Router>>>;

/// What a route does. Outside first; the response comes back bottom to top.
pub type RouteStack = Conditional<ContentCoding<Cache<Etag<Upstream>>>>;

/// The front of one core.
pub fn front_stack(settings: &Settings, shared: &Shared, core: &Core) -> FrontStack {
    ServiceBuilder::new()
        // Sees every answer as the client gets it, errors included, so: outermost.
        .layer(RequestLogLayer::new(
            shared.access_log.clone(),
            core.metrics.clone(),
            shared.clock.clone(),
        ))
        .service(inner_stack(settings, shared, core))
}

/// What stands behind the request log.
pub fn inner_stack(settings: &Settings, shared: &Shared, core: &Core) -> InnerStack {
    ServiceBuilder::new()
        // The one place where an error or a panic becomes a response.
        .layer(RespondLayer::new(settings.respond.clone(), &shared.metrics))
        // Refuses before anything is read, parsed further or remembered.
        .layer(LimitsLayer::new(settings.limits))
        // Below here a request has one `Host`, an origin-form target and no field of a connection.
        .layer(ForwardingLayer::new(settings.forwarding.clone()))
        .service(Router::build(settings, shared, core))
}

/// One route's way on one core.
pub fn route_stack(
    route: &RouteSettings,
    shared: &Shared,
    core: &Core,
    upstream: Upstream,
) -> RouteStack {
    let cache = CacheLayer::new(route.cache.clone(), shared.cache.clone())
        .where_vary_is_settled(settles_vary(&route.content_coding))
        .on_route(&route.name)
        .towards(&route.upstream);
    let cache = match &core.journal {
        Some(journal) => cache.recorded(journal.clone(), core.hottest.clone(), route.name.clone()),
        None => cache,
    };
    ServiceBuilder::new()
        // 304 and 206 are judged on the representation the client would get, so: outermost.
        .layer(ConditionalLayer::new(route.conditional))
        // Consumes Accept-Encoding: codes identity content, or finds the copy coded for this stored response before.
        .layer(ContentCodingLayer::new(
            route.content_coding,
            shared.cache.clone(),
            &shared.metrics,
        ))
        // Answers, validates, collapses or forwards; background validation re-enters below this line.
        .layer(cache)
        // --- Below: only what the cache forwards. Costs here are paid once per stored response. ---
        .layer(EtagLayer::new(route.etag, &shared.metrics))
        // Balance → pooled connection → safe retry; here the target is rewritten, after the cache key was made.
        .service(upstream)
}
