//! The clock: the only place where the time is read (a house rule with a test).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// One reading of both clocks. Each request takes one, at its arrival, and rules are judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For HTTP dates and ages (RFC 9110 §5.6.7).
    pub wall: SystemTime,
    /// For measuring and deadlines; never goes back.
    pub mono: Instant,
}

/// The clock of tokio's timers, which a test may pause; for deadlines that a timer keeps.
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Tells the time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// None in production, so that no read shares memory.
    by_hand: Option<Arc<ByHand>>,
}

/// What a test has done to a clock.
#[derive(Debug, Default)]
struct ByHand {
    /// Nanoseconds that it has added.
    skipped: AtomicU64,
    /// Where the clock stands, if it stands still but for that.
    stopped: Option<Now>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The system's clock plus whatever [`advance`](Self::advance) has added; for tests.
    pub fn adjustable() -> Self {
        Self {
            by_hand: Some(Arc::default()),
        }
    }

    /// A clock that stands at `wall` but for what [`advance`](Self::advance) adds; for tests that are
    /// to go the same way each time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn stopped(wall: SystemTime) -> Self {
        let mono = Instant::now();
        Self {
            by_hand: Some(Arc::new(ByHand {
                skipped: AtomicU64::new(0),
                stopped: Some(Now { wall, mono }),
            })),
        }
    }

    /// Moves an adjustable clock (and all its clones) forward by `step`.
    ///
    /// # Panics
    /// On the system's clock.
    pub fn advance(&self, step: Duration) {
        let by_hand = self
            .by_hand
            .as_ref()
            .expect("only an adjustable clock is advanced");
        let step = u64::try_from(step.as_nanos()).expect("a step of less than 500 years");
        by_hand.skipped.fetch_add(step, Ordering::SeqCst);
    }

    /// Both clocks, now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Now {
        match &self.by_hand {
            None => Now {
                wall: SystemTime::now(),
                mono: Instant::now(),
            },
            Some(by_hand) => by_hand.now(),
        }
    }

    /// The clock for measuring and deadlines alone: half the cost of both.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn mono(&self) -> Instant {
        match &self.by_hand {
            None => Instant::now(),
            Some(by_hand) => by_hand.now().mono,
        }
    }
}

impl ByHand {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Now {
        let skipped = Duration::from_nanos(self.skipped.load(Ordering::SeqCst));
        let from = self.stopped.unwrap_or_else(|| Now {
            wall: SystemTime::now(),
            mono: Instant::now(),
        });
        Now {
            wall: from.wall + skipped,
            mono: from.mono + skipped,
        }
    }
}
