//! Answers 304 and 206 here (RFC 9110 §13, §14).
//!
//! In goes a GET or HEAD with preconditions or a range; the layers below see it as it came. Out comes
//! what they answer, and if that is a 200:
//!
//! - a 304, where `If-None-Match` (or, without it, `If-Modified-Since`) says that the client has it;
//! - a 206, where `Range` asks for parts of identity content and `If-Range` holds; a 416, where none
//!   of them is there. Parts of what is in memory are not copied. One part of a stream of known length is cut out of
//!   the stream; several are not, since it can be read in one order only: the client gets the whole.
//!
//! Every other status passes untouched, a 304, 206 or 416 of the upstream's among them. `If-Match` and
//! `If-Unmodified-Since` are the upstream's to judge (RFC 9111 §4.3.2).
//!
//! ```
//! use std::time::SystemTime;
//!
//! use config::conditional::ConditionalSettings;
//! use http::{Request, Response, StatusCode};
//! use middleware::conditional::ConditionalLayer;
//! use middleware::{Body, Error, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
//! let upstream = service_fn(|_| {
//!     let answer = Response::builder().header("etag", "\"a\"").body(Body::from("content"));
//!     ResponseFuture::ready(Ok(answer.expect("an answer")))
//! });
//! let mut service = ConditionalLayer::new(ConditionalSettings::default()).layer(upstream);
//! let request = Request::get("/").header("if-none-match", "W/\"a\"").body(Body::empty());
//! let answer = service.call(request.expect("a request")).await?;
//! assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
//! assert_eq!(answer.headers()["etag"], "\"a\"");
//! # Ok::<_, Error>(())
//! # }).expect("an answer");
//! ```

mod preconditions;
mod range;
mod window;

use std::task::{Context, Poll};
use std::time::SystemTime;

use config::conditional::ConditionalSettings;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, TRAILER,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use tower::{Layer, Service};

use crate::clock::Clock;
use crate::conditional::preconditions::Asked;
use crate::conditional::range::Selected;
use crate::conditional::window::Window;
use crate::facts::{self, RequestFacts};
use crate::fields::range::{ContentRange, Span};
use crate::metrics::Event;
use crate::{Body, Error, Inner, Request, Response, ResponseFuture, Result};

/// Answers 304 and 206 here; see the module.
#[derive(Clone, Copy, Debug)]
pub struct ConditionalLayer {
    settings: ConditionalSettings,
}

impl ConditionalLayer {
    /// One route's settings.
    pub fn new(settings: ConditionalSettings) -> Self {
        Self { settings }
    }
}

/// See [`ConditionalLayer`].
#[derive(Clone, Debug)]
pub struct Conditional<S> {
    inner: S,
    settings: ConditionalSettings,
}

impl<S> Layer<S> for ConditionalLayer {
    type Service = Conditional<S>;

    fn layer(&self, inner: S) -> Conditional<S> {
        Conditional {
            inner,
            settings: self.settings,
        }
    }
}

impl<S: Inner> Service<Request> for Conditional<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let asked = match self.settings.enabled {
            true => Asked::of(request.method(), request.headers()),
            false => None,
        };
        let Some(asked) = asked else {
            return self.inner.call(request);
        };
        let (now, limit) = (received(&request), self.settings.ranges);
        let response = self.inner.call(request);
        if !self.settings.mode.is_apply() {
            return response.change(move |result| observe(result, &asked, now, limit));
        }
        response.map(move |result| Ok(judge(result?, &asked, now, limit)))
    }
}

/// The one place that decides between 200, 304, 206 and 416 (§13.2.2: in this order).
fn judge(response: Response, asked: &Asked, now: SystemTime, limit: usize) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    if asked.holds_back(response.headers(), now) {
        return not_modified(response);
    }
    let range = asked
        .range(response.headers(), now)
        .filter(|_| range::is_divisible(response.headers()));
    let (Some(range), Some(length)) = (range, length_of(&response)) else {
        return response;
    };
    match range::select(range, length, limit) {
        Selected::Whole => response,
        Selected::One(span) => one_part(response, span, length),
        Selected::Several(spans) => several_parts(response, &spans, length),
        Selected::Unsatisfiable => not_satisfiable(response, length),
    }
}

/// Tells what [`judge`] would make of an answer, and changes nothing that is sent.
fn observe(result: &mut Result<Response>, asked: &Asked, now: SystemTime, limit: usize) {
    if let Ok(response) = result
        && let Some(would) = would(response, asked, now, limit)
    {
        facts::of_response(response).observed.conditional = Some(would);
    }
}

