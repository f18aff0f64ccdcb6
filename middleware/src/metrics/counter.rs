//! Numbers that many threads count up without sharing a cache line.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Only goes up.
#[derive(Debug, Default)]
pub struct Counter(Striped);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.add(amount);
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.0.sum()
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(Striped);

impl Gauge {
    /// One more.
    pub fn raise(&self) {
        self.0.add(1);
    }

    /// One less.
    pub fn lower(&self) {
        self.0.add(u64::MAX); // two's complement: −1 on whatever stripe this thread has
    }

    /// Where it stands.
    pub fn value(&self) -> i64 {
        self.0.sum().cast_signed()
    }
}

/// A number in parts, each on a cache line of its own; a thread always adds to the same part.
/// Threads beyond [`STRIPES`] share parts, which costs time but loses nothing.
#[derive(Debug)]
struct Striped([Part; STRIPES]);

/// Two lines wide, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(AtomicU64);

impl Striped {
    fn add(&self, amount: u64) {
        self.0[stripe()].0.fetch_add(amount, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| {
            sum.wrapping_add(part.0.load(Ordering::Relaxed))
        })
    }
}

impl Default for Striped {
    fn default() -> Self {
        Self(array::from_fn(|_| Part::default()))
    }
}

fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
}

/// A histogram with *one writer at a time*: its owner writes under a lock of its own and the
/// scrape reads without it, so an update is a plain load and store.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is above all of them.
    buckets: [AtomicU64; MAX_BUCKETS],
    /// Nanoseconds: 584 years of requests fit.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [Duration]) -> Self {
        debug_assert!(bounds.len() < MAX_BUCKETS, "the buckets fit");
        Self {
            bounds,
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, value: Duration) {
        // Most of what a proxy counts lies in the first buckets, so it is found sooner than by halves.
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        let bucket = bucket.unwrap_or(self.bounds.len());
        add_alone(&self.buckets[bucket], 1);
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        add_alone(&self.sum, nanos);
    }

    /// Adds what was recorded here to `total`.
    pub(super) fn add_to(&self, total: &mut HistogramTotal) {
        total.bounds = self.bounds;
        total.buckets.resize(self.bounds.len() + 1, 0);
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        total.nanos = total.nanos.wrapping_add(self.sum.load(Ordering::Relaxed));
    }
}

/// The sum of several [`Histogram`]s with the same bounds.
#[derive(Debug, Default)]
pub(super) struct HistogramTotal {
    bounds: &'static [Duration],
    /// Not cumulative; one more than bounds.
    buckets: Vec<u64>,
    nanos: u64,
}

impl HistogramTotal {
    /// Upper bounds in seconds, each with the count that lies in it alone.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds
            .iter()
            .map(Duration::as_secs_f64)
            .chain([f64::INFINITY])
            .zip(self.buckets.iter().copied())
            .collect()
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos).as_secs_f64()
    }
}

/// Adds to a number that has no other writer just now: cheaper than a locked instruction.
pub(super) fn add_alone(number: &AtomicU64, amount: u64) {
    let old = number.load(Ordering::Relaxed);
    number.store(old.wrapping_add(amount), Ordering::Relaxed);
}

/// As many cores as a sidecar is given before sharing begins.
const STRIPES: usize = 8;
/// What the longest list of bounds needs, and one above it.
const MAX_BUCKETS: usize = 18;
