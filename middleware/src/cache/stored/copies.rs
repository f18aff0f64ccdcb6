//! The coded copies of a stored response, and how long its record lies below memory with them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::cache::stored::weight::SHARED;
use crate::cache::stored::{COUNTS, StoredResponse, block, millis};
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

    /// Bytes of memory behind them.
    pub(super) fn weight(&self) -> usize {
        let made = self.0.iter().filter_map(OnceLock::get);
        let made: usize = made.map(|copy| block(copy.len()) + SHARED).sum();
        block(size_of::<Self>() + COUNTS) + made
    }
}

impl StoredResponse {
    /// The copy in `coding`, if it was made.
    pub fn coded(&self, coding: Coding) -> Option<&Bytes> {
        self.coded.get()?.0.get(coding as usize)?.get()
    }

    /// Fills the slot of `coding`; false if it was filled already.
    pub(crate) fn add_coded(&self, coding: Coding, content: Bytes) -> bool {
        let slot = self.copies().0.get(coding as usize);
        slot.is_some_and(|slot| slot.set(content).is_ok())
    }

    /// Whether a record that says all that this one does was read from disk, or given to it. The disk may
    /// have lost it since.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk.load(Ordering::Relaxed) == self.told()
    }

    /// Notes that its record, as it is now, is on disk.
    pub(crate) fn note_on_disk(&self) {
        self.on_disk.store(self.told(), Ordering::Relaxed);
    }

    /// A bit for each thing about it that changes and that its record tells, and one that is always set.
    fn told(&self) -> u8 {
        let copies = Coding::ALL
            .iter()
            .filter(|coding| self.coded(**coding).is_some());
        let copies = copies.fold(0, |told, coding| told | 4 << *coding as u8);
        1 | u8::from(self.is_outdated()) << 1 | copies
    }

    /// Whether both are of the same content, so that a coded copy of one is a copy of the other.
    pub(crate) fn shares_copies(&self, other: &Self) -> bool {
        let has_copies = |stored: &Self| stored.coded.get().map(Arc::as_ptr);
        std::ptr::eq(self, other)
            || has_copies(self).is_some() && has_copies(self) == has_copies(other)
    }

    /// All slots, which are there from the first time that they are asked for.
    pub(super) fn copies(&self) -> &Arc<CodedCopies> {
        self.coded.get_or_init(Arc::default)
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
}
