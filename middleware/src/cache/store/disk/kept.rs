//! The disk tier of a cache: what is purged is written down there, and heard of again at the next start.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use config::disk::DiskSettings;

use super::{DiskTier, Replayed};
use crate::cache::order::{PurgeListener, PurgeNews};
use crate::cache::place::Place;
use crate::cache::shared::SharedCache;
use crate::cache::store::tier::{ByteTier, Failed, Got, RecordKey};
use crate::metrics::Metrics;

impl DiskTier {
    /// Begins to open the tier of `cache`, which has an order of purges, and returns at once. What was
    /// purged in earlier lives is known to `cache` before any record can be had.
    pub fn below(cache: &SharedCache, settings: &DiskSettings, metrics: &Metrics) -> Self {
        let restored = cache.clone();
        let restore = move |replayed| match replayed {
            Replayed::Floor(0) => {}
            Replayed::Floor(place) => restored.distrust_until(Place::of_number(place)),
            Replayed::Purge { place, content } => {
                if restored.restore(&content, Place::of_number(place)).is_err() {
                    restored.distrust_below();
                }
            }
        };
        let tier = Self::open(settings, cache.clock().clone(), metrics, restore);
        cache.on_purge(std::sync::Arc::new(tier.clone()));
        tier
    }
}

impl PurgeListener for DiskTier {
    fn purged(&self, news: &PurgeNews) {
        // It is under way from here on; whoever has to know asks `settled`.
        drop(self.record_purge(news.place.number(), news.message.clone()));
    }

    fn settled(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { self.purges_recorded().await.is_ok() })
    }
}

impl ByteTier for DiskTier {
    async fn get(&self, key: RecordKey) -> Result<Got, Failed> {
        match self.state() {
            super::State::On => Ok(Got {
                record: DiskTier::get(self, key.0).await,
                latest: None,
            }),
            super::State::Opening | super::State::Off => Err(Failed::Away),
        }
    }

    /// For as long as there is room: what is overwritten first is what was written first.
    fn put(&self, key: RecordKey, record: Bytes, _ttl: Duration) {
        DiskTier::put(self, key.0, record);
    }

    fn remove(&self, key: RecordKey) {
        DiskTier::remove(self, key.0);
    }
}
