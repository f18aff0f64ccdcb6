//! The clock: the only place where the time is read (a house rule with a test).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// One reading of both clocks. Each request takes one, at its arrival, and rules are judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For HTTP dates and ages (RFC 9110 §5.6.7).
    pub wall: SystemTime,
    /// For measuring and deadlines; never goes back.
    pub mono: Instant,
}

/// A [`Now`] in half the memory, for what there is much of: nanoseconds since 1970, and since or before
/// the first that was made. Good for some 290 years about both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    wall: u64,
    mono: i64,
}

impl Moment {
    pub(crate) fn of(now: Now) -> Self {
        let wall = now.wall.duration_since(SystemTime::UNIX_EPOCH);
        let start = *START.get_or_init(|| now.mono);
        let signed = |nanos: u128| i64::try_from(nanos).unwrap_or(i64::MAX);
        Self {
            wall: wall.map_or(0, |wall| u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)),
            mono: match now.mono.checked_duration_since(start) {
                Some(after) => signed(after.as_nanos()),
                None => -signed(start.duration_since(now.mono).as_nanos()),
            },
        }
    }

    /// Both clocks as they were.
    pub(crate) fn now(self) -> Now {
        let after = Duration::from_nanos(self.mono.unsigned_abs());
        let start = START.get().copied();
        // Made from a clock that had told it, so it can be told.
        let mono = match self.mono < 0 {
            true => start.and_then(|start| start.checked_sub(after)),
            false => start.and_then(|start| start.checked_add(after)),
        };
        Now {
            wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(self.wall),
            mono: mono.expect("a moment is made of a clock's reading"),
        }
    }

    /// How long after it `later` is, by whichever clock went further: the one of the wall may be set
    /// back, and the other one stands still while a laptop sleeps.
    pub(crate) fn passed(self, later: Now) -> Duration {
        let later = Self::of(later);
        let wall = later.wall.saturating_sub(self.wall);
        let mono = later.mono.saturating_sub(self.mono);
        Duration::from_nanos(wall.max(u64::try_from(mono).unwrap_or_default()))
    }

    /// How long after it `later` is, by the clock that never goes back.
    pub(crate) fn until(self, later: Now) -> Duration {
        later.mono.saturating_duration_since(self.now().mono)
    }
}

/// What [`Moment`]s are counted from.
static START: OnceLock<Instant> = OnceLock::new();

/// The clock of tokio's timers, which a test may pause; for deadlines that a timer keeps.
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Tells the time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// What a test has done to it; nothing in production, so that no read shares memory.
    moved: Option<Arc<Moved>>,
}

#[derive(Debug, Default)]
struct Moved {
    /// Where it stands still; else it runs with the system's.
    stands: Option<Now>,
    /// Nanoseconds that were added.
    skipped: AtomicU64,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The system's clock plus whatever [`advance`](Self::advance) has added; for tests.
    pub fn adjustable() -> Self {
        Self {
            moved: Some(Arc::default()),
        }
    }

    /// A clock that stands still between calls of [`advance`](Self::advance); for tests that are to
    /// be the same in every run.
    pub fn standing() -> Self {
        Self {
            moved: Some(Arc::new(Moved {
                stands: Some(Self::system().now()),
                skipped: AtomicU64::new(0),
            })),
        }
    }

    /// The same, standing at `wall` at first.
    pub fn standing_at(wall: SystemTime) -> Self {
        let mono = Self::system().mono();
        Self {
            moved: Some(Arc::new(Moved {
                stands: Some(Now { wall, mono }),
                skipped: AtomicU64::new(0),
            })),
        }
    }

    /// Moves an adjustable clock (and all its clones) forward by `step`.
    ///
    /// # Panics
    /// On the system's clock.
    pub fn advance(&self, step: Duration) {
        let moved = self
            .moved
            .as_ref()
            .expect("only an adjustable clock is advanced");
        let step = u64::try_from(step.as_nanos()).expect("a step of less than 500 years");
        moved.skipped.fetch_add(step, Ordering::SeqCst);
    }

    /// Both clocks, now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Now {
        Now {
            wall: match self.stands() {
                Some(at) => at.wall,
                None => SystemTime::now(),
            } + self.skipped(),
            mono: self.mono(),
        }
    }

    /// The clock for measuring and deadlines alone: half the cost of both.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn mono(&self) -> Instant {
        let mono = match self.stands() {
            Some(at) => at.mono,
            None => Instant::now(),
        };
        mono + self.skipped()
    }

    fn stands(&self) -> Option<Now> {
        self.moved.as_ref()?.stands
    }

    fn skipped(&self) -> Duration {
        match &self.moved {
            None => Duration::ZERO,
            Some(moved) => Duration::from_nanos(moved.skipped.load(Ordering::SeqCst)),
        }
    }
}
