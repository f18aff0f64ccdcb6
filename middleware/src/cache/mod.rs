//! The shared cache (RFC 9111): asks the rules, carries out what they decide.

pub mod reason;
pub mod stored;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use config::cache::CacheSettings;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

use crate::cache::stored::StoredResponse;
use crate::clock::Clock;
use crate::content_coding::Coding;
use crate::metrics::Metrics;
use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// What all routes and cores share: the store, the requests in flight, the marks of what cannot be shared.
#[derive(Clone, Debug)]
pub struct SharedCache(Arc<()>);

impl SharedCache {
    /// An empty cache of at most `memory` bytes, all overhead counted.
    pub fn new(_memory: u64, _clock: Clock, _tasks: TaskTracker, _metrics: &Metrics) -> Self {
        Self(Arc::new(()))
    }

    /// Keeps a coded copy with the response that it is a copy of, and accounts for it. Nothing
    /// happens if that response is no longer stored.
    pub fn keep_coded(&self, _stored: &Arc<StoredResponse>, _coding: Coding, _content: Bytes) {}
}

/// Answers from the store, or forwards.
#[derive(Clone, Debug)]
pub struct CacheLayer {
    settings: Arc<CacheSettings>,
    shared: SharedCache,
}

impl CacheLayer {
    /// One route's rules over the cache that all share.
    pub fn new(settings: Arc<CacheSettings>, shared: SharedCache) -> Self {
        Self { settings, shared }
    }
}

/// See [`CacheLayer`].
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
    _layer: CacheLayer,
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner + Clone> Service<Request> for Cache<S> {
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
