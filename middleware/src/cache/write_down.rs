//! Writing stored responses down into the tiers below memory.
//!
//! What was stored goes to Redis at once, so that other sidecars need not fetch it, for as long as it may be
//! used there: its lifetime and the widest window after it. To disk goes what memory has no room for any
//! longer, if it was asked for at least twice: of the URLs that a site is asked for, most are asked for
//! once, and would fill the disk with what nobody comes back for. Long content has no privilege, since it
//! takes the place of as many short ones as it is long.
//!
//! What came from there is not written again, unless a coded copy has come to it since, or its place is among
//! those that are overwritten next. A copy that is made only when memory has given the response away is
//! written beside it: else what comes and goes would be coded each time.
//!
//! Nobody waits for any of that: a record is made by a task in the background, out of a queue that is
//! bounded in responses and in bytes. What finds no room in it is not written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use config::cache::CacheSettings;
use tokio::sync::{mpsc, oneshot};

use crate::cache::errand::Errand;
use crate::cache::key::KeyHash;
use crate::cache::lease::{Lease, Written};
use crate::cache::record::{Digest, Record, decode, encode};
use crate::cache::shared::SharedCache;
use crate::cache::storable::Terms;
use crate::cache::store::tier::RecordKey;
use crate::cache::store::tiers::{Level, Tier, Tiers};
use crate::cache::stored::StoredResponse;
use crate::clock::Now;
use crate::content_coding::Coding;
use crate::metrics::{Event, Metrics};

/// Takes what is to be written; never waits.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Order>,
    /// Bytes of the responses in the queue.
    queued: Arc<AtomicU64>,
    seen: Arc<SeenOnce>,
    metrics: Metrics,
}

/// Where [`Writer`]'s orders are carried out.
#[derive(Debug)]
pub(crate) struct Queue {
    orders: mpsc::Receiver<Order>,
    queued: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Order {
    Write(Write),
    /// To be told when everything before it was written.
    Tell(oneshot::Sender<()>),
}

/// A response that is to be written into one tier.
#[derive(Debug)]
struct Write {
    to: Level,
    /// The bytes of its cache key.
    key: Box<[u8]>,
    stored: Arc<StoredResponse>,
    ttl: Duration,
    /// Whether only in the place of a record of the same response.
    in_its_place: bool,
    /// Given back with it: others wait for this.
    lease: Option<Arc<Lease>>,
}

impl Write {
    fn to_disk(key: Box<[u8]>, stored: Arc<StoredResponse>) -> Self {
        Self {
            to: Level::Disk,
            key,
            stored,
            ttl: MOST_TTL,
            in_its_place: false,
            lease: None,
        }
    }
}

impl Writer {
    pub(crate) fn new(metrics: &Metrics) -> (Self, Queue) {
        let (queue, orders) = mpsc::channel(MOST_QUEUED);
        let queued = Arc::<AtomicU64>::default();
        let writer = Self {
            queue,
            queued: queued.clone(),
            seen: Arc::default(),
            metrics: metrics.clone(),
        };
        (writer, Queue { orders, queued })
    }

    fn write(&self, write: Write) {
        let length = write.stored.length();
        let to = write.to;
        // A single one that is longer than the bound goes alone.
        let before = self.queued.fetch_add(length, Ordering::Relaxed);
        let has_room = before == 0 || before.saturating_add(length) <= MOST_BYTES;
        if !has_room || self.queue.try_send(Order::Write(write)).is_err() {
            self.queued.fetch_sub(length, Ordering::Relaxed);
            self.metrics.count(Event::tier_dropped(to));
        }
    }

    /// What memory has no room for: to disk with it, if it was asked for twice at least.
    pub(crate) fn evicted(&self, key: &[u8], stored: &Arc<StoredResponse>) {
        if !is_writable(stored) {
            return;
        }
        if stored.was_used() || self.seen.is_second(stored.key) {
            self.write(Write::to_disk(key.into(), stored.clone()));
        }
    }

    /// What has one coded copy more, and has left memory: if it lies on disk, the copy is to lie there too.
    fn coded_late(&self, key: Box<[u8]>, stored: Arc<StoredResponse>) {
        if is_writable(&stored) {
            self.write(Write {
                in_its_place: true,
                ..Write::to_disk(key, stored)
            });
        }
    }

