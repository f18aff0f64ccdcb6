//! What decides about reuse, in less than half the memory.

use std::time::Duration;

use crate::cache::freshness::Source;
use crate::cache::storable::Terms;

/// [`Terms`] with times of at most 580 years, and windows of whole seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// Nanoseconds.
    lifetime: u64,
    /// Nanoseconds.
    initial_age: u64,
    /// Seconds; [`NONE`] where there is none.
    stale_while_revalidate: u32,
    stale_if_error: u32,
    source: Source,
    no_cache: bool,
    must_revalidate: bool,
    s_maxage: bool,
    immutable: bool,
}

impl Packed {
    /// `terms`, and once more as they are where they do not fit.
    pub(super) fn of(terms: Terms) -> (Self, Option<Terms>) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let seconds = |window: Option<Duration>| {
            window.map_or(NONE, |window| {
                u32::try_from(window.as_secs()).unwrap_or(NONE)
            })
        };
        let packed = Self {
            lifetime: nanos(terms.lifetime),
            initial_age: nanos(terms.initial_age),
            stale_while_revalidate: seconds(terms.stale_while_revalidate),
            stale_if_error: seconds(terms.stale_if_error),
            source: terms.source,
            no_cache: terms.no_cache,
            must_revalidate: terms.must_revalidate,
            s_maxage: terms.s_maxage,
            immutable: terms.immutable,
        };
        let fits = packed.terms() == terms;
        (packed, (!fits).then_some(terms))
    }

    pub(super) fn terms(self) -> Terms {
        let window = |seconds| (seconds != NONE).then(|| Duration::from_secs(u64::from(seconds)));
        Terms {
            lifetime: Duration::from_nanos(self.lifetime),
            source: self.source,
            initial_age: Duration::from_nanos(self.initial_age),
            no_cache: self.no_cache,
            must_revalidate: self.must_revalidate,
            s_maxage: self.s_maxage,
            immutable: self.immutable,
            stale_while_revalidate: window(self.stale_while_revalidate),
            stale_if_error: window(self.stale_if_error),
        }
    }
}

/// No window; one that is as long is kept in full.
const NONE: u32 = u32::MAX;
