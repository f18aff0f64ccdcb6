//! What outlives a reload, and what belongs to one core.

use middleware::cache::SharedCache;
use middleware::cache::hottest::Hottest;
use middleware::cache::journal::Journal;
use middleware::clock::Clock;
use middleware::metrics::{CoreMetrics, Metrics};
use middleware::request_log::AccessLog;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tiers::LowerTiers;
use crate::upstream::Upstreams;

/// Shared by all cores. Every field is a handle; cloning happens at start-up and reload, never per request.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Tells the time; tests bring their own.
    pub clock: Clock,
    /// Every task that shutdown waits for.
    pub tasks: TaskTracker,
    /// Cancelled when the program begins to stop: upstream connections that are not used are closed.
    pub stopping: CancellationToken,
    /// Cancelled a little later: tunnels are cut.
    pub streams: CancellationToken,
    /// The catalogue.
    pub metrics: Metrics,
    /// Access lines.
    pub access_log: AccessLog,
    /// The store and what is in flight.
    pub cache: SharedCache,
    /// What lies below the store's memory; `None` where nothing does.
    pub tiers: Option<LowerTiers>,
    /// Where requests are forwarded to.
    pub upstreams: Upstreams,
}

/// What one core has for itself.
#[derive(Clone, Debug)]
pub struct Core {
    /// From 0.
    pub index: usize,
    /// Counters that this core alone writes.
    pub metrics: CoreMetrics,
    /// Where this core alone writes what was decided; `None` where no admin listener could ask for it.
    pub journal: Option<Journal>,
    /// Where this core alone counts what is answered from the store; `None` where nobody remembers it.
    pub hottest: Option<Hottest>,
}
