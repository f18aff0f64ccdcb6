//! The bus: purges reach every instance that shares a Redis, in one order, and none is missed unnoticed.
//!
//! A purge takes effect here at once and waits in the `outbox` to be told. A script adds it to a Redis
//! Stream, whose ids are the places that records of lower tiers are judged by. Every instance reads on in
//! the Stream (`follow`), on a connection of its own, and applies what it hears. Each element says which
//! one was before it ([`element`]): whoever finds that something is missing (`reader`) trusts nothing
//! any more that it cannot account for, reads the whole Stream again, and has all that memory holds
//! validated before its next use. Once a second every instance says how far it is (`scripts`), so that
//! whoever purges learns who has applied it (`report`).

pub mod element;
mod follow;
pub(crate) mod outbox;
pub(crate) mod reader;
mod report;
mod scripts;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::bus::element::{Entry, Kind};
use crate::cache::bus::outbox::{Outbox, Parcel};
use crate::cache::bus::scripts::{Alive, Beat, Scripts};
use crate::cache::order::{From, PurgeListener, PurgeNews};
use crate::cache::place::Place;
use crate::cache::purge_message::PurgeMessage;
use crate::cache::shared::SharedCache;
use crate::cache::store::redis::{Failure, RedisTier};
use crate::metrics::{Metrics, Sampled};

pub use self::report::{InstanceReport, Report};

/// See the module; a handle.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: SharedCache,
    redis: RedisTier,
    scripts: Scripts,
    outbox: Arc<Outbox>,
    /// A random number, for as long as this process lives.
    instance: u64,
    /// What it is called in reports.
    name: String,
    /// All up to here was heard and applied; [`Place::FIRST`] until the Stream was read. Written by
    /// `follow`.
    applied: watch::Sender<Place>,
    /// Instances that are alive, or 0 when that is not known. Written by the heartbeat.
    alive: Arc<AtomicUsize>,
    /// What heartbeats brought back about others, and when. Who is missing in one has not left for that:
    /// Redis may have forgotten all of them.
    others: Mutex<BTreeMap<u64, (Alive, Instant)>>,
    /// Milliseconds from `start` to when this instance knew last that it had missed nothing.
    well_at: AtomicU64,
    start: Instant,
    /// Whether Redis took nothing from this instance when it was asked last.
    is_refused: AtomicBool,
    /// Wakes the heartbeat: something was applied.
    beat_now: Notify,
    /// Wakes `follow`: it is behind and hears nothing.
    look_again: Notify,
    metrics: Metrics,
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// Puts what is purged here into the outbox.
#[derive(Debug)]
struct Teller {
    outbox: Arc<Outbox>,
    instance: u64,
}

impl PurgeListener for Teller {
    fn purged(&self, news: &PurgeNews) {
        if let (From::Own, Some(ticket)) = (news.from, news.ticket) {
            let entry = Entry {
                instance: self.instance,
                ticket,
                kind: Kind::Purge(news.message.to_vec()),
            };
            self.outbox.push(Parcel {
                ticket,
                entry: entry.write(),
                is_anything: news.message == PurgeMessage::anything().write(),
            });
        }
    }
}

