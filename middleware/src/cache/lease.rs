//! Leases: of many sidecars that miss the same thing, one fetches it (cross-instance collapsing).
//!
//! Within a sidecar requests for the same thing have one leader (`collapse`). Where the tiers below memory
//! have nothing either, that leader asks Redis for the lease of the thing. Whoever gets it fetches, has
//! it renewed while that takes, and gives it back together with what it wrote. The others wait, look
//! again below, and when they have waited long enough they fetch by themselves: waiting is never an
//! error. An answer that may not be shared leaves a *pass marker* instead, which releases all who wait
//! at once and tells everybody else not to begin waiting, for as long as a local pass marker would.
//!
//! Those who wait ask again and again, at growing intervals of an eighth of the time waited so far:
//! one small command for each sidecar and thing, some thirty in a wait of a second, which costs less than
//! telling every sidecar of every fetch, loses nothing when a message is lost, and adds an eighth to
//! the time of a fetch at most.
//!
//! Requests with different credentials never share a lease, as they never share a flight: its name is
//! made of the flight's key. Markers for requests with cookies are others than those for requests
//! without. A purge needs nothing here: the winner's answer is compared with purges when it is stored,
//! and whoever reads it compares again.
//!
//! With Redis away there are no leases, and each sidecar collapses its own requests only; while
//! heartbeats say that there is no other sidecar none is taken, and while that is not yet known one is.

mod desk;
mod held;
mod pace;
mod scripts;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use config::lease::LeaseSettings;
use redis::Value;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use self::desk::Desk;
use self::held::renew;
pub(crate) use self::held::{Lease, Written};
use self::pace::{FetchTimes, step};
use self::scripts::TAKE;
use crate::cache::record::Digest;
use crate::cache::store::redis::{FailureKind, LuaScript, RedisTier};
use crate::clock::timer_now;
use crate::metrics::{Event, Metrics};

/// The leases of this sidecar; a handle.
#[derive(Clone)]
pub(crate) struct Leases(Arc<Inner>);

struct Inner {
    desk: Desk,
    settings: LeaseSettings,
    /// How many sidecars are alive, this one included; `None` while that is not known.
    instances: OnceLock<Box<Count>>,
    /// Since when nobody has heard of another sidecar.
    only_since: Mutex<Option<Instant>>,
    /// Where leases are renewed and given back: they outlive the requests that they are for.
    background: Handle,
    times: FetchTimes,
    metrics: Metrics,
}

/// Counts sidecars; `None` while their number is not known.
type Count = dyn Fn() -> Option<usize> + Send + Sync;

/// What a lease is about, as Redis calls it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseName {
    record: String,
    lease: String,
    pass: String,
}

/// A request's waiting for others.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) name: LeaseName,
    /// When it has waited long enough.
    until: Instant,
    since: Instant,
    /// Whether it has waited at all.
    pub(crate) has_waited: bool,
}

/// What a request does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It fetches, for all.
    Won(Arc<Lease>),
    /// It fetches, by itself, for those who follow it in this sidecar.
    Alone,
    /// Somebody else has fetched: it looks below again, and comes back if there is nothing.
    Again,
    /// Nothing that comes of this may be shared: it goes by itself, and so do all like it.
    Pass,
}

impl Leases {
    pub(crate) fn new(
        redis: RedisTier,
        settings: LeaseSettings,
        background: Handle,
        metrics: &Metrics,
    ) -> Self {
        Self::at(Desk::Redis(redis), settings, background, metrics)
    }

