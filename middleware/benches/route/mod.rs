//! The layers of a route over an app that answers at once: what benches send requests through.
#![allow(dead_code, reason = "each bench uses its part")]

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::cache::CacheSettings;
use config::conditional::ConditionalSettings;
use config::content_coding::ContentCodingSettings;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderName, HeaderValue, Uri};
use middleware::cache::{Cache, CacheLayer, SharedCache};
use middleware::clock::Clock;
use middleware::conditional::{Conditional, ConditionalLayer};
use middleware::content_coding::{ContentCoding, ContentCodingLayer, settles_vary};
use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
use middleware::metrics::Metrics;
use middleware::{Body, Error, Request, Response, ResponseFuture};
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceBuilder};

/// One core's route.
pub(crate) struct Route {
    stack: Conditional<ContentCoding<Cache<App>>>,
    pub(crate) shared: SharedCache,
    clock: Clock,
    metrics: Metrics,
    app: App,
}

impl Route {
    /// Over an empty cache of `budget` bytes.
    pub(crate) fn new(budget: u64, app: App) -> Self {
        let (clock, metrics) = (Clock::system(), Metrics::new());
        let shared = SharedCache::new(budget, clock.clone(), TaskTracker::new(), &metrics);
        Self::over(shared, clock, metrics, app)
    }

    /// Another core's, over the same cache.
    pub(crate) fn beside(&self) -> Self {
        let (shared, clock) = (self.shared.clone(), self.clock.clone());
        Self::over(shared, clock, self.metrics.clone(), self.app)
    }

    fn over(shared: SharedCache, clock: Clock, metrics: Metrics, app: App) -> Self {
        let stack = ServiceBuilder::new()
            .layer(ConditionalLayer::new(ConditionalSettings::default()))
            .layer(ContentCodingLayer::new(
                ContentCodingSettings::default(),
                shared.clone(),
                &metrics,
            ))
            .layer(
                CacheLayer::new(Arc::new(CacheSettings::default()), shared.clone())
                    .where_vary_is_settled(settles_vary(&ContentCodingSettings::default()))
                    .on_route("*"),
            )
            .service(app);
        Self {
            stack,
            shared,
            clock,
            metrics,
            app,
        }
    }

    /// As a browser asks.
    pub(crate) fn request(&self, path: &str) -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::try_from(path).expect("a path");
        for (name, value) in ASKED {
            request.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let facts = RequestFacts::new(
            self.clock.now(),
            RequestId::Made([0, 1]),
            Peer::Unix,
            Scheme::Http,
        );
        request.extensions_mut().insert(facts);
        request
    }

    /// The answer, which is there at once.
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        let answer = self.stack.call(request).try_ready();
        let answer = answer.unwrap_or_else(|_| panic!("the app answers at once"));
        answer.expect("the app does not fail")
    }
}

/// Answers each path with some bytes that may be stored for an hour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct App {
    /// Whether each answer has a tag of its own and one that a thousand share.
    pub(crate) has_tags: bool,
    /// Length of the content, at most 1024.
    pub(crate) length: usize,
}

impl Service<Request> for App {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let mut response = Response::new(Body::from(Bytes::from_static(
            CONTENT.get(..self.length).expect("a length up to 1024"),
        )));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("image/png"));
        fields.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=3600"),
        );
        fields.insert(ETAG, HeaderValue::from_static("\"0123456789abcdef\""));
        if self.has_tags {
            let number = request.uri().path().rsplit('/').next().unwrap_or_default();
            let group = number.len() * 1000 + number.bytes().map(usize::from).sum::<usize>() % 1000;
            let tags = format!("item:{number} group:{group}");
            let tags = HeaderValue::from_str(&tags).expect("visible ASCII");
            fields.insert(HeaderName::from_static("surrogate-key"), tags);
        }
        ResponseFuture::ready(Ok(response))
    }
}

/// What this thread has spent, whatever else the machine does.
pub(crate) fn cpu() -> Duration {
    // `schedstat` would do, but is brought up to date by the scheduler's tick only: 4 ms, as long as a batch.
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.try_into().expect("it never goes below nothing")
}

/// Kibibytes of this process that are in memory.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("a line VmRSS").parse().expect("a number")
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

static CONTENT: [u8; 1024] = [b'x'; 1024];

const ASKED: [(&str, &str); 5] = [
    ("host", "example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
    ("accept", "text/html,application/xhtml+xml"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
];
