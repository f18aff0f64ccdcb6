//! What is done for Redis in the background: probes, where keys are, and what the state is.
//!
//! A task for each server asks it every second whether it is there, at once when a request had
//! trouble, and with growing pauses while it is away. Another one finds out where keys are.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use config::redis::{RedisAddress, RedisMode};
use redis::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::RedisTier;
use super::breaker::{Backoff, Standing};
use super::connect::{Connection, Peer};
use super::failure::{Failure, FailureKind};
use super::node::Node;
use super::topology::{self, Topology};
use crate::clock::timer_now;
use crate::metrics::L2State;

/// Runs until the tier is closed.
pub(super) async fn keep(tier: RedisTier) {
    let ended = tier.0.ended.clone();
    tokio::select! {
        () = find(&tier) => {}
        () = ended.cancelled() => {}
    }
}

/// Finds out where keys are, again and again, and has each server watched.
async fn find(tier: &RedisTier) {
    let mut watched: HashMap<RedisAddress, CancellationToken> = HashMap::new();
    let mut backoff = Backoff::default();
    loop {
        let before = tier.0.topology.borrow().clone();
        let shared = &tier.0;
        let (mode, first) = (&shared.mode, shared.settings.nodes.as_slice());
        let pause = match topology::ask(mode, first, &before, &shared.dialer).await {
            Ok(found) => {
                if tier.note_trouble(KEYS, None) {
                    info!("It is known again where keys are in Redis.");
                }
                if let Some(topology) = found {
                    shared.topology.send_replace(topology);
                }
                backoff.reset();
                ROUND
            }
            Err(failure) => {
                shared.metrics.failed(failure.kind.name());
                if tier.note_trouble(KEYS, Some(&failure)) {
                    let help = failure.help();
                    warn!(error = %failure, help, "It is not known where keys are in Redis.");
                }
                if matches!(before, Topology::Unknown) {
                    shared.state.send_replace(L2State::Away);
                    shared.metrics.set_state(L2State::Away);
                }
                backoff.next(random())
            }
        };
        watch_all(tier, &mut watched);
        shared.refusals.forget_old(tier);
        // Trouble is looked into at once, but not all the time.
        let trouble = async {
            sleep(pause.min(BREATH)).await;
            shared.moved.notified().await;
        };
        drop(timeout(pause, trouble).await);
    }
}

/// Has a task for each server that there is, and none for those that there were.
fn watch_all(tier: &RedisTier, watched: &mut HashMap<RedisAddress, CancellationToken>) {
    let topology = tier.0.topology.borrow().clone();
    watched.retain(|address, retired| {
        let stays = topology.named(address).is_some();
        if !stays {
            retired.cancel();
        }
        stays
    });
    for node in topology.nodes() {
        if !watched.contains_key(&node.address) {
            let retired = tier.0.ended.child_token();
            watched.insert(node.address.clone(), retired.clone());
            let (tier, node) = (tier.clone(), node.clone());
            let tasks = tier.0.dialer.tasks().clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = tend(&tier, &node) => {}
                    () = retired.cancelled() => {}
                }
                tier.note_trouble(&node.address.to_string(), None);
                node.retire();
            });
        }
    }
    judge(tier);
}

/// Watches one server.
async fn tend(tier: &RedisTier, node: &Arc<Node>) {
    let place = node.address.to_string();
    let mut probe = Probe::default();
    let mut backoff = Backoff::default();
    let mut well_since = timer_now();
    let mut had_trouble = false;
    loop {
        match probe.ask(tier, node).await {
            Ok(()) => {
                let before = node.breaker.close();
                if had_trouble || before != Standing::Closed {
                    node.revive();
                    well_since = timer_now();
                }
                if tier.note_trouble(&place, None) {
                    info!(redis = %node.address, "Redis answers again.");
                } else if before == Standing::Unproven {
                    info!(redis = %node.address, "Redis answers.");
                }
                judge(tier);
                // One that answers probes only is not well yet.
                if well_since.elapsed() > STEADY {
                    backoff.reset();
                }
                had_trouble = timeout(HEARTBEAT, node.trouble.notified()).await.is_ok();
                if had_trouble && well_since.elapsed() < STEADY {
                    node.breaker.open();
                    judge(tier);
                    sleep(backoff.next(random())).await;
                }
            }
            Err(failure) => {
                node.breaker.open();
                judge(tier);
                tier.0.metrics.failed(failure.kind.name());
                tier.0.moved.notify_one();
                if tier.note_trouble(&place, Some(&failure)) {
                    let help = failure.help();
                    warn!(redis = %node.address, error = %failure, help,
                        "Redis does not answer; requests go on without it.");
                }
                had_trouble = true;
                sleep(backoff.next(random())).await;
            }
        }
    }
}

