//! Router: host, path and method choose a route, as [`middleware::pattern`] compares them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use config::Settings;
use config::route::RouteSettings;
use http::header::{CONNECTION, UPGRADE};
use middleware::pattern::Wanted;
use middleware::{Answering, Error, Request, Response, ResponseFuture, Result, facts};
use tower::Service;

use crate::pipeline::{RouteStack, route_stack};
use crate::shared::{Core, Shared};
use crate::tunnel::Tunnel;

/// One core's table of routes. Owned by that core's front, so a request clones nothing of it.
#[derive(Debug)]
pub struct Router {
    /// Most specific first; the last takes everything.
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    settings: Arc<RouteSettings>,
    /// This core's own copy of the name, so that its reference count stays on the core.
    name: Arc<str>,
    stack: RouteStack,
    /// Where a request goes that asks to upgrade.
    tunnel: Tunnel,
}

impl Router {
    /// The table that `settings` describe, for one core.
    pub fn build(settings: &Settings, shared: &Shared, core: &Core) -> Self {
        let route = |route: &Arc<RouteSettings>| {
            let upstream = shared.upstreams.get(
                &route.upstream,
                core.index,
                route.strip_prefix.clone(),
                &settings.forwarding,
            );
            Route {
                settings: route.clone(),
                name: Arc::from(&*route.name),
                stack: route_stack(route, shared, core, upstream.clone()),
                tunnel: Tunnel::new(upstream, shared),
            }
        };
        Self {
            routes: settings.routes.iter().map(route).collect(),
        }
    }
}

impl Service<Request> for Router {
    type Response = Response;
    type Error = Error;
    type Future = Routed;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Routed {
        let wanted = Wanted::of(&request);
        let Some(route) = self
            .routes
            .iter_mut()
            .find(|route| wanted.matches(&route.settings.pattern))
        else {
            let error = Error::internal().detail("no route takes this request");
            return Routed {
                answer: ResponseFuture::ready(Err(error)),
                route: None,
            };
        };
        let name = route.name.clone();
        let mut answer = if asks_to_upgrade(&request) {
            route.tunnel.call(request)
        } else {
            route.stack.call(request)
        };
        let route = match answer.as_ready() {
            Some(result) => {
                name_route(result, name);
                None
            }
            None => Some(name),
        };
        Routed { answer, route }
    }
}

/// A route's answer, which tells whose it is.
#[must_use = "futures do nothing unless polled"]
pub struct Routed {
    answer: ResponseFuture,
    /// `None` where it has been told.
    route: Option<Arc<str>>,
}

impl Answering for Routed {
    fn as_ready(&mut self) -> Option<&mut Result<Response>> {
        self.answer.as_ready()
    }

    /// Both in one go, so that there is one box for both.
    fn change(self, change: impl FnOnce(&mut Result<Response>) + Send + 'static) -> ResponseFuture {
        match self.route {
            None => self.answer.change(change),
            Some(route) => self.answer.change(move |result| {
                name_route(result, route);
                change(result);
            }),
        }
    }
}

impl Future for Routed {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = Pin::new(&mut self.answer).poll(cx);
        if let Poll::Ready(result) = &mut polled
            && let Some(route) = self.route.take()
        {
            name_route(result, route);
        }
        polled
    }
}

fn name_route(result: &mut Result<Response>, route: Arc<str>) {
    let facts = match result {
        Ok(response) => facts::of_response(response),
        Err(error) => error.facts_mut(),
    };
    facts.route = Some(route);
}

/// The route that `request` takes, as the router of every core finds it.
pub fn find<'a>(settings: &'a Settings, request: &Request) -> Option<&'a Arc<RouteSettings>> {
    let wanted = Wanted::of(request);
    let mut routes = settings.routes.iter();
    routes.find(|route| wanted.matches(&route.pattern))
}

/// Whether the client asks to switch protocols (RFC 9110 §7.8).
fn asks_to_upgrade(request: &Request) -> bool {
    request.headers().contains_key(UPGRADE)
        && request.headers().get_all(CONNECTION).iter().any(|value| {
            value.to_str().is_ok_and(|list| {
                list.split(',')
                    .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
            })
        })
}
