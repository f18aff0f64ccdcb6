//! Where each record lies. In memory: some 40 bytes for each, so that a miss costs no look at the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frame::{self, Key, Row};

/// See the module. Written by the thread that writes records, and by whoever finds one damaged; read
/// by all cores.
#[derive(Debug)]
pub(super) struct Index {
    /// By the highest bits of the key; each waits only for itself.
    shards: [Mutex<HashMap<Key, Place>>; SHARDS],
    records: AtomicU64,
    bytes: AtomicU64,
    /// The page of what was written last.
    latest: AtomicU32,
    /// Pages that are written before the first one is written again.
    round: AtomicU32,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From the beginning of the file.
    pub(super) page: u32,
    /// Bytes of content.
    pub(super) length: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latest: AtomicU32::new(0),
            round: AtomicU32::new(0),
        }
    }

    /// Says how many pages are written before the first one is written again.
    pub(super) fn goes_round_in(&self, pages: u64) {
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        self.round.store(pages, Ordering::Relaxed);
    }

    /// Whether less than half of a round has been written since what lies at `place`.
    pub(super) fn is_young(&self, place: Place) -> bool {
        let round = u64::from(self.round.load(Ordering::Relaxed));
        let latest = u64::from(self.latest.load(Ordering::Relaxed));
        let page = u64::from(place.page);
        let since = match latest >= page {
            true => latest - page,
            false => latest + round - page,
        };
        since < round / 2
    }

    pub(super) fn find(&self, key: Key) -> Option<Place> {
        self.shard(key).get(&key).copied()
    }

    pub(super) fn insert(&self, key: Key, place: Place) {
        self.latest.store(place.page, Ordering::Relaxed);
        self.bytes.fetch_add(place.room(), Ordering::Relaxed);
        match self.shard(key).insert(key, place) {
            Some(before) => _ = self.bytes.fetch_sub(before.room(), Ordering::Relaxed),
            None => _ = self.records.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Whether there was one.
    pub(super) fn remove(&self, key: Key) -> bool {
        let before = self.shard(key).remove(&key);
        self.gone(before)
    }

    /// Removes what `key` has, unless it lies elsewhere by now. Whether it did.
    pub(super) fn remove_at(&self, key: Key, page: u32) -> bool {
        let before = match self.shard(key).entry(key) {
            Entry::Occupied(entry) if entry.get().page == page => Some(entry.remove()),
            _ => None,
        };
        self.gone(before)
    }

    /// Does what a row of the file says.
    pub(super) fn follow(&self, row: Row) {
        match row.content {
            Some(length) => self.insert(
                row.key,
                Place {
                    page: row.page,
                    length,
                },
            ),
            None => _ = self.remove(row.key),
        }
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *lock(shard) = HashMap::new();
        }
        self.records.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// How many there are.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// What they take of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn gone(&self, before: Option<Place>) -> bool {
        if let Some(before) = before {
            self.records.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(before.room(), Ordering::Relaxed);
        }
        before.is_some()
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Place>> {
        let shard = (key >> (128 - SHARDS.ilog2())) as usize;
        lock(&self.shards[shard])
    }
}

impl Place {
    fn room(self) -> u64 {
        frame::room(self.length as usize)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A power of two.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_young_for_half_of_a_round() {
        let index = Index::new();
        index.goes_round_in(100);
        let place = |page| Place { page, length: 1 };
        let youth = |latest, page| {
            index.insert(1, place(latest));
            index.is_young(place(page))
        };
        assert!(youth(10, 10) && youth(59, 10));
        assert!(!youth(60, 10) && !youth(99, 10));
        // Over the end of the file, and round again.
        assert!(youth(5, 60) && youth(5, 99));
        assert!(!youth(5, 55) && !youth(5, 6));
    }
}
