//! The one catalogue of metrics: what is counted, under which name, and how it is written out.
//!
//! Three ways to count, by how often it happens:
//! - once a request: [`CoreMetrics::record`], called by the request log alone. It reads everything
//!   (route, outcome, the cache's decision, the upstream's time) from the facts that the request
//!   collected, so no layer below counts its own requests;
//! - now and then: [`Metrics::count`] and [`Metrics::add`] with an [`Event`], or a [`Level`] that is
//!   raised and lowered; each is a line in [`catalogue`];
//! - only when somebody looks: [`Metrics::observe`] with a closure that is asked at each scrape.
//!
//! ```
//! use middleware::metrics::{Event, Exposition, Metrics};
//!
//! let metrics = Metrics::new();
//! metrics.count(Event::ConnectionAccepted);
//! let text = metrics.encode(Exposition::Classic);
//! assert!(text.contains("\npillion_connections_accepted_total 1\n"));
//! ```

pub mod catalogue;
mod chosen;
mod counter;
mod exposition;
mod l2;
mod label;
mod mix;
mod per_core;
mod process;
mod route_label;
#[cfg(test)]
mod tests;
mod tiers;
mod upstream;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use self::catalogue::{Documented, Event, Level, Sampled};
pub use self::counter::{Counter, Gauge};
pub use self::l2::{L2Dropped, L2Metrics, L2Operation, L2Result, L2State};
pub use self::label::Outcome;
pub(crate) use self::label::lookup_label;
pub use self::per_core::{CoreMetrics, Finished, InFlight};
pub use self::process::resident as resident_bytes;
pub use self::upstream::{OpenConnection, OpenTunnel, UpstreamMetrics};

use self::catalogue::{BUILD_INFO, CONFIG_HASH, FAMILIES, Family, Kind};
use self::exposition::Gathered;
use self::per_core::Series;
use self::route_label::RouteNames;
use self::tiers::TierReads;

/// All metrics of the program. A handle: clones count into the same catalogue.
#[derive(Clone)]
pub struct Metrics(Arc<Catalogue>);

/// Which text a scrape gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text format 0.0.4, which every scraper and `promtool check metrics` reads.
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// What to put in `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

struct Catalogue {
    /// Written by whoever sees the event, on any thread.
    events: Vec<Counter>,
    /// Raised and lowered, possibly on different threads.
    levels: Vec<Gauge>,
    /// Asked at each scrape; set once at start, again by a reload.
    sampled: Mutex<BTreeMap<Sampled, Arc<Sample>>>,
    /// One for each name that was ever asked for; bounded by the configuration.
    upstreams: Mutex<BTreeMap<Arc<str>, UpstreamMetrics>>,
    /// Asked for once, where there is a Redis.
    l2: OnceLock<L2Metrics>,
    /// How long the tiers below memory took.
    tier_reads: TierReads,
    /// Series that the cores write, appended when a core first needs one.
    series: Mutex<Series>,
    /// Names of routes for the label, with their cap.
    routes: RouteNames,
    /// Set by start and reload.
    config_hash: AtomicU64,
}

type Sample = dyn Fn() -> f64 + Send + Sync;

