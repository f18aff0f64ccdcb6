//! What is counted about the Redis behind the cache, by whoever asks it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::catalogue::{L2_DROPPED, L2_DURATION, L2_ERRORS, L2_OPERATIONS, L2_QUEUE, L2_STATE};
use super::counter::{Counter, Histogram, HistogramTotal};
use super::exposition::Gathered;

/// The counters of the Redis behind the cache; a handle.
#[derive(Clone, Debug)]
pub struct L2Metrics(Arc<Counters>);

/// What is asked of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2Operation {
    /// A record is read; a request waits.
    Get,
    /// A record is written; nobody waits.
    Put,
    /// A record is removed; nobody waits.
    Remove,
    /// Anything else: leases, purges.
    Command,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2Result {
    /// There was a record.
    Hit,
    /// There was none.
    Miss,
    /// It was done.
    Done,
    /// It came to nothing.
    Failed,
}

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2Dropped {
    /// The queue was full.
    Queue,
    /// Redis was away.
    Away,
    /// It was longer than records may be.
    Size,
}

/// Whether Redis can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum L2State {
    /// Nobody knows yet.
    Unknown = 0,
    /// It answers.
    Up = 1,
    /// A part of a cluster answers.
    Degraded = 2,
    /// It does not answer: requests go on without it.
    Away = 3,
}

#[derive(Debug)]
struct Counters {
    state: AtomicU8,
    operations: [[Counter; RESULTS.len()]; OPERATIONS.len()],
    dropped: [Counter; DROPPED.len()],
    /// By kind; written when something fails, so a lock does no harm.
    errors: Mutex<BTreeMap<&'static str, u64>>,
    /// One writer at a time, so each behind a lock; a scrape takes it as well.
    durations: [Mutex<Histogram>; OPERATIONS.len()],
    /// Bytes that wait to be written.
    queue: AtomicU64,
}

impl L2State {
    /// As the label is written, and as `/readyz` tells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Away => "away",
        }
    }
}

impl L2Metrics {
    pub(super) fn new() -> Self {
        Self(Arc::new(Counters {
            state: AtomicU8::new(L2State::Unknown as u8),
            operations: Default::default(),
            dropped: Default::default(),
            errors: Mutex::default(),
            durations: std::array::from_fn(|_| Mutex::new(Histogram::new(BOUNDS))),
            queue: AtomicU64::new(0),
        }))
    }

    /// Something was asked of Redis, and answered or not after `took`.
    pub fn operation(&self, operation: L2Operation, result: L2Result, took: Duration) {
        self.0.operations[operation as usize][result as usize].count();
        let duration = self.0.durations[operation as usize].lock();
        let duration = duration.unwrap_or_else(PoisonError::into_inner);
        duration.record(took);
    }

    /// Something failed, by the name of its kind.
    pub fn failed(&self, kind: &'static str) {
        let errors = self.0.errors.lock();
        let mut errors = errors.unwrap_or_else(PoisonError::into_inner);
        *errors.entry(kind).or_default() += 1;
    }

    /// Something will not be written.
    pub fn dropped(&self, cause: L2Dropped) {
        self.0.dropped[cause as usize].count();
    }

    /// This many bytes wait to be written now.
    pub fn waiting(&self, bytes: usize) {
        self.0.queue.store(bytes as u64, Ordering::Relaxed);
    }

    /// Says whether Redis can be asked.
    pub fn set_state(&self, state: L2State) {
        self.0.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn gather(&self, gathered: &mut Gathered) {
        let counters = &*self.0;
        let state = counters.state.load(Ordering::Relaxed);
        for each in STATES {
            let is_it = f64::from(u8::from(each as u8 == state));
            gathered.gauge(&L2_STATE, vec![("state", each.name().into())], is_it);
        }
        for (operation, name) in OPERATIONS.iter().enumerate() {
            for (result, result_name) in RESULTS.iter().enumerate() {
                // A read does not end as a write does.
                if (*name == "get") == (*result_name == "done") {
                    continue;
                }
                if *name != "get" && ["hit", "miss"].contains(result_name) {
                    continue;
                }
                let labels = vec![
                    ("operation", (*name).into()),
                    ("result", (*result_name).into()),
                ];
                let total = counters.operations[operation][result].total();
                gathered.counter(&L2_OPERATIONS, labels, total);
            }
            let mut total = HistogramTotal::default();
            let duration = counters.durations[operation].lock();
            duration
                .unwrap_or_else(PoisonError::into_inner)
                .add_to(&mut total);
            gathered.histogram(&L2_DURATION, vec![("operation", (*name).into())], total);
        }
        let errors = counters.errors.lock();
        for (kind, count) in &*errors.unwrap_or_else(PoisonError::into_inner) {
            gathered.counter(&L2_ERRORS, vec![("error", (*kind).into())], *count);
        }
        for (cause, counter) in DROPPED.iter().zip(&counters.dropped) {
            let labels = vec![("cause", (*cause).into())];
            gathered.counter(&L2_DROPPED, labels, counter.total());
        }
        let waiting = counters.queue.load(Ordering::Relaxed);
        gathered.gauge(&L2_QUEUE, vec![], waiting as f64);
    }
}

/// In the order of [`L2Operation`].
const OPERATIONS: [&str; 4] = ["get", "put", "remove", "command"];
/// In the order of [`L2Result`].
const RESULTS: [&str; 4] = ["hit", "miss", "done", "failed"];
/// In the order of [`L2Dropped`].
const DROPPED: [&str; 3] = ["queue", "away", "size"];
const STATES: [L2State; 4] = [
    L2State::Unknown,
    L2State::Up,
    L2State::Degraded,
    L2State::Away,
];
/// Upper bounds from what a loopback takes to what nobody should wait for.
const BOUNDS: &[Duration] = &[
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
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
