//! What is counted for each upstream, by whoever owns its connections.

use std::sync::Arc;

use super::catalogue::{
    UPSTREAM_CONNECT_FAILURES, UPSTREAM_CONNECTIONS, UPSTREAM_OPENED, UPSTREAM_RETRIES,
    UPSTREAM_REUSED,
};
use super::counter::{Counter, Gauge};
use super::exposition::Gathered;

/// The counters of one upstream; a handle to hold on to, not to look up for each request.
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    connections: Gauge,
    opened: Counter,
    failed: Counter,
    reused: Counter,
    retries: Counter,
}

impl UpstreamMetrics {
    /// A connection was opened; it counts as open until the guard is dropped.
    pub fn opened(&self) -> OpenConnection {
        self.0.opened.count();
        self.0.connections.raise();
        OpenConnection(self.0.clone())
    }

    /// A connection could not be opened.
    pub fn connect_failed(&self) {
        self.0.failed.count();
    }

    /// A request took a connection that was open already.
    pub fn reused(&self) {
        self.0.reused.count();
    }

    /// A request was sent again.
    pub fn retried(&self) {
        self.0.retries.count();
    }

    pub(super) fn gather(&self, name: &Arc<str>, gathered: &mut Gathered) {
        let labels = || vec![("upstream", name.to_string().into())];
        let open = self.0.connections.value();
        gathered.gauge(&UPSTREAM_CONNECTIONS, labels(), open as f64);
        gathered.counter(&UPSTREAM_OPENED, labels(), self.0.opened.total());
        gathered.counter(&UPSTREAM_CONNECT_FAILURES, labels(), self.0.failed.total());
        gathered.counter(&UPSTREAM_REUSED, labels(), self.0.reused.total());
        gathered.counter(&UPSTREAM_RETRIES, labels(), self.0.retries.total());
    }
}

/// Counts as one open connection until it is dropped.
#[derive(Debug)]
#[must_use = "the connection counts as closed at once when this is dropped"]
pub struct OpenConnection(Arc<Counters>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.lower();
    }
}
