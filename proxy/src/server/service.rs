//! Between HTTP and the pipeline: one core's front stack, and what a request is given on its way in.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use middleware::clock::Clock;
use middleware::facts::{self, InterimSink, Peer, RequestFacts, RequestId, ResponseFacts, Scheme};
use middleware::future::Early;
use middleware::{Answering, Body, Error, ErrorKind, Outer, Response};

use crate::server::repeats::Repeats;
use crate::server::repeats::saying::Saying;
use crate::server::watch::Watch;

/// One core's front: the stack that all its connections call.
#[derive(Debug)]
pub(crate) struct Front<S> {
    /// Only this core's thread locks it, and never across an await: not once does it wait.
    called: Mutex<Called<S>>,
    clock: Clock,
    /// `forwarding.interim`
    interim: bool,
    pub(crate) repeats: Arc<Repeats>,
}

#[derive(Debug)]
struct Called<S> {
    stack: S,
    ids: RequestIds,
    /// Maps of facts that served before.
    spares: Vec<Extensions>,
}

impl<S> Front<S> {
    /// `interim` says whether HTTP/1.1 clients are sent interim responses.
    pub(crate) fn new(stack: S, clock: Clock, interim: bool) -> Self {
        Self {
            called: Mutex::new(Called {
                stack,
                ids: RequestIds::seeded(),
                spares: Vec::new(),
            }),
            repeats: Arc::new(Repeats::new(clock.clone())),
            clock,
            interim,
        }
    }

    /// A panic under the lock is the respond layer's to catch; the stack is whole after it.
    fn called(&self) -> MutexGuard<'_, Called<S>> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Called<S> {
    /// What the facts of `response` mean for its connection; then they serve the next request.
    fn settle(&mut self, response: &mut Response, watch: &Watch) {
        if ends_trust(response) && !watch.speaks_http2() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // Others may be in it that HTTP asks for: a reason phrase, an upgrade.
        let facts = response.extensions_mut();
        if facts::let_go(facts) && self.spares.len() < SPARES {
            self.spares.push(std::mem::take(facts));
        }
    }
}

/// One connection's view of its core's front.
#[derive(Debug)]
pub(crate) struct Service<S> {
    pub(crate) front: Arc<Front<S>>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) peer: Peer,
    pub(crate) scheme: Scheme,
}

impl<S: Outer> hyper::service::Service<http::Request<Incoming>> for Service<S> {
    type Response = http::Response<Relayed>;
    type Error = Error;
    type Future = Answer<S>;

    fn call(&self, request: http::Request<Incoming>) -> Answer<S> {
        let has_content = !request.body().is_end_stream();
        let number = self.watch.begin(has_content);
        let repeats = self.watch.exchange().begin(has_content) && may_repeat(&request);
        let in_flight = InFlight {
            watch: self.watch.clone(),
            is_stream: false,
            is_whole: false,
        };
        let mut request = request.map(|content| {
            if has_content {
                Body::stream(Content {
                    incoming: content,
                    watch: self.watch.clone(),
                    whole: false,
                })
            } else {
                Body::empty()
            }
        });
        let interim = self.takes_interim(&request).then(|| {
            self.watch.interims().await_answer(number);
            InterimSink::new(self.watch.clone(), number)
        });
        let received = self.front.clock.now();
        let mut called = self.front.called();
        let id = called.ids.next();
        if request.extensions().is_empty()
            && let Some(spare) = called.spares.pop()
        {
            *request.extensions_mut() = spare;
        }
        let name = repeats.then(|| id.clone());
        let facts = RequestFacts {
            interim,
            repeats,
            ..RequestFacts::new(received, id, self.peer, self.scheme)
        };
        facts::begin(request.extensions_mut(), facts);
        let mut pending = called.stack.call(request);
        let settles = match pending.as_ready() {
            Some(result) => {
                if let Ok(response) = result {
                    if let Some(saying) = name.and_then(|name| Saying::of(response, &name)) {
                        self.watch.exchange().say(saying);
                    }
                    called.settle(response, &self.watch);
                }
                None
            }
            None => Some(self.front.clone()),
        };
        Answer {
            pending: Early::Below(pending),
            in_flight: Some(in_flight),
            settles,
        }
    }
}

impl<S> Service<S> {
    /// "A server MUST NOT send a 1xx response to an HTTP/1.0 client" (RFC 9110 §15.2); on HTTP/2 our
    /// library sends none.
    fn takes_interim<B>(&self, request: &http::Request<B>) -> bool {
        self.front.interim && request.version() == Version::HTTP_11
    }
}

/// The answer to come.
pub(crate) struct Answer<S: Outer> {
    pending: Early<S::Future>,
    in_flight: Option<InFlight>,
    /// Where it is settled when it comes.
    settles: Option<Arc<Front<S>>>,
}

impl<S: Outer> Future for Answer<S> {
    type Output = Result<http::Response<Relayed>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.pending).poll(cx));
        if let Some(in_flight) = &self.in_flight
            && !in_flight.watch.interims().answered()
        {
            self.pending = Early::Here(Some(result));
            return Poll::Pending;
        }
        let mut response = result?;
        let mut in_flight = self
            .in_flight
            .take()
            .expect("a future is not polled after it is done");
        if response.body().is_stream() && has_no_end(response.status(), response.headers()) {
            in_flight.is_stream();
        }
        if let Some(front) = self.settles.take() {
            front.called().settle(&mut response, &in_flight.watch);
        }
        // Content that is at hand is no work for anybody, whether it is taken or not.
        in_flight.is_whole = !response.body().is_stream();
        Poll::Ready(Ok(response.map(|body| Relayed {
            body,
            in_flight,
            rest: Bytes::new(),
            stalled: None,
        })))
    }
}

