//! The one place where an error or a panic becomes a response: `application/problem+json`
//! (RFC 9457), or a page for clients that prefer HTML, with `Proxy-Status` (RFC 9209).
//!
//! In: any request. Back: always a response; never an error, a panic, a stack trace or the text of
//! what lies behind an error.
//!
//! ```
//! use std::sync::Arc;
//! use middleware::clock::Clock;
//! use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
//! use middleware::metrics::Metrics;
//! use middleware::respond::RespondLayer;
//! use middleware::{Body, Error, ErrorKind, Request, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let broken = service_fn(|_: Request| {
//!     ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused)))
//! });
//! let mut service = RespondLayer::new(Arc::default(), &Metrics::new()).layer(broken);
//! let request = http::Request::get("/")
//!     .extension(RequestFacts::new(
//!         Clock::system().now(),
//!         RequestId::Made([0, 7]),
//!         Peer::Unix,
//!         Scheme::Http,
//!     ))
//!     .body(Body::empty())
//!     .unwrap();
//! let response = service.call(request).await.unwrap();
//! assert_eq!(response.status(), 502);
//! assert_eq!(response.headers()["proxy-status"], "pillion; error=connection_refused");
//! # });
//! ```

mod document;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use config::respond::RespondSettings;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use tower::{Layer, Service};

use self::document::{Failure, Pages, document, prefers_html};
use crate::clock::Now;
use crate::facts::{self, RequestId};
use crate::future::Early;
use crate::metrics::{Event, Metrics};
use crate::{Answering, Body, Error, ErrorKind, Outer, Request, Response, Result, Side};

/// Turns errors into responses; catches panics.
#[derive(Clone, Debug)]
pub struct RespondLayer(Arc<State>);

#[derive(Debug)]
struct State {
    pages: Pages,
    metrics: Metrics,
    /// The second in which a failure was last told of in the program's log; written by this core.
    told: AtomicU64,
    /// Failures since then that were not told of.
    untold: AtomicU64,
}

impl RespondLayer {
    /// Reads the pages that `settings` name.
    pub fn new(settings: Arc<RespondSettings>, metrics: &Metrics) -> Self {
        Self(Arc::new(State {
            pages: Pages::read(&settings.pages),
            metrics: metrics.clone(),
            told: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }))
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond {
            inner,
            state: self.0.clone(),
        }
    }
}

/// See [`RespondLayer`].
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    state: Arc<State>,
}

impl<S: Outer> Service<Request> for Respond<S> {
    type Response = Response;
    type Error = Error;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = Asked::of(&request);
        // A panic may leave a layer between two steps; layers keep no state that this could break.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        let mut answer = match called {
            Ok(answer) => Early::Below(answer),
            Err(panic) => Early::Here(Some(Err(self.state.panicked(&*panic)))),
        };
        let waiting = match answer.as_ready() {
            Some(result) => {
                self.state.settle(result, &asked);
                None
            }
            None => Some((self.state.clone(), asked)),
        };
        Guarded { answer, waiting }
    }
}

/// An answer that is one, whatever becomes of the request.
#[must_use = "futures do nothing unless polled"]
pub struct Guarded<F> {
    answer: Early<F>,
    /// `None` where there is nothing to wait for.
    waiting: Option<(Arc<State>, Asked)>,
}

impl<F: Answering> Answering for Guarded<F> {
    fn as_ready(&mut self) -> Option<&mut Result<Response>> {
        self.answer.as_ready()
    }
}

impl<F: Answering> Future for Guarded<F> {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { answer, waiting } = &mut *self;
        let Some((state, asked)) = waiting else {
            return Pin::new(answer).poll(cx);
        };
        let polling = AssertUnwindSafe(|| Pin::new(answer).poll(cx));
        let mut polled = match catch_unwind(polling) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(Err(state.panicked(&*panic))),
        };
        if let Poll::Ready(result) = &mut polled {
            state.settle(result, asked);
        }
        polled
    }
}

/// What of a request its answer depends on, should it fail.
#[derive(Debug)]
struct Asked {
    is_head: bool,
    version: Version,
    /// The first line; a request with several will do with a problem document.
    accept: Option<HeaderValue>,
    id: RequestId,
    received: Now,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let facts = facts::of_request(request);
        Self {
            is_head: request.method() == Method::HEAD,
            version: request.version(),
            accept: request.headers().get(ACCEPT).cloned(),
            id: facts.id.clone(),
            received: facts.received,
        }
    }
}

