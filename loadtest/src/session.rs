//! Rounds: each target in turn, again and again, so that what disturbs the machine disturbs all alike.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ask::{Question, ask, metric};
use crate::clock;
use crate::compare;
use crate::driver::{self, Live};
use crate::failure::{Failure, Result};
use crate::figures::{Figure, Round, Tick};
use crate::oha::Oha;
use crate::origin::Origin;
use crate::processes;
use crate::progress::{Moment, Progress};
use crate::scenario::{Choice, Http, Scenario};
use crate::targets::{Program, Target};
use crate::upstream;

/// The generator that makes the load.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    Oha(Oha),
    Own,
}

impl Engine {
    /// The one that the scenario needs: oha where it can, else our own.
    ///
    /// # Errors
    /// When oha is wanted and cannot be had, or cannot do it.
    pub(crate) fn choose(scenario: &Scenario) -> Result<Self> {
        match (scenario.engine, scenario.beyond_oha()) {
            (Choice::Own, _) | (Choice::Auto, Some(_)) => Ok(Self::Own),
            (Choice::Oha, Some(why)) => Err(Failure::usage(format!(
                "oha cannot make {why}; leave engine = \"oha\" out, and our own generator does."
            ))),
            (Choice::Oha | Choice::Auto, None) => Oha::find().map(Self::Oha),
        }
    }

