//! Gives an entity tag to content that came without one (RFC 9110 §8.8.3).
//!
//! In goes any request; out comes the answer, and if it is a 200 to a GET without `ETag`, which came
//! whole without delay, then with a tag: `W/"~…"`, a hash of 128 bits of the content as the upstream
//! sent it. The app does not know such a tag: it is taken out of `If-Match` on the way down
//! ([`entity_tag::strip_coding`]), and being weak it would not match there anyway.
//!
//! Passed on as they are: live streams, `no-store`, content with trailers, bodies over
//! `etag.max_body`, and what pauses for more than 5 ms while it is read, with all that came. A head is
//! never held for longer than that in all; where the length is declared, and so the end is in sight,
//! never for longer than 50 ms.
//!
//! A route whose tags match too seldom is not worth the hashing: see `usefulness`.
//!
//! ```
//! use config::etag::EtagSettings;
//! use http::{Request, Response};
//! use middleware::etag::EtagLayer;
//! use middleware::metrics::Metrics;
//! use middleware::{Body, Error, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(async {
//! let upstream = service_fn(|_| ResponseFuture::ready(Ok(Response::new(Body::from("content")))));
//! let mut service = EtagLayer::new(EtagSettings::default(), &Metrics::new()).layer(upstream);
//! let answer = service.call(Request::new(Body::empty())).await?;
//! assert_eq!(answer.headers()["etag"], "W/\"~3fba5250be9ac259c56e7250c526bc83\"");
//! # Ok::<_, Error>(())
//! # }).expect("an answer");
//! ```

mod observing;
mod usefulness;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use config::etag::{EtagSettings, Strength};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    TRAILER,
};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use tower::{Layer, Service};

use crate::body::{Buffered, Patience};
use crate::etag::observing::Observer;
use crate::etag::usefulness::Usefulness;
use crate::fields::entity_tag;
use crate::fields::list;
use crate::fields::stream::is_live_stream;
use crate::metrics::{Event, Metrics};
use crate::{Body, Error, Inner, Request, Response, ResponseFuture, Result};

/// Gives an entity tag to content that came without one; see the module.
#[derive(Clone, Debug)]
pub struct EtagLayer {
    settings: EtagSettings,
    metrics: Metrics,
}

impl EtagLayer {
    /// One route's settings; tags are counted in `metrics`.
    pub fn new(settings: EtagSettings, metrics: &Metrics) -> Self {
        Self {
            settings,
            metrics: metrics.clone(),
        }
    }
}

/// See [`EtagLayer`].
#[derive(Clone, Debug)]
pub struct Etag<S> {
    inner: S,
    settings: EtagSettings,
    metrics: Metrics,
    /// Shared by the clones of one core's stack, so nothing else writes it.
    usefulness: Arc<Usefulness>,
    /// Tells what would be tagged, where that is only observed; shared likewise.
    observer: Observer,
}

impl<S> Layer<S> for EtagLayer {
    type Service = Etag<S>;

    fn layer(&self, inner: S) -> Etag<S> {
        Etag {
            inner,
            settings: self.settings,
            metrics: self.metrics.clone(),
            usefulness: Arc::default(),
            observer: Observer::new(&self.metrics),
        }
    }
}

impl<S: Inner> Service<Request> for Etag<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> ResponseFuture {
        if !self.settings.enabled || request.method() != Method::GET {
            return self.inner.call(request);
        }
        if !self.settings.mode.is_apply() {
            let observing = self.observer.begin(&request, self.settings);
            let answer = self.inner.call(request);
            return answer.change(move |result| {
                if let Ok(response) = result {
                    observing.see(response);
                }
            });
        }
        let asked = lines(request.headers());
        if !asked.is_empty() {
            make_way_for_date(request.headers_mut());
        }
        if !self.usefulness.is_worth_trying() {
            return self.inner.call(request);
        }
        let tagging = Tagging {
            settings: self.settings,
            metrics: self.metrics.clone(),
            usefulness: self.usefulness.clone(),
            asked,
        };
        let answer = self.inner.call(request);
        answer.then(move |result| match result {
            Ok(response) => tagging.of(response),
            Err(error) => ResponseFuture::ready(Err(error)),
        })
    }
}

/// The lines of `If-None-Match`.
fn lines(fields: &HeaderMap) -> Vec<HeaderValue> {
    fields.get_all(IF_NONE_MATCH).iter().cloned().collect()
}

/// What is needed to tag the answer to one GET.
struct Tagging {
    settings: EtagSettings,
    metrics: Metrics,
    usefulness: Arc<Usefulness>,
    /// The lines of the request's `If-None-Match`.
    asked: Vec<HeaderValue>,
}

impl Tagging {
    /// Tags at once what is here already and short.
    fn of(self, response: Response) -> ResponseFuture {
        if !may_tag(&response, self.settings.max_body) {
            self.usefulness.pass_over();
            return ResponseFuture::ready(Ok(response));
        }
        self.usefulness.look_at();
        let here = response.body().as_whole();
        let Some(content) = here.filter(|content| content.len() <= SLICE).cloned() else {
            return ResponseFuture::boxed(self.read(response));
        };
        let (mut head, _) = response.into_parts();
        self.tag(&mut head, half(blake3::Hasher::new().update(&content)));
        ResponseFuture::ready(Ok(Response::from_parts(head, Body::from(content))))
    }