impl State {
    /// Puts the response that tells of an error in its place.
    fn settle(&self, result: &mut Result<Response>, asked: &Asked) {
        if result.is_err() {
            let failed = std::mem::replace(result, Ok(Response::default()));
            *result = failed.or_else(|error| Ok(self.answer(error, asked)));
        }
    }

    fn answer(&self, mut error: Error, asked: &Asked) -> Response {
        // The client's own doing counts before what it led to.
        let (kind, side, detail) = {
            let cause = error.clients_fault().unwrap_or(&error);
            (cause.kind(), cause.side(), cause.public_detail())
        };
        let mut facts = std::mem::take(error.facts_mut());
        let id = facts.told.as_ref().map_or(&asked.id, |told| &told.id);
        let id = id.to_string();
        self.tell(&error, side, &id, asked);
        let failure = Failure {
            kind,
            detail,
            id: &id,
        };
        let mut accept = HeaderMap::new();
        accept.extend(asked.accept.clone().map(|value| (ACCEPT, value)));
        let document = document(&failure, &self.pages, prefers_html(&accept));

        let mut response = Response::new(Body::empty());
        *response.status_mut() = kind.status();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, document.content_type);
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        fields.insert(PROXY_STATUS, proxy_status(kind, detail));
        if document.is_built_in_page {
            fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(OWN_STYLE));
        }
        add_advice(fields, kind, asked.version);
        if asked.is_head {
            // RFC 9110 §9.3.2: the fields that a GET would have, and no content.
            fields.insert(CONTENT_LENGTH, HeaderValue::from(document.content.len()));
        } else {
            *response.body_mut() = Body::from(document.content);
        }
        facts.error = Some(kind);
        *facts::of_response(&mut response) = facts;
        response
    }

    /// Tells the operator what the client is not told; once a second, or an outage fills the disk.
    fn tell(&self, error: &Error, side: Side, id: &str, asked: &Asked) {
        if side == Side::Client {
            tracing::debug!(%error, id, "Request refused.");
            return;
        }
        let now = asked.received.wall.duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        if self.told.swap(now, Ordering::Relaxed) == now {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let untold = self.untold.swap(0, Ordering::Relaxed);
        let untold = (untold > 0).then_some(untold);
        tracing::warn!(%error, id, untold, "Request failed.");
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Error {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        tracing::error!(message, "Request ended in a panic; answered with 500.");
        self.metrics.count(Event::Panic);
        Error::internal()
    }
}

/// What a client should do or must know beside the status.
fn add_advice(fields: &mut HeaderMap, kind: ErrorKind, version: Version) {
    if kind.status() == http::StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if kind == ErrorKind::MethodNotAllowed {
        fields.insert(ALLOW, HeaderValue::from_static(ALLOWED));
    }
    // After these nobody knows where the next request begins, or its body is still on its way.
    let is_unclear = matches!(
        kind,
        ErrorKind::HttpRequestError
            | ErrorKind::ContentTooLarge
            | ErrorKind::FieldsTooLarge
            | ErrorKind::RequestTimeout
            | ErrorKind::MethodNotAllowed
    );
    if is_unclear && version < Version::HTTP_2 {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// RFC 9209: who speaks, which error, and what may be told of it.
fn proxy_status(kind: ErrorKind, detail: Option<&'static str>) -> HeaderValue {
    let mut value = format!("pillion; error={}", kind.name());
    if let Some(detail) = detail {
        // A structured-field string (RFC 9651 §3.3.3) is printable ASCII.
        value.push_str("; details=\"");
        for letter in detail.chars().filter(|letter| matches!(letter, ' '..='~')) {
            if matches!(letter, '"' | '\\') {
                value.push('\\');
            }
            value.push(letter);
        }
        value.push('"');
    }
    HeaderValue::try_from(value).expect("printable ASCII is a field value")
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// All that is forwarded and has a name; TRACE and CONNECT are not.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY";
/// A built-in page has its style in itself, and needs nothing else.
const OWN_STYLE: &str = "default-src 'none'; style-src 'unsafe-inline'";
