//! The tiers below memory, in the order in which they are asked: disk, which is near, then Redis, which
//! other sidecars fill too.
//!
//! Reading is done by whoever needs it, on its core. Writing is done by one task in the background: an
//! answer never waits for its record to be written.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use config::redis::RedisSettings;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use crate::cache::lease::Leases;
use crate::cache::place::Place;
use crate::cache::reason::Reason;
use crate::cache::record::{Record, Sealer, Unreadable, decode};
use crate::cache::store::disk::{DiskTier, State as DiskState};
use crate::cache::store::redis::{RedisTier, SetupError};
#[cfg(test)]
use crate::cache::store::tier::testing::TestTier;
use crate::cache::store::tier::{ByteTier, Failed, Got, RecordKey};
use crate::cache::write_down::Writer;
use crate::clock::{Clock, Now};
use crate::metrics::{Event, Metrics};

/// Which tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// This machine's disk.
    Disk,
    /// Redis, shared by many sidecars.
    L2,
}

/// One tier. An enum rather than a trait object, so that asking takes neither an indirection nor a box.
#[derive(Debug)]
enum Bytewise {
    Disk(DiskTier),
    Redis(RedisTier),
    #[cfg(test)]
    Test(TestTier),
}

/// One tier with what its records need.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) level: Level,
    bytes: Bytewise,
    /// Seals what lies where others may write.
    sealer: Option<Sealer>,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct GotRecord {
    pub(crate) record: Record,
    /// The latest purge that the tier knew then.
    pub(crate) latest: Option<u64>,
    /// When that was.
    pub(crate) now: Now,
}

/// All tiers below memory that are configured; a handle.
#[derive(Clone, Debug)]
pub(crate) struct Tiers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tiers: Box<[Tier]>,
    writer: Writer,
    /// Who of many sidecars fetches; where there is Redis.
    leases: OnceLock<Leases>,
    clock: Clock,
    metrics: Metrics,
    /// Tells up to where purges of others have taken effect, where there are others.
    heard: OnceLock<watch::Receiver<Place>>,
    /// What an operator was told of, a bit for each kind: see `unreadable`.
    told: AtomicU32,
}

impl Level {
    /// As `Cache-Status`, metrics and `explain` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::L2 => "l2",
        }
    }

    /// The detail of an answer that came from there.
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Disk => Reason::Disk,
            Self::L2 => Reason::L2,
        }
    }
}

impl Tier {
    pub(crate) fn disk(disk: DiskTier) -> Self {
        Self {
            level: Level::Disk,
            bytes: Bytewise::Disk(disk),
            sealer: None,
        }
    }

    /// Redis, where records are sealed if the settings name a key.
    ///
    /// # Errors
    /// When the file of the key cannot be read, or holds none.
    pub(crate) fn redis(redis: RedisTier, settings: &RedisSettings) -> Result<Self, SetupError> {
        let wrong = |why: String| SetupError::new("key_file", why);
        let sealer = settings.key_file.as_ref().map(|path| {
            let content = std::fs::read(path)
                .map_err(|error| wrong(format!("{} cannot be read: {error}", path.display())))?;
            Sealer::of_file(&content, settings.epoch.into())
                .map_err(|bad| wrong(format!("{} holds {bad}", path.display())))
        });
        Ok(Self {
            level: Level::L2,
            bytes: Bytewise::Redis(redis),
            sealer: sealer.transpose()?,
        })
    }

