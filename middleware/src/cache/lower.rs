//! The cache and the tiers below its memory: how they come together, and what each has to know of the other.

use std::sync::Arc;
use std::time::Duration;

use config::redis::RedisSettings;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cache::bus::Bus;
use crate::cache::lease::Leases;
use crate::cache::place::Place;
use crate::cache::shared::SharedCache;
use crate::cache::store::disk::{DiskTier, Replayed};
use crate::cache::store::redis::{RedisTier, SetupError};
use crate::cache::store::tiers::{Level, Tier, Tiers};
use crate::cache::stored::StoredResponse;
use crate::cache::versions::Standing;
use crate::cache::write_down::records;
use crate::metrics::L2State;

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
        if let Some((redis, settings)) = &redis {
            background.spawn(self.clone().watch(redis.changes()));
            tiers.push(Tier::redis(redis.clone(), settings)?);
        }
        if !tiers.is_empty() {
            self.put_over_all(tiers, background);
        }
        if let (Some((redis, settings)), Some(tiers)) = (redis, self.tiers()) {
            let metrics = self.metrics();
            let leases = Leases::new(redis, settings.lease, background.clone(), metrics);
            // Whoever comes second finds the first's.
            drop(tiers.leases().set(leases));
        }
        Ok(())
    }

    /// Notes whenever Redis goes away or comes back.
    async fn watch(self, mut changes: watch::Receiver<L2State>) {
        loop {
            let is_away = *changes.borrow_and_update() == L2State::Away;
            self.tell_outage(is_away);
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes what memory has to `disk`, so that the next start is not a cold one; what was asked for
    /// more than once first, since the time for it is short. To be called when nothing is stored any more.
    pub async fn save_to(&self, disk: &DiskTier) {
        let mut all = Vec::new();
        self.store().visit(|_, key, responses| {
            let is_there = |stored: &&Arc<StoredResponse>| {
                self.versions().standing(stored, key) == Standing::Valid
            };
            let kept = responses.iter().filter(is_there);
            all.extend(kept.map(|stored| (Box::<[u8]>::from(key), stored.clone())));
        });
        all.sort_by_key(|(_, stored)| !stored.was_used());
        for (key, stored) in all {
            for (name, record) in records(&key, &stored) {
                if !disk.put_patiently(name.0, record).await {
                    return;
                }
            }
        }
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
        if self.place() >= latest {
            return true;
        }
        let Some(mut heard) = self.tiers().and_then(Tiers::heard) else {
            return false;
        };
        let reached = heard.wait_for(|place| *place >= latest);
        timeout(PATIENCE, reached)
            .await
            .is_ok_and(|told| told.is_ok())
    }

    /// Has records from Redis judged by the purges that `bus` hears, and leases asked for where it hears of
    /// other sidecars.
    pub fn hear_by(&self, bus: &Bus) {
        if let Some(tiers) = self.tiers() {
            tiers.hear_by(bus.hearing());
        }
        if let Some(leases) = self.leases() {
            leases.count_by(bus.counts());
        }
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
        self.on_purge(Arc::new(disk));
    }
}

/// How long a request waits for a purge that Redis knows already and this sidecar does not: it comes within
/// a millisecond, or something is wrong.
const PATIENCE: Duration = Duration::from_millis(30);
