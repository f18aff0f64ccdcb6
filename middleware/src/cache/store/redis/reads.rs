//! Reading records: what the requests of one core want in one turn of its loop is asked for together.
//!
//! Each command costs the server and the library about as much as reading a short record does, and
//! every answer needs the latest place beside it. So whoever comes first starts a task, which comes
//! after everything that is ready already; it asks for what has been wanted until then by one `MGET`,
//! the latest place last: what is older than a purge is read with that purge, or is gone.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::Value;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::ask::Ask;
use super::failure::{Failure, FailureKind};
use super::node::{Link, Node};
use super::{RedisTier, content, place};
use crate::cache::store::tier::Got;

/// A record that somebody waits for.
#[derive(Debug)]
pub(super) struct Wish {
    name: String,
    answer: oneshot::Sender<Result<Got, Failure>>,
}

impl RedisTier {
    /// The record called `name`, and the latest place, from the one server that has everything.
    pub(super) async fn read_together(&self, name: String) -> Result<Got, Failure> {
        let node = self.node(name.as_bytes()).await?;
        let (answer, answered) = oneshot::channel();
        let link = node.link();
        if link.wish(Wish { name, answer }) {
            let all = self.clone().read_all(node, link);
            self.0.dialer.tasks().spawn(all);
        }
        // It is dropped unanswered with its runtime alone.
        answered.await.unwrap_or_else(|_| Err(Failure::away()))
    }

    async fn read_all(self, node: Arc<Node>, link: Arc<Link>) {
        yield_now().await;
        let mut wishes = link.take_wishes().into_iter().peekable();
        let mut parts = Vec::new();
        while wishes.peek().is_some() {
            let part = wishes.by_ref().take(MOST).collect();
            parts.push(self.read_part(&node, part));
        }
        join_all(parts).await;
    }

    async fn read_part(&self, node: &Arc<Node>, wishes: Vec<Wish>) {
        let mut command = redis::cmd("MGET");
        for wish in &wishes {
            command.arg(&wish.name);
        }
        command.arg(&self.0.latest);
        let deadline = self.0.settings.timeout;
        let answers = self.ask_node(node, Ask::One(&command), deadline).await;
        let answers = answers.and_then(|answers| told_apart(answers, wishes.len()));
        match answers {
            Ok((records, latest)) => {
                for (wish, record) in wishes.into_iter().zip(records) {
                    let got = content(record).map(|record| Got { record, latest });
                    // Who gave up meanwhile misses nothing.
                    wish.answer.send(got).ok();
                }
            }
            Err(failure) => {
                for wish in wishes {
                    wish.answer.send(Err(failure.clone())).ok();
                }
            }
        }
    }
}

/// The records in an answer to `MGET`, and the latest place after them.
fn told_apart(answers: Vec<Value>, count: usize) -> Result<(Vec<Value>, Option<u64>), Failure> {
    let refused = |what: &str| Failure::new(FailureKind::Refused, what);
    let Some(Value::Array(mut values)) = answers.into_iter().next() else {
        return Err(refused("MGET answers with something else than a list"));
    };
    let latest = place(values.pop().unwrap_or(Value::Nil))?;
    match values.len() == count {
        true => Ok((values, latest)),
        false => Err(refused("MGET answers with another number of values")),
    }
}

/// Records in one command: its answer is read as a whole, so a short record waits for the long ones.
const MOST: usize = 16;
