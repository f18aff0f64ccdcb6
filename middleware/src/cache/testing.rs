//! Requests as they arrive at the cache, a scripted upstream behind it, and both together: for its own tests.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::cache::CacheSettings;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

use crate::cache::place::Place;
use crate::cache::store::tier::testing::TestTier;
use crate::cache::store::tiers::{Level, Read, Tier};
use crate::cache::{Cache, CacheLayer, OrderedBy, SharedCache};
use crate::clock::{Clock, Now};
use crate::facts::{Peer, RequestFacts, RequestId, Scheme};
use crate::metrics::{Event, Metrics};
use crate::{Body, Error, ErrorKind, Request, Response, ResponseFuture, Result};

/// A plain request for `http://example.com` plus `uri`.
pub(crate) fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request {
    asked_by(method, uri, fields, Scheme::Http)
}

/// The same with a scheme.
pub(crate) fn asked_by(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    scheme: Scheme,
) -> Request {
    asked_at(method, uri, fields, scheme, Clock::system().now())
}

/// The same at a given time.
pub(crate) fn asked_at(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    scheme: Scheme,
    received: Now,
) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in fields {
        request.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    if !request.headers().contains_key(HOST) {
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("example.com"));
    }
    request.extensions_mut().insert(RequestFacts::new(
        received,
        RequestId::Made([0, 1]),
        Peer::Unix,
        scheme,
    ));
    request
}

/// What a test's upstream does: the number of the request, from 1, and the request.
type Script = dyn Fn(usize, &Request) -> ResponseFuture + Send + Sync;

/// An upstream that does what a test says, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Leaf {
    answer: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Leaf {
    pub(crate) fn new(
        answer: impl Fn(usize, &Request) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Arc::new(answer),
            seen: Arc::default(),
        }
    }
}

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) fields: HeaderMap,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Service<Request> for Leaf {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let count = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen {
                method: request.method().clone(),
                fields: request.headers().clone(),
            });
            seen.len()
        };
        (self.answer)(count, &request)
    }
}

/// A response of the upstream.
pub(crate) fn reply(status: u16, fields: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        response.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    response
}

/// A response that is there at once.
pub(crate) fn at_once(response: Response) -> ResponseFuture {
    ResponseFuture::ready(Ok(response))
}

/// A body whose pieces a test sends; an error ends it early.
pub(crate) fn streamed() -> (mpsc::UnboundedSender<Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Body::stream(Streamed(receiver)))
}

struct Streamed(mpsc::UnboundedReceiver<Result<Bytes>>);

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map_ok(Frame::data)
    }
}

/// A cache before an upstream.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) shared: SharedCache,
    pub(crate) cache: Cache<Leaf>,
    pub(crate) settings: CacheSettings,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    /// `Err` if the content broke off.
    pub(crate) body: std::result::Result<String, ErrorKind>,
    pub(crate) facts: crate::facts::ResponseFacts,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.field("cache-status")
    }

    pub(crate) fn body(&self) -> &str {
        self.body.as_deref().unwrap()
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().starts_with("pillion; hit")
    }
}

impl World {
    /// With default settings, and a clock that only the test moves: however busy the machine, no time passes else.
    pub(crate) fn new(
        answer: impl Fn(usize, &Request) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        Self::with(|_| {}, answer)
    }

    pub(crate) fn with(
        change: impl FnOnce(&mut CacheSettings),
        answer: impl Fn(usize, &Request) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        Self::at(Clock::standing(), change, answer)
    }

    /// The same by a clock of the test's own.
    pub(crate) fn at(
        clock: Clock,
        change: impl FnOnce(&mut CacheSettings),
        answer: impl Fn(usize, &Request) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        let mut settings = CacheSettings::default();
        change(&mut settings);
        let shared = SharedCache::new(64 << 20, clock.clone(), TaskTracker::new(), &Metrics::new());
        let leaf = Leaf::new(answer);
        let layer = CacheLayer::new(Arc::new(settings.clone()), shared.clone()).on_route("*");
        Self {
            clock,
            shared,
            cache: layer.layer(leaf),
            settings,
        }
    }

