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
use crate::content_coding::coded_copies::InProgress;
use crate::metrics::Metrics;
use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// What all routes and cores share: the store, the requests in flight, the marks of what cannot be shared.
#[derive(Clone, Debug)]
pub struct SharedCache(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    tasks: TaskTracker,
    copies: InProgress,
}

impl SharedCache {
    /// An empty cache of at most `memory` bytes, all overhead counted.
    pub fn new(_memory: u64, _clock: Clock, tasks: TaskTracker, _metrics: &Metrics) -> Self {
        Self(Arc::new(Parts {
            tasks,
            copies: InProgress::default(),
        }))
    }

    /// Where tasks in the background belong.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// The coded copies that are being made.
    pub(crate) fn copies(&self) -> &InProgress {
        &self.0.copies
    }

    /// Keeps a coded copy with the response that it is a copy of, and accounts for it. Nothing
    /// happens if that response is no longer stored.
    pub fn keep_coded(&self, stored: &Arc<StoredResponse>, coding: Coding, content: Bytes) {
        stored.coded[coding as usize].get_or_init(|| content);
    }
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
