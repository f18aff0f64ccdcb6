//! Locks for whoever changes what lies under a key.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::key::KeyHash;

/// Taken so that nobody changes what lies under the same key in between. Moka's own way to do so makes a
/// lock for each change, in a map of such locks; these are there, and a few keys share each.
#[derive(Debug)]
pub(super) struct Writing(Box<[Mutex<()>]>);

impl Writing {
    pub(super) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::default()).collect())
    }

    /// Keeps all others from changing what lies under `key`. No two are held by one thread.
    pub(super) fn at(&self, key: KeyHash) -> MutexGuard<'_, ()> {
        let index = usize::try_from(key >> 64 & (LOCKS as u128 - 1)).unwrap_or_default();
        let lock = self.0.get(index);
        let lock = lock.expect("the index is below the number of locks");
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A power of two.
const LOCKS: usize = 64;