impl Bus {
    /// Has `shared`, whose purges a Stream orders, tell and hear through `redis` from now on. `name` is
    /// what this instance is called in reports. All that waits is done on `background`; nobody waits
    /// for it.
    pub fn start(
        shared: SharedCache,
        redis: RedisTier,
        background: &Handle,
        name: &str,
        metrics: &Metrics,
    ) -> Self {
        let random = || RandomState::new().hash_one(0_u64);
        let (instance, outbox) = (random(), Arc::<Outbox>::default());
        shared.on_purge(Arc::new(Teller {
            outbox: outbox.clone(),
            instance,
        }));
        let start = shared.clock().mono();
        let bus = Self(Arc::new(Inner {
            scripts: Scripts::new(redis.clone(), instance),
            shared,
            redis,
            outbox,
            instance,
            name: name.to_owned(),
            applied: watch::Sender::new(Place::FIRST),
            alive: Arc::default(),
            others: Mutex::default(),
            well_at: AtomicU64::new(0),
            start,
            is_refused: AtomicBool::new(false),
            beat_now: Notify::new(),
            look_again: Notify::new(),
            metrics: metrics.clone(),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        let tasks = &bus.0.tasks;
        tasks.spawn_on(
            bus.clone().until_ended(follow::follow(bus.clone())),
            background,
        );
        tasks.spawn_on(
            bus.clone().until_ended(follow::tell(bus.clone())),
            background,
        );
        tasks.spawn_on(
            bus.clone().until_ended(follow::beat(bus.clone())),
            background,
        );
        let of = bus.clone();
        metrics.observe(Sampled::BusLag, move || of.lag().as_secs_f64());
        let of = bus.clone();
        metrics.observe(Sampled::BusWaiting, move || of.0.outbox.waiting() as f64);
        let of = bus.clone();
        metrics.observe(Sampled::BusInstances, move || {
            of.instances().unwrap_or_default() as f64
        });
        bus
    }

    async fn until_ended(self, task: impl Future<Output = ()>) {
        tokio::select! {
            () = task => {}
            () = self.0.ended.cancelled() => {}
        }
    }

    /// All purges up to here were heard and applied; [`Place::FIRST`] before the first was.
    pub fn applied(&self) -> Place {
        *self.0.applied.borrow()
    }

    /// Waits until all purges up to `place` are applied, for no longer than `deadline`: whether they are.
    pub async fn wait_for(&self, place: Place, deadline: Duration) -> bool {
        if self.applied() >= place {
            return true;
        }
        let mut applied = self.0.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= place);
        timeout(deadline, reached).await.is_ok()
    }

    /// Tells whenever [`applied`](Self::applied) rises.
    pub(crate) fn hearing(&self) -> watch::Receiver<Place> {
        self.0.applied.subscribe()
    }

    /// How many instances are alive, this one included; `None` while that is not known for sure.
    pub fn instances(&self) -> Option<usize> {
        match self.0.alive.load(Ordering::Acquire) {
            0 => None,
            count => Some(count),
        }
    }

    /// The same to be asked by those whom this bus knows of, and who do not keep it going.
    pub(crate) fn counts(&self) -> impl Fn() -> Option<usize> + Send + Sync + 'static {
        let alive = self.0.alive.clone();
        move || Some(alive.load(Ordering::Acquire)).filter(|count| *count > 0)
    }

    /// For how long this instance may have missed purges of others; nothing when it has not.
    pub fn lag(&self) -> Duration {
        let well_at = Duration::from_millis(self.0.well_at.load(Ordering::Relaxed));
        let lag = self.since_start().saturating_sub(well_at);
        // Between two heartbeats nothing is known to be wrong.
        if lag < HEARTBEAT * 2 {
            Duration::ZERO
        } else {
            lag
        }
    }

    /// Tells what waits to be told, for a second at most, and takes leave of the others.
    pub async fn close(&self) {
        let told = async {
            while self.0.outbox.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.0.ended.cancel();
            self.0.scripts.leave().await?;
            self.say(Kind::Bye, Place::FIRST).await
        };
        drop(timeout(LAST_WORDS, told).await);
        self.0.ended.cancel();
    }

    fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    fn since_start(&self) -> Duration {
        let now = self.0.shared.clock().mono();
        now.saturating_duration_since(self.0.start)
    }

    async fn beat(&self) -> Result<Beat, Failure> {
        let applied = self.applied();
        self.0.scripts.beat(&self.0.name, applied).await
    }

    /// Keeps what a heartbeat has brought back: how many are alive.
    fn remember(&self, beat: &Beat) -> usize {
        let now = self.0.shared.clock().mono();
        let mut others = self.others();
        for (instance, alive) in &beat.alive {
            if *instance != self.0.instance {
                others.insert(*instance, (alive.clone(), now));
            }
        }
        others.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < LIFE);
        others.len() + 1
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<u64, (Alive, Instant)>> {
        let others = self.0.others.lock();
        others.unwrap_or_else(PoisonError::into_inner)
    }

    /// All instances that are known, this one first; whether they have applied all up to `place`.
    fn known(&self, place: Option<Place>) -> Vec<InstanceReport> {
        let own = InstanceReport {
            name: self.0.name.clone(),
            is_acknowledged: Some(true),
        };
        let others = self.others();
        let others = others.values().map(|(other, _)| InstanceReport {
            name: other.name.clone(),
            is_acknowledged: place.map(|place| other.applied >= place),
        });
        std::iter::once(own).chain(others).collect()
    }
}

/// After a heartbeat an instance counts as alive for this long.
const LIFE: Duration = Duration::from_secs(10);
/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// For what waits to be told at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
