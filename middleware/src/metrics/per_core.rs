//! What every request counts, on the core that served it.
//!
//! A core finds its series in tables of its own, behind a lock that no other core ever takes, and
//! counts with plain loads and stores. The scrape reads the numbers without that lock.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};

use super::catalogue::{
    CACHE_LOOKUPS, DURATION, ERRORS, Event, IN_FLIGHT, OVERHEAD, REQUESTS, RESPONSE_BYTES,
    UPSTREAM_DURATION,
};
use super::counter::{Histogram, HistogramTotal, add_alone};
use super::exposition::Gathered;
use super::label::{MethodLabel, Outcome, code_label, lookup_label, registered};
use super::mix::Mixed;
use super::route_label::{Found, KnownNames, RouteIndex, RouteNames};
use super::{Metrics, lock};
use crate::ErrorKind;
use crate::cache::Level;
use crate::facts::{CacheOutcome, CacheStatus, Observed, Reason, UpstreamTiming};

/// One core's share of the metrics that every request touches. A handle: clones count into the same share.
#[derive(Clone)]
pub struct CoreMetrics(Arc<Core>);

struct Core {
    /// Where new series are announced, and rare events are counted.
    metrics: Metrics,
    /// Taken by this core alone, for nanoseconds.
    tables: Mutex<Tables>,
    /// Requests under way on this core; also in [`Series`].
    in_flight: Arc<AtomicI64>,
}

/// This core's series, each also in [`Series`].
#[derive(Debug, Default)]
struct Tables {
    names: KnownNames,
    /// Places in `entries`.
    requests: HashMap<RequestKey, usize, Mixed>,
    entries: Vec<Entry>,
    /// What the request before counted into: mostly the next one does too.
    latest: Option<(RequestKey, usize)>,
    latest_lookup: Option<(LookupKey, Arc<AtomicU64>)>,
    outcomes: HashMap<(RouteIndex, Outcome), Arc<OutcomeSeries>, Mixed>,
    routes: HashMap<RouteIndex, Arc<RouteSeries>, Mixed>,
    lookups: HashMap<LookupKey, Arc<AtomicU64>, Mixed>,
    errors: HashMap<&'static str, Arc<AtomicU64>, Mixed>,
}

/// All that one kind of request counts into, found at once.
#[derive(Debug)]
struct Entry {
    count: Arc<AtomicU64>,
    by_outcome: Arc<OutcomeSeries>,
    by_route: Arc<RouteSeries>,
}

/// Every core's series, for the scrape.
#[derive(Debug, Default)]
pub(super) struct Series {
    requests: Vec<(RequestKey, Arc<AtomicU64>)>,
    outcomes: Vec<((RouteIndex, Outcome), Arc<OutcomeSeries>)>,
    routes: Vec<(RouteIndex, Arc<RouteSeries>)>,
    lookups: Vec<(LookupKey, Arc<AtomicU64>)>,
    errors: Vec<(&'static str, Arc<AtomicU64>)>,
    in_flight: Vec<Arc<AtomicI64>>,
}

/// A request and its answer, when both are over.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The configured route; `None` if the request never came to one.
    pub route: Option<&'a str>,
    /// Of the target, for naming the default route's parts.
    pub path: &'a str,
    /// Of the request.
    pub method: &'a Method,
    /// Of the answer.
    pub status: StatusCode,
    /// What the cache did.
    pub cache: Option<CacheStatus>,
    /// What the upstream took.
    pub upstream: Option<UpstreamTiming>,
    /// What features that observe would have done.
    pub observed: Observed,
    /// The failure that the answer tells of.
    pub error: Option<ErrorKind>,
    /// From the request's arrival to the answer's head.
    pub head: Duration,
    /// From the request's arrival to the last byte of the answer.
    pub total: Duration,
    /// Content handed to the connection.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct RequestKey {
    route: RouteIndex,
    method: MethodLabel,
    /// A registered status, or 0 for any other.
    code: u16,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LookupKey {
    outcome: CacheOutcome,
    reason: Option<Reason>,
}

#[derive(Debug)]
struct OutcomeSeries {
    duration: Histogram,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct RouteSeries {
    upstream: Histogram,
    overhead: Histogram,
}

impl CoreMetrics {
    pub(super) fn new(metrics: Metrics) -> Self {
        let in_flight = Arc::<AtomicI64>::default();
        lock(&metrics.0.series).in_flight.push(in_flight.clone());
        Self(Arc::new(Core {
            metrics,
            tables: Mutex::default(),
            in_flight,
        }))
    }

