//! One line and one count for each request, and its name on the answer.
//!
//! In: any request with its [`RequestFacts`](crate::facts::RequestFacts). Back: the answer with
//! `X-Request-Id`. When the answer is over, it is counted ([`CoreMetrics::record`]) and, if the log
//! is on, a record of it goes to the writer's thread, which makes the line ([`AccessLog`]). An answer
//! whose content is at hand is over at once; a stream is watched until it ends or is dropped.
//!
//! The query is logged as the client sent it, since routes without it are half a story: an app that
//! takes secrets there should not, and can log elsewhere. No other field of the request is written
//! but `Host` and `User-Agent`; never credentials or cookies.
//!
//! ```
//! use config::request_log::RequestLogSettings;
//! use middleware::clock::Clock;
//! use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
//! use middleware::metrics::{Exposition, Metrics};
//! use middleware::request_log::{AccessLog, RequestLogLayer};
//! use middleware::{Body, Request, Response, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let (clock, metrics) = (Clock::system(), Metrics::new());
//! let settings = RequestLogSettings { enabled: false, ..RequestLogSettings::default() };
//! let log = AccessLog::open(&settings, &metrics).unwrap();
//! let app = service_fn(|_: Request| ResponseFuture::ready(Ok(Response::default())));
//! let mut service = RequestLogLayer::new(log, metrics.core(), clock.clone()).layer(app);
//! let facts = RequestFacts::new(clock.now(), RequestId::Made([0, 7]), Peer::Unix, Scheme::Http);
//! let request = http::Request::get("/").extension(facts).body(Body::empty()).unwrap();
//! let response = service.call(request).await.unwrap();
//! assert_eq!(response.headers()["x-request-id"], "00000000000000000000000000000007");
//! assert!(metrics.encode(Exposition::Classic).contains("code=\"200\",outcome=\"pass\"} 1"));
//! # });
//! ```

mod again;
mod line;
mod record;
#[cfg(test)]
mod tests;
mod watched;
mod writer;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body::Body as _;
use tower::{Layer, Service};

pub use self::writer::AccessLog;

use self::again::Again;
use self::record::{Asked, Record};
use self::watched::Watched;
use crate::clock::Clock;
use crate::facts::{self, Observed, ResponseFacts, X_REQUEST_ID};
use crate::fields::own::own_place;
use crate::metrics::{CoreMetrics, Finished, InFlight};
use crate::{Answering, Body, Error, ErrorKind, Outer, Request, Response, Result};

/// One line and one count for each request; see the module.
#[derive(Clone, Debug)]
pub struct RequestLogLayer(Arc<Books>);

/// Where requests are entered. One for each core.
#[derive(Debug)]
struct Books {
    log: AccessLog,
    metrics: CoreMetrics,
    clock: Clock,
}

impl RequestLogLayer {
    /// Writes to the `log` that all cores share, counts in the core's own share of the metrics.
    pub fn new(log: AccessLog, metrics: CoreMetrics, clock: Clock) -> Self {
        Self(Arc::new(Books {
            log,
            metrics,
            clock,
        }))
    }
}

impl<S> Layer<S> for RequestLogLayer {
    type Service = RequestLog<S>;

    fn layer(&self, inner: S) -> RequestLog<S> {
        RequestLog {
            inner,
            books: self.0.clone(),
        }
    }
}

/// See [`RequestLogLayer`].
#[derive(Clone, Debug)]
pub struct RequestLog<S> {
    inner: S,
    books: Arc<Books>,
}

impl<S: Outer> Service<Request> for RequestLog<S> {
    type Response = Response;
    type Error = Error;
    type Future = Entered<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = Asked::of(&request, self.books.log.is_enabled());
        let mut answer = self.inner.call(request);
        let waiting = match answer.as_ready() {
            Some(result) => {
                if let Ok(response) = result {
                    self.books.enter(asked, response);
                }
                None
            }
            None => Some(Unanswered {
                books: self.books.clone(),
                asked: Some(asked),
                _in_flight: self.books.metrics.begin(),
            }),
        };
        Entered { answer, waiting }
    }
}

/// An answer that is entered when it is there.
#[must_use = "futures do nothing unless polled"]
pub struct Entered<F> {
    answer: F,
    /// `None` once it was entered.
    waiting: Option<Unanswered>,
}

impl<F: Answering> Answering for Entered<F> {
    fn as_ready(&mut self) -> Option<&mut Result<Response>> {
        self.answer.as_ready()
    }
}

impl<F: Answering> Future for Entered<F> {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = Pin::new(&mut self.answer).poll(cx);
        if let Poll::Ready(result) = &mut polled
            && let Some(waiting) = &mut self.waiting
        {
            let asked = waiting.asked.take().expect("it is taken once, here");
            if let Ok(response) = result {
                waiting.books.enter(asked, response);
            }
            self.waiting = None;
        }
        polled
    }
}

/// A request that waits for its answer. A client that goes away drops it: that is a request too.
struct Unanswered {
    books: Arc<Books>,
    asked: Option<Asked>,
    _in_flight: InFlight,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            let head = Head {
                // Nobody gets this answer; the status is the one that others log for it.
                status: StatusCode::from_u16(CLIENT_CLOSED).expect("three digits are a status"),
                facts: ResponseFacts::default(),
                after: self.books.since(&asked),
            };
            let total = head.after;
            self.books.finish(asked, head, 0, total, Ending::Aborted);
        }
    }
}

