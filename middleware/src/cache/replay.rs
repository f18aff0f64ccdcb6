//! Making an answer of a stored response.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE};
use http::{Extensions, HeaderMap};

use crate::cache::decide::Asked;
use crate::cache::parts::Parts;
use crate::cache::stored::{StoredResponse, is_placeholder};
use crate::clock::Now;
use crate::facts::{self, CacheStatus};
use crate::fields::cache_status::{self, CACHE_STATUS};
use crate::fields::decimal::Decimal;
use crate::fields::own::own_place;
use crate::fields::range::{ContentRange, Span};
use crate::{Body, Response};

/// The answer to a request that asks so: all of `stored`, or the part that is asked for of what has
/// parts only.
pub(crate) fn replay_for(
    asked: &Asked,
    stored: &Arc<StoredResponse>,
    now: Now,
    status: CacheStatus,
) -> Response {
    match (stored.parts(), asked.part) {
        (Some(parts), Some(span)) => replay_part(stored, parts, span, stored.age(now), status),
        _ => replay(stored, asked.is_head, now, status),
    }
}

/// The answer from one of the `parts` that `stored` has.
pub(crate) fn replay_part(
    stored: &StoredResponse,
    parts: &Parts,
    span: Span,
    age: Duration,
    status: CacheStatus,
) -> Response {
    let body = parts.cut(&stored.body, span);
    let body = body.expect("a part is asked for only where it is stored");
    let mut response = with_fields(stored, fields_of(stored, age, &status), body);
    describe(response.headers_mut(), parts, span);
    facts::of_response(&mut response).cache = Some(status);
    response
}

/// The content of that answer, where its other `fields` are not those that are stored.
pub(crate) fn content_for(
    asked: &Asked,
    stored: &Arc<StoredResponse>,
    fields: &mut HeaderMap,
) -> Body {
    let (Some(parts), Some(span)) = (stored.parts(), asked.part) else {
        return Body::of_stored(&stored.body);
    };
    describe(fields, parts, span);
    parts.cut(&stored.body, span).unwrap_or_default()
}

/// Says which part of the representation an answer has (RFC 9110 §15.3.7.1).
fn describe(fields: &mut HeaderMap, parts: &Parts, span: Span) {
    let range = ContentRange::Span(span, Some(parts.complete())).to_value();
    // A map that is full stays as it is: the HTTP library refuses more fields long before.
    fields.try_insert(CONTENT_RANGE, range).ok();
    fields.try_insert(CONTENT_LENGTH, span.length().into()).ok();
}

/// The answer from `stored`: all its fields, one `Age`, our member of `Cache-Status`.
pub(crate) fn replay(
    stored: &Arc<StoredResponse>,
    is_head: bool,
    now: Now,
    status: CacheStatus,
) -> Response {
    let fields = fields_of(stored, stored.age(now), &status);
    replay_with(
        stored.clone(),
        is_head,
        Says {
            status,
            says_vary: false,
        },
        fields,
        Extensions::default(),
    )
}

/// What the facts of an answer say.
pub(crate) struct Says {
    pub(crate) status: CacheStatus,
    /// See [`ResponseFacts::says_vary`](facts::ResponseFacts::says_vary).
    pub(crate) says_vary: bool,
}

/// The same with `fields` that are made already, and with the map of `facts` that came with the request.
pub(crate) fn replay_with(
    stored: Arc<StoredResponse>,
    is_head: bool,
    says: Says,
    fields: HeaderMap,
    facts: Extensions,
) -> Response {
    let body = if is_head {
        Body::empty()
    } else {
        Body::of_stored(&stored.body)
    };
    let mut response = with_fields(&stored, fields, body);
    *response.extensions_mut() = facts;
    let facts = facts::of_response(&mut response);
    facts.cache = Some(says.status);
    facts.says_vary = says.says_vary;
    facts.stored = Some(stored);
    response
}

/// The same with content that is still arriving.
pub(crate) fn replay_head(
    stored: &StoredResponse,
    now: Now,
    status: CacheStatus,
    body: Body,
) -> Response {
    let mut response = with_fields(stored, fields_of(stored, stored.age(now), &status), body);
    facts::of_response(&mut response).cache = Some(status);
    response
}

/// The head of an answer from `stored`, whose `fields` say what they are to say of the cache.
fn with_fields(stored: &StoredResponse, fields: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = stored.status;
    *response.headers_mut() = fields;
    response
}

/// The fields of an answer from `stored` at this age.
fn fields_of(stored: &StoredResponse, age: Duration, status: &CacheStatus) -> HeaderMap {
    let mut fields = stored.fields.map();
    say(&mut fields, age.as_secs(), status);
    fields
}

/// Writes `Age` and our member of `Cache-Status` into the fields of a stored response. Whether each had a
/// place of its own.
pub(crate) fn say(fields: &mut HeaderMap, age: u64, status: &CacheStatus) -> bool {
    let age = Decimal::of(age).value();
    let mut has_places = true;
    // Both have their places, so that the map neither grows nor is searched twice.
    match own_place(fields, &AGE) {
        Some(place) => *place = age,
        None => {
            drop(fields.try_insert(AGE, age));
            has_places = false;
        }
    }
    match own_place(fields, &CACHE_STATUS) {
        Some(place) if is_placeholder(place) => *place = cache_status::member(status),
        _ => {
            say_anywhere(fields, status);
            has_places = false;
        }
    }
    has_places
}

/// Puts our member where the place for it is, which is not among the first fields where these were put
/// together of parts, or else behind those of the caches nearer to the upstream.
fn say_anywhere(fields: &mut HeaderMap, status: &CacheStatus) {
    match fields.get_mut(CACHE_STATUS) {
        Some(place) if is_placeholder(place) => *place = cache_status::member(status),
        _ => cache_status::append(fields, status),
    }
}

/// Says on an answer that came from the upstream what the cache did.
pub(crate) fn annotate(response: &mut Response, status: CacheStatus) {
    let fields: &mut HeaderMap = response.headers_mut();
    cache_status::append(fields, &status);
    facts::of_response(response).cache = Some(status);
}
