//! The breaker of one node: whether requests may ask it at all.
//!
//! It opens after five failures in a row, or ten of the last twenty operations, or when the probe
//! (never a request) finds nobody; only the probe closes it again.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

/// Written by whoever asked the node, on any thread, and by its probe.
#[derive(Debug)]
pub(super) struct Breaker {
    state: AtomicU8,
    /// The last operations, latest in the lowest bit; a 1 failed.
    history: AtomicU32,
}

/// What the breaker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// Nobody has asked it yet.
    Unproven = 0,
    /// It answers.
    Closed = 1,
    /// It does not: nobody asks but the probe.
    Open = 2,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(Standing::Unproven as u8),
            history: AtomicU32::new(0),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.state.load(Ordering::Acquire) {
            0 => Standing::Unproven,
            1 => Standing::Closed,
            _ => Standing::Open,
        }
    }

    /// An operation was answered.
    pub(super) fn succeeded(&self) {
        // A healthy node's history is not written to: cores would fight for it.
        if self.history.load(Ordering::Relaxed) & WINDOW != 0 {
            self.note(0);
        }
    }

    /// An operation was not answered. Whether that opened it.
    pub(super) fn failed(&self) -> bool {
        let history = self.note(1);
        let in_a_row = history.trailing_ones() >= IN_A_ROW;
        let of_many = history.count_ones() >= OF_MANY;
        (in_a_row || of_many) && self.open()
    }

    /// Nobody is to ask. Whether that is news.
    pub(super) fn open(&self) -> bool {
        self.state.swap(Standing::Open as u8, Ordering::AcqRel) != Standing::Open as u8
    }

    /// It answered the probe. What it was before.
    pub(super) fn close(&self) -> Standing {
        let before = self.standing();
        self.history.store(0, Ordering::Relaxed);
        self.state.store(Standing::Closed as u8, Ordering::Release);
        before
    }

    fn note(&self, failed: u32) -> u32 {
        let add = |history: u32| Some(((history << 1) | failed) & WINDOW);
        let before = self
            .history
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .unwrap_or_default();
        ((before << 1) | failed) & WINDOW
    }
}

/// How long the probe waits before its next try.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// 0.5 s, doubled with every try to at most 30 s, of which a random half is waited: a fleet that
    /// lost its Redis at one moment does not come back at one moment.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let half = whole / 2;
        let part = u32::try_from(random % 1024).unwrap_or_default();
        half + half * part / 1024
    }

    /// It is well again, and has been for a while.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Twenty operations.
const WINDOW: u32 = (1 << 20) - 1;
const IN_A_ROW: u32 = 5;
const OF_MANY: u32 = 10;
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it() {
        let breaker = Breaker::new();
        breaker.close();
        for _ in 0..4 {
            assert!(!breaker.failed());
        }
        assert_eq!(breaker.standing(), Standing::Closed);
        assert!(breaker.failed());
        assert_eq!(breaker.standing(), Standing::Open);
        assert!(!breaker.failed(), "it is news once");
        // What was under way and is answered late does not close it: only the probe does.
        breaker.succeeded();
        assert_eq!(breaker.standing(), Standing::Open);
        assert_eq!(breaker.close(), Standing::Open);
        assert_eq!(breaker.standing(), Standing::Closed);
        assert!(!breaker.failed(), "what was is forgotten");
    }

    #[test]
    fn half_of_the_last_twenty_open_it_and_fewer_do_not() {
        let breaker = Breaker::new();
        breaker.close();
        for _ in 0..100 {
            assert!(!breaker.failed());
            breaker.succeeded();
            breaker.succeeded();
        }
        let opened = (0..20).any(|_| {
            let opened = breaker.failed();
            breaker.succeeded();
            opened
        });
        assert!(opened);
    }

    #[test]
    fn the_probe_waits_half_a_second_to_half_a_minute() {
        for random in [0, 511, 1023, u64::MAX] {
            let mut backoff = Backoff::default();
            let mut last = Duration::ZERO;
            for _ in 0..40 {
                let wait = backoff.next(random);
                assert!(wait >= FIRST / 2 && wait <= LONGEST && wait >= last);
                last = wait;
            }
            assert!(last >= LONGEST / 2);
            backoff.reset();
            assert!(backoff.next(random) <= FIRST);
        }
    }
}
