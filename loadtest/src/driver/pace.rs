//! When the next request is due.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// Due times of a load: at once in a closed loop, evenly spread at a rate.
#[derive(Debug)]
pub(super) struct Pace {
    begin: OnceLock<Instant>,
    duration: Duration,
    rate: Option<f64>,
    /// Slots that were taken.
    taken: AtomicU64,
}

impl Pace {
    pub(super) fn new(rate: Option<f64>, duration: Duration) -> Self {
        Self {
            begin: OnceLock::new(),
            duration,
            rate,
            taken: AtomicU64::new(0),
        }
    }

    /// Time runs from now on.
    pub(super) fn begin(&self) {
        self.begin.get_or_init(clock::now);
    }

    /// Waits for the next slot; returns from when its latency counts, or none at the end.
    ///
    /// A client that comes late to its slot has been held up by the target: its latency counts from
    /// the slot (no coordinated omission). One that waited for it counts from its waking, since the
    /// timer's millisecond is not the target's.
    pub(super) async fn next(&self) -> Option<Instant> {
        let begin = *self.begin.get_or_init(clock::now);
        let now = clock::now();
        let Some(rate) = self.rate else {
            return (now < begin + self.duration).then_some(now);
        };
        let grace = (self.duration / 10).max(Duration::from_secs(1));
        if now > begin + self.duration + grace {
            return None;
        }
        let slot = self.taken.fetch_add(1, Ordering::Relaxed);
        if slot >= self.slots() {
            return None;
        }
        let due = begin + Duration::from_secs_f64(slot as f64 / rate);
        if due <= now {
            return Some(due);
        }
        tokio::time::sleep_until(due.into()).await;
        Some(clock::now())
    }

    /// Slots that nobody took, once all clients have ended.
    pub(super) fn unsent(&self) -> u64 {
        match self.rate {
            None => 0,
            Some(_) => self
                .slots()
                .saturating_sub(self.taken.load(Ordering::Relaxed)),
        }
    }

    fn slots(&self) -> u64 {
        (self.rate.unwrap_or(0.0) * self.duration.as_secs_f64()).ceil() as u64
    }
}
