//! The coded copies of a stored response, and how long its record lies below memory with them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::cache::stored::{StoredResponse, millis};
use crate::clock::Now;
use crate::content_coding::Coding;

/// One slot for each coding, filled when first needed.
#[derive(Debug, Default)]
pub(super) struct CodedCopies([OnceLock<Bytes>; 3]);

impl CodedCopies {
    /// Those that were made already, by [`Coding`].
    pub(super) fn of(copies: [Option<Bytes>; 3]) -> Self {
        Self(copies.map(|copy| copy.map_or_else(OnceLock::new, OnceLock::from)))
    }

    /// Those that were made.
    pub(super) fn made(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter_map(OnceLock::get)
    }
}

impl StoredResponse {
    /// The copy in `coding`, if it was made.
    pub fn coded(&self, coding: Coding) -> Option<&Bytes> {
        self.coded.0.get(coding as usize)?.get()
    }

    /// Fills the slot of `coding`; false if it was filled already.
    pub(crate) fn add_coded(&self, coding: Coding, content: Bytes) -> bool {
        let slot = self.coded.0.get(coding as usize);
        slot.is_some_and(|slot| slot.set(content).is_ok())
    }

    /// Whether both are of the same content, so that a coded copy of one is a copy of the other.
    pub(crate) fn shares_copies(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.coded, &other.coded)
    }

    /// Notes that Redis keeps its record for `ttl` from `now` on.
    pub(crate) fn keep_below(&self, now: Now, ttl: Duration) {
        let until = self.since(now).saturating_add(ttl);
        self.kept_below.store(millis(until), Ordering::Relaxed);
    }

    /// For how long its record stays in Redis; zero where it has none.
    pub(crate) fn left_below(&self, now: Now) -> Duration {
        let until = Duration::from_millis(self.kept_below.load(Ordering::Relaxed));
        until.saturating_sub(self.since(now))
    }

    fn since(&self, now: Now) -> Duration {
        now.mono.saturating_duration_since(self.received.mono)
    }
}
