//! Reading records that are on the disk alone: on threads of its own, for a disk makes whoever reads wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::frame::Key;
use super::index::Place;

/// Reads that wait for a thread. Filled by all cores.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Read>,
    is_closed: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) answer: oneshot::Sender<Option<Bytes>>,
}

impl Reads {
    /// Has it read; `None` where too many wait already.
    pub(super) fn enter(&self, key: Key, place: Place) -> Option<oneshot::Receiver<Option<Bytes>>> {
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.order.len() >= MOST {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        waiting.order.push_back(Read { key, place, answer });
        drop(waiting);
        self.filled.notify_one();
        Some(answered)
    }

    /// The next one that somebody still waits for; `None` when it is closed.
    pub(super) fn next(&self) -> Option<Read> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            while let Some(read) = waiting.order.pop_front() {
                if !read.answer.is_closed() {
                    return Some(read);
                }
            }
            let waited = self.filled.wait(waiting);
            waiting = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads nothing more: whoever waits hears so.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.order.clear();
        drop(waiting);
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk that has so many before it would answer the next one too late.
const MOST: usize = 512;