    #[cfg(test)]
    pub(crate) fn test(tier: TestTier, level: Level) -> Self {
        Self {
            level,
            bytes: Bytewise::Test(tier),
            sealer: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn sealed(self, sealer: Sealer) -> Self {
        let sealer = Some(sealer);
        Self { sealer, ..self }
    }

    /// Whether it knows the latest purge: then a record that comes without is not to be judged.
    pub(crate) fn tells_latest(&self) -> bool {
        matches!(self.bytes, Bytewise::Redis(_))
    }

    /// What lies under `name`, for whoever does not judge it by purges; nothing is counted.
    pub(crate) async fn get(&self, name: RecordKey) -> Result<Got, Failed> {
        match &self.bytes {
            Bytewise::Disk(tier) => match tier.state() {
                DiskState::On => Ok(Got {
                    record: tier.get(name.0).await,
                    latest: None,
                }),
                DiskState::Opening | DiskState::Off => Err(Failed::Away),
            },
            Bytewise::Redis(tier) => tier.get(name).await,
            #[cfg(test)]
            Bytewise::Test(tier) => tier.get(name).await,
        }
    }

    /// Whether something lies under `name` and stays there for a good while yet, as far as that is known.
    pub(crate) fn keeps(&self, name: RecordKey) -> bool {
        match &self.bytes {
            Bytewise::Disk(tier) => tier.keeps(name.0),
            Bytewise::Redis(_) => false,
            #[cfg(test)]
            Bytewise::Test(tier) => tier.has(name),
        }
    }

    fn put(&self, name: RecordKey, record: Bytes, ttl: Duration) {
        match &self.bytes {
            Bytewise::Disk(tier) => tier.put(name.0, record),
            Bytewise::Redis(tier) => tier.put(name, record, ttl),
            #[cfg(test)]
            Bytewise::Test(tier) => tier.put(name, record, ttl),
        }
    }

    fn remove(&self, name: RecordKey) {
        match &self.bytes {
            Bytewise::Disk(tier) => tier.remove(name.0),
            Bytewise::Redis(tier) => tier.remove(name),
            #[cfg(test)]
            Bytewise::Test(tier) => tier.remove(name),
        }
    }
}

impl Tiers {
    /// The tiers, in the order in which they are to be asked. Their records are written by a task on
    /// `background`, until [`close`](Self::close).
    pub(crate) fn new(
        tiers: Vec<Tier>,
        background: &Handle,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        let (writer, queue) = Writer::new(metrics);
        let tiers = Self(Arc::new(Inner {
            tiers: tiers.into(),
            writer,
            leases: OnceLock::new(),
            clock,
            metrics: metrics.clone(),
            heard: OnceLock::new(),
            told: AtomicU32::new(0),
        }));
        background.spawn(queue.carry_out(tiers.clone()));
        tiers
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// See [`Inner::heard`]; of effect once.
    pub(crate) fn hear_by(&self, heard: watch::Receiver<Place>) {
        drop(self.0.heard.set(heard));
    }

    /// See [`Inner::heard`].
    pub(crate) fn heard(&self) -> Option<watch::Receiver<Place>> {
        self.0.heard.get().cloned()
    }

    pub(crate) fn all(&self) -> &[Tier] {
        &self.0.tiers
    }

    pub(crate) fn at(&self, level: Level) -> Option<&Tier> {
        self.0.tiers.iter().find(|tier| tier.level == level)
    }

    /// Where it is agreed which sidecar fetches; set once.
    pub(crate) fn leases(&self) -> &OnceLock<Leases> {
        &self.0.leases
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.0.writer
    }

    /// What lies in `tier` under `name`, if that can be read.
    pub(crate) async fn read(&self, tier: &Tier, name: RecordKey) -> Result<GotRecord, Read> {
        let Inner { clock, metrics, .. } = &*self.0;
        let level = tier.level;
        let began = clock.mono();
        let got = tier.get(name).await;
        let now = clock.now();
        metrics.tier_read(level, now.mono.saturating_duration_since(began));
        let (bytes, latest) = match got {
            Ok(Got {
                record: Some(bytes),
                latest,
            }) => (bytes, latest),
            Ok(_) => {
                metrics.count(Event::tier(level, Read::Miss));
                return Err(Read::Miss);
            }
            Err(failed) => {
                let read = Read::of(failed);
                metrics.count(Event::tier(level, read));
                return Err(read);
            }
        };
        metrics.add(Event::tier_bytes_read(level), bytes.len() as u64);
        let record = match &tier.sealer {
            Some(sealer) => sealer.open(name, bytes),
            None => Ok(bytes),
        };
        match record.and_then(|record| decode(record, now)) {
            Ok(record) => Ok(GotRecord {
                record,
                latest,
                now,
            }),
            Err(reason) => {
                self.unreadable(level, reason);
                Err(Read::Unreadable)
            }
        }
    }

    /// The record as it lies in `tier`, counted as written there.
    pub(crate) fn sealed(&self, tier: &Tier, name: RecordKey, record: Bytes) -> Bytes {
        let level = tier.level;
        let record = match &tier.sealer {
            Some(sealer) => sealer.seal(name, &record),
            None => record,
        };
        if level == Level::L2 {
            // The disk counts what it has written.
            self.0.metrics.count(Event::L2Stored);
        }
        let bytes = record.len() as u64;
        self.0.metrics.add(Event::tier_bytes_written(level), bytes);
        record
    }

    /// Stores a record in `tier`.
    pub(crate) fn put(&self, tier: &Tier, name: RecordKey, record: Bytes, ttl: Duration) {
        let record = self.sealed(tier, name, record);
        tier.put(name, record, ttl);
    }

    /// Removes what lies under `name` in every tier.
    pub(crate) fn remove(&self, name: RecordKey) {
        self.0.tiers.iter().for_each(|tier| tier.remove(name));
    }

    /// Notes that something that was read cannot be used; an operator is told once why.
    pub(crate) fn unreadable(&self, level: Level, reason: Unreadable) {
        self.0.metrics.count(Event::tier(level, Read::Unreadable));
        let bit = 1_u32 << (reason as u32 * 2 + level as u32);
        if self.0.told.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            let (tier, reason, help) = (level.name(), reason.name(), reason.help());
            warn!(
                tier,
                reason,
                help,
                "A record cannot be used, and counts as missing. Others like it are only counted."
            );
        }
    }

    /// Notes what became of something that was read.
    pub(crate) fn note(&self, level: Level, read: Read) {
        self.0.metrics.count(Event::tier(level, read));
    }
}

/// What came of asking a tier: the closed set of the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// It answered a request.
    Hit,
    /// It was stale, so the upstream was asked about it.
    Validated,
    /// Memory had as good.
    Known,
    /// Nothing was there.
    Miss,
    /// It was purged since.
    Purged,
    /// It was there, and no record that can be used.
    Unreadable,
    /// There had been a purge that this sidecar did not hear of in time.
    Behind,
    /// The tier is known to be away, and was not asked.
    Away,
    /// The tier did not answer in time.
    Late,
    /// The tier answered with an error.
    Failed,
}

impl Read {
    /// Of a variant that an index points at, what that means for all variants.
    pub(crate) fn of_variant(self) -> Self {
        match self {
            Self::Miss => Self::Known,
            read => read,
        }
    }

    fn of(failed: Failed) -> Self {
        match failed {
            Failed::Away => Self::Away,
            Failed::Late => Self::Late,
            Failed::Broken => Self::Failed,
        }
    }
}