impl Metrics {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self(Arc::new(Catalogue {
            events: Event::ALL.iter().map(|_| Counter::default()).collect(),
            levels: Level::ALL.iter().map(|_| Gauge::default()).collect(),
            sampled: Mutex::default(),
            upstreams: Mutex::default(),
            l2: OnceLock::new(),
            tier_reads: TierReads::default(),
            series: Mutex::default(),
            routes: RouteNames::default(),
            config_hash: AtomicU64::new(0),
        }))
    }

    /// A share for one more core: what every request touches, written by that core alone.
    pub fn core(&self) -> CoreMetrics {
        CoreMetrics::new(self.clone())
    }

    /// The counters of the upstream `name`; the same ones each time.
    pub fn upstream(&self, name: &Arc<str>) -> UpstreamMetrics {
        lock(&self.0.upstreams)
            .entry(name.clone())
            .or_default()
            .clone()
    }

    /// The counters of the Redis behind the cache; the same ones each time.
    pub fn l2(&self) -> L2Metrics {
        self.0.l2.get_or_init(L2Metrics::new).clone()
    }

    /// Counts one `event`.
    pub fn count(&self, event: Event) {
        self.add(event, 1);
    }

    /// Counts `amount` of `event`: bytes, or several at once.
    pub fn add(&self, event: Event, amount: u64) {
        self.0.events[event as usize].add(amount);
    }

    /// How much of `event` there was until now.
    pub fn total(&self, event: Event) -> u64 {
        self.0.events[event as usize].total()
    }

    /// Raises `level` by one until the returned guard is dropped.
    pub fn raise(&self, level: Level) -> Raised {
        self.0.levels[level as usize].raise();
        Raised(self.clone(), level)
    }

    /// Where `level` stands.
    pub fn level(&self, level: Level) -> i64 {
        self.0.levels[level as usize].value()
    }

    /// Requests of clients that are in flight, all cores together.
    pub fn in_flight(&self) -> i64 {
        lock(&self.0.series).in_flight()
    }

    /// Asks `sample` for `what` at every scrape; a later call for the same `what` replaces it.
    /// `sample` must not block, and must not call back into the catalogue.
    pub fn observe(&self, what: Sampled, sample: impl Fn() -> f64 + Send + Sync + 'static) {
        lock(&self.0.sampled).insert(what, Arc::new(sample));
    }

    /// Says which configuration runs, so that a fleet can be compared.
    pub fn set_config_hash(&self, hash: u64) {
        self.0.config_hash.store(hash, Ordering::Relaxed);
    }

    /// Every metric, as a scrape gets it.
    pub fn encode(&self, exposition: Exposition) -> String {
        self.gather().encode(exposition)
    }

    /// Name, type, help and labels of every metric there is.
    pub fn documented() -> Vec<Documented> {
        FAMILIES.iter().map(|family| family.documented()).collect()
    }

    fn gather(&self) -> Gathered {
        let catalogue = &*self.0;
        let mut gathered = Gathered::default();
        for (event, counter) in Event::ALL.iter().zip(&catalogue.events) {
            let (family, labels) = event.place();
            gathered.counter(family, exposition::fixed(labels), counter.total());
        }
        for (level, gauge) in Level::ALL.iter().zip(&catalogue.levels) {
            let (family, labels) = level.place();
            gathered.gauge(family, exposition::fixed(labels), gauge.value() as f64);
        }
        // The closures are called without the lock: they may take locks of their own.
        let sampled = lock(&catalogue.sampled).clone();
        for what in Sampled::ALL {
            if let Some(sample) = sampled.get(what) {
                let (family, labels) = what.place();
                gathered.gauge(family, exposition::fixed(labels), sample());
            }
        }
        for (name, upstream) in &*lock(&catalogue.upstreams) {
            upstream.gather(name, &mut gathered);
        }
        if let Some(l2) = catalogue.l2.get() {
            l2.gather(&mut gathered);
        }
        lock(&catalogue.series).gather(&catalogue.routes, &mut gathered);
        catalogue.tier_reads.gather(&mut gathered);
        process::gather(&mut gathered);
        gathered.gauge(
            &BUILD_INFO,
            vec![("version", env!("CARGO_PKG_VERSION").into())],
            1.0,
        );
        // A sample is a double: only 53 bits would arrive whole.
        let hash = catalogue.config_hash.load(Ordering::Relaxed) >> 12;
        gathered.gauge(&CONFIG_HASH, vec![], hash as f64);
        gathered
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Holds a [`Level`] up by one; lowers it when dropped.
#[derive(Debug)]
#[must_use = "the level is lowered at once when this is dropped"]
pub struct Raised(Metrics, Level);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.0.levels[self.1 as usize].lower();
    }
}

/// A counter stays a counter after a panic elsewhere: nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    fn documented(&self) -> Documented {
        Documented {
            name: self.name,
            kind: match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            },
            help: self.help,
            labels: self.labels,
        }
    }
}
