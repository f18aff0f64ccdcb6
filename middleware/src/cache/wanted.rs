//! Reading what a tier below memory has for a request, and comparing it with purges.

use std::sync::Arc;

use http::HeaderMap;

use crate::cache::errand::Kept;
use crate::cache::key::KeyHash;
use crate::cache::ledger::Below;
use crate::cache::place::Place;
use crate::cache::record::{Digest, Filed, Record};
use crate::cache::shared::SharedCache;
use crate::cache::store::tiers::{Level, Read, Tier, Tiers};
use crate::clock::Now;

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) shared: &'a SharedCache,
    /// The bytes of the cache key, and their hash.
    pub(crate) key: &'a [u8],
    pub(crate) hash: KeyHash,
    /// Of the request.
    pub(crate) fields: &'a HeaderMap,
}

impl Wanted<'_> {
    /// What `tier` has for this request, as far as it was not purged, and when it was there; else why it
    /// has nothing.
    pub(crate) async fn read(&self, tiers: &Tiers, tier: &Tier) -> Result<(Kept, Now), Read> {
        let plain = Digest::plain(self.key);
        let (filed, now) = self.read_filed(tiers, tier, plain).await?;
        let shared = self.shared;
        // Before the comparison: memory compares with whatever is purged after this, so that nothing
        // comes between.
        let born = shared.purges().now();
        let (place, tags) = (Place::of_number(filed.place), filed.tags().hashes());
        let tags: Vec<_> = tags.collect();
        let standing = shared.standing_below(place, self.key, &tags);
        if standing == Below::Gone {
            tiers.note(tier.level, Read::Purged);
            return Err(Read::Purged);
        }
        let (key, hash) = (self.key, self.hash);
        match filed.answering(key, plain, hash, self.fields, born) {
            Ok(stored) => {
                if tier.level == Level::Disk {
                    stored.note_on_disk();
                }
                let kept = Kept {
                    stored: Arc::new(stored),
                    is_purged: standing != Below::Valid,
                    chosen_by: Some(tier.level.reason()),
                    is_below: true,
                };
                Ok((kept, now))
            }
            Err(reason) => {
                tiers.unreadable(tier.level, reason);
                Err(Read::Unreadable)
            }
        }
    }

    /// The record for this request: what lies under its key, or what the index there points at.
    async fn read_filed(
        &self,
        tiers: &Tiers,
        tier: &Tier,
        plain: Digest,
    ) -> Result<(Box<Filed>, Now), Read> {
        let key = self.key;
        let got = tiers.read(tier, plain.name()).await?;
        let (record, mut latest, mut now) = (got.record, got.latest, got.now);
        let filed = match record {
            Record::Response(filed) => Some(filed),
            Record::Index(index) => match index.name(key, self.fields) {
                // There is something, and not this.
                // Boxed, as all that few requests come to: what most carry along is short then.
                Ok(name) => {
                    let got = Box::pin(tiers.read(tier, name)).await;
                    let got = got.map_err(Read::of_variant)?;
                    (latest, now) = (latest.max(got.latest), got.now);
                    match got.record {
                        Record::Response(filed) => Some(filed),
                        Record::Index(_) => None,
                    }
                }
                Err(_) => None,
            },
        };
        let Some(filed) = filed else {
            tiers.note(tier.level, Read::Unreadable);
            return Err(Read::Unreadable);
        };
        // Whoever wrote it may have heard of purges that have not come here yet.
        let has_heard = match latest {
            Some(latest) => {
                let latest = Place::of_number(latest);
                self.shared.place() >= latest || {
                    let has_heard = Box::pin(self.shared.has_heard_of(latest)).await;
                    now = self.shared.clock().now();
                    has_heard
                }
            }
            None => !tier.tells_latest(),
        };
        if !has_heard {
            tiers.note(tier.level, Read::Behind);
            return Err(Read::Behind);
        }
        Ok((filed, now))
    }
}