    /// What has one coded copy more: its record in Redis is written again with that, so that other
    /// sidecars need not make it. Where it pays: not for what will not stay for long, nor late in its life,
    /// when others may have written what came later. There are no more copies than codings, so no
    /// record is written again more often than that.
    fn coded(&self, key: Box<[u8]>, stored: Arc<StoredResponse>, now: Now) {
        let left = stored.left_below(now);
        let is_young = stored.age(now) <= stored.terms().lifetime / 2;
        if left >= WORTH_A_COPY && is_young && is_writable(&stored) {
            self.write(Write {
                to: Level::L2,
                key,
                stored,
                ttl: left,
                in_its_place: false,
                lease: None,
            });
        }
    }

    /// Waits until all that was to be written by now is with its tier.
    pub(crate) async fn settle(&self) {
        let (told, hears) = oneshot::channel();
        if self.queue.send(Order::Tell(told)).await.is_ok() {
            hears.await.ok();
        }
    }
}

impl Queue {
    /// Writes until nobody can order anything any more.
    pub(crate) async fn carry_out(mut self, tiers: Tiers) {
        while let Some(order) = self.orders.recv().await {
            match order {
                Order::Tell(told) => drop(told.send(())),
                Order::Write(write) => {
                    let length = write.stored.length();
                    tiers.write(&write).await;
                    self.queued.fetch_sub(length, Ordering::Relaxed);
                }
            }
            // One record may take a millisecond, and others have work on this thread too.
            tokio::task::yield_now().await;
        }
    }
}

impl Tiers {
    async fn write(&self, write: &Write) {
        let Some(tier) = self.at(write.to) else {
            return;
        };
        if write.to == Level::Disk {
            if !self.is_news(tier, write).await {
                return;
            }
            // Before it is read for that: a copy that comes in between is news again.
            write.stored.note_on_disk();
        }
        let mut leased = Vec::new();
        for (name, record) in records(&write.key, &write.stored) {
            // An index says nothing about one response, so it may outlive them all.
            let is_index = write.to == Level::L2 && name == RecordKey::of(&write.key);
            let is_index = is_index && write.stored.selection().names().next().is_some();
            let ttl = match is_index {
                true => write.ttl.max(INDEX_TTL),
                false => write.ttl,
            };
            match &write.lease {
                None => self.put(tier, name, record, ttl),
                Some(_) => leased.push(Written {
                    name,
                    record: self.sealed(tier, name, record),
                    ttl,
                }),
            }
        }
        match &write.lease {
            Some(lease) if leased.is_empty() => lease.apart(),
            Some(lease) => lease.write(leased),
            None => {}
        }
    }

    /// Whether what is to be written says more than what `disk` has.
    async fn is_news(&self, disk: &Tier, write: &Write) -> bool {
        let stored = &write.stored;
        let name = Digest::selected(&write.key, stored.selection()).name();
        if !write.in_its_place {
            return !(stored.is_on_disk() && disk.keeps(name));
        }
        let got = disk.get(name).await.ok().and_then(|got| got.record);
        match got.map(|record| decode(record, self.clock().now())) {
            Some(Ok(Record::Response(there))) => there.is_of(stored),
            _ => false,
        }
    }
}

/// What is to be written for `stored`, which lies under `key`: its record, and before it an index where
/// it is one of several. Nothing where it may lie in memory only.
pub(crate) fn records(key: &[u8], stored: &StoredResponse) -> Vec<(RecordKey, Bytes)> {
    let Some(place) = stored.place().filter(|_| is_writable(stored)) else {
        return Vec::new();
    };
    match encode(stored, key, place.number()) {
        Ok(written) => {
            let record = (written.name, written.record);
            written.index.into_iter().chain([record]).collect()
        }
        Err(_) => Vec::new(),
    }
}

impl SharedCache {
    /// The key that `stored` lies under, where what memory has no room for goes to disk.
    pub(crate) fn key_on_disk(&self, stored: &StoredResponse) -> Option<Box<[u8]>> {
        self.tiers()?.at(Level::Disk)?;
        self.store().key_of(stored)
    }

