//! What the disk tier does for the cache above it: it writes down what is purged.

use std::pin::Pin;

use super::DiskTier;
use crate::cache::order::{PurgeListener, PurgeNews};

impl PurgeListener for DiskTier {
    fn purged(&self, news: &PurgeNews) {
        // It is under way from here on; whoever has to know asks `settled`.
        drop(self.record_purge(news.place.number(), news.message.clone()));
    }

    fn settled(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { self.purges_recorded().await.is_ok() })
    }
}
