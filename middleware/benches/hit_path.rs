//! What the way of a request costs in instructions: run by `tests/instructions` under callgrind.
//!
//! `hit_path CASE COUNT` sends COUNT requests through the layers of a route. Instructions are the same
//! on a busy machine and on a quiet one; the difference of two counts leaves the start-up out.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use config::cache::CacheSettings;
use config::conditional::ConditionalSettings;
use config::content_coding::ContentCodingSettings;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use middleware::cache::{CacheLayer, SharedCache};
use middleware::clock::Clock;
use middleware::conditional::ConditionalLayer;
use middleware::content_coding::{ContentCodingLayer, settles_vary};
use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
use middleware::metrics::Metrics;
use middleware::{Body, Error, Request, Response, ResponseFuture};
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceBuilder};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let (Some(case), Some(count)) = (arguments.next(), arguments.next()) else {
        // As `cargo test --benches` and `cargo bench` start it: there is nothing to do.
        println!(
            "hit_path: run by tests/instructions; cases: {}",
            CASES.map(|(name, _)| name).join(" ")
        );
        return;
    };
    let count: usize = count.parse().expect("COUNT is a number");
    let (_, fields) = CASES
        .into_iter()
        .find(|(name, _)| *name == case)
        .expect("a case that is known");
    let clock = Clock::system();
    let metrics = Metrics::new();
    let shared = SharedCache::new(64 << 20, clock.clone(), TaskTracker::new(), &metrics);
    let mut route = ServiceBuilder::new()
        .layer(ConditionalLayer::new(ConditionalSettings::default()))
        .layer(ContentCodingLayer::new(
            ContentCodingSettings::default(),
            shared.clone(),
            &metrics,
        ))
        .layer(
            CacheLayer::new(Arc::new(CacheSettings::default()), shared)
                .where_vary_is_settled(settles_vary(&ContentCodingSettings::default()))
                .on_route("*"),
        )
        .service(App {
            passes: case == "pass",
        });
    // Once more than is counted: the first is what fills the cache.
    for _ in 0..=count {
        let request = request(fields, &clock);
        let answer = route.call(request).try_ready();
        drop(black_box(
            answer.unwrap_or_else(|_| panic!("the app answers at once")),
        ));
    }
}

/// An app that answers at once, with what may be stored or with what may not.
#[derive(Clone, Copy)]
struct App {
    passes: bool,
}

impl Service<Request> for App {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> ResponseFuture {
        let control = if self.passes {
            "no-store"
        } else {
            "public, max-age=3600"
        };
        let fields = [
            ("content-type", "application/octet-stream"),
            ("cache-control", control),
            ("etag", "\"0123456789abcdef\""),
            ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
            ("x-frame-options", "deny"),
        ];
        let mut response = Response::new(Body::from(Bytes::from_static(&[b'x'; 1024])));
        *response.status_mut() = StatusCode::OK;
        fill(response.headers_mut(), &fields);
        ResponseFuture::ready(Ok(response))
    }
}

/// As a browser asks.
fn request(more: &[(&'static str, &'static str)], clock: &Clock) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static("/some/path?with=query");
    let fields = [
        ("host", "example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
    ];
    fill(request.headers_mut(), &fields);
    fill(request.headers_mut(), more);
    let facts = RequestFacts::new(
        clock.now(),
        RequestId::Made([0, 1]),
        Peer::Unix,
        Scheme::Http,
    );
    request.extensions_mut().insert(facts);
    request
}

fn fill(headers: &mut HeaderMap, fields: &[(&'static str, &'static str)]) {
    for (name, value) in fields {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}

/// What is counted, and what a request of it says beside what all say.
const CASES: [(&str, &[(&str, &str)]); 3] = [
    ("hit", &[]),
    ("not-modified", &[("if-none-match", "\"0123456789abcdef\"")]),
    ("pass", &[]),
];
