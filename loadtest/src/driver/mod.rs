//! Our own load generator, for what oha cannot do: popular keys, clients that keep entity tags, recorded
//! logs, mixes of methods, and clients that only listen.

pub(crate) mod chance;
mod client;
pub(crate) mod mix;
mod pace;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::mix::Mix;
use self::pace::Pace;
use crate::clock;
use crate::failure::{Failure, Result};
use crate::figures::{Latency, Round, SHARES};
use crate::histogram::Histogram;
use crate::origin::Origin;
use crate::scenario::{Http, Scenario};

/// What a running load tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Answers so far.
    pub(crate) answers: AtomicU64,
}

/// What one client counted.
#[derive(Debug, Default)]
struct Tally {
    latencies: Histogram,
    body_bytes: u64,
    statuses: BTreeMap<u16, u64>,
    errors: BTreeMap<String, u64>,
    stream_chunks: u64,
}

impl Tally {
    fn failed(&mut self, why: String) {
        *self.errors.entry(why).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.body_bytes += other.body_bytes;
        self.stream_chunks += other.stream_chunks;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (why, count) in other.errors {
            *self.errors.entry(why).or_default() += count;
        }
    }
}

/// What all clients of a load share.
struct Load {
    scenario: Scenario,
    origin: Origin,
    pace: Pace,
    live: Arc<Live>,
}

/// Puts the scenario's load on a target for `duration`, from a thread of its own.
///
/// # Errors
/// When the thread cannot be had.
pub(crate) async fn run(
    scenario: &Scenario,
    origin: &Origin,
    duration: Duration,
    seed: u64,
    live: Arc<Live>,
) -> Result<Round> {
    let (scenario, origin) = (scenario.clone(), origin.clone());
    let (told, result) = oneshot::channel();
    let lost =
        |what: &dyn std::fmt::Display| Failure::unmeasured(format!("The load generator: {what}."));
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let load = Load {
                pace: Pace::new(scenario.rate, duration),
                scenario,
                origin,
                live,
            };
            let round =
                runtime.map(|runtime| runtime.block_on(clients(Arc::new(load), duration, seed)));
            // Whoever waited for it may have given up.
            told.send(round).ok();
        })
        .map_err(|error| lost(&error))?;
    match result.await {
        Ok(Ok(round)) => Ok(round),
        Ok(Err(error)) => Err(lost(&error)),
        Err(_) => Err(lost(&"it ended early")),
    }
}

async fn clients(load: Arc<Load>, duration: Duration, seed: u64) -> Round {
    let listeners = streams::Listeners::open(&load).await;
    load.pace.begin();
    let begin = clock::now();
    let mix = Mix::new(&load.scenario, seed);
    let mut clients = JoinSet::new();
    for number in 0..load.scenario.connections {
        let seed = seed.wrapping_add((number as u64 + 1).wrapping_mul(0x51_7c_c1_b7));
        let (load, mix) = (load.clone(), mix.again(seed));
        match load.scenario.http {
            Http::One => clients.spawn(client::one(load, mix)),
            Http::Two => clients.spawn(client::two(load, mix, seed)),
        };
    }
    let mut all = Tally::default();
    let finish = async {
        while let Some(tally) = clients.join_next().await {
            all.merge(tally.unwrap_or_default());
        }
    };
    finish.await;
    let seconds = begin.elapsed().as_secs_f64().max(duration.as_secs_f64());
    all.merge(listeners.close().await);
    let unsent = load.pace.unsent();
    if unsent > 0 {
        all.errors.insert(NOT_SENT.to_owned(), unsent);
    }
    round(all, seconds)
}

fn round(all: Tally, seconds: f64) -> Round {
    let quantiles = if all.latencies.total() == 0 {
        Vec::new()
    } else {
        SHARES
            .map(|share| (share, all.latencies.quantile(share)))
            .into()
    };
    Round {
        engine: "own".to_owned(),
        seconds,
        requests: all.latencies.total(),
        latency: Latency {
            fastest: all.latencies.least(),
            mean: all.latencies.mean(),
            slowest: all.latencies.most(),
            quantiles,
        },
        body_bytes: all.body_bytes,
        statuses: all.statuses,
        errors: all.errors,
        stream_chunks: all.stream_chunks,
        ..Round::default()
    }
}

impl Load {
    fn answered(&self) {
        self.live.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Requests of a set rate that no client was free for.
const NOT_SENT: &str = "not sent: all clients were still waiting";

#[cfg(test)]
mod tests;
