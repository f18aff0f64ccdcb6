//! QUERY (RFC 10008): safe, idempotent and cacheable, by a key that has its content in it.
//!
//! The cache key has to take in the content and the metadata that says how it is read. So the content
//! is read before anything is looked up, up to `cache.query_max_body` and only if it comes
//! promptly; what is longer or slower is forwarded as it comes, and its answer is nobody else's.

use std::time::Duration;

use http::HeaderName;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE,
};

use crate::body::{Buffered, Patience};
use crate::cache::Cache;
use crate::cache::follow::Attempt;
use crate::cache::key::{write_list, write_part};
use crate::cache::reason::Reason;
use crate::clock::Now;
use crate::facts::Fwd;
use crate::{Body, Inner, Request, ResponseFuture};

impl<S: Inner + Clone> Cache<S> {
    /// Reads the content of a QUERY and serves it by that, or forwards it as it comes.
    pub(crate) fn query(&self, request: Request, now: Now) -> ResponseFuture {
        let mut this = self.clone();
        let most = this.layer.settings.query_max_body;
        ResponseFuture::boxed(async move {
            let (head, body) = request.into_parts();
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            match body.buffer_promptly(most, PATIENCE).await? {
                Buffered::Whole(content) => {
                    let request = Request::from_parts(head, Body::from(content));
                    this.serve(request, now, Attempt::default()).await
                }
                Buffered::TooLong(body) => {
                    let request = Request::from_parts(head, body);
                    let reason = Reason::QueryContent;
                    this.pass(request, now, Fwd::Bypass, reason).await
                }
            }
        })
    }
}

/// Writes what a QUERY asks beside its URI: a digest of its content that cannot be forged, and the
/// lines of all fields that say how the content is to be read.
pub(crate) fn write_content(request: &Request, key: &mut Vec<u8>) {
    let content = request.body().as_whole();
    let digest = blake3::hash(content.map_or(&[], |content| content));
    write_part(key, |key| key.extend_from_slice(digest.as_bytes()));
    for name in OF_CONTENT {
        let lines = request.headers().get_all(name).iter();
        write_list(key, lines.map(|line| line.as_bytes()));
    }
}

/// Metadata of content (RFC 9110 §8) that may change what it means.
const OF_CONTENT: [HeaderName; 5] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_RANGE,
];
/// Content that comes at this pace is on its way; what comes slower is a stream, and somebody may wait
/// for an answer to its beginning.
const PATIENCE: Patience = Patience {
    pause: Duration::from_millis(250),
    total: Duration::from_secs(2),
};
