//! Making an answer of a stored response.

use std::sync::Arc;
use std::time::Duration;

use http::header::AGE;
use http::{Extensions, HeaderMap, HeaderValue};

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
    replay_aged(
        stored,
        is_head,
        stored.age(now),
        status,
        Extensions::default(),
    )
}

/// The same at an age that is known already. `spare` is an empty map that has its memory already: to
/// make one takes two allocations.
pub(crate) fn replay_aged(
    stored: &Arc<StoredResponse>,
    is_head: bool,
    age: Duration,
    status: CacheStatus,
    spare: Extensions,
) -> Response {
    let body = if is_head {
        Body::empty()
    } else {
        Body::segments(stored.body.clone())
    };
    let mut response = with_fields(stored, age, &status, body);
    *response.extensions_mut() = spare;
    let facts = facts::of_response(&mut response);
    facts.cache = Some(status);
    facts.stored = Some(stored.clone());
    response
}

/// The same with content that is still arriving.
pub(crate) fn replay_head(
    stored: &StoredResponse,
    now: Now,
    status: CacheStatus,
    body: Body,
) -> Response {
    let mut response = with_fields(stored, stored.age(now), &status, body);
    facts::of_response(&mut response).cache = Some(status);
    response
}

fn with_fields(
    stored: &StoredResponse,
    age: Duration,
    status: &CacheStatus,
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.fields.clone();
    let fields = response.headers_mut();
    let age = HeaderValue::from(age.as_secs());
    // Both have their places, so that the map neither grows nor is searched twice.
    match fields.get_mut(AGE) {
        Some(place) => *place = age,
        None => drop(fields.try_insert(AGE, age)),
    }
    match fields.get_mut(CACHE_STATUS) {
        Some(place) if is_placeholder(place) => *place = cache_status::member(status),
        _ => cache_status::append(fields, status),
    }
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
