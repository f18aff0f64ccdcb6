//! The one catalogue of metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ErrorKind;

/// All metrics of the program.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<()>);

/// One core's share of the metrics that every request touches: written by that core alone, summed when scraped.
#[derive(Clone, Debug, Default)]
pub struct CoreMetrics(Arc<()>);

impl Metrics {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters of the upstream `name`.
    pub fn upstream(&self, _name: &Arc<str>) -> UpstreamMetrics {
        UpstreamMetrics::default()
    }

    /// A share for one more core.
    pub fn core(&self) -> CoreMetrics {
        CoreMetrics::default()
    }
}

/// The counters of one upstream; a handle to hold on to, not to look up for each request.
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics(Arc<UpstreamCounters>);

#[derive(Debug, Default)]
struct UpstreamCounters {
    connections: AtomicUsize,
    opened: AtomicU64,
    connect_failures: AtomicU64,
    reused: AtomicU64,
    retries: AtomicU64,
    waits: AtomicU64,
    tunnels: AtomicUsize,
    /// By RFC 9209 name; written when something fails, so a lock does no harm.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl UpstreamMetrics {
    /// A connection was opened; it counts as open until the guard is dropped.
    pub fn opened(&self) -> OpenConnection {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.0.clone())
    }

    /// A connection could not be opened.
    pub fn connect_failed(&self) {
        self.0.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A request took a connection that was open already.
    pub fn reused(&self) {
        self.0.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was sent again.
    pub fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A request had to wait for a connection, since their limit was reached.
    pub fn waited(&self) {
        self.0.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// A request, or its answer's body, failed.
    pub fn failed(&self, kind: ErrorKind) {
        let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry(kind.name()).or_default() += 1;
    }

    /// A connection was upgraded; it counts as a tunnel until the guard is dropped.
    pub fn tunnel(&self) -> OpenTunnel {
        self.0.tunnels.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(self.0.clone())
    }
}

/// Counts as one open connection until it is dropped.
#[derive(Debug)]
#[must_use = "the connection counts as closed at once when this is dropped"]
pub struct OpenConnection(Arc<UpstreamCounters>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts as one open tunnel until it is dropped.
#[derive(Debug)]
#[must_use = "the tunnel counts as closed at once when this is dropped"]
pub struct OpenTunnel(Arc<UpstreamCounters>);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}
