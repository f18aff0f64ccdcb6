//! What waits to be written: bounded in bytes; what finds no room is dropped.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::metrics::{L2Dropped, L2Metrics};

/// See the module.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// In bytes.
    most: usize,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes who waits for the end.
    emptied: Notify,
    metrics: L2Metrics,
}

#[derive(Default)]
struct Waiting {
    writes: VecDeque<Write>,
    /// Of what waits, and of what is being written.
    bytes: usize,
}

/// One write.
pub(super) enum Write {
    /// For `ttl`, which is at least a millisecond.
    Put {
        key: String,
        record: Bytes,
        ttl: Duration,
    },
    Remove {
        key: String,
    },
}

impl Write {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }

    /// What it holds while it waits, in bytes.
    pub(super) fn weight(&self) -> usize {
        let record = match self {
            Self::Put { record, .. } => record.len(),
            Self::Remove { .. } => 0,
        };
        record + self.key().len() + size_of::<Self>()
    }
}

impl Queue {
    pub(super) fn new(most: usize, metrics: L2Metrics) -> Self {
        Self {
            waiting: Mutex::default(),
            most,
            filled: Notify::new(),
            emptied: Notify::new(),
            metrics,
        }
    }

    /// Adds a write, or drops it where there is no room.
    pub(super) fn push(&self, write: Write) {
        let weight = write.weight();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes.saturating_add(weight) > self.most {
            drop(waiting);
            self.metrics.dropped(L2Dropped::Queue);
            return;
        }
        waiting.bytes += weight;
        waiting.writes.push_back(write);
        self.metrics.waiting(waiting.bytes);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits for writes, and takes some: many small ones, or a large one. They weigh until they are
    /// [`done`](Self::done).
    pub(super) async fn take(&self) -> Vec<Write> {
        loop {
            let filled = self.filled.notified();
            let taken = self.take_some();
            if !taken.is_empty() {
                return taken;
            }
            filled.await;
        }
    }

    /// What was taken has been written, or not: it weighs no more.
    pub(super) fn done(&self, weight: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = waiting.bytes.saturating_sub(weight);
        self.metrics.waiting(waiting.bytes);
        let is_empty = waiting.bytes == 0;
        drop(waiting);
        if is_empty {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until nothing waits.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            let bytes = {
                let waiting = self.waiting.lock();
                waiting.unwrap_or_else(PoisonError::into_inner).bytes
            };
            if bytes == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn take_some(&self) -> Vec<Write> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < BATCH && bytes < BATCH_BYTES {
            let Some(write) = waiting.writes.pop_front() else {
                break;
            };
            bytes += write.weight();
            taken.push(write);
        }
        taken
    }
}

/// Writes in one pipeline.
const BATCH: usize = 128;
/// Begins the next pipeline: a megabyte takes about a millisecond.
const BATCH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exposition, Metrics};

    fn put(key: &str, size: usize) -> Write {
        Write::Put {
            key: key.to_owned(),
            record: vec![0; size].into(),
            ttl: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_and_drops_the_newest() {
        let metrics = Metrics::new();
        let queue = Queue::new(10_000, metrics.l2());
        for key in ["a", "b", "c"] {
            queue.push(put(key, 4000));
        }
        let dropped = "pillion_l2_writes_dropped_total{cause=\"queue\"} 1";
        assert!(metrics.encode(Exposition::Classic).contains(dropped));
        let taken = queue.take().await;
        let keys: Vec<&str> = taken.iter().map(Write::key).collect();
        assert_eq!(keys, ["a", "b"]);
        // What is being written still weighs.
        queue.push(put("d", 4000));
        assert_eq!(queue.take_some().len(), 0);
        queue.done(taken.iter().map(Write::weight).sum());
        queue.empty().await;
        queue.push(put("e", 4000));
        assert_eq!(queue.take().await.len(), 1);
    }

    #[tokio::test]
    async fn a_pipeline_is_many_small_writes_or_a_large_one() {
        let queue = Queue::new(64 << 20, Metrics::new().l2());
        for _ in 0..200 {
            queue.push(put("small", 10));
        }
        for _ in 0..2 {
            queue.push(put("large", 2 << 20));
        }
        let mut sizes = Vec::new();
        for _ in 0..3 {
            sizes.push(queue.take().await.len());
        }
        assert_eq!(sizes, [128, 73, 1]);
    }
}