fn would(response: &Response, asked: &Asked, now: SystemTime, limit: usize) -> Option<Event> {
    if response.status() != StatusCode::OK {
        return None;
    }
    if asked.holds_back(response.headers(), now) {
        return Some(Event::ObservedNotModified);
    }
    let range = asked
        .range(response.headers(), now)
        .filter(|_| range::is_divisible(response.headers()))?;
    match range::select(range, length_of(response)?, limit) {
        Selected::Whole => None,
        // Of a stream only one part is cut.
        Selected::Several(_) if response.body().is_stream() => None,
        Selected::One(_) | Selected::Several(_) => Some(Event::ObservedPartial),
        Selected::Unsatisfiable => Some(Event::ObservedUnsatisfiable),
    }
}

/// The 304 with everything of the 200 that is not about the content which it lacks (§15.4.5):
/// `ETag`, `Date`, `Vary`, `Cache-Control`, `Expires`, `Content-Location` as they were, and whatever
/// concerns this exchange, `Set-Cookie` and the fields of CORS among it.
fn not_modified(response: Response) -> Response {
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::NOT_MODIFIED;
    remove_all(&mut head.headers, &OF_CONTENT);
    if head.headers.contains_key(ETAG) {
        head.headers.remove(LAST_MODIFIED);
    }
    Response::from_parts(head, Body::empty())
}

fn one_part(response: Response, span: Span, length: u64) -> Response {
    let (mut head, whole) = response.into_parts();
    let value = ContentRange::Span(span, Some(length)).to_value();
    head.headers.insert(CONTENT_RANGE, value);
    let body = match whole.pieces(span.first, span.length()) {
        Some(pieces) => Body::segments(pieces.into()),
        None => Body::stream(Window::new(span, length, whole)),
    };
    partial(head, body, span.length())
}

fn several_parts(response: Response, spans: &[Span], length: u64) -> Response {
    let parts = range::multipart(spans, length, response.headers(), response.body());
    let Some((media_type, pieces)) = parts else {
        return response;
    };
    let (mut head, _) = response.into_parts();
    head.headers.insert(CONTENT_TYPE, media_type);
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    partial(head, Body::segments(pieces.into()), length)
}

/// The 206 (§15.3.7) with every field of the 200 but those that describe the whole message.
fn partial(mut head: Parts, body: Body, length: u64) -> Response {
    head.status = StatusCode::PARTIAL_CONTENT;
    remove_all(&mut head.headers, &OF_MESSAGE);
    head.headers.insert(CONTENT_LENGTH, length.into());
    Response::from_parts(head, body)
}

/// The 416 (§15.5.17). It must not be kept for anybody: freshness was said of the 200, and a cache
/// before us that took it for this would answer everybody with it.
fn not_satisfiable(response: Response, length: u64) -> Response {
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::RANGE_NOT_SATISFIABLE;
    remove_all(&mut head.headers, &OF_CONTENT);
    remove_all(&mut head.headers, &OF_REPRESENTATION);
    let targeted = targeted(&head.headers);
    remove_all(&mut head.headers, &targeted);
    let value = ContentRange::Unsatisfied(length).to_value();
    head.headers.insert(CONTENT_RANGE, value);
    head.headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(head, Body::empty())
}

/// The fields that tell some caches apart how long they may keep the answer (RFC 9213), by whatever name.
fn targeted(fields: &HeaderMap) -> Vec<HeaderName> {
    let is_targeted = |name: &&HeaderName| name.as_str().ends_with("-cache-control");
    fields.keys().filter(is_targeted).cloned().collect()
}

/// Of the content, if it is known; `None` too if body and field tell two stories.
fn length_of(response: &Response) -> Option<u64> {
    let seen = response.body().size_hint().exact();
    let told = match response.headers().get(CONTENT_LENGTH) {
        None => None,
        Some(value) => Some(value.to_str().ok()?.parse::<u64>().ok()?),
    };
    match (seen, told) {
        (Some(seen), Some(told)) => (seen == told).then_some(seen),
        (seen, told) => seen.or(told),
    }
}

/// When the request came; the clock's word where no listener gave it facts.
fn received(request: &Request) -> SystemTime {
    let facts = request.extensions().get::<RequestFacts>();
    facts
        .map_or_else(|| Clock::system().now(), |facts| facts.received)
        .wall
}

fn remove_all(fields: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        fields.remove(name);
    }
}

/// Of the one message with the whole content.
const OF_MESSAGE: [HeaderName; 4] = [
    CONTENT_LENGTH,
    TRAILER,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
];
/// Of content that is not sent.
const OF_CONTENT: [HeaderName; 10] = [
    ACCEPT_RANGES,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    TRAILER,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("repr-digest"),
];
/// Of the representation, how long it may be kept included.
const OF_REPRESENTATION: [HeaderName; 7] = [
    AGE,
    CACHE_CONTROL,
    CONTENT_LOCATION,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    HeaderName::from_static("surrogate-control"),
];

#[cfg(test)]
mod tests;
