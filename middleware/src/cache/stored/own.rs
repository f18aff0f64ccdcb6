//! Which fields of an answer are stored, and the places that they get for our own.

use std::time::SystemTime;

use http::header::{AGE, DATE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::facts::X_REQUEST_ID;
use crate::fields::cache_status::CACHE_STATUS;
use crate::fields::http_date;

/// A copy of `fields` without those of one connection, one exchange or `without`. Its values are still
/// slices of hyper's read buffers, which they keep alive: not to be stored as it is.
pub(super) fn own_fields(
    fields: &HeaderMap,
    without: &[HeaderName],
    received: SystemTime,
) -> HeaderMap {
    // In order, since a hostile upstream names tens of thousands.
    let mut without: Vec<&str> = without.iter().map(HeaderName::as_str).collect();
    without.sort_unstable();
    let is_named = |name: &HeaderName| without.binary_search(&name.as_str()).is_ok();
    let is_kept = |(name, value): &(&HeaderName, &HeaderValue)| {
        // Of a stored response that is stored again the places are not copied but made anew.
        let is_place = *name == AGE
            || *name == VIA && value.is_empty()
            || *name == CACHE_STATUS && is_placeholder(value);
        !(is_place || is_unstored(name.as_str()) || is_named(name))
    };
    let kept = || fields.iter().filter(is_kept);
    let has = |wanted: HeaderName| kept().any(|(name, _)| *name == wanted);
    let mut own = HeaderMap::with_capacity(fields.len() + 5);
    own.insert(AGE, HeaderValue::from_static("0"));
    own.insert(X_REQUEST_ID, HeaderValue::from_static(""));
    if !has(VIA) {
        own.insert(VIA, HeaderValue::from_static(""));
    }
    if !has(CACHE_STATUS) {
        own.insert(CACHE_STATUS, HeaderValue::from_static(PLACEHOLDER));
    }
    for (name, value) in kept() {
        // No more fields than came, so the map's own limit is not reached.
        drop(own.try_append(name.clone(), value.clone()));
    }
    if !own.contains_key(DATE) {
        // RFC 9110 §6.6.1: a recipient with a clock that stores a response adds it.
        own.insert(DATE, http_date::format(received));
    }
    own
}

/// Whether `value` is that of `Cache-Status` where there is nothing but a place for it.
pub(crate) fn is_placeholder(value: &HeaderValue) -> bool {
    value == PLACEHOLDER
}

/// See [`is_placeholder`]; `Cache-Status` without a parameter says nothing.
pub(super) const PLACEHOLDER: &str = "pillion";

/// Whether a field, by its name in lower case, is of one connection or one exchange: no stored response
/// has these (RFC 9111 §3.1), for replayed, they would tell of queries and traces that are long over.
pub(super) fn is_unstored(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "server-timing"
            | "traceparent"
            | "tracestate"
            | "traceresponse"
            | "x-request-id"
            | "x-amzn-trace-id"
    )
}
