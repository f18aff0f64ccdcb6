//! What lies below memory: disk and Redis, and the thread that works for it in the background.
//!
//! Requests ask on their own core. All else (probing, writing, hearing of purges) is done on one
//! thread of its own, so that it takes nothing from a core's requests and outlives their end.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use config::Settings;
use middleware::cache::bus::Bus;
use middleware::cache::place::Place;
use middleware::cache::{DiskState, DiskTier, OrderedBy, RedisTier, SharedCache};
use middleware::metrics::{L2State, Metrics};
use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::start_error::StartError;

/// The tiers below memory that run; a handle.
#[derive(Clone, Debug)]
pub struct LowerTiers {
    disk: Option<DiskTier>,
    redis: Option<RedisTier>,
    bus: Option<Bus>,
    /// Ends, with whatever still runs on it, when the last handle goes.
    _background: Arc<Background>,
}

/// The thread in the background, which ends when this is dropped.
#[derive(Debug)]
struct Background {
    handle: Handle,
    _ends: DropGuard,
}

impl Background {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, ended) = (runtime.handle().clone(), CancellationToken::new());
        let ends = ended.clone().drop_guard();
        thread::Builder::new()
            .name("pillion-tiers".to_owned())
            .spawn(move || {
                runtime.block_on(ended.cancelled());
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            _ends: ends,
        })
    }
}

impl LowerTiers {
    /// Puts `cache` over what the settings name, and starts that. Waits for nobody: a Redis that is not
    /// there yet is a miss. `None` where they name nothing.
    ///
    /// # Errors
    /// When a file that they name cannot be read, or does not hold what it should.
    pub(crate) fn start(
        settings: &Settings,
        cache: SharedCache,
        metrics: &Metrics,
    ) -> Result<(SharedCache, Option<Self>), StartError> {
        if settings.redis.is_none() && settings.disk.is_none() {
            return Ok((cache, None));
        }
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            StartError::new(
                "The cache's lower tiers cannot be set up",
                "Check [cache.redis] and [cache.disk], and the files that they name",
            )
            .caused_by(error)
        };
        let background = Background::start().map_err(|error| wrong(error.into()))?;
        let handle = background.handle.clone();
        let redis = settings.redis.as_ref();
        let redis = redis.map(|redis| RedisTier::connect(redis, &handle, metrics));
        let redis = redis.transpose().map_err(|error| wrong(error.into()))?;
        let cache = cache.ordered(match redis {
            Some(_) => OrderedBy::Stream,
            None => OrderedBy::Clock,
        });
        let disk = settings.disk.as_ref().map(|disk| {
            let (replaying, clock) = (cache.clone(), cache.clock().clone());
            DiskTier::open(disk, clock, metrics, move |told| replaying.replay(told))
        });
        if let Some(disk) = &disk {
            cache.journal_purges(disk.clone());
        }
        let below = redis.clone().zip(settings.redis.as_ref());
        let put = cache.put_over(disk.clone(), below, &handle);
        put.map_err(|error| wrong(error.into()))?;
        let bus = redis.clone().map(|redis| {
            let bus = Bus::start(cache.clone(), redis, &handle, &name(), metrics);
            cache.hear_by(&bus);
            bus
        });
        let tiers = Self {
            disk,
            redis,
            bus,
            _background: Arc::new(background),
        };
        Ok((cache, Some(tiers)))
    }

    /// What does not work as it should, if anything: `l2` while Redis, or a part of it, does not answer.
    pub(crate) fn degraded(&self) -> Option<&'static str> {
        let redis = self.redis.as_ref()?;
        (redis.state() != L2State::Up).then_some("l2")
    }

    /// Waits until what lies below memory can be had, but no longer than `most`: not for a Redis that is
    /// known to be away, nor for a disk that is off.
    pub(crate) async fn opened(&self, most: Duration) {
        let opened = async {
            while self.is_opening() {
                sleep(BREATH).await;
            }
        };
        drop(timeout(most, opened).await);
    }

    fn is_opening(&self) -> bool {
        let disk = self.disk.as_ref();
        let is_disk = disk.is_some_and(|disk| disk.state() == DiskState::Opening);
        // Before purges are heard, nothing in Redis is trusted.
        let bus = self.bus.as_ref().zip(self.redis.as_ref());
        is_disk
            || bus.is_some_and(|(bus, redis)| {
                redis.state() != L2State::Away && bus.applied() == Place::FIRST
            })
    }

    /// What carries purges to other instances; `None` where nothing is shared.
    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    /// Writes what is still to be written, and on disk what memory has, and lets go; in the time that is
    /// `left`. To be called when nothing is stored any more.
    pub(crate) async fn stop(&self, cache: &SharedCache, left: Duration) {
        let writing = async {
            cache.written_below().await;
            if let Some(disk) = &self.disk {
                cache.save_to(disk).await;
            }
            if let Some(bus) = &self.bus {
                bus.close().await;
            }
            if let Some(redis) = &self.redis {
                redis.close().await;
            }
            if let Some(disk) = &self.disk {
                disk.close().await;
            }
        };
        if timeout(left.max(LEAST), writing).await.is_err() {
            tracing::info!("The stop does not wait for the cache's lower tiers any longer.");
        }
    }
}

/// What this instance is called where several are told apart: the machine and the process.
fn name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = match machine.trim() {
        "" => "pillion",
        machine => machine,
    };
    format!("{machine}:{}", std::process::id())
}

/// Between two looks whether all is open.
const BREATH: Duration = Duration::from_millis(5);
/// What is still to be written when everything else has ended may take so long, however late it is.
const LEAST: Duration = Duration::from_secs(1);