/// Whether its connection goes on after it, and nobody else decides what is sent.
fn may_repeat<B>(request: &http::Request<B>) -> bool {
    *request.method() == Method::GET && request.version() == Version::HTTP_11
}

/// Whether the request was one that parsers could disagree about: then what follows it on the
/// connection may be a part of it in somebody's eyes, and is not to be read.
fn ends_trust(response: &Response) -> bool {
    let facts = response.extensions().get::<ResponseFacts>();
    facts.is_some_and(|facts| facts.error == Some(ErrorKind::HttpRequestError))
}

/// Whether an answer lasts as long as its parties like: a stop does not wait for its end.
fn has_no_end(status: StatusCode, fields: &HeaderMap) -> bool {
    let media_type = fields
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    status == StatusCode::OK
        && media_type.is_some_and(|media_type| {
            media_type.starts_with("application/grpc") || ENDLESS.contains(&media_type.as_str())
        })
}

/// A request between its head and the end of its answer.
#[derive(Debug)]
struct InFlight {
    watch: Arc<Watch>,
    is_stream: bool,
    /// Whether the answer came to its end, rather than being let go before.
    is_whole: bool,
}

impl InFlight {
    fn is_stream(&mut self) {
        self.is_stream = true;
        self.watch.is_stream();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.watch.finish(self.is_stream, self.is_whole);
    }
}

/// An answer's content on its way out. An error in it ends the connection (HTTP/1) or the stream
/// (HTTP/2) without an end, so that a client never takes a part for the whole.
#[derive(Debug)]
pub(crate) struct Relayed {
    body: Body,
    in_flight: InFlight,
    /// HTTP/2: what is left of a frame that is given in pieces.
    rest: Bytes,
    /// Since when HTTP has taken bytes and not come back for more: it has no room for them.
    stalled: Option<u32>,
}

impl Relayed {
    fn set_stalled(&mut self, stalled: bool) {
        let watch = &self.in_flight.watch;
        let now = stalled.then(|| watch.age());
        if self.stalled != now {
            watch.set_stalled(self.stalled, now);
            self.stalled = now;
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.rest.is_empty() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))))
    }

    /// HTTP/2 takes whole frames whatever the client reads, and keeps them where nobody sees whether
    /// it does: so they are given in pieces, of which it holds one.
    fn cut(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if data.len() > PIECE => {
                self.rest = data.split_off(PIECE);
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        }
    }
}

impl HttpBody for Relayed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let http2 = self.in_flight.watch.speaks_http2();
        let polled = match self.poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) if http2 => Poll::Ready(Some(Ok(self.cut(frame)))),
            polled => polled,
        };
        let given = matches!(polled, Poll::Ready(Some(Ok(_))));
        let over = self.is_end_stream();
        self.in_flight.is_whole |= over || (polled.is_ready() && !given);
        // HTTP/2 may have no room for the last piece either; it drops us when it had.
        self.set_stalled(given && (http2 || !over));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if rest > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper.saturating_add(rest));
            }
            hint.set_lower(hint.lower().saturating_add(rest));
        }
        hint
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.set_stalled(false);
    }
}

/// A request's content on its way in.
struct Content {
    incoming: Incoming,
    watch: Arc<Watch>,
    whole: bool,
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if !self.whole && (frame.is_none() || self.incoming.is_end_stream()) {
            self.whole = true;
            self.watch.received(true);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(content_error)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if !self.whole {
            self.watch.received(false);
        }
    }
}

/// What the client did when its content cannot be read to the end.
fn content_error(error: hyper::Error) -> Error {
    Error::client(ErrorKind::HttpRequestError)
        .detail("the request's content broke off or is malformed")
        .caused_by(error)
}

/// Names for requests: 128 bits that nobody can guess and that cost no system call. A counter under
/// two keyed hashes (SipHash), the keys from the operating system.
#[derive(Debug)]
pub(crate) struct RequestIds {
    high: RandomState,
    low: RandomState,
    count: u64,
}

impl RequestIds {
    pub(crate) fn seeded() -> Self {
        Self {
            high: RandomState::new(),
            low: RandomState::new(),
            count: 0,
        }
    }

    pub(crate) fn next(&mut self) -> RequestId {
        self.count += 1;
        RequestId::Made([&self.high, &self.low].map(|key| key.hash_one(self.count)))
    }
}

/// Maps of facts that a core keeps for requests to come.
const SPARES: usize = 64;
/// What HTTP/2 is given at once: its clients' first window takes two of them.
const PIECE: usize = 32 << 10;
/// Media types of content without an end of its own.
const ENDLESS: [&str; 5] = [
    "text/event-stream",
    "multipart/x-mixed-replace",
    "application/x-ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_has_no_end() {
        for (media_type, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("application/grpc+proto", true),
            ("application/x-ndjson", true),
            ("text/html", false),
            ("", false),
        ] {
            let fields = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]);
            assert_eq!(
                has_no_end(StatusCode::OK, &fields),
                expected,
                "{media_type}"
            );
        }
        assert!(!has_no_end(StatusCode::OK, &HeaderMap::new()));
    }

    #[test]
    fn names_differ_within_and_between_cores() {
        let mut cores = [RequestIds::seeded(), RequestIds::seeded()];
        let names: HashSet<_> = (0..1000)
            .flat_map(|_| cores.each_mut().map(RequestIds::next))
            .map(|name| format!("{name:?}"))
            .collect();
        assert_eq!(names.len(), 2000);
    }
}
