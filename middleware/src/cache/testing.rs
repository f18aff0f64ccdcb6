//! Requests as they arrive at the cache, for its own tests.

use http::header::HOST;
use http::{HeaderName, HeaderValue};

use crate::clock::{Clock, Now};
use crate::facts::{Peer, RequestFacts, RequestId, Scheme};
use crate::{Body, Request};

/// A plain request for `http://example.com` plus `uri`.
pub(crate) fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request {
    asked_by(method, uri, fields, Scheme::Http)
}

/// The same with a scheme.
pub(crate) fn asked_by(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    scheme: Scheme,
) -> Request {
    asked_at(method, uri, fields, scheme, Clock::system().now())
}

/// The same at a given time.
pub(crate) fn asked_at(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    scheme: Scheme,
    received: Now,
) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in fields {
        request.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    if !request.headers().contains_key(HOST) {
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("example.com"));
    }
    request.extensions_mut().insert(RequestFacts::new(
        received,
        RequestId::Made(1),
        Peer::Unix,
        scheme,
    ));
    request
}
