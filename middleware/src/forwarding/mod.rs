//! Hop-by-hop fields, Via, Forwarded, loops, trust.

mod outgoing;

pub(crate) use self::outgoing::X_REQUEST_ID;
pub use self::outgoing::write_outgoing;

use std::task::{Context, Poll};

use config::forwarding::ForwardingSettings;
use std::sync::Arc;
use tower::{Layer, Service};

use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// Hop-by-hop fields, Via, Forwarded, loops, trust.
#[derive(Clone, Debug)]
pub struct ForwardingLayer {
    settings: Arc<ForwardingSettings>,
}

impl ForwardingLayer {
    /// See the module.
    pub fn new(settings: Arc<ForwardingSettings>) -> Self {
        Self { settings }
    }
}

/// See [`ForwardingLayer`].
#[derive(Clone, Debug)]
pub struct Forwarding<S> {
    inner: S,
    _layer: ForwardingLayer,
}

impl<S> Layer<S> for ForwardingLayer {
    type Service = Forwarding<S>;

    fn layer(&self, inner: S) -> Forwarding<S> {
        Forwarding {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for Forwarding<S> {
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