/// The probe's own connection.
#[derive(Default)]
struct Probe(Option<Connection>);

impl Probe {
    /// Whether the server is there and lets us in.
    async fn ask(&mut self, tier: &RedisTier, node: &Node) -> Result<(), Failure> {
        let deadline = tier.0.dialer.deadline();
        let mut connection = match self.0.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => {
                let mut connection = tier.0.dialer.dial(&node.address, Peer::Server).await?;
                fits(tier, &mut connection).await?;
                connection
            }
        };
        match connection.command(&redis::cmd("PING"), deadline).await {
            Err(failure) if failure.is_outage() => return Err(failure),
            _ => {}
        }
        self.0 = Some(connection);
        Ok(())
    }
}

/// A node of a cluster must not be taken for a server of its own, since it would refuse most keys; nor
/// a Sentinel. What cannot be told is taken for well.
async fn fits(tier: &RedisTier, connection: &mut Connection) -> Result<(), Failure> {
    if tier.0.mode == RedisMode::Cluster {
        return Ok(());
    }
    let deadline = tier.0.dialer.deadline();
    let Ok(hello) = connection.command(&redis::cmd("HELLO"), deadline).await else {
        return Ok(());
    };
    match mode(&hello).as_deref() {
        Some("sentinel") => return Err(Failure::new(FailureKind::IsSentinel, "")),
        Some("cluster") => {}
        _ => return Ok(()),
    }
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let Ok(Value::Array(ranges)) = connection.command(&command, deadline).await else {
        return Ok(());
    };
    let masters = ranges.iter().filter_map(|range| match range {
        Value::Array(range) => range.get(2),
        _ => None,
    });
    let mut masters: Vec<&Value> = masters.collect();
    masters.dedup();
    match masters.len() {
        1 => Ok(()),
        count => Err(Failure::new(
            FailureKind::IsCluster,
            format!("it is one of {count} masters"),
        )),
    }
}

/// What `HELLO` says of `mode`.
fn mode(hello: &Value) -> Option<String> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let is_mode = |name: &Value| text(name).as_deref() == Some("mode");
    match hello {
        Value::Map(pairs) => {
            let mut found = pairs.iter().filter(|(name, _)| is_mode(name));
            found.next().and_then(|(_, value)| text(value))
        }
        Value::Array(flat) => {
            let mut found = flat
                .chunks(2)
                .filter(|pair| pair.first().is_some_and(is_mode));
            found.next()?.get(1).and_then(text)
        }
        _ => None,
    }
}

/// Says what the state is, from what is known of all servers.
fn judge(tier: &RedisTier) {
    let topology = tier.0.topology.borrow().clone();
    let standings = topology.nodes().iter().map(|node| node.breaker.standing());
    let (mut closed, mut open, mut unproven) = (0, 0, 0);
    for standing in standings {
        match standing {
            Standing::Closed => closed += 1,
            Standing::Open => open += 1,
            Standing::Unproven => unproven += 1,
        }
    }
    let state = match (closed, open, unproven) {
        // The first answer to where keys are decides.
        (0, 0, 0) => return,
        (0, 0, _) => L2State::Unknown,
        (0, _, 0) => L2State::Away,
        (_, 0, 0) if topology.is_whole() => L2State::Up,
        (0, _, _) => L2State::Unknown,
        _ => L2State::Degraded,
    };
    tier.0.metrics.set_state(state);
    tier.0.state.send_if_modified(|known| {
        let is_news = *known != state;
        *known = state;
        is_news
    });
}

/// A number that nobody can tell beforehand, for pauses.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// The place of what is wrong with knowing where keys are.
const KEYS: &str = "cluster or Sentinels";
/// Between two looks at where keys are, if all is well.
const ROUND: Duration = Duration::from_secs(1);
/// Between two of them, if not.
const BREATH: Duration = Duration::from_millis(100);
/// Between two probes of a server that is well.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Who has been well for this long is.
const STEADY: Duration = Duration::from_secs(10);
