//! Bounds on what one request may be: its method, its header section, the size of its content and
//! how slowly that may come. (What a connection may be is the listener's to watch.)
//!
//! In: a request as HTTP gave it to us. Down: the same, or nothing; content that is still to come is
//! watched while it comes, and a request whose content is here or empty passes untouched.
//!
//! ```
//! use config::limits::LimitsSettings;
//! use middleware::limits::LimitsLayer;
//! use middleware::{Body, ErrorKind, Request, Response, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let app = service_fn(|_: Request| ResponseFuture::ready(Ok(Response::default())));
//! let settings = LimitsSettings { body: Some(4), ..LimitsSettings::default() };
//! let mut service = LimitsLayer::new(settings).layer(app);
//! let upload = http::Request::post("/").body(Body::from("12345")).unwrap();
//! let error = service.call(upload).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::ContentTooLarge);
//! # });
//! ```

mod guarded;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll};

use config::limits::LimitsSettings;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use http_body::Body as _;
use tower::{Layer, Service};

use self::guarded::Guarded;
use crate::{Body, Error, ErrorKind, Inner, Request, Response, ResponseFuture, Result};

/// Bounds on what a client may send; see the module.
#[derive(Clone, Copy, Debug)]
pub struct LimitsLayer {
    settings: LimitsSettings,
}

impl LimitsLayer {
    /// Takes of `settings` what concerns a request.
    pub fn new(settings: LimitsSettings) -> Self {
        Self { settings }
    }
}

/// See [`LimitsLayer`].
#[derive(Clone, Debug)]
pub struct Limits<S> {
    inner: S,
    settings: LimitsSettings,
}

impl<S> Layer<S> for LimitsLayer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Limits<S> {
        Limits {
            inner,
            settings: self.settings,
        }
    }
}

impl<S: Inner> Service<Request> for Limits<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> ResponseFuture {
        if let Err(error) = check(&self.settings, &request) {
            return ResponseFuture::ready(Err(error));
        }
        if request.body().is_stream() {
            let rate = self
                .settings
                .body_rate
                .filter(|_| !is_conversation(&request));
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = guard(body, self.settings.body, rate);
        }
        self.inner.call(request)
    }
}

/// What can be judged by the head alone.
fn check(settings: &LimitsSettings, request: &Request) -> Result<()> {
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        let error = Error::client(ErrorKind::MethodNotAllowed);
        return Err(error.detail("TRACE and CONNECT are not forwarded"));
    }
    let target = request.uri().path_and_query().map(PathAndQuery::as_str);
    let target = target.map_or(0, str::len);
    if request.headers().len() > settings.fields_count
        || target + fields_size(request.headers()) > settings.fields_size
    {
        return Err(Error::client(ErrorKind::FieldsTooLarge));
    }
    match settings.body {
        Some(limit) if declared_length(request) > limit => Err(too_large()),
        _ => Ok(()),
    }
}

/// As HTTP/1.1 writes them: name, colon, space, value, line end.
fn fields_size(headers: &HeaderMap) -> usize {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + 4
    };
    headers.iter().map(line).sum()
}

/// What the request says of its content, and at least what is known to be there.
fn declared_length(request: &Request) -> u64 {
    let declared = request.headers().get(CONTENT_LENGTH);
    // A malformed length is the forwarding layer's to refuse.
    let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
    let known = request.body().size_hint().lower();
    known.max(declared.unwrap_or(0))
}

/// Whether the client goes on talking while it is answered, and may be silent for as long as it
/// likes: gRPC streams in both directions.
fn is_conversation(request: &Request) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/grpc"))
}

fn guard(body: Body, limit: Option<u64>, rate: Option<u64>) -> Body {
    let known = body.size_hint().exact();
    // A declared length within the limit needs no counting: HTTP itself holds the client to it.
    let limit = limit.filter(|limit| known.is_none_or(|known| known > *limit));
    match (limit, rate) {
        _ if known == Some(0) => body,
        (None, None) => body,
        (limit, rate) => Body::stream(Guarded::new(body, limit, rate)),
    }
}

fn too_large() -> Error {
    Error::client(ErrorKind::ContentTooLarge)
}
