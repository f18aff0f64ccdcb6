//! One question: to the server that has the key, on this thread's connection, redirected once.

use std::sync::Arc;
use std::time::Duration;

use config::redis::RedisMode;
use redis::{Cmd, Pipeline, Value};
use tokio::time::timeout;

use super::RedisTier;
use super::failure::{Failure, FailureKind};
use super::node::Node;
use super::topology::{Topology, redirection};
use crate::metrics::L2State;

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
}

impl Ask<'_> {
    /// The same for a node that gets the slot just now.
    fn asking(self) -> Pipeline {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING");
        match self {
            Self::One(command) => {
                pipeline.add_command(command.clone());
            }
            Self::Many(commands) => {
                for command in commands.cmd_iter() {
                    pipeline.add_command(command.clone());
                }
            }
        }
        pipeline
    }
}

impl RedisTier {
    /// The server that has `key`. Just after the start it may have to be found first.
    pub(super) async fn node(&self, key: &[u8]) -> Result<Arc<Node>, Failure> {
        let known = self.0.topology.borrow().node(key);
        if let Some(node) = known {
            return Ok(node);
        }
        Box::pin(self.find()).await;
        let node = self.0.topology.borrow().node(key);
        node.ok_or_else(Failure::away)
    }

    /// Waits until it is known where keys are, or that nobody tells; no longer than for a connection.
    pub(super) async fn find(&self) {
        if !matches!(*self.0.topology.borrow(), Topology::Unknown) {
            return;
        }
        let (mut topology, mut state) = (self.0.topology.subscribe(), self.0.state.subscribe());
        let known = async {
            tokio::select! {
                _ = topology.wait_for(|topology| !matches!(topology, Topology::Unknown)) => {}
                _ = state.wait_for(|state| *state == L2State::Away) => {}
            }
        };
        timeout(self.0.dialer.deadline(), known).await.ok();
    }

    /// What Redis answers to `asked`, on the connection of this thread.
    pub(super) async fn ask(
        &self,
        key: &[u8],
        asked: Ask<'_>,
        deadline: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let node = self.node(key).await?;
        let first = self.ask_node(&node, asked, deadline).await;
        let failure = match first {
            Err(failure) if failure.kind == FailureKind::Moved => failure,
            other => return other,
        };
        self.0.moved.notify_one();
        let Some((address, is_ask)) = redirection(&failure.detail) else {
            return Err(failure);
        };
        let named = self.0.topology.borrow().named(&address);
        let Some(node) = named else {
            // A node that nobody has heard of: the keeper finds it, and this is a miss.
            return Err(failure);
        };
        let asking = match is_ask {
            true => asked.asking(),
            false => return self.ask_node(&node, asked, deadline).await,
        };
        let mut answers = self.ask_node(&node, Ask::Many(&asking), deadline).await?;
        if !answers.is_empty() {
            answers.remove(0);
        }
        Ok(answers)
    }

    /// What `node` answers. The deadline begins when there is a connection.
    pub(super) async fn ask_node(
        &self,
        node: &Arc<Node>,
        asked: Ask<'_>,
        deadline: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let answers = async {
            let mut connection = node.connection(&self.0.dialer).await?;
            match asked {
                Ask::One(command) => {
                    let answer = connection.command(command, deadline).await?;
                    Ok(vec![answer])
                }
                Ask::Many(pipeline) => {
                    let answers = connection.pipeline(pipeline, deadline).await?;
                    match answers.first() {
                        Some(Value::ServerError(error)) => {
                            let failure = Failure::from(error);
                            // Told of one, it is true of all.
                            match failure.kind {
                                FailureKind::Moved
                                | FailureKind::Credentials
                                | FailureKind::Forbidden
                                | FailureKind::NotReady => Err(failure),
                                _ => Ok(answers),
                            }
                        }
                        _ => Ok(answers),
                    }
                }
            }
        };
        let answers = answers.await.map_err(|failure| self.in_this_mode(failure));
        self.note(node, &answers);
        answers
    }

    /// A single server does not send elsewhere.
    pub(super) fn in_this_mode(&self, failure: Failure) -> Failure {
        match (&self.0.mode, failure.kind) {
            (RedisMode::Cluster, _) => failure,
            (_, FailureKind::Moved) => Failure::new(FailureKind::IsCluster, failure.detail),
            _ => failure,
        }
    }

    pub(super) fn note<T>(&self, node: &Node, result: &Result<T, Failure>) {
        if let Err(failure) = result {
            if failure.kind != FailureKind::Away {
                self.0.metrics.failed(failure.kind.name());
            }
            if matches!(
                failure.kind,
                FailureKind::Forbidden | FailureKind::IsCluster
            ) {
                self.0.refusals.hear(self, failure);
            }
            // A master may be one no more.
            if failure.kind == FailureKind::ReadOnly || failure.is_outage() {
                self.0.moved.notify_one();
            }
        }
        node.note(result);
    }
}
