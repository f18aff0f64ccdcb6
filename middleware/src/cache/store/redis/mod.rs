//! Redis, which many sidecars share: single, behind Sentinels, or a Cluster.
//!
//! Requests ask with deadlines and never wait for a reconnection: [`node`] has a connection for each
//! core, [`breaker`] says whether to ask at all, and [`keeper`] (a few tasks in the background) probes,
//! finds out where keys are ([`topology`]) and closes breakers again. Writes wait in a bounded
//! [`queue`] that a task empties by pipelines ([`writer`]). Whatever fails is a miss, a count, and one
//! line in the log when it begins and when it ends.
//!
//! The client library gives connections and its protocol; routing, deadlines and the breaker are ours,
//! since the library's wait where nobody may wait, and know one state for all nodes of a cluster.

mod ask;
mod breaker;
mod connect;
mod driver;
mod failure;
mod keeper;
mod names;
mod node;
mod queue;
mod reads;
mod refusals;
/// The harness of the suites: processes, and nothing of ours.
#[cfg(test)]
#[path = "../../../../../tests/src/redis.rs"]
#[allow(unreachable_pub, dead_code, reason = "made for another crate")]
pub(crate) mod servers;
mod setup;
mod slots;
#[cfg(test)]
pub(crate) mod tests;
mod topology;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use config::redis::{RedisMode, RedisSettings};
use redis::{Cmd, Script, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use self::ask::Ask;
use self::connect::{Dialer, Peer};
use self::node::Node;
use self::queue::{Queue, Write};
use self::refusals::Refusals;
use self::topology::Topology;
use super::tier::{ByteTier, Failed, Got, RecordKey};
use crate::cache::place::Place;
use crate::cache::record::FORMAT;
use crate::clock::timer_now;
use crate::metrics::{L2Dropped, L2Metrics, L2Operation, L2Result, L2State, Metrics};

pub(crate) use self::connect::Connection;
pub(crate) use self::failure::{Failure, FailureKind};
pub(crate) use self::names::Names;
pub use self::setup::SetupError;

/// The Redis behind the cache; a handle.
#[derive(Clone)]
pub struct RedisTier(Arc<Shared>);

struct Shared {
    mode: RedisMode,
    settings: RedisSettings,
    names: Names,
    /// The name of the latest purge's place.
    latest: String,
    dialer: Arc<Dialer>,
    /// Where keys are; written by the keeper.
    topology: watch::Sender<Topology>,
    /// Wakes the keeper, when keys are not where they were.
    moved: Notify,
    /// Written by the keeper.
    state: watch::Sender<L2State>,
    /// What is wrong now, by server (and once for where keys are); written by the keeper.
    troubles: Mutex<BTreeMap<String, Failure>>,
    refusals: Refusals,
    queue: Queue,
    metrics: L2Metrics,
    ended: CancellationToken,
}

impl RedisTier {
    /// Reads the files that the settings name; asks nobody yet, and waits for nobody. What it does in
    /// the background runs on `background`.
    ///
    /// # Errors
    /// When such a file cannot be read, or does not hold what it should.
    pub fn connect(
        settings: &RedisSettings,
        background: &Handle,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let topology = match settings.mode {
            RedisMode::Single => {
                let first = settings.nodes.first().cloned();
                let address = first.ok_or_else(|| SetupError::new("url", "is missing"))?;
                Topology::Whole(Arc::new(Node::new(address)))
            }
            RedisMode::Cluster | RedisMode::Sentinel(_) => Topology::Unknown,
        };
        let names = Names::new(settings, FORMAT);
        let metrics = metrics.l2();
        let tier = Self(Arc::new(Shared {
            mode: settings.mode.clone(),
            latest: names.shared("latest"),
            names,
            dialer: Arc::new(Dialer::new(settings)?),
            topology: watch::Sender::new(topology),
            moved: Notify::new(),
            state: watch::Sender::new(L2State::Unknown),
            troubles: Mutex::default(),
            refusals: Refusals::default(),
            queue: Queue::new(settings.queue, metrics.clone()),
            metrics,
            ended: CancellationToken::new(),
            settings: settings.clone(),
        }));
        let tasks = tier.0.dialer.tasks();
        tasks.spawn_on(keeper::keep(tier.clone()), background);
        tasks.spawn_on(writer::write(tier.clone()), background);
        Ok(tier)
    }

    /// Writes what waits to be written, for a second at most, and then lets go of Redis for good.
    pub async fn close(&self) {
        let empty = self.0.queue.empty();
        drop(tokio::time::timeout(LAST_WRITES, empty).await);
        self.0.ended.cancel();
    }

    /// Whether Redis can be asked, without asking it.
    pub fn state(&self) -> L2State {
        *self.0.state.borrow()
    }

    /// Tells of every change of [`state`](Self::state).
    pub fn changes(&self) -> watch::Receiver<L2State> {
        self.0.state.subscribe()
    }

    /// What is wrong now, and the next step: for an operator. `None` while nothing is.
    pub fn trouble(&self) -> Option<String> {
        let troubles = self.0.troubles.lock();
        let troubles = troubles.unwrap_or_else(PoisonError::into_inner);
        let (place, failure) = troubles.first_key_value()?;
        Some(format!("{place}: {failure}. {}", failure.help()))
    }

    /// Takes note of what is wrong at `place`, or of nothing. Whether that is news.
    fn note_trouble(&self, place: &str, failure: Option<&Failure>) -> bool {
        let troubles = self.0.troubles.lock();
        let mut troubles = troubles.unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => troubles.remove(place).is_some(),
            Some(failure) => {
                let before = troubles.insert(place.to_owned(), failure.clone());
                before.is_none_or(|before| before.kind != failure.kind)
            }
        }
    }

    /// What keys are called.
    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    /// Whether a record of this length is too long to be written; counts it if so.
    pub(crate) fn refuses(&self, length: usize) -> bool {
        let is_too_long = length > self.0.settings.max_record;
        if is_too_long {
            self.0.metrics.dropped(L2Dropped::Size);
        }
        is_too_long
    }

    /// The deadline of what a request waits for.
    pub(crate) fn deadline(&self) -> Duration {
        self.0.settings.timeout
    }

    /// What Redis answers to `command`, which is about `key`; waits for no longer than `deadline`.
    pub(crate) async fn command(
        &self,
        key: &[u8],
        command: &Cmd,
        deadline: Duration,
    ) -> Result<Value, Failure> {
        let asked = self.ask(key, Ask::One(command), deadline);
        let result = self.timed(L2Operation::Command, asked).await?;
        result.into_iter().next().ok_or_else(Failure::late)
    }

    /// What `script` returns; all `keys` (at least one) are in one slot. It is sent whole only to a
    /// Redis that does not know it yet.
    pub(crate) async fn script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        arguments: &[&[u8]],
        deadline: Duration,
    ) -> Result<Value, Failure> {
        let call = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len());
            command.arg(keys).arg(arguments);
            command
        };
        let key = keys.first().copied().unwrap_or_default();
        let deadline = timer_now() + deadline;
        let left = || deadline.saturating_duration_since(timer_now());
        let short = call("EVALSHA", script.hash.get_hash());
        match self.command(key, &short, left()).await {
            Err(failure) if failure.detail.contains("NOSCRIPT") => {
                self.command(key, &call("EVAL", script.code), left()).await
            }
            answer => answer,
        }
    }

    /// A new connection to the server that has `key`, for commands that wait: read and written by the
    /// runtime of the caller, who opens another when it fails.
    pub(crate) async fn own_connection(&self, key: &[u8]) -> Result<Connection, Failure> {
        let node = self.node(key).await?;
        self.0.dialer.dial(&node.address, Peer::Server).await
    }

    /// Counts what was asked, if it was.
    async fn timed<T>(
        &self,
        operation: L2Operation,
        asked: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = timer_now();
        let result = asked.await;
        let how = match &result {
            Ok(_) => L2Result::Done,
            Err(failure) if failure.kind == FailureKind::Away => return result,
            Err(_) => L2Result::Failed,
        };
        self.0.metrics.operation(operation, how, begun.elapsed());
        result
    }

    /// A record, and the latest place, which another server of the cluster may have: two commands at
    /// once.
    async fn read_alone(&self, name: String) -> Result<Got, Failure> {
        let deadline = self.0.settings.timeout;
        let (record, latest) = (name.as_bytes(), self.0.latest.as_bytes());
        let get = |key: &[u8]| {
            let mut command = redis::cmd("GET");
            command.arg(key);
            command
        };
        let (get_record, get_latest) = (get(record), get(latest));
        let (record, latest) = futures_util::future::join(
            self.ask(record, Ask::One(&get_record), deadline),
            self.ask(latest, Ask::One(&get_latest), deadline),
        )
        .await;
        Ok(Got {
            record: content(first(record?)?)?,
            latest: place(first(latest?)?)?,
        })
    }

    async fn got(&self, key: RecordKey) -> Result<Got, Failure> {
        let name = self.0.names.record_of(key);
        match self.0.mode {
            RedisMode::Cluster => {
                let begun = timer_now();
                // A deadline over all of it: connection, redirection and answer.
                let whole = self.0.settings.connect_timeout + self.0.settings.timeout;
                let both = Box::pin(self.read_alone(name));
                let result = timeout_at(begun + whole, both).await;
                let result = result.unwrap_or_else(|_| Err(Failure::late()));
                self.count_get(&result, begun.elapsed());
                result
            }
            RedisMode::Single | RedisMode::Sentinel(_) => self.read_together(name).await,
        }
    }

    fn count_get(&self, result: &Result<Got, Failure>, took: Duration) {
        let how = match result {
            Ok(got) if got.record.is_some() => L2Result::Hit,
            Ok(_) => L2Result::Miss,
            Err(failure) if failure.kind == FailureKind::Away => return,
            Err(_) => L2Result::Failed,
        };
        self.0.metrics.operation(L2Operation::Get, how, took);
    }
}

