//! Coded copies: made once for each stored response and coding, in the background, and kept with it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cache::SharedCache;
use crate::cache::stored::StoredResponse;
use crate::content_coding::Coding;
use crate::content_coding::encode::{self, Effort};
use crate::content_coding::negotiate::Choice;
use crate::metrics::{Event, Metrics};

/// What is being coded now, whichever core asked, and how much of it there may be at once. Belongs to
/// the cache that the copies are for.
#[derive(Debug)]
pub struct InProgress {
    /// The copies that are being made. A stored response is named by its address, which nothing else
    /// can have while the one who makes the copy holds it.
    copies: Mutex<HashSet<(usize, Coding)>>,
    whole: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// The right to code something now; given back when it is dropped.
pub(crate) type Seat = OwnedSemaphorePermit;

/// What there is of copies for a client.
pub(crate) struct Found<'a> {
    /// The best of those that were made. No bytes: the coding makes the content no smaller.
    pub(crate) copy: Option<(Coding, &'a Bytes)>,
    /// The best of all, if it was not made.
    pub(crate) missing: Option<Coding>,
}

/// Looks for a copy of `stored` in one of the codings that the client likes best.
pub(crate) fn find(stored: &StoredResponse, best: Choice) -> Found<'_> {
    let copy = |coding| Some((coding, stored.coded(coding)?));
    Found {
        copy: best.stored().find_map(copy),
        missing: best
            .stored()
            .next()
            .filter(|coding| stored.coded(*coding).is_none()),
    }
}

/// Starts making the copy of `stored` in `coding`, unless somebody else does, or enough are in the
/// making: then a later hit asks again.
pub(crate) fn make(
    stored: &Arc<StoredResponse>,
    coding: Coding,
    cache: &SharedCache,
    metrics: &Metrics,
) {
    if !cache.copies().begin(stored, coding) {
        return;
    }
    let turn = Turn {
        stored: stored.clone(),
        coding,
        cache: cache.clone(),
    };
    let key = cache.key_on_disk(stored);
    let metrics = metrics.clone();
    let task = cache.tasks().spawn_blocking(move || {
        let Turn { stored, cache, .. } = &turn;
        // The one before us may have ended between our look and our turn.
        if stored.coded(coding).is_some() {
            return;
        }
        let copy = encode::whole(&stored.body, coding, Effort::Best).unwrap_or_default();
        let (bytes_in, bytes_out) = Event::coded(coding);
        metrics.count(Event::copied(coding));
        metrics.add(bytes_in, stored.length());
        metrics.add(bytes_out, copy.len() as u64);
        cache.keep_coded(stored, key, coding, copy);
    });
    // Nobody waits for it but shutdown, by the tracker.
    drop(task);
}

impl Default for InProgress {
    fn default() -> Self {
        Self {
            copies: Mutex::default(),
            whole: Arc::new(Semaphore::new(WHOLE_AT_ONCE)),
            streams: Arc::new(Semaphore::new(STREAMS_AT_ONCE)),
        }
    }
}

impl InProgress {
    /// For coding long content on another thread, while a client waits.
    pub(crate) fn seat_for_whole(&self) -> Option<Seat> {
        self.whole.clone().try_acquire_owned().ok()
    }

    /// For coding or decoding content as it comes.
    pub(crate) fn seat_for_stream(&self) -> Option<Seat> {
        self.streams.clone().try_acquire_owned().ok()
    }

    fn begin(&self, stored: &Arc<StoredResponse>, coding: Coding) -> bool {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.len() < COPIES_AT_ONCE && copies.insert(name(stored, coding))
    }

    fn end(&self, stored: &Arc<StoredResponse>, coding: Coding) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.remove(&name(stored, coding));
    }
}

fn name(stored: &Arc<StoredResponse>, coding: Coding) -> (usize, Coding) {
    (Arc::as_ptr(stored).addr(), coding)
}

/// The right to make a copy; given back even by a panic.
struct Turn {
    stored: Arc<StoredResponse>,
    coding: Coding,
    cache: SharedCache,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.cache.copies().end(&self.stored, self.coding);
    }
}

/// Copies in the making: they take time from cores that answer clients.
const COPIES_AT_ONCE: usize = 2;
/// Long contents on other threads. Each takes up to some 20 MiB for some 10 ms.
const WHOLE_AT_ONCE: usize = 8;
/// Streams. Each takes up to some 2 MiB for as long as its client, slow or not, takes to read it; so
/// this is what keeps many slow clients from using up the memory.
const STREAMS_AT_ONCE: usize = 256;
