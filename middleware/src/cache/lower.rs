//! The cache and the tiers below its memory: how they come together, and what each has to know of the other.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::redis::RedisSettings;
use tokio::runtime::Handle;

use crate::cache::order::{PurgeListener, PurgeNews};
use crate::cache::place::Place;
use crate::cache::shared::SharedCache;
use crate::cache::store::disk::{DiskTier, NotRecorded, Replayed};
use crate::cache::store::redis::{RedisTier, SetupError};
use crate::cache::store::tiers::{Level, Tier, Tiers};

impl SharedCache {
    /// Puts these tiers below memory; once. What they need in the background is done on `background`.
    ///
    /// # Errors
    /// When a file that the settings name does not hold what it should.
    pub fn put_over(
        &self,
        disk: Option<DiskTier>,
        redis: Option<(RedisTier, &RedisSettings)>,
        background: &Handle,
    ) -> Result<(), SetupError> {
        let mut tiers: Vec<Tier> = disk.map(Tier::disk).into_iter().collect();
        if let Some((redis, settings)) = redis {
            tiers.push(Tier::redis(redis, settings)?);
        }
        if !tiers.is_empty() {
            self.put_over_all(tiers, background);
        }
        Ok(())
    }

    pub(crate) fn put_over_all(&self, tiers: Vec<Tier>, background: &Handle) {
        let (clock, metrics) = (self.clock().clone(), self.metrics());
        let tiers = Tiers::new(tiers, background, clock, metrics);
        if tiers.at(Level::Disk).is_some() {
            self.store().pass_evicted_to(tiers.writer().clone());
        }
        // Whoever comes second finds the first's.
        drop(self.place_of_tiers().set(tiers));
    }

    /// What lies below memory; `None` where nothing does.
    pub(crate) fn tiers(&self) -> Option<&Tiers> {
        self.place_of_tiers().get()
    }

    /// Waits until all that is to be written below memory by now is with its tier.
    pub async fn written_below(&self) {
        if let Some(tiers) = self.tiers() {
            tiers.writer().settle().await;
        }
    }

    /// What something that is asked for now is compared with purges by, below memory.
    pub(crate) fn born_at(&self) -> Option<Place> {
        self.order().map(|_| self.place())
    }

    /// Waits a little until the purges up to `latest` have taken effect here: whether they have.
    pub(crate) async fn has_heard_of(&self, latest: Place) -> bool {
        self.place() >= latest
    }

    /// Takes over what the disk's journal tells of an earlier life.
    pub fn replay(&self, replayed: Replayed) {
        match replayed {
            Replayed::Floor(floor) => self.doubt_until(Place::of_number(floor)),
            Replayed::Purge { place, content } => {
                if self.restore(&content, Place::of_number(place)).is_err() {
                    self.distrust_below();
                }
            }
        }
    }

    /// Has every purge from now on written into the journal of `disk`.
    pub fn journal_purges(&self, disk: DiskTier) {
        self.on_purge(Arc::new(PurgeJournal {
            disk,
            unsettled: Mutex::default(),
        }));
    }
}

/// Writes purges into the disk's journal, so that a restart does not bring back what they hit.
#[derive(Debug)]
struct PurgeJournal {
    disk: DiskTier,
    /// What is not known to be on disk yet.
    unsettled: Mutex<Vec<Recording>>,
}

/// Resolves when a purge is on disk.
struct Recording(Pin<Box<dyn Future<Output = Result<(), NotRecorded>> + Send>>);

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recording")
    }
}

impl PurgeJournal {
    fn lock(&self) -> MutexGuard<'_, Vec<Recording>> {
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl PurgeListener for PurgeJournal {
    fn purged(&self, news: &PurgeNews) {
        let recording = self
            .disk
            .record_purge(news.place.number(), news.message.clone());
        let mut unsettled = self.lock();
        if unsettled.len() == MOST_UNSETTLED {
            // They are written in their order, so who waits for the latest has waited for these.
            unsettled.drain(..MOST_UNSETTLED / 2);
        }
        unsettled.push(Recording(Box::pin(recording)));
    }

    fn settled(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let unsettled = std::mem::take(&mut *self.lock());
            for recording in unsettled {
                if let Err(error) = recording.0.await {
                    tracing::warn!(%error, "A purge is not in the journal of the disk.");
                }
            }
        })
    }
}

/// Purges that somebody may still wait for.
const MOST_UNSETTLED: usize = 1024;