    /// For the report.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Oha(oha) => format!("oha {}", oha.version),
            Self::Own => concat!("pillion-loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A measurement under way.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) scenario: Scenario,
    pub(crate) engine: Engine,
    /// Where the app itself listens.
    pub(crate) app: Origin,
    pub(crate) targets: Vec<Target>,
    /// Programs that were started; they end with the session.
    pub(crate) programs: Vec<Program>,
    /// The synthetic app, which counts what it is asked.
    pub(crate) counter: Option<Origin>,
    pub(crate) folder: PathBuf,
    /// Where noise hides what may be there, rounds are added up to this many.
    pub(crate) most_rounds: usize,
    pub(crate) progress: Progress,
    pub(crate) began: Instant,
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Counts {
    cpu: BTreeMap<String, f64>,
    upstream: Option<f64>,
    /// Requests that Pillion answered, by outcome.
    outcomes: Option<BTreeMap<String, f64>>,
}

impl Session {
    /// Warms all targets up, then measures them in turn; returns the rounds of each.
    ///
    /// # Errors
    /// When a program ends, or the generator fails.
    pub(crate) async fn measure_all(&mut self) -> Result<Vec<Vec<Round>>> {
        let count = self.targets.len();
        for index in 0..count {
            let what = format!("warming up {}", self.name(index));
            self.measure(index, self.scenario.warm_up, &what, 0).await?;
        }
        let mut rounds = vec![Vec::new(); count];
        let mut number = 0;
        let mut end = self.scenario.rounds;
        while number < end {
            for step in 0..count {
                // There and back, so that no target is always the first.
                let index = if number % 2 == 0 {
                    step
                } else {
                    count - 1 - step
                };
                let what = format!("round {} of {end}, {}", number + 1, self.name(index));
                let seed = number as u64 + 1;
                let round = self
                    .measure(index, self.scenario.duration, &what, seed)
                    .await?;
                self.progress.round(&what, &round);
                if let Some(rounds) = rounds.get_mut(index) {
                    rounds.push(round);
                }
            }
            number += 1;
            if number == end && end < self.most_rounds && is_undecided(&rounds) {
                end = (end + self.scenario.rounds.div_ceil(2)).min(self.most_rounds);
                self.progress
                    .say("There is too much noise to tell; some more rounds.");
            }
        }
        Ok(rounds)
    }

    /// One round of one target.
    ///
    /// # Errors
    /// As [`measure_all`](Self::measure_all).
    pub(crate) async fn measure(
        &mut self,
        index: usize,
        duration: Duration,
        what: &str,
        seed: u64,
    ) -> Result<Round> {
        let target = self
            .targets
            .get(index)
            .expect("an index of the targets")
            .clone();
        let before = self.counts(&target).await;
        let live = Arc::new(Live::default());
        let (scenario, origin) = (&self.scenario, &target.origin);
        let load = async {
            match &self.engine {
                Engine::Oha(oha) => oha.run(scenario, origin, duration, &self.folder).await,
                Engine::Own => driver::run(scenario, origin, duration, seed, live.clone()).await,
            }
        };
        let mut watch = Watch::new(&target, self.began, matches!(self.engine, Engine::Own));
        tokio::pin!(load);
        let round = loop {
            tokio::select! {
                round = &mut load => break round,
                () = tokio::time::sleep(TICK) => watch.tick(&live, &self.progress, what),
            }
        };
        self.progress.passed(duration);
        for program in &mut self.programs {
            if let Some(words) = program.ended() {
                return Err(Failure::unmeasured(words));
            }
        }
        let mut round = round?;
        let after = self.counts(&target).await;
        settle(&mut round, &before, &after, &target);
        round.timeline = watch.ticks;
        Ok(round)
    }

    fn name(&self, index: usize) -> &str {
        self.targets.get(index).map_or("", |target| &target.name)
    }

    async fn counts(&self, target: &Target) -> Counts {
        let mut counts = Counts::default();
        if let Some(admin) = &target.admin {
            let answer = ask(admin, Http::One, &Question::get("/metrics"), PATIENCE).await;
            if let Ok(answer) = answer {
                let text = String::from_utf8_lossy(&answer.content);
                let sent = metric(&text, "pillion_upstream_duration_seconds_count", None);
                counts.upstream = Some(sent.values().sum());
                counts.outcomes = Some(metric(
                    &text,
                    "pillion_http_requests_total",
                    Some("outcome"),
                ));
            }
        }
        if let Some(counter) = &self.counter {
            let answer = ask(
                counter,
                Http::One,
                &Question::get(upstream::COUNT),
                PATIENCE,
            )
            .await;
            let number = answer
                .ok()
                .and_then(|a| std::str::from_utf8(&a.content).ok()?.parse().ok());
            counts.upstream = number.or(counts.upstream);
        }
        // Last, so that the questions above are not the target's.
        for (name, pid) in &target.processes {
            counts
                .cpu
                .insert(name.clone(), processes::cpu_seconds(*pid));
        }
        counts
    }
}

/// Whether the latency of a target cannot be told from another's for noise alone.
///
/// Asks how wide the noise is, never which way the figures point: whoever stops when he likes what he
/// sees finds changes that are none.
fn is_undecided(rounds: &[Vec<Round>]) -> bool {
    let Some((first, others)) = rounds.split_first() else {
        return false;
    };
    others.iter().any(|other| {
        let judged = compare::pairs(first, other, 0.0);
        judged
            .iter()
            .filter(|one| one.figure == Figure::P50)
            .any(|one| {
                let plain = one.change.ln_1p().abs() > 3.0 * one.noise.ln_1p();
                one.noise > QUIET && !plain
            })
    })
}

/// Puts what was counted into the round.
fn settle(round: &mut Round, before: &Counts, after: &Counts, target: &Target) {
    for (name, pid) in &target.processes {
        let at = |counts: &Counts| counts.cpu.get(name).copied().unwrap_or(0.0);
        round
            .cpu
            .insert(name.clone(), (at(after) - at(before)).max(0.0));
        round
            .resident
            .insert(name.clone(), processes::resident(*pid));
    }
    round.upstream_requests = match (before.upstream, after.upstream) {
        (Some(before), Some(after)) => Some((after - before).max(0.0)),
        // Whoever asks the app directly reaches it every time.
        _ if target.is_the_app() => Some(round.requests as f64),
        _ => None,
    };
    if let (Some(before), Some(after)) = (&before.outcomes, &after.outcomes) {
        let grown = |name: &str| {
            after.get(name).copied().unwrap_or(0.0) - before.get(name).copied().unwrap_or(0.0)
        };
        let all: f64 = after.keys().map(|name| grown(name)).sum();
        let hits: f64 = WITHOUT_THE_APP.into_iter().map(grown).sum();
        round.hit_ratio = (all > 0.0).then(|| hits / all);
    }
}

/// Looks at the processes while a round runs.
struct Watch {
    processes: Vec<processes::Pid>,
    began: Instant,
    round_began: Instant,
    /// Whether the generator tells while it runs.
    tells: bool,
    last: (Instant, f64, u64),
    ticks: Vec<Tick>,
}

impl Watch {
    fn new(target: &Target, began: Instant, tells: bool) -> Self {
        let processes: Vec<_> = target.processes.iter().map(|(_, pid)| *pid).collect();
        let now = clock::now();
        let cpu = processes
            .iter()
            .map(|pid| processes::cpu_seconds(*pid))
            .sum();
        Self {
            processes,
            began,
            round_began: now,
            tells,
            last: (now, cpu, 0),
            ticks: Vec::new(),
        }
    }

    fn tick(&mut self, live: &Live, progress: &Progress, what: &str) {
        let now = clock::now();
        let cpu: f64 = self
            .processes
            .iter()
            .map(|pid| processes::cpu_seconds(*pid))
            .sum();
        let resident = self
            .processes
            .iter()
            .map(|pid| processes::resident(*pid))
            .sum();
        let answers = live.answers.load(Ordering::Relaxed);
        let (last, last_cpu, last_answers) = self.last;
        let seconds = (now - last).as_secs_f64().max(1e-6);
        let rate = (answers - last_answers) as f64 / seconds;
        let tick = Tick {
            at: (now - self.began).as_secs_f64(),
            requests_per_second: self.tells.then_some(rate),
            cpu: ((cpu - last_cpu) / seconds).max(0.0),
            resident,
        };
        self.last = (now, cpu, answers);
        self.ticks.push(tick);
        progress.show(&Moment {
            what,
            elapsed: now - self.round_began,
            rate: tick.requests_per_second,
            cpu: tick.cpu,
            resident,
        });
    }
}

/// Between two looks at a running round: CPU time is counted in hundredths of a second.
const TICK: Duration = Duration::from_millis(250);
/// Noise of the median latency that hides no change of a tenth.
const QUIET: f64 = 0.06;
const PATIENCE: Duration = Duration::from_secs(10);
/// Outcomes of requests that the app was not asked for.
const WITHOUT_THE_APP: [&str; 3] = ["hit", "stale", "collapsed"];