    /// Keeps a coded copy with the response that it is a copy of, accounts for it, and writes it down
    /// where that pays. If that response is no longer in memory, nothing happens but that the copy goes to
    /// disk, where the response may lie under `key` (see [`key_on_disk`](Self::key_on_disk)).
    pub(crate) fn keep_coded(
        &self,
        stored: &Arc<StoredResponse>,
        key: Option<Box<[u8]>>,
        coding: Coding,
        content: Bytes,
    ) {
        let kept = self.store().keep_coded(stored, coding, content.clone());
        let Some(tiers) = self.tiers() else {
            return;
        };
        match (kept, key) {
            (Some((key, stored)), _) => tiers.writer().coded(key, stored, self.clock().now()),
            (None, Some(key)) if stored.add_coded(coding, content) => {
                tiers.writer().coded_late(key, stored.clone());
            }
            (None, _) => {}
        }
    }
}

impl Errand {
    /// Writes down what was just stored, for other sidecars.
    pub(crate) fn write_down(&self, stored: &Arc<StoredResponse>, now: Now) {
        let Some(tiers) = self.shared.tiers() else {
            return;
        };
        if tiers.at(Level::L2).is_none() || !is_writable(stored) {
            self.keep_apart();
            return;
        }
        let ttl = ttl(stored.terms(), stored.age(now), &self.settings);
        if ttl > Duration::ZERO {
            stored.keep_below(now, ttl);
            tiers.writer().write(Write {
                to: Level::L2,
                key: self.key.bytes.clone(),
                stored: stored.clone(),
                ttl,
                in_its_place: false,
                lease: self.leasing.lease().cloned(),
            });
        } else {
            self.keep_apart();
        }
    }

    /// Notes how long Redis will keep the record that `stored` was read from.
    pub(crate) fn note_below(&self, stored: &StoredResponse, now: Now) {
        stored.keep_below(now, ttl(stored.terms(), stored.age(now), &self.settings));
    }

    /// Takes away what lies below memory for this request: it is not to come back.
    pub(crate) fn forget_below(&self) {
        if let Some(tiers) = self.shared.tiers() {
            tiers.remove(RecordKey::of(&self.key.bytes));
        }
    }
}

/// Whether it may lie anywhere but in memory. Parts are put together there only; what answers other
/// queries than its own is purged by each of them, and below memory nobody knows which these are; what
/// has to be validated before every use is asked about anyway; and what was asked for at a moment that
/// is not known could not be compared with purges.
pub(crate) fn is_writable(stored: &StoredResponse) -> bool {
    stored.parts().is_none()
        && !stored.is_wide
        && !stored.terms().no_cache
        && stored.place().is_some()
}

/// How long it may be used from now on, stale or not.
fn ttl(terms: Terms, age: Duration, settings: &CacheSettings) -> Duration {
    let window = terms
        .window_while_revalidating(settings)
        .max(terms.window_on_error(settings, None));
    let all = terms.lifetime.saturating_add(window);
    all.saturating_sub(age).min(MOST_TTL)
}

/// Which of the keys that memory had no room for were asked for once lately. A place that another key
/// takes forgets the first, which costs one fetch.
#[derive(Debug)]
struct SeenOnce(Box<[AtomicU64]>);

impl Default for SeenOnce {
    fn default() -> Self {
        Self((0..SEEN).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SeenOnce {
    /// Whether `key` was seen already. If not, it is now.
    fn is_second(&self, key: KeyHash) -> bool {
        let (high, low) = crate::facts::halves(key);
        let index = usize::try_from(low).unwrap_or_default() % SEEN;
        let place = self.0.get(index).expect("the index is below their number");
        place.swap(high | 1, Ordering::Relaxed) == high | 1
    }
}

/// Responses that wait to be written.
const MOST_QUEUED: usize = 4096;
/// Bytes of their content.
const MOST_BYTES: u64 = 32 << 20;
/// No record lives longer: whoever says "a thousand years" means "until it is purged", and a tier that is
/// full finds room by itself.
const MOST_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// A record that stays for less is not written again for a copy.
const WORTH_A_COPY: Duration = Duration::from_secs(5);
/// Of an index at least.
const INDEX_TTL: Duration = Duration::from_secs(24 * 3600);
/// Keys that are remembered as seen once; half a MiB.
const SEEN: usize = 1 << 16;

#[cfg(test)]
#[path = "write_down_tests.rs"]
mod tests;