impl Books {
    /// Names the answer, and enters it now or when its content is over.
    fn enter(self: &Arc<Self>, asked: Asked, response: &mut Response) {
        let after = self.since(&asked);
        let id = match &facts_of(response).told {
            Some(told) => told.id.value(),
            None => asked.id.value(),
        };
        if let Some(id) = id {
            let fields = response.headers_mut();
            match own_place(fields, &X_REQUEST_ID).filter(|place| place.is_empty()) {
                Some(place) => *place = id,
                // A stored answer may carry the name of the request that it was made for.
                None => drop(fields.try_insert(X_REQUEST_ID, id)),
            }
        }
        let is_head = asked.method == Method::HEAD;
        if response.body().is_stream() && !is_head {
            let head = Head::take(response, after);
            let body = std::mem::take(response.body_mut());
            let watched = Watched::new(self.clone(), asked, head, response.headers(), body);
            *response.body_mut() = Body::stream(watched);
            return;
        }
        let bytes = if is_head {
            0
        } else {
            response.body().size_hint().lower()
        };
        // The hit's way: counted where it lies, moved only if there is a line to write.
        let (status, mut facts) = (response.status(), facts_of(response));
        if facts.repeat.is_some() {
            self.tell_how_to_enter(&asked, response, bytes);
            facts = facts_of(response);
        }
        self.metrics
            .record(&finished(&asked, status, facts, after, after, bytes));
        if self.log.is_wanted(status, Ending::Complete, &asked.id) {
            let error = facts.error;
            self.log.write(Record {
                asked,
                head: Head::take(response, after),
                bytes,
                total: after,
                error,
                is_aborted: false,
            });
        }
    }

    #[cold]
    fn tell_how_to_enter(self: &Arc<Self>, asked: &Asked, response: &mut Response, bytes: u64) {
        let status = response.status();
        let again = Again::of(self, asked, status, facts_of(response), bytes);
        let repeat = facts::of_response(response).repeat.as_mut();
        if let (Some(again), Some(repeat)) = (again, repeat.and_then(Arc::get_mut)) {
            repeat.is_entered_by(Box::new(again));
        }
    }

    fn finish(&self, asked: Asked, head: Head, bytes: u64, total: Duration, ending: Ending) {
        let error = match ending {
            Ending::Failed(kind) => Some(kind),
            Ending::Complete | Ending::Aborted => head.facts.error,
        };
        self.metrics.record(&Finished {
            error,
            ..finished(&asked, head.status, &head.facts, head.after, total, bytes)
        });
        if self.log.is_wanted(head.status, ending, &asked.id) {
            self.log.write(Record {
                asked,
                head,
                bytes,
                total,
                error,
                is_aborted: ending == Ending::Aborted,
            });
        }
    }

    /// How long ago the request arrived.
    fn since(&self, asked: &Asked) -> Duration {
        let now = self.clock.mono();
        now.saturating_duration_since(asked.received.mono)
    }
}

fn finished<'a>(
    asked: &'a Asked,
    status: StatusCode,
    facts: &'a ResponseFacts,
    after: Duration,
    total: Duration,
    bytes: u64,
) -> Finished<'a> {
    Finished {
        route: facts.route.as_deref(),
        path: asked.uri.path(),
        method: &asked.method,
        status,
        cache: facts.cache,
        upstream: facts.upstream,
        observed: facts.observed,
        error: facts.error,
        head: after,
        total,
        bytes,
    }
}

/// An answer that nobody told anything of has none.
fn facts_of(response: &Response) -> &ResponseFacts {
    static NONE: ResponseFacts = ResponseFacts {
        cache: None,
        upstream: None,
        stored: None,
        says_vary: false,
        route: None,
        error: None,
        told: None,
        observed: Observed::NONE,
        repeat: None,
    };
    response.extensions().get().unwrap_or(&NONE)
}

/// What is known of an answer when its head is there.
#[derive(Debug)]
struct Head {
    status: StatusCode,
    facts: ResponseFacts,
    /// Since the request's arrival.
    after: Duration,
}

impl Head {
    /// Takes the facts off `response`, but for what the connection asks for.
    fn take(response: &mut Response, after: Duration) -> Self {
        let mut facts = ResponseFacts::default();
        if let Some(told) = response.extensions_mut().get_mut::<ResponseFacts>() {
            std::mem::swap(&mut facts, told);
            told.error = facts.error;
            // A record may wait in the writer's queue; it must not hold content that a purge lets go of.
            told.stored = facts.stored.take();
            told.repeat = facts.repeat.take();
        }
        Self {
            status: response.status(),
            facts,
            after,
        }
    }
}

/// How an answer's content came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All of it was handed on.
    Complete,
    /// The content broke off.
    Failed(ErrorKind),
    /// Nobody took the rest.
    Aborted,
}

/// What nginx logs for a client that went away before it was answered.
const CLIENT_CLOSED: u16 = 499;
