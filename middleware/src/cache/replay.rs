//! Making an answer of a stored response.

use std::sync::Arc;

use http::header::AGE;
use http::{HeaderMap, HeaderValue};

use crate::cache::stored::StoredResponse;
use crate::clock::Now;
use crate::facts::{self, CacheStatus};
use crate::fields::cache_status::{self, CACHE_STATUS};
use crate::{Body, Response};

/// The answer from `stored`: all its fields, one `Age`, our member of `Cache-Status`.
pub(crate) fn replay(
    stored: &Arc<StoredResponse>,
    is_head: bool,
    now: Now,
    status: CacheStatus,
) -> Response {
    let body = if is_head {
        Body::empty()
    } else {
        Body::segments(stored.body.clone())
    };
    let mut response = replay_head(stored, now, status, body);
    facts::of_response(&mut response).stored = Some(stored.clone());
    response
}

/// The same with content that is still arriving.
pub(crate) fn replay_head(
    stored: &StoredResponse,
    now: Now,
    status: CacheStatus,
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.fields.clone();
    let fields = response.headers_mut();
    fields.insert(AGE, HeaderValue::from(stored.age(now).as_secs()));
    if fields.get(CACHE_STATUS).is_some_and(is_placeholder) {
        fields.insert(CACHE_STATUS, cache_status::member(&status));
    } else {
        cache_status::append(fields, &status);
    }
    facts::of_response(&mut response).cache = Some(status);
    response
}

/// Says on an answer that came from the upstream what the cache did.
pub(crate) fn annotate(response: &mut Response, status: CacheStatus) {
    let fields: &mut HeaderMap = response.headers_mut();
    cache_status::append(fields, &status);
    facts::of_response(response).cache = Some(status);
}

/// See [`StoredResponse::fields`].
fn is_placeholder(value: &HeaderValue) -> bool {
    value == "pillion"
}