impl ByteTier for RedisTier {
    async fn get(&self, key: RecordKey) -> Result<Got, Failed> {
        self.got(key).await.map_err(|failure| match failure.kind {
            FailureKind::Away => Failed::Away,
            FailureKind::Late => Failed::Late,
            _ => Failed::Broken,
        })
    }

    fn put(&self, key: RecordKey, record: Bytes, ttl: Duration) {
        if self.refuses(record.len()) {
            return;
        }
        let key = self.0.names.record_of(key);
        self.0.queue.push(Write::Put { key, record, ttl });
    }

    fn remove(&self, key: RecordKey) {
        let key = self.0.names.record_of(key);
        self.0.queue.push(Write::Remove { key });
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// A script that Redis runs as a whole; made once, for it has a hash.
pub(crate) struct LuaScript {
    code: &'static str,
    hash: Script,
}

impl LuaScript {
    /// Of this code.
    pub(crate) fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: Script::new(code),
        }
    }
}

fn first(answers: Vec<Value>) -> Result<Value, Failure> {
    match answers.into_iter().next() {
        Some(Value::ServerError(error)) => Err(Failure::from(&error)),
        Some(value) => Ok(value),
        None => Err(Failure::new(FailureKind::Refused, "an answer is missing")),
    }
}

/// The bytes of an answer, not copied.
fn content(value: Value) -> Result<Option<Bytes>, Failure> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        other => Err(Failure::new(
            FailureKind::Refused,
            format!("a record is text, not {}", kind(&other)),
        )),
    }
}

/// The place in an answer: the id of an element of a Stream.
fn place(value: Value) -> Result<Option<u64>, Failure> {
    let Some(text) = content(value)? else {
        return Ok(None);
    };
    let place = std::str::from_utf8(&text).ok().and_then(Place::of_id);
    place.map(|place| Some(place.number())).ok_or_else(|| {
        Failure::new(
            FailureKind::Refused,
            "the latest place is no id: is the prefix somebody else's as well?",
        )
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "a number",
        Value::Array(_) => "a list",
        _ => "something else",
    }
}

/// For what waits to be written at the end.
const LAST_WRITES: Duration = Duration::from_secs(1);