    /// The same upstream behind an empty cache with an order of purges.
    pub(crate) fn ordered(self, by: OrderedBy) -> Self {
        let (clock, tasks) = (self.clock.clone(), TaskTracker::new());
        let shared = SharedCache::new(64 << 20, clock, tasks, &Metrics::new()).ordered(by);
        let settings = Arc::new(self.settings.clone());
        let layer = CacheLayer::new(settings, shared.clone()).on_route("*");
        Self {
            clock: self.clock,
            shared,
            cache: layer.layer(self.cache.inner),
            settings: self.settings,
        }
    }

    /// The same upstream behind another sidecar's empty cache over `tier`.
    pub(crate) fn over(&self, tier: &TestTier, level: Level) -> Self {
        self.over_all(vec![Tier::test(tier.clone(), level)], 64 << 20)
    }

    /// The same over these tiers, with so many bytes of memory.
    pub(crate) fn over_all(&self, tiers: Vec<Tier>, memory: u64) -> Self {
        let world = self.ordered_by(OrderedBy::Clock, memory);
        world.shared.put_over_all(tiers, &Handle::current());
        world
    }

    fn ordered_by(&self, by: OrderedBy, memory: u64) -> Self {
        let (clock, tasks, metrics) = (self.clock.clone(), TaskTracker::new(), Metrics::new());
        let shared = SharedCache::new(memory, clock, tasks, &metrics).ordered(by);
        let settings = Arc::new(self.settings.clone());
        let layer = CacheLayer::new(settings, shared.clone()).on_route("*");
        Self {
            clock: self.clock.clone(),
            shared,
            cache: layer.layer(self.cache.inner.clone()),
            settings: self.settings.clone(),
        }
    }

    /// The same over a tier that others share, whose purges a Stream orders; it was read by now.
    pub(crate) fn sidecar(&self, tier: &TestTier) -> Self {
        let world = self.ordered_by(OrderedBy::Stream, 64 << 20);
        world.shared.trust_from(Place::FIRST);
        let tiers = vec![Tier::test(tier.clone(), Level::L2)];
        world.shared.put_over_all(tiers, &Handle::current());
        world
    }

    /// Waits until all that was to be written below memory is there.
    pub(crate) async fn written(&self) {
        self.shared.tiers().unwrap().writer().settle().await;
    }

    /// How often reading `level` came to `read`.
    pub(crate) fn reads(&self, level: Level, read: Read) -> u64 {
        self.shared.metrics().total(Event::tier(level, read))
    }

    /// The same cache on another route with other settings.
    pub(crate) fn route(&self, change: impl FnOnce(&mut CacheSettings)) -> Self {
        let mut settings = self.settings.clone();
        change(&mut settings);
        let layer = CacheLayer::new(Arc::new(settings.clone()), self.shared.clone()).on_route("*");
        Self {
            clock: self.clock.clone(),
            shared: self.shared.clone(),
            cache: layer.layer(self.cache.inner.clone()),
            settings,
        }
    }

    pub(crate) fn request(&self, method: &str, uri: &str, fields: &[(&str, &str)]) -> Request {
        asked_at(method, uri, fields, Scheme::Http, self.clock.now())
    }

    /// Asks, and reads nothing of the content.
    pub(crate) fn send(&self, method: &str, uri: &str, fields: &[(&str, &str)]) -> ResponseFuture {
        self.cache.clone().call(self.request(method, uri, fields))
    }

    pub(crate) async fn ask(&self, method: &str, uri: &str, fields: &[(&str, &str)]) -> Answer {
        read(self.send(method, uri, fields).await.unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.ask("GET", uri, &[]).await
    }

    /// Many at once.
    pub(crate) fn start(
        &self,
        count: usize,
        uri: &str,
        fields: &[(&str, &str)],
    ) -> Vec<JoinHandle<Result<Answer>>> {
        let start = |_| {
            let answer = self.send("GET", uri, fields);
            self.shared
                .tasks()
                .spawn(async { Ok(read(answer.await?).await) })
        };
        (0..count).map(start).collect()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.cache.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut content = Vec::new();
    let mut end = Ok(());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => content.extend(frame.into_data().unwrap_or_default()),
            Err(error) => {
                end = Err(error.kind());
                break;
            }
        }
    }
    Answer {
        status: head.status.as_u16(),
        fields: head.headers,
        body: end.map(|()| String::from_utf8(content).unwrap()),
        facts: head.extensions.get().cloned().unwrap_or_default(),
    }
}

/// Lets every task that can go on do so; nothing is waited for.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
