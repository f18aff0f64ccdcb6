//! Purges on their way to the journal: those that come while others are being written are written together.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::journal::Line;

/// See the module. Filled by all cores and the admin listener, emptied by the thread that writes the
/// journal.
#[derive(Debug, Default)]
pub(super) struct Purges {
    waiting: Mutex<Batch>,
    filled: Condvar,
}

/// What is written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<Line>,
    /// There were too many to be told apart: everything up to this place is purged.
    pub(super) floor: Option<u64>,
    /// Told when all of it is on disk.
    pub(super) told: Vec<oneshot::Sender<bool>>,
    bytes: usize,
    is_closed: bool,
}

impl Purges {
    /// Enters one. The receiver hears whether it is certain not to come back.
    pub(super) fn enter(&self, line: Line) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.is_closed {
            // The receiver hears that nobody will tell.
            return told;
        }
        waiting.bytes += line.content.len() + size_of::<Line>();
        waiting.lines.push(line);
        waiting.told.push(tell);
        if waiting.bytes > MOST_BYTES || waiting.floor.is_some() {
            let places = waiting.lines.drain(..).map(|line| line.place);
            let latest = places.max().max(waiting.floor);
            waiting.floor = latest;
            waiting.bytes = 0;
        }
        drop(waiting);
        self.filled.notify_one();
        told
    }

    /// The receiver hears what those that were entered before do.
    pub(super) fn follow(&self) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.told.push(tell);
        }
        drop(waiting);
        self.filled.notify_one();
        told
    }

    /// All that waits, once something does; `None` when it is closed and empty.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut waiting = self.lock();
        loop {
            if !waiting.told.is_empty() {
                let is_closed = waiting.is_closed;
                return Some(std::mem::replace(
                    &mut *waiting,
                    Batch {
                        is_closed,
                        ..Batch::default()
                    },
                ));
            }
            if waiting.is_closed {
                return None;
            }
            let waited = self.filled.wait(waiting);
            waiting = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits may hold.
const MOST_BYTES: usize = 4 << 20;
