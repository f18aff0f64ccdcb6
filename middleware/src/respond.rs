//! Turns errors into responses; catches panics.

use std::task::{Context, Poll};

use crate::metrics::Metrics;
use config::respond::RespondSettings;
use std::sync::Arc;
use tower::{Layer, Service};

use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// Turns errors into responses; catches panics.
#[derive(Clone, Debug)]
pub struct RespondLayer {
    settings: Arc<RespondSettings>,
}

impl RespondLayer {
    /// See the module.
    pub fn new(settings: Arc<RespondSettings>, _metrics: &Metrics) -> Self {
        Self { settings }
    }
}

/// See [`RespondLayer`].
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    _layer: RespondLayer,
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for Respond<S> {
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
