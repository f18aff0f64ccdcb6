//! What several targets need: requests as a listener hands them on, and something to run layers with.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use middleware::cache::SharedCache;
use middleware::clock::Clock;
use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
use middleware::metrics::Metrics;
use middleware::{Body, Error, Request};
use tokio_util::task::TaskTracker;

/// A request for `target` as the listener hands it on; `None` if hyper would not have taken it.
pub fn request(target: &[u8], headers: HeaderMap) -> Option<Request> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::try_from(target).ok()?;
    *request.headers_mut() = headers;
    let peer = Peer::Ip(([192, 0, 2, 9], 5000).into());
    let (now, id) = (Clock::system().now(), RequestId::Made([0, 1]));
    let facts = RequestFacts::new(now, id, peer, Scheme::Http);
    request.extensions_mut().insert(facts);
    Some(request)
}

/// An empty cache.
pub fn cache() -> SharedCache {
    let (clock, tasks) = (Clock::system(), TaskTracker::new());
    SharedCache::new(1 << 20, clock, tasks, &Metrics::new())
}

/// A body that arrives in pieces of `size` bytes.
pub fn pieces(content: &[u8], size: usize) -> Body {
    let pieces: Vec<_> = content
        .chunks(size.max(1))
        .map(|piece| Ok::<_, Error>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    Body::stream(StreamBody::new(futures_util::stream::iter(pieces)))
}

/// All content of `body`, or nothing if it broke off.
pub async fn collect(body: Body) -> Option<Bytes> {
    Some(body.collect().await.ok()?.to_bytes())
}

/// Runs `future` to its end on this thread.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) });
    RUNTIME.with_borrow_mut(|runtime| {
        let build = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime")
        };
        runtime.get_or_insert_with(build).block_on(future)
    })
}
