//! Writes what waits in the queue, by pipelines, one after the other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;
use tracing::warn;

use super::RedisTier;
use super::failure::{Failure, FailureKind};
use super::node::Node;
use super::queue::Write;
use crate::clock::timer_now;
use crate::metrics::{L2Dropped, L2Operation, L2Result};

/// Runs until the tier is closed.
pub(super) async fn write(tier: RedisTier) {
    let ended = tier.0.ended.clone();
    let mut complaints = Complaints::default();
    loop {
        let taken = tokio::select! {
            taken = tier.0.queue.take() => taken,
            () = ended.cancelled() => return,
        };
        tier.find().await;
        let weight = taken.iter().map(Write::weight).sum();
        let groups = group(&tier, taken);
        let written = join_all(groups.iter().map(|group| write_group(&tier, group))).await;
        tier.0.queue.done(weight);
        let failures: Vec<Failure> = written.into_iter().flatten().collect();
        complaints.hear(&tier, &failures);
    }
}

/// Writes for one server.
struct Group {
    node: Arc<Node>,
    writes: Vec<Write>,
}

/// By server. What has none is dropped.
fn group(tier: &RedisTier, taken: Vec<Write>) -> Vec<Group> {
    let topology = tier.0.topology.borrow().clone();
    let mut groups: Vec<Group> = Vec::new();
    for write in taken {
        let Some(node) = topology.node(write.key().as_bytes()) else {
            tier.0.metrics.dropped(L2Dropped::Away);
            continue;
        };
        match groups
            .iter_mut()
            .find(|group| Arc::ptr_eq(&group.node, &node))
        {
            Some(group) => group.writes.push(write),
            None => groups.push(Group {
                node,
                writes: vec![write],
            }),
        }
    }
    groups
}

/// Writes all, and returns what failed, each kind once.
async fn write_group(tier: &RedisTier, group: &Group) -> Vec<Failure> {
    let begun = timer_now();
    let mut pipeline = Pipeline::with_capacity(group.writes.len());
    for write in &group.writes {
        pipeline.add_command(command(write));
    }
    let connection = group.node.connection(&tier.0.dialer).await;
    let answers = match connection {
        Ok(mut connection) => connection.pipeline(&pipeline, DEADLINE).await,
        Err(failure) => Err(failure),
    };
    tier.note(&group.node, &answers);
    match answers {
        Ok(answers) => count(tier, group, &answers, begun),
        Err(failure) => {
            for write in &group.writes {
                match failure.kind {
                    FailureKind::Away => tier.0.metrics.dropped(L2Dropped::Away),
                    _ => note(tier, write, L2Result::Failed, begun),
                }
            }
            // The keeper tells of outages.
            Vec::new()
        }
    }
}

fn count(tier: &RedisTier, group: &Group, answers: &[Value], begun: Instant) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    for (write, answer) in group.writes.iter().zip(answers) {
        let Value::ServerError(error) = answer else {
            note(tier, write, L2Result::Done, begun);
            continue;
        };
        let failure = tier.in_this_mode(Failure::from(error));
        note(tier, write, L2Result::Failed, begun);
        tier.0.metrics.failed(failure.kind.name());
        if !failures.iter().any(|known| known.kind == failure.kind) {
            // Keys are not where they were, or this is a master no more.
            if matches!(failure.kind, FailureKind::Moved | FailureKind::ReadOnly) {
                tier.0.moved.notify_one();
            }
            failures.push(failure);
        }
    }
    failures
}

fn note(tier: &RedisTier, write: &Write, result: L2Result, begun: Instant) {
    let operation = match write {
        Write::Put { .. } => L2Operation::Put,
        Write::Remove { .. } => L2Operation::Remove,
    };
    tier.0.metrics.operation(operation, result, begun.elapsed());
}

fn command(write: &Write) -> Cmd {
    match write {
        Write::Put { key, record, ttl } => {
            let milliseconds = u64::try_from(ttl.as_millis()).unwrap_or(LONGEST);
            let mut command = Cmd::with_capacity(5, record.len() + key.len() + 32);
            command.arg("SET").arg(key).arg(record.as_ref());
            command.arg("PX").arg(milliseconds.clamp(1, LONGEST));
            command
        }
        Write::Remove { key } => {
            let mut command = redis::cmd("UNLINK");
            command.arg(key);
            command
        }
    }
}

/// What was said of writes that Redis refused, so that it is not said for each.
#[derive(Default)]
struct Complaints(Vec<(FailureKind, Instant)>);

impl Complaints {
    /// What became of the latest writes: each kind of failure once.
    fn hear(&mut self, tier: &RedisTier, failures: &[Failure]) {
        // The keeper is told of keys that moved, and finds their new place.
        let mut heard = failures
            .iter()
            .filter(|failure| failure.kind != FailureKind::Moved);
        let Some(failure) = heard.next() else {
            tier.note_trouble(PLACE, None);
            return;
        };
        tier.note_trouble(PLACE, Some(failure));
        let now = timer_now();
        match self.0.iter_mut().find(|(kind, _)| *kind == failure.kind) {
            Some((_, last)) if now.duration_since(*last) < SILENCE => return,
            Some((_, last)) => *last = now,
            None => self.0.push((failure.kind, now)),
        }
        let help = failure.help();
        warn!(error = %failure, help, "Redis took no record; what it has is used, and nothing else fails.");
    }
}

/// The place of what is wrong with writes.
const PLACE: &str = "writes";
/// For a pipeline: nobody waits for it, but what comes behind it does.
const DEADLINE: Duration = Duration::from_secs(1);
/// Of a record, in milliseconds: a year.
const LONGEST: u64 = 365 * 24 * 3600 * 1000;
/// Between two lines about the same.
const SILENCE: Duration = Duration::from_secs(60);
