//! Places in the one order of purges that all instances and all restarts share.
//!
//! The order that the memory tier lives by is a counter of this process (see `invalidate`). What lies in
//! a lower tier outlives the process and is read by others, so it needs an order that they know too: the
//! ids of a Redis Stream where there is one, and else this machine's clock, made monotone.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 in the upper 44 bits, and a count within them below.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place(u64);

impl Place {
    /// Before every purge.
    pub const FIRST: Self = Self(0);
    /// After every purge.
    pub const LAST: Self = Self(u64::MAX);

    /// The place that [`number`](Self::number) told.
    pub const fn of_number(number: u64) -> Self {
        Self(number)
    }

    /// All of it, for records and journals.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The place of an element of a Stream (`ms-seq`); `None` where it has none: the year is beyond
    /// 2500 or a millisecond has more than a million.
    pub fn of_id(id: &str) -> Option<Self> {
        let (millis, count) = id.split_once('-')?;
        let (millis, count): (u64, u64) = (millis.parse().ok()?, count.parse().ok()?);
        let is_possible = millis < 1 << (u64::BITS - COUNT) && count < 1 << COUNT;
        is_possible.then_some(Self(millis << COUNT | count))
    }

    /// The id in the Stream.
    pub fn id(self) -> String {
        format!("{}-{}", self.millis(), self.0 & ((1 << COUNT) - 1))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> COUNT
    }

    /// The first place of the millisecond that `at` is in.
    pub fn at(at: SystemTime) -> Self {
        let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let most = u64::MAX >> COUNT;
        let millis = u64::try_from(millis.as_millis()).map_or(most, |millis| millis.min(most));
        Self(millis << COUNT)
    }

    /// The one right after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one right before it.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The place of something that happens at `now`, after all that has its place by then: of the clock,
    /// unless that was set back.
    #[must_use]
    pub fn following(self, now: SystemTime) -> Self {
        self.next().max(Self::at(now))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id())
    }
}

/// Bits of the count within a millisecond.
const COUNT: u32 = 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_place_of_a_stream_element_is_its_id() {
        for (id, expected) in [
            ("0-0", Some(0)),
            ("0-1", Some(1)),
            ("1-0", Some(1 << 20)),
            ("1700000000000-7", Some(1_700_000_000_000 << 20 | 7)),
            ("17592186044415-1048575", Some(u64::MAX)),
            ("17592186044416-0", None),
            ("1-1048576", None),
            ("18446744073709551615-18446744073709551615", None),
            ("1", None),
            ("-", None),
            ("+", None),
            ("1-", None),
            ("a-b", None),
            ("", None),
        ] {
            assert_eq!(Place::of_id(id), expected.map(Place), "{id}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_turn_the_order_around() {
        let late = UNIX_EPOCH + Duration::from_secs(100);
        let first = Place::FIRST.following(late);
        assert_eq!(first.millis(), 100_000);
        let second = first.following(UNIX_EPOCH + Duration::from_secs(50));
        assert_eq!(second, first.next());
        assert!(second.following(late + Duration::from_millis(1)) > second);
        assert_eq!(Place::at(UNIX_EPOCH - Duration::from_secs(1)), Place::FIRST);
        assert_eq!(Place::LAST.next(), Place::LAST);
    }

    proptest! {
        #[test]
        fn an_id_says_all_of_a_place(number: u64, other: u64) {
            let (place, other) = (Place(number), Place(other));
            prop_assert_eq!(Place::of_id(&place.id()), Some(place));
            let halves = |place: Place| (place.millis(), place.0 & 0xF_FFFF);
            prop_assert_eq!(place < other, halves(place) < halves(other));
        }
    }
}
