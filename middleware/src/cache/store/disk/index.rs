//! Where each record lies. In memory: some 40 bytes for each, so that a miss costs no look at the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
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
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<Place> {
        self.shard(key).get(&key).copied()
    }

    pub(super) fn insert(&self, key: Key, place: Place) {
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
