//! Validation (RFC 9111 §4.3): the request that asks, and what a 304 changes.

use http::header::{
    ACCEPT_ENCODING, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, DATE, ETAG, EXPECT, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LAST_MODIFIED, PRAGMA, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::cache::key::KeyRules;
use crate::cache::stored::StoredResponse;
use crate::facts::RequestFacts;
use crate::fields::cache_status::CACHE_STATUS;
use crate::fields::entity_tag::EntityTag;
use crate::{Body, Request};

/// Asks for identity content, the one form from which all codings and ranges are made.
pub(crate) fn ask_identity(fields: &mut HeaderMap) {
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Replaces the client's own conditions by those of what is stored (RFC 9111 §4.3.1): true if there
/// are any. The client's are judged above the cache, on the answer that comes of it.
pub(crate) fn ask_about(fields: &mut HeaderMap, stored: &StoredResponse) -> bool {
    let mut has_any = false;
    for (condition, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        match stored.fields.get(validator) {
            Some(value) => {
                fields.insert(condition, value);
                has_any = true;
            }
            None => drop(fields.remove(condition)),
        }
    }
    has_any
}

/// Asks for all of the content.
pub(crate) fn ask_whole(fields: &mut HeaderMap) {
    fields.remove(RANGE);
    fields.remove(IF_RANGE);
}

/// Leaves the client's own conditions out: they are judged above the cache, on the whole answer.
pub(crate) fn ask_unconditionally(fields: &mut HeaderMap) {
    fields.remove(IF_NONE_MATCH);
    fields.remove(IF_MODIFIED_SINCE);
}

/// Whether the client has a copy of its own that it asks about.
pub(crate) fn is_conditional(fields: &HeaderMap) -> bool {
    fields.contains_key(IF_NONE_MATCH) || fields.contains_key(IF_MODIFIED_SINCE)
}

/// Whether a 304 with these fields is about what is stored. Where both have a tag, it must be the same
/// content's: a 304 that names another one must not change what is stored (RFC 9111 §4.3.4).
pub(crate) fn is_about(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    match (tag_of(stored), tag_of(not_modified)) {
        (Some(stored), Some(named)) => stored.is_weakly(named),
        _ => true,
    }
}

/// Whether the 304 calls by a strong tag what is stored under the same tag, but weak: what was stored
/// may be other bytes than the ones that it means, and ranges of the two must not be joined.
fn is_strengthened(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    let is_weak = |fields| tag_of(fields).map(EntityTag::is_weak);
    is_weak(stored) == Some(true) && is_weak(not_modified) == Some(false)
}

fn tag_of(fields: &HeaderMap) -> Option<EntityTag<'_>> {
    EntityTag::parse(fields.get(ETAG)?.as_bytes())
}

/// The stored fields as a 304 changes them (RFC 9111 §3.2, §4.3.4): its lines replace those of the
/// same name, except for what describes content that it does not have.
pub(crate) fn merged(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    // Age and Cache-Status are about one answer each, never a mixture of two.
    merged.remove(AGE);
    merged.remove(CACHE_STATUS);
    // Freshness starts anew: a 304 without Date is as old as its receipt (RFC 9110 §6.6.1).
    merged.remove(DATE);
    let keeps_tag = is_strengthened(stored, not_modified);
    for name in not_modified
        .keys()
        .filter(|name| !(OF_CONTENT.contains(name) || keeps_tag && *name == ETAG))
    {
        let mut lines = not_modified.get_all(name).iter();
        if let Some(first) = lines.next() {
            drop(merged.try_insert(name.clone(), first.clone()));
        }
        for line in lines {
            drop(merged.try_append(name.clone(), line.clone()));
        }
    }
    merged
}

/// The request by which `stored` is validated in the background, after the model of the one that
/// found it stale.
///
/// It keeps what may choose the response (nominated fields, fields and cookies of the key, `Host`,
/// what the forwarding layer has said), but nobody's credentials: what comes back is for everyone.
/// `Authorization` alone stays where the stored response itself was an answer to it, since such an
/// upstream answers nothing without.
pub(crate) fn background_request(
    model: &Request,
    stored: &StoredResponse,
    rules: &KeyRules,
) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    if let (&Method::QUERY, Some(content)) = (model.method(), model.body().as_whole()) {
        *request.method_mut() = Method::QUERY;
        *request.body_mut() = Body::from(content.clone());
    }
    *request.uri_mut() = model.uri().clone();
    *request.version_mut() = model.version();
    if let Some(facts) = model.extensions().get::<RequestFacts>() {
        // Nobody waits for it, so interim responses to it are nobody's.
        let interim = None;
        request.extensions_mut().insert(RequestFacts {
            interim,
            ..facts.clone()
        });
    }
    let mut fields = model.headers().clone();
    for name in PERSONAL {
        fields.remove(name);
    }
    if !stored.is_authorized {
        fields.remove(AUTHORIZATION);
    }
    let cookies = rules.projected_cookies(model.headers());
    if let Some(Ok(cookies)) = cookies.map(HeaderValue::from_maybe_shared) {
        fields.insert(COOKIE, cookies);
    }
    *request.headers_mut() = fields;
    request
}

/// What a 304 has no say about, since it describes content.
const OF_CONTENT: [HeaderName; 5] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CONTENT_RANGE,
    TRANSFER_ENCODING,
];

/// What belongs to the one client that found a stored response stale.
const PERSONAL: [HeaderName; 9] = [
    COOKIE,
    RANGE,
    IF_RANGE,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    CACHE_CONTROL,
    PRAGMA,
    EXPECT,
    CONTENT_LENGTH,
];

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