    /// The catalogue that this is a share of.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Says that a request is under way, until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Counts a request that is over. To be called on this share's core.
    pub fn record(&self, finished: &Finished<'_>) {
        let outcome = Outcome::of(finished.cache, finished.error);
        let overflow = lock(&self.0.tables).record(&self.0.metrics, finished, outcome);
        if overflow {
            self.0.metrics.count(Event::RouteOverflow);
        }
        if finished.error == Some(ErrorKind::HttpRequestError) {
            self.0.metrics.count(Event::RequestMalformed);
        }
        if finished.status == StatusCode::NOT_MODIFIED {
            self.0.metrics.count(who_judged(finished));
        }
        if finished.observed != Observed::NONE {
            let Observed {
                cache,
                conditional,
                content_coding,
                etag: _,
            } = finished.observed;
            for event in [cache, conditional, content_coding].into_iter().flatten() {
                self.0.metrics.count(event);
            }
        }
        if finished.cache.is_some_and(|status| status.collapsed) {
            self.0.metrics.count(Event::Collapsed);
        }
    }
}

/// A request under way.
#[derive(Debug)]
#[must_use = "the request counts as over at once when this is dropped"]
pub struct InFlight(CoreMetrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for CoreMetrics {
    /// The only share of a catalogue of its own.
    fn default() -> Self {
        Metrics::new().core()
    }
}

impl fmt::Debug for CoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreMetrics").finish_non_exhaustive()
    }
}

impl Tables {
    /// Returns whether the route's name found no room.
    fn record(&mut self, metrics: &Metrics, finished: &Finished<'_>, outcome: Outcome) -> bool {
        let all = &metrics.0.series;
        let route = match finished.route {
            None => Found::Unnamed,
            Some(name) => {
                let may_add = finished.status.as_u16() < 400;
                self.names
                    .route(&metrics.0.routes, name, finished.path, may_add)
            }
        };
        let (route, overflow) = match route {
            Found::Named(route) => (route, false),
            Found::Unnamed => (RouteIndex::OTHER, false),
            Found::Overflow => (RouteIndex::OTHER, true),
        };

        let key = RequestKey {
            route,
            method: MethodLabel::of(finished.method),
            code: registered(finished.status),
            outcome,
        };
        let place = match self.latest {
            Some((latest, place)) if latest == key => place,
            _ => {
                let known = self.requests.get(&key).copied();
                let place = known.unwrap_or_else(|| self.open(key, all));
                self.latest = Some((key, place));
                place
            }
        };
        let entry = &self.entries[place];
        add_alone(&entry.count, 1);
        entry.by_outcome.duration.record(finished.total);
        add_alone(&entry.by_outcome.bytes, finished.bytes);
        let upstream = finished.upstream.map(|timing| timing.first_byte);
        if let Some(upstream) = upstream {
            entry.by_route.upstream.record(upstream);
        }
        let overhead = finished.head.saturating_sub(upstream.unwrap_or_default());
        // Waiting for another's forwarding is the upstream's time, which nobody measured here.
        if outcome != Outcome::Collapsed && outcome != Outcome::Error {
            entry.by_route.overhead.record(overhead);
        }

        if let Some(status) = finished.cache {
            let key = LookupKey {
                outcome: status.outcome,
                reason: status.reason,
            };
            match &self.latest_lookup {
                Some((latest, count)) if *latest == key => add_alone(count, 1),
                _ => {
                    let count = series(&mut self.lookups, key, |key, new| {
                        lock(all).lookups.push((key, new))
                    });
                    add_alone(count, 1);
                    self.latest_lookup = Some((key, count.clone()));
                }
            }
        }
        if let Some(error) = finished.error {
            let name = error.name();
            let count = series(&mut self.errors, name, |key, new| {
                lock(all).errors.push((key, new))
            });
            add_alone(count, 1);
        }
        overflow
    }

