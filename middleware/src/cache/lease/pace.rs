//! How long a lease holds, and how often those who wait look.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long fetches took lately: a histogram whose counts are halved now and then.
#[derive(Debug, Default)]
pub(super) struct FetchTimes {
    /// By the bits of the milliseconds: up to 1 ms, up to 2, up to 4, …
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
}

impl FetchTimes {
    pub(super) fn note(&self, took: Duration) {
        let milliseconds = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        let bits = u32::BITS - milliseconds.leading_zeros();
        let bucket = usize::try_from(bits).unwrap_or_default().min(BUCKETS - 1);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if self.total.fetch_add(1, Ordering::Relaxed) + 1 >= MANY {
            self.halve();
        }
    }

    /// A count that is lost in a race with others matters to nobody.
    fn halve(&self) {
        let mut total = 0;
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            total += half;
        }
        self.total.store(total, Ordering::Relaxed);
    }

    /// How long a lease holds until it is renewed: as long again as 99 of 100 fetches take, so that one
    /// that is not renewed is that of a sidecar that is no more.
    pub(super) fn hold(&self) -> Duration {
        let counts = self.counts.each_ref();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        let total: u32 = counts.iter().sum();
        if total < FEW {
            return UNKNOWN;
        }
        let mut left = total - total / 100;
        let mut most = Duration::from_millis(1);
        for count in counts {
            if count >= left {
                break;
            }
            left -= count;
            most *= 2;
        }
        (most * 2).clamp(SHORTEST, LONGEST)
    }
}

/// How long to wait before the next look, having waited for `waited`.
pub(super) fn step(waited: Duration) -> Duration {
    (waited / 8).clamp(Duration::from_millis(2), Duration::from_millis(50))
}

/// Up to 2^16 ms.
const BUCKETS: usize = 18;
/// Halved at so many.
const MANY: u32 = 1024;
/// Fewer say nothing.
const FEW: u32 = 8;
/// Of a lease while nothing is known.
const UNKNOWN: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noted(times: impl IntoIterator<Item = u64>) -> FetchTimes {
        let noted = FetchTimes::default();
        for time in times {
            noted.note(Duration::from_millis(time));
        }
        noted
    }

    #[test]
    fn a_lease_holds_for_twice_the_99th_percentile_within_bounds() {
        for (times, expected) in [
            (vec![], UNKNOWN),
            (vec![10_000; 7], UNKNOWN),
            (vec![1; 100], SHORTEST),
            (vec![200; 100], Duration::from_millis(512)),
            // One in a hundred does not count, two do.
            (
                [vec![200; 99], vec![5000; 1]].concat(),
                Duration::from_millis(512),
            ),
            (
                [vec![200; 98], vec![5000; 2]].concat(),
                Duration::from_millis(16_384),
            ),
            (vec![1_000_000; 100], LONGEST),
            (vec![u64::MAX; 100], LONGEST),
        ] {
            assert_eq!(noted(times.clone()).hold(), expected, "{times:?}");
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let times = noted([30_000; 500]);
        assert_eq!(times.hold(), LONGEST);
        (0..20_000).for_each(|_| times.note(Duration::from_millis(100)));
        assert_eq!(times.hold(), Duration::from_millis(256));
    }

    proptest! {
        #[test]
        fn a_lease_holds_longer_than_most_fetches_take(times in prop::collection::vec(0_u64..10_000, 8..500)) {
            let hold = noted(times.clone()).hold();
            let longer = times.iter().filter(|time| Duration::from_millis(**time) > hold).count();
            prop_assert!(longer * 100 <= times.len(), "{longer} of {}", times.len());
            prop_assert!((SHORTEST..=LONGEST).contains(&hold));
        }

        #[test]
        fn looking_adds_an_eighth_and_costs_few_commands(whole in 20_u64..2000) {
            let (whole, mut waited, mut looks) = (Duration::from_millis(whole), Duration::ZERO, 0);
            while waited < whole {
                waited += step(waited);
                looks += 1;
            }
            prop_assert!(waited - whole <= (whole / 8).max(Duration::from_millis(2)));
            prop_assert!(looks < 70, "{looks}");
        }
    }
}
