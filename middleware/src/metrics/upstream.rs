//! What is counted for each upstream, by whoever owns its connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::catalogue::{
    TUNNELS, TUNNELS_OPENED, UPSTREAM_CONNECT_FAILURES, UPSTREAM_CONNECTIONS, UPSTREAM_FAILURES,
    UPSTREAM_OPENED, UPSTREAM_RETRIES, UPSTREAM_REUSED, UPSTREAM_WAITS,
};
use super::counter::{Counter, Gauge};
use super::exposition::Gathered;
use crate::ErrorKind;

/// The counters of one upstream; a handle to hold on to, not to look up for each request.
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    connections: Gauge,
    opened: Counter,
    connect_failed: Counter,
    reused: Counter,
    retries: Counter,
    waits: Counter,
    tunnels: Gauge,
    tunnels_opened: Counter,
    /// By RFC 9209 name; written when something fails, so a lock does no harm.
    failures: Mutex<BTreeMap<&'static str, u64>>,
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
        self.0.connect_failed.count();
    }

    /// A request took a connection that was open already.
    pub fn reused(&self) {
        self.0.reused.count();
    }

    /// A request was sent again.
    pub fn retried(&self) {
        self.0.retries.count();
    }

    /// A request had to wait for a connection, since their limit was reached.
    pub fn waited(&self) {
        self.0.waits.count();
    }

    /// A request, or its answer's body, failed.
    pub fn failed(&self, kind: ErrorKind) {
        let mut failures = self
            .0
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failures.entry(kind.name()).or_default() += 1;
    }

    /// A connection was upgraded; it counts as a tunnel until the guard is dropped.
    pub fn tunnel(&self) -> OpenTunnel {
        self.0.tunnels_opened.count();
        self.0.tunnels.raise();
        OpenTunnel(self.0.clone())
    }

    pub(super) fn gather(&self, name: &Arc<str>, gathered: &mut Gathered) {
        let labels = || vec![("upstream", name.to_string().into())];
        let open = self.0.connections.value();
        gathered.gauge(&UPSTREAM_CONNECTIONS, labels(), open as f64);
        gathered.counter(&UPSTREAM_OPENED, labels(), self.0.opened.total());
        gathered.counter(
            &UPSTREAM_CONNECT_FAILURES,
            labels(),
            self.0.connect_failed.total(),
        );
        gathered.counter(&UPSTREAM_REUSED, labels(), self.0.reused.total());
        gathered.counter(&UPSTREAM_RETRIES, labels(), self.0.retries.total());
        gathered.counter(&UPSTREAM_WAITS, labels(), self.0.waits.total());
        gathered.gauge(&TUNNELS, labels(), self.0.tunnels.value() as f64);
        gathered.counter(&TUNNELS_OPENED, labels(), self.0.tunnels_opened.total());
        let failures = self
            .0
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (&error, &count) in &*failures {
            let labels = vec![
                ("upstream", name.to_string().into()),
                ("error", error.into()),
            ];
            gathered.counter(&UPSTREAM_FAILURES, labels, count);
        }
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

/// Counts as one open tunnel until it is dropped.
#[derive(Debug)]
#[must_use = "the tunnel counts as closed at once when this is dropped"]
pub struct OpenTunnel(Arc<Counters>);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.tunnels.lower();
    }
}