    /// Makes the series for `key` that are not there yet, and says where they are found.
    fn open(&mut self, key: RequestKey, all: &Mutex<Series>) -> usize {
        let RequestKey { route, outcome, .. } = key;
        let by_outcome = self.outcomes.entry((route, outcome)).or_insert_with(|| {
            let new = Arc::new(OutcomeSeries {
                duration: Histogram::new(REQUEST_BOUNDS),
                bytes: AtomicU64::new(0),
            });
            lock(all).outcomes.push(((route, outcome), new.clone()));
            new
        });
        let by_route = self.routes.entry(route).or_insert_with(|| {
            let new = Arc::new(RouteSeries {
                upstream: Histogram::new(REQUEST_BOUNDS),
                overhead: Histogram::new(OVERHEAD_BOUNDS),
            });
            lock(all).routes.push((route, new.clone()));
            new
        });
        let count = Arc::<AtomicU64>::default();
        lock(all).requests.push((key, count.clone()));
        let place = self.entries.len();
        self.entries.push(Entry {
            count,
            by_outcome: by_outcome.clone(),
            by_route: by_route.clone(),
        });
        self.requests.insert(key, place);
        place
    }
}

/// This core's number for `key`; announced to the scrape when it is new.
fn series<K: Copy + Eq + Hash>(
    mine: &mut HashMap<K, Arc<AtomicU64>, Mixed>,
    key: K,
    announce: impl FnOnce(K, Arc<AtomicU64>),
) -> &Arc<AtomicU64> {
    mine.entry(key).or_insert_with(|| {
        let new = Arc::<AtomicU64>::default();
        announce(key, new.clone());
        new
    })
}

/// Whose judgement a 304 is.
fn who_judged(finished: &Finished<'_>) -> Event {
    let passed_on = match finished.cache {
        Some(status) => {
            matches!(status.outcome, CacheOutcome::Fwd(_))
                && status.fwd_status == Some(StatusCode::NOT_MODIFIED)
        }
        None => finished.upstream.is_some(),
    };
    if passed_on {
        Event::NotModifiedUpstream
    } else {
        Event::NotModifiedHere
    }
}

impl Series {
    /// Requests under way, all cores together.
    pub(super) fn in_flight(&self) -> i64 {
        let cores = self.in_flight.iter();
        cores.map(|core| core.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn gather(&self, names: &RouteNames, gathered: &mut Gathered) {
        gathered.gauge(&IN_FLIGHT, vec![], self.in_flight() as f64);
        for (key, count) in sums(&self.requests) {
            let labels = vec![
                ("route", names.name(key.route).to_string().into()),
                ("method", key.method.name().into()),
                ("code", code_label(key.code).into()),
                ("outcome", key.outcome.name().into()),
            ];
            gathered.counter(&REQUESTS, labels, count);
        }
        let mut outcomes: BTreeMap<_, (HistogramTotal, u64)> = BTreeMap::new();
        for (key, series) in &self.outcomes {
            let (duration, bytes) = outcomes.entry(*key).or_default();
            series.duration.add_to(duration);
            *bytes += series.bytes.load(Ordering::Relaxed);
        }
        for ((route, outcome), (duration, bytes)) in outcomes {
            let labels = vec![
                ("route", names.name(route).to_string().into()),
                ("outcome", outcome.name().into()),
            ];
            gathered.histogram(&DURATION, labels.clone(), duration);
            gathered.counter(&RESPONSE_BYTES, labels, bytes);
        }
        let mut routes: BTreeMap<_, (HistogramTotal, HistogramTotal)> = BTreeMap::new();
        for (route, series) in &self.routes {
            let (upstream, overhead) = routes.entry(*route).or_default();
            series.upstream.add_to(upstream);
            series.overhead.add_to(overhead);
        }
        for (route, (upstream, overhead)) in routes {
            let labels = vec![("route", names.name(route).to_string().into())];
            gathered.histogram(&UPSTREAM_DURATION, labels.clone(), upstream);
            gathered.histogram(&OVERHEAD, labels, overhead);
        }
        let mut lookups: BTreeMap<_, u64> = BTreeMap::new();
        for (key, count) in &self.lookups {
            let tier = match key.reason {
                Some(Reason::L2) => Level::L2.name(),
                Some(Reason::Disk) => Level::Disk.name(),
                _ => "memory",
            };
            let reason = key.reason.map_or("", Reason::name);
            let result = lookup_label(key.outcome);
            *lookups.entry((tier, result, reason)).or_default() += count.load(Ordering::Relaxed);
        }
        for ((tier, result, reason), count) in lookups {
            let labels = vec![
                ("tier", tier.into()),
                ("result", result.into()),
                ("reason", reason.into()),
            ];
            gathered.counter(&CACHE_LOOKUPS, labels, count);
        }
        for (error, count) in sums(&self.errors) {
            gathered.counter(&ERRORS, vec![("error", error.into())], count);
        }
    }
}

fn sums<K: Copy + Ord>(series: &[(K, Arc<AtomicU64>)]) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in series {
        *sums.entry(*key).or_default() += count.load(Ordering::Relaxed);
    }
    sums
}

/// Upper bounds for what a client waits for (semantics: 0.5 ms to 10 s).
const REQUEST_BOUNDS: &[Duration] = &[
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Upper bounds for our own time, which should be far below a millisecond.
const OVERHEAD_BOUNDS: &[Duration] = &[
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