    fn at(desk: Desk, settings: LeaseSettings, background: Handle, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            desk,
            settings,
            instances: OnceLock::new(),
            only_since: Mutex::default(),
            background,
            times: FetchTimes::default(),
            metrics: metrics.clone(),
        }))
    }

    /// Has the sidecars counted by `count`; until then their number is not known.
    pub(crate) fn count_by(&self, count: impl Fn() -> Option<usize> + Send + Sync + 'static) {
        // Whoever comes second changes nothing.
        drop(self.0.instances.set(Box::new(count)));
    }

    /// Whether there has been no other sidecar for a while. Those that start together hear of each other
    /// within moments, but not before the first requests come.
    fn is_only(&self) -> bool {
        let count = self.0.instances.get().and_then(|count| count());
        let mut since = self
            .0
            .only_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if count != Some(1) {
            *since = None;
            return false;
        }
        let now = timer_now();
        now.duration_since(*since.get_or_insert(now)) >= SETTLED
    }

    /// The name of the lease of `flight`, the bytes of a flight's key. `has_cookie` tells requests whose
    /// pass markers are others.
    pub(crate) fn name(&self, flight: &[u8], has_cookie: bool) -> LeaseName {
        let record = Digest::plain(flight).name().to_string();
        let record = self.0.desk.record(&record);
        // In the record's slot, format and epoch: who cannot read the one does not wait for it.
        LeaseName {
            lease: format!("{record}:l"),
            pass: format!("{record}:{}", if has_cookie { "nc" } else { "n" }),
            record,
        }
    }

    /// Begins to wait, for no longer than `most`.
    pub(crate) fn waiting(&self, name: LeaseName, most: Duration) -> Waiting {
        let since = timer_now();
        Waiting {
            name,
            until: since + self.0.settings.wait.min(most),
            since,
            has_waited: false,
        }
    }

    /// Asks for the lease, or waits for whoever has it. `saw_nothing`: Redis has just said that it has no
    /// record at all, so that one that is there is news.
    pub(crate) async fn turn(&self, waiting: &mut Waiting, saw_nothing: bool) -> Turn {
        if !self.0.settings.enabled {
            return Turn::Alone;
        }
        if self.is_only() {
            self.count(Event::LeaseSkipped);
            return Turn::Alone;
        }
        let holder = match self.take(&waiting.name, saw_nothing).await {
            Taken::Won(lease) => return Turn::Won(lease),
            Taken::Pass => return Turn::Pass,
            Taken::Written => return Turn::Again,
            Taken::Apart | Taken::Failed => return Turn::Alone,
            Taken::Held(holder) => holder,
        };
        waiting.has_waited = true;
        loop {
            let now = timer_now();
            if now >= waiting.until {
                self.count(Event::LeaseWaitedInVain);
                return Turn::Alone;
            }
            let pause = step(now - waiting.since).min(waiting.until - now);
            sleep(pause).await;
            match self.look(&waiting.name).await {
                Ok(Seen::Pass) => {
                    self.count(Event::LeasePassed);
                    return Turn::Pass;
                }
                Ok(Seen::Apart) => return Turn::Alone,
                Ok(Seen::Held(token)) if token == holder => {}
                Ok(Seen::Held(_) | Seen::Nobody) => return Turn::Again,
                // What is late may come in time next time.
                Err(FailureKind::Late) => {}
                Err(_) => {
                    self.count(Event::LeaseRedisAway);
                    return Turn::Alone;
                }
            }
        }
    }

    /// Takes the lease for something that nobody waits for: `None` if somebody has it; `Some(None)` where
    /// there is none to be had.
    pub(crate) async fn try_take(&self, name: &LeaseName) -> Option<Option<Arc<Lease>>> {
        if !self.0.settings.enabled || self.is_only() {
            return Some(None);
        }
        match self.take(name, false).await {
            Taken::Won(lease) => Some(Some(lease)),
            Taken::Failed | Taken::Pass | Taken::Apart => Some(None),
            Taken::Written | Taken::Held(_) => None,
        }
    }

    /// One who waited has found what it waited for.
    pub(crate) fn has_found(&self) {
        self.count(Event::LeaseFound);
    }

    /// One that would have asked goes without, since Redis has just not answered.
    pub(crate) fn without_redis(&self) {
        self.count(Event::LeaseRedisAway);
    }

    async fn take(&self, name: &LeaseName, saw_nothing: bool) -> Taken {
        let token = token();
        let hold = self.0.times.hold();
        let keys = [&name.lease, &name.pass, &name.record].map(String::as_bytes);
        let milliseconds = hold.as_millis().to_string();
        let expects = if saw_nothing { "1" } else { "0" };
        let arguments = [
            token.as_bytes(),
            milliseconds.as_bytes(),
            expects.as_bytes(),
        ];
        let taken = self.script(&TAKE, &keys, &arguments).await;
        match taken {
            Ok(Value::Int(WON)) => {
                self.count(Event::LeaseWon);
                Taken::Won(Arc::new(self.lease(name.clone(), token, hold)))
            }
            Ok(Value::Int(PASSES)) => {
                self.count(Event::LeasePassed);
                Taken::Pass
            }
            Ok(Value::Int(WRITTEN)) => Taken::Written,
            Ok(Value::Int(APART)) => Taken::Apart,
            Ok(Value::BulkString(holder)) => Taken::Held(holder),
            Ok(_) => {
                self.count(Event::LeaseFailed);
                Taken::Failed
            }
            Err(FailureKind::Away) => {
                self.count(Event::LeaseRedisAway);
                Taken::Failed
            }
            Err(_) => {
                self.count(Event::LeaseFailed);
                Taken::Failed
            }
        }
    }

    async fn look(&self, name: &LeaseName) -> Result<Seen, FailureKind> {
        let mut command = redis::cmd("MGET");
        command.arg(&name.pass).arg(&name.lease);
        let deadline = self.0.desk.deadline();
        let asked = self
            .0
            .desk
            .command(name.lease.as_bytes(), &command, deadline);
        let Value::Array(values) = asked.await.map_err(|failure| failure.kind)? else {
            return Err(FailureKind::Refused);
        };
        let mut values = values.into_iter();
        Ok(match (values.next(), values.next()) {
            (Some(Value::BulkString(mark)), _) if mark == MARK_APART => Seen::Apart,
            (Some(Value::BulkString(_)), _) => Seen::Pass,
            (_, Some(Value::BulkString(token))) => Seen::Held(token),
            _ => Seen::Nobody,
        })
    }

    fn lease(&self, name: LeaseName, token: String, hold: Duration) -> Lease {
        let renewing = renew(self.clone(), name.lease.clone(), token.clone(), hold);
        Lease {
            leases: self.clone(),
            name,
            token,
            since: timer_now(),
            renewal: self.0.background.spawn(renewing).abort_handle(),
            is_over: AtomicBool::new(false),
        }
    }

    async fn script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<Value, FailureKind> {
        let deadline = self.0.desk.deadline();
        let asked = self.0.desk.script(script, keys, arguments, deadline);
        asked.await.map_err(|failure| failure.kind)
    }

    fn count(&self, event: Event) {
        self.0.metrics.count(event);
    }
}

/// What came of asking for a lease.
enum Taken {
    Won(Arc<Lease>),
    /// By whom, as their token.
    Held(Vec<u8>),
    Pass,
    Apart,
    /// There is a record by now.
    Written,
    Failed,
}

/// What one who waits sees.
enum Seen {
    Held(Vec<u8>),
    Nobody,
    Pass,
    Apart,
}

/// Nobody else's: 128 bits of the standard library's keyed hash.
fn token() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", half(), half())
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

const WON: i64 = 1;
const PASSES: i64 = 2;
const WRITTEN: i64 = 3;
const APART: i64 = 4;

/// What a marker says: that answers cannot be shared at all, or not below memory.
const MARK_PASS: &[u8] = b"1";
const MARK_APART: &[u8] = b"2";

/// For so long nobody has been heard of before a sidecar takes itself for the only one; a heartbeat lasts
/// as long.
const SETTLED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
