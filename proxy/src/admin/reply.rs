//! What the admin listener answers with.

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use super::auth::Refusal;

/// An answer, whole.
pub(super) type Reply = Response<Full<Bytes>>;

/// A JSON document.
pub(super) fn json(status: StatusCode, content: &impl Serialize) -> Reply {
    let mut text = serde_json::to_string_pretty(content)
        .expect("what the admin listener tells has string keys and no failing parts");
    text.push('\n');
    whole(status, "application/json", text)
}

/// Plain text, for people.
pub(super) fn text(content: String) -> Reply {
    whole(StatusCode::OK, "text/plain; charset=utf-8", content)
}

/// Any other kind of text.
pub(super) fn typed(content_type: &'static str, content: String) -> Reply {
    whole(StatusCode::OK, content_type, content)
}

/// Whether who asks wants sentences rather than JSON: the first of what it accepts is plain text.
pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let first = accept.and_then(|accept| accept.split([',', ';']).next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("text/plain"))
}

/// A problem document (RFC 9457).
pub(super) fn problem(status: StatusCode, detail: &str) -> Reply {
    let content = json!({
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    whole(status, "application/problem+json", format!("{content}\n"))
}

/// The problem that a rule of [`super::auth`] is broken.
pub(super) fn refusal(refusal: Refusal) -> Reply {
    let mut reply = problem(refusal.status(), &refusal.to_string());
    if refusal.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110 §11.6.1: a 401 names the scheme.
        let scheme = HeaderValue::from_static("Bearer realm=\"pillion admin\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    reply
}

/// The problem that a resource is there, but not for this method (RFC 9110 §15.5.6).
pub(super) fn wrong_method(allowed: &'static str) -> Reply {
    let mut reply = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("This resource takes {allowed}."),
    );
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

fn whole(status: StatusCode, content_type: &'static str, content: String) -> Reply {
    let mut reply = Response::new(Full::from(content));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}
