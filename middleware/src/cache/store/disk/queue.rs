//! What waits to be written. Bounded in bytes: what finds no room is not kept, and counted.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::frame::Key;

/// See the module. Filled by all cores, emptied by the thread that writes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// For the thread that writes.
    filled: Condvar,
    /// For whoever waits for room, or for the end.
    emptied: Notify,
    /// Keys in `waiting`, read without its lock on every look-up.
    keys: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What is to be true of each key. The ticket says which of the elements of `order` is the latest.
    keys: HashMap<Key, (u64, Option<Bytes>)>,
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    tickets: u64,
    /// Between the taking of an element and the word that it is written.
    is_writing: bool,
    /// Whether the writer has removals to write yet.
    is_behind: bool,
    is_closed: bool,
}

impl Waiting {
    /// However long it is, there is room for it alone.
    fn has_room(&self, room: usize) -> bool {
        self.bytes == 0 || self.bytes + room <= MOST_BYTES
    }
}

/// Something to do.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: Key,
    /// `None` removes.
    pub(super) content: Option<Bytes>,
    ticket: u64,
}

impl Queue {
    /// Whether it found room.
    pub(super) fn push(&self, key: Key, content: Option<Bytes>) -> bool {
        let mut waiting = self.lock();
        let room = weight(content.as_ref());
        if waiting.is_closed || !waiting.has_room(room) {
            return false;
        }
        waiting.tickets += 1;
        let ticket = waiting.tickets;
        waiting.bytes += room;
        waiting.order.push_back((key, ticket));
        if let Some((_, before)) = waiting.keys.insert(key, (ticket, content)) {
            // Its element in `order` is void now, and keeps its least weight until it is met.
            waiting.bytes -= weight(before.as_ref()) - LEAST_WEIGHT;
        }
        self.keys.store(waiting.keys.len(), Ordering::Release);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// What is to be true of `key`, if anything waits for it: `Some(None)` where it is to be removed.
    pub(super) fn find(&self, key: Key) -> Option<Option<Bytes>> {
        if self.keys.load(Ordering::Acquire) == 0 {
            return None;
        }
        let waiting = self.lock();
        waiting.keys.get(&key).map(|(_, content)| content.clone())
    }

    /// The next job, waited for; `None` when it is closed and empty, `Err` when there was none for `patience`.
    pub(super) fn next(&self, patience: Duration) -> Result<Option<Job>, Idle> {
        let mut waiting = self.lock();
        loop {
            while let Some((key, ticket)) = waiting.order.pop_front() {
                match waiting.keys.get(&key) {
                    Some((latest, content)) if *latest == ticket => {
                        let content = content.clone();
                        waiting.is_writing = true;
                        return Ok(Some(Job {
                            key,
                            content,
                            ticket,
                        }));
                    }
                    _ => waiting.bytes -= LEAST_WEIGHT,
                }
            }
            self.emptied.notify_waiters();
            if waiting.is_closed {
                return Ok(None);
            }
            let waited = self.filled.wait_timeout(waiting, patience);
            let (again, result) = waited.unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            if result.timed_out() && waiting.order.is_empty() {
                return Err(Idle);
            }
        }
    }

    /// Says that a job is done: from now on, the index tells. And whether something of it, or of those
    /// before, is still to be written.
    pub(super) fn done(&self, job: &Job, is_behind: bool) {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        waiting.is_behind = is_behind;
        let is_latest = waiting.keys.get(&job.key).map(|(ticket, _)| *ticket) == Some(job.ticket);
        waiting.bytes -= if is_latest {
            waiting.keys.remove(&job.key);
            weight(job.content.as_ref())
        } else {
            LEAST_WEIGHT
        };
        self.keys.store(waiting.keys.len(), Ordering::Release);
        drop(waiting);
        self.emptied.notify_waiters();
    }

    /// Says that nothing of the jobs that are done is still to be written.
    pub(super) fn caught_up(&self) {
        self.lock().is_behind = false;
        self.emptied.notify_waiters();
    }

    /// Takes nothing more, and forgets what waits if it `is_lost`.
    pub(super) fn close(&self, is_lost: bool) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        if is_lost {
            let tickets = waiting.tickets;
            *waiting = Waiting {
                is_closed: true,
                tickets,
                ..Waiting::default()
            };
            self.keys.store(0, Ordering::Release);
        }
        drop(waiting);
        self.filled.notify_all();
        self.emptied.notify_waiters();
    }

    /// As [`push`](Self::push), but waits for room. Whether it is still open.
    pub(super) async fn push_patiently(&self, key: Key, content: Bytes) -> bool {
        let room = weight(Some(&content));
        while !self.push(key, Some(content.clone())) {
            if self.lock().is_closed {
                return false;
            }
            self.wait(|waiting| waiting.has_room(room) || waiting.is_closed)
                .await;
        }
        true
    }

    /// Waits until nothing waits.
    pub(super) async fn empty(&self) {
        self.wait(|waiting| waiting.order.is_empty() && !waiting.is_writing && !waiting.is_behind)
            .await;
    }

    async fn wait(&self, is_so: impl Fn(&Waiting) -> bool) {
        loop {
            let emptied = self.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            // Before the look, so that nothing is missed in between.
            emptied.as_mut().enable();
            if is_so(&self.lock()) {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle;

fn weight(content: Option<&Bytes>) -> usize {
    LEAST_WEIGHT + content.map_or(0, Bytes::len)
}

/// What waits may hold: some hundred milliseconds of a slow disk.
const MOST_BYTES: usize = 16 << 20;
/// Of an element that has no content.
const LEAST_WEIGHT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn next(queue: &Queue) -> Job {
        let job = queue.next(Duration::ZERO).expect("something waits");
        job.expect("it is open")
    }

    #[test]
    fn the_latest_word_about_a_key_counts() {
        let queue = Queue::default();
        let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert!(queue.push(1, bytes("old")));
        assert!(queue.push(2, bytes("two")));
        assert!(queue.push(1, bytes("new")));
        assert_eq!(queue.find(1), Some(bytes("new")));
        let two = next(&queue);
        assert_eq!((two.key, &two.content), (2, &bytes("two")));
        queue.done(&two, false);
        assert_eq!(queue.find(2), None);
        let one = next(&queue);
        assert_eq!((one.key, &one.content), (1, &bytes("new")));
        // It is removed while it is being written.
        assert!(queue.push(1, None));
        queue.done(&one, false);
        assert_eq!(queue.find(1), Some(None));
        queue.done(&next(&queue), false);
        assert_eq!(queue.find(1), None);
        assert_eq!(queue.lock().bytes, 0);
        assert!(queue.next(Duration::ZERO).is_err());
    }

    #[test]
    fn what_finds_no_room_is_not_taken() {
        let queue = Queue::default();
        let content = Bytes::from(vec![0; MOST_BYTES / 4]);
        let pushed = (0..10).filter(|key| queue.push(*key, Some(content.clone())));
        assert_eq!(pushed.count(), 3);
        for _ in 0..3 {
            queue.done(&next(&queue), false);
        }
        assert_eq!(queue.lock().bytes, 0);
        // However long: there is no other way for it.
        assert!(queue.push(1, Some(Bytes::from(vec![0; 2 * MOST_BYTES]))));
        queue.close(true);
        assert!(!queue.push(2, None));
        assert_eq!(queue.find(1), None);
        assert!(matches!(queue.next(Duration::ZERO), Ok(None)));
    }
}
