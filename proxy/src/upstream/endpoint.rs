//! One address of an upstream, as all cores share it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::upstream::{EndpointAddress, UpstreamSettings};
use http::HeaderValue;
use http::uri::Authority;
use middleware::clock::Clock;
use tokio::sync::Notify;

use super::connect::{Connector, Roots};
use super::gate::Place;
use super::multiplex::Multiplexed;
use super::pool::Idle;

/// An endpoint: how to reach it, and every connection to it.
pub(super) struct Endpoint {
    pub(super) connector: Connector,
    /// `Host`, where the client's is not kept.
    pub(super) host: HeaderValue,
    /// What HTTP/2 puts in `:authority` if a request has no usable `Host`.
    pub(super) authority: Authority,
    pub(super) slots: Arc<Slots>,
    /// One for each core.
    shards: Box<[Shard]>,
    /// What the last connection spoke, where that is for TLS to decide; one of [`Spoken`].
    spoken: AtomicU8,
    /// Until when it is passed over, since a connect failed: milliseconds after `started`.
    /// Written by whoever fails; read only where there is another endpoint.
    shunned: AtomicU64,
    started: Instant,
}

/// One core's connections. Aligned so that no two cores write the same cache line.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Shard {
    /// Unused HTTP/1.1 connections, the last used at the back. Locked by its own core for each
    /// request, and by others only when the endpoint's limit is reached.
    idle: Mutex<VecDeque<Idle>>,
    /// HTTP/2 connections, in use or not.
    multiplexed: Mutex<Vec<Multiplexed>>,
    /// Whoever opens an HTTP/2 connection holds this, so that the others can use it as well.
    pub(super) opening: tokio::sync::Mutex<()>,
    /// Whether a sweeper runs.
    pub(super) swept: AtomicBool,
    /// Set when the program stops: connections are closed after use.
    closed: AtomicBool,
    /// Requests in flight. Written by this core alone (but for one that ended elsewhere).
    pub(super) in_flight: AtomicUsize,
}

/// The limit of connections to an endpoint, all cores together, and who waits for one.
pub(super) struct Slots {
    open: AtomicUsize,
    limit: usize,
    waiting: AtomicUsize,
    /// Told whenever a connection becomes unused or closed while someone waits.
    freed: Notify,
}

/// The right to one connection; held by the task that drives it, so given back when it is closed.
pub(super) struct Slot(Arc<Slots>);

/// What a TLS endpoint chose to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Unknown = 0,
    Http1 = 1,
    Http2 = 2,
}

impl Endpoint {
    pub(super) fn new(
        address: &EndpointAddress,
        settings: &UpstreamSettings,
        cores: usize,
        roots: &mut Roots,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let connector = Connector::new(address, &settings.tls, settings.connect, roots, clock)?;
        Ok(Self {
            connector,
            host: HeaderValue::from_str(&address.authority)?,
            authority: address.authority.parse()?,
            slots: Arc::new(Slots {
                open: AtomicUsize::new(0),
                limit: settings.connections.max(1),
                waiting: AtomicUsize::new(0),
                freed: Notify::new(),
            }),
            shards: (0..cores.max(1)).map(|_| Shard::default()).collect(),
            spoken: AtomicU8::new(Spoken::Unknown as u8),
            shunned: AtomicU64::new(0),
            started: clock.mono(),
        })
    }

    /// The connections of `core`.
    pub(super) fn shard(&self, core: usize) -> &Shard {
        // A division takes longer than all else here.
        match self.shards.get(core) {
            Some(shard) => shard,
            None => &self.shards[core % self.shards.len()],
        }
    }

    /// All cores' connections, `core`'s first.
    pub(super) fn shards_from(&self, core: usize) -> impl Iterator<Item = &Shard> {
        let (before, from) = self.shards.split_at(core % self.shards.len());
        from.iter().chain(before)
    }

    /// Whether one new connection may do for all who wait for one.
    pub(super) fn probably_multiplexes(&self) -> bool {
        self.connector.may_multiplex() && self.spoken.load(Ordering::Relaxed) != Spoken::Http1 as u8
    }

    /// Remembers what a new connection speaks.
    pub(super) fn spoke(&self, spoken: Spoken) {
        self.spoken.store(spoken as u8, Ordering::Relaxed);
    }

    /// Passes the endpoint over for a while, if there are others.
    pub(super) fn shun(&self, now: Instant) {
        self.shunned
            .store(self.millis(now + SHUNNED_FOR), Ordering::Relaxed);
    }

    /// Whether it is passed over now.
    pub(super) fn is_shunned(&self, now: Instant) -> bool {
        self.millis(now) < self.shunned.load(Ordering::Relaxed)
    }

    fn millis(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Shard {
    pub(super) fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn multiplexed(&self) -> MutexGuard<'_, Vec<Multiplexed>> {
        self.multiplexed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Closes what is unused, now and later.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let unused = std::mem::take(&mut *self.idle());
        let multiplexed = std::mem::take(&mut *self.multiplexed());
        // Dropped here, after the locks: the drop wakes the tasks that drive them.
        drop((unused, multiplexed));
    }
}

impl Slots {
    /// A slot, if the limit permits.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| {
                (open < self.limit).then_some(open + 1)
            })
            .ok()
            .map(|_| Slot(self.clone()))
    }

    /// Connections that are open, or being opened.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Requests that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A place among those who wait, unless `limit` do.
    pub(super) fn queue(&self, limit: usize) -> Option<Place<'_>> {
        Place::take(&self.waiting, limit)
    }

    /// Told when it is worth looking again.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Tells one who waits that a connection has become unused.
    pub(super) fn offer(&self) {
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.offer();
    }
}

/// How long an endpoint that could not be connected to is passed over.
const SHUNNED_FOR: Duration = Duration::from_secs(1);
