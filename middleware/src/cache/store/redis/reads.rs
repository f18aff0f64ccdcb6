//! Reading records: what the requests of one core want in one turn of its loop is asked for together.
//!
//! Each command costs the server and the library about as much as reading a short record does, and
//! every answer needs the latest place beside it. So whoever comes first starts a task, which comes
//! after everything that is ready already; it asks for what has been wanted until then by one `MGET`,
//! the latest place last: what is older than a purge is read with that purge, or is gone. What is as
//! much as one command asks for is asked for at once, so that the server works while this turn goes on.

use std::sync::Arc;
use std::task::{Context, Waker};

use redis::Value;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::ask::Ask;
use super::failure::{Failure, FailureKind};
use super::node::{Link, Node};
use super::{RedisTier, content, place};
use crate::cache::store::tier::Got;
use crate::clock::timer_now;

/// A record that somebody waits for.
#[derive(Debug)]
pub(super) struct Wish {
    name: String,
    answer: oneshot::Sender<Result<Got, Failure>>,
}

/// What is wanted and not yet asked for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) waiting: Vec<Wish>,
    /// Whether a task will ask for it.
    pub(super) has_task: bool,
}

/// What a wish is among those of its turn.
#[derive(Debug)]
pub(super) enum Wished {
    /// The first: a task is needed that asks for them.
    First,
    /// One more.
    Waits,
    /// These are as many as one command asks for.
    Enough(Vec<Wish>),
}

/// What is wanted in a turn, for the task that asks for it. If that is dropped with its runtime, whoever
/// waits for it hears so, and the next to come begins a turn of his own.
struct Turn(Option<Arc<Link>>);

impl Turn {
    /// What is wanted and not yet asked for.
    fn end(mut self) -> Vec<Wish> {
        let link = self.0.take();
        link.map_or_else(Vec::new, |link| link.take_wishes())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            drop(link.take_wishes());
        }
    }
}

impl RedisTier {
    /// The record called `name`, and the latest place, from the one server that has everything.
    pub(super) async fn read_together(&self, name: String) -> Result<Got, Failure> {
        let node = self.node(name.as_bytes()).await?;
        let (answer, answered) = oneshot::channel();
        let link = node.link();
        match link.wish(Wish { name, answer }) {
            Wished::First => {
                let rest = self.clone().read_rest(node, Turn(Some(link)));
                self.0.dialer.tasks().spawn(rest);
            }
            Wished::Waits => {}
            Wished::Enough(part) => self.read_at_once(node, &link, part),
        }
        // It is dropped unanswered with its runtime alone.
        answered.await.unwrap_or_else(|_| Err(Failure::away()))
    }

    /// Asks for what has been wanted until the end of this turn.
    async fn read_rest(self, node: Arc<Node>, turn: Turn) {
        yield_now().await;
        let wishes = turn.end();
        if !wishes.is_empty() {
            self.read_part(node, wishes).await;
        }
    }

    /// Asks for `part` before anything else is done in this turn: what the server does meanwhile need not be
    /// waited for later.
    fn read_at_once(&self, node: Arc<Node>, link: &Link, part: Vec<Wish>) {
        let mut reading = Box::pin(self.clone().read_part(node, part));
        // The task asks again, and is told then.
        let mut unheard = Context::from_waker(Waker::noop());
        if reading.as_mut().poll(&mut unheard).is_pending() {
            self.0.dialer.tasks().spawn(reading);
            link.push();
        }
    }

    async fn read_part(self, node: Arc<Node>, wishes: Vec<Wish>) {
        let mut command = redis::cmd("MGET");
        for wish in &wishes {
            command.arg(&wish.name);
        }
        command.arg(&self.0.latest);
        let deadline = self.0.settings.timeout;
        let begun = timer_now();
        let answers = self.ask_node(&node, Ask::One(&command), deadline).await;
        let answers = answers.and_then(|answers| told_apart(answers, wishes.len()));
        let took = begun.elapsed();
        let tell = |wish: Wish, got| {
            self.count_get(&got, took);
            // Who gave up meanwhile misses nothing.
            wish.answer.send(got).ok();
        };
        match answers {
            Ok((records, latest)) => {
                for (wish, record) in wishes.into_iter().zip(records) {
                    let got = content(record).map(|record| Got { record, latest });
                    tell(wish, got);
                }
            }
            Err(failure) => {
                for wish in wishes {
                    tell(wish, Err(failure.clone()));
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

/// Records in one command: its answer is read as a whole, so a short record waits for the long ones. Half as
/// many wake the server twice as often, and each time takes as long as two records do.
pub(super) const MOST: usize = 32;
