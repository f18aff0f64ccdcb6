//! Bounds on what a client may send.

use std::task::{Context, Poll};

use config::limits::LimitsSettings;
use tower::{Layer, Service};

use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// Bounds on what a client may send.
#[derive(Clone, Debug)]
pub struct LimitsLayer {
    settings: LimitsSettings,
}

impl LimitsLayer {
    /// See the module.
    pub fn new(settings: LimitsSettings) -> Self {
        Self { settings }
    }
}

/// See [`LimitsLayer`].
#[derive(Clone, Debug)]
pub struct Limits<S> {
    inner: S,
    _layer: LimitsLayer,
}

impl<S> Layer<S> for LimitsLayer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Limits<S> {
        Limits {
            inner,
            _layer: self.clone(),
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

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.inner.call(request)
    }
}