    async fn read(self, response: Response) -> Result<Response> {
        let (mut head, body) = response.into_parts();
        let patience = patience(&head.headers);
        let buffered = body.buffer_promptly(self.settings.max_body, patience);
        let body = match buffered.await? {
            Buffered::Whole(content) => {
                self.tag(&mut head, hash(&content).await);
                Body::from(content)
            }
            Buffered::TooLong(body) => {
                self.learn(false);
                body
            }
        };
        Ok(Response::from_parts(head, body))
    }

    fn tag(&self, head: &mut Parts, hash: u128) {
        let is_strong = self.settings.strength == Strength::Strong;
        let tag = entity_tag::made(hash, is_strong);
        if returns_are_seen(&head.headers) {
            self.learn(self.has_asked_for(&tag));
        }
        head.headers.insert(ETAG, tag);
        self.metrics.count(Event::EtagMade);
    }

    fn has_asked_for(&self, tag: &HeaderValue) -> bool {
        self.asked
            .iter()
            .any(|line| entity_tag::line_holds_back(line, Some(tag)))
    }

    fn learn(&self, useful: bool) {
        self.usefulness.learn(useful, self.settings.min_useful);
    }
}

/// What lacks a tag, may be kept by somebody, and is worth reading.
fn may_tag(response: &Response, max_body: usize) -> bool {
    let fields = response.headers();
    let least = response.body().size_hint().lower();
    response.status() == StatusCode::OK
        && !fields.contains_key(ETAG)
        && !fields.contains_key(TRAILER)
        && usize::try_from(least).is_ok_and(|least| least <= max_body)
        && !is_live_stream(fields)
        && directive(fields, "no-store").is_none()
}

/// How long a head may wait for its content.
fn patience(fields: &HeaderMap) -> Patience {
    match fields.contains_key(CONTENT_LENGTH) {
        true => IN_SIGHT,
        false => OPEN_ENDED,
    }
}

/// Leaves `If-None-Match` out if all its tags are ours and there is `If-Modified-Since`: an app must
/// ignore the date beside a tag (RFC 9110 §13.1.3), and this tag it cannot know, so one that knows
/// dates alone would send everything each time.
fn make_way_for_date(fields: &mut HeaderMap) {
    let is_ours = |member| matches!(member, entity_tag::Member::Tag(tag) if tag.is_made());
    let has_only_ours = {
        let mut tags = entity_tag::members(fields, &IF_NONE_MATCH);
        tags.next().is_some_and(is_ours) && tags.all(is_ours)
    };
    if has_only_ours && fields.contains_key(IF_MODIFIED_SINCE) {
        fields.remove(IF_NONE_MATCH);
    }
}

/// Whether clients that come back for this come back to us. Where it may be reused for a while, a
/// cache answers them with the tag made once, and how often is not known here. Where it must be
/// validated, the validation carries the tag and is seen.
fn returns_are_seen(fields: &HeaderMap) -> bool {
    let lasts = |name| directive(fields, name).is_some_and(|value| value != b"0");
    let unshared = ["private", "no-cache"];
    unshared
        .iter()
        .any(|name| directive(fields, name).is_some())
        || !(lasts("max-age")
            || lasts("s-maxage")
            || fields.contains_key(EXPIRES)
            || fields.contains_key(LAST_MODIFIED)
            || fields.keys().any(|name| is_targeted(name.as_str())))
}

/// Whether a field gives lifetimes to some caches only (RFC 9213 §2).
fn is_targeted(name: &str) -> bool {
    name.ends_with("-cache-control") || name == "surrogate-control"
}

/// The value of a directive of `Cache-Control`, empty if it has none. As much as this part needs to
/// know of that field.
fn directive<'a>(fields: &'a HeaderMap, wanted: &str) -> Option<&'a [u8]> {
    list::members(fields, &CACHE_CONTROL).find_map(|member| {
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let name = parts.next()?;
        name.eq_ignore_ascii_case(wanted.as_bytes())
            .then(|| parts.next().unwrap_or_default())
    })
}

/// 128 bits that nobody can make two contents agree in. Between slices others have their turn on
/// this core, so a long body delays nobody for longer than some 50 µs.
async fn hash(content: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    let mut slices = content.chunks(SLICE);
    if let Some(first) = slices.next() {
        hasher.update(first);
    }
    for slice in slices {
        tokio::task::yield_now().await;
        hasher.update(slice);
    }
    half(&hasher)
}

fn half(hasher: &blake3::Hasher) -> u128 {
    let mut half = [0; 16];
    hasher.finalize_xof().fill(&mut half);
    u128::from_be_bytes(half)
}

/// Bytes hashed in one go.
const SLICE: usize = 64 << 10;
/// For a body without a declared length, which may turn out to be a stream: its head is held for no
/// longer than a stream's first pause may be.
const OPEN_ENDED: Patience = Patience {
    pause: Duration::from_millis(5),
    total: Duration::from_millis(5),
};
/// For a body of declared length, which is no stream: the upstream may be some round trips away.
const IN_SIGHT: Patience = Patience {
    pause: Duration::from_millis(5),
    total: Duration::from_millis(50),
};

#[cfg(test)]
mod tests;
