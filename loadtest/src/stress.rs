//! The rate at which a target breaks: more and more requests, until the promise is broken.

use std::fmt::Write;
use std::time::Duration;

use crate::args::Args;
use crate::failure::{Code, Result};
use crate::figures::{Figure, Round};
use crate::report::sheet::{Sheet, lines_over_rate};
use crate::run::{self, Folders};
use crate::session::Session;
use crate::units;

/// One rate that was tried.
#[derive(Clone, Debug)]
struct Step {
    rate: f64,
    p99: f64,
    failed: f64,
    /// What was broken, if anything.
    broken: Option<String>,
}

/// Ramps the rate on each target until p99 is above `promise`, or requests fail or are not sent.
///
/// # Errors
/// When a target cannot be measured.
pub(crate) async fn run(args: &Args, promise: Duration) -> Result<Option<Code>> {
    let folders = Folders::make()?;
    let mut session = run::prepare(args, &folders).await?;
    let first = session.scenario.rate.unwrap_or(FIRST_RATE);
    session.scenario.connections = args
        .connections
        .unwrap_or(session.scenario.connections.max(CONNECTIONS));
    let mut ramps = Vec::new();
    for index in 0..session.targets.len() {
        let what = "warming up".to_owned();
        session.scenario.rate = Some(first);
        session
            .measure(index, session.scenario.warm_up, &what, 0)
            .await?;
        let steps = ramp(&mut session, index, first, promise).await?;
        let name = session
            .targets
            .get(index)
            .map_or(String::new(), |target| target.name.clone());
        ramps.push((name, steps));
    }
    run::stop(&mut session).await;
    let sheet = told(&ramps, promise);
    sheet.write(&args.out, "stress")?;
    let nothing_held = ramps.iter().all(|(_, steps)| knee(steps).0 == 0.0);
    Ok(nothing_held.then_some(Code::Unmeasured))
}

/// Doubles the rate until it breaks, then looks between.
async fn ramp(
    session: &mut Session,
    index: usize,
    first: f64,
    promise: Duration,
) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rate = first;
    for _ in 0..MOST_STEPS {
        session.scenario.rate = Some(rate);
        let name = session.targets.get(index).map_or("", |target| &target.name);
        let what = format!("{} requests/s, {name}", units::digits(rate));
        let duration = session.scenario.duration;
        // What breaks once may be the machine's; what breaks three times is the target's.
        let mut step = None;
        for seed in 1..=TRIES {
            let round = session.measure(index, duration, &what, seed).await?;
            session.progress.round(&what, &round);
            let tried = Step {
                rate,
                p99: round.latency.quantile(0.99),
                failed: round.failed_share(),
                broken: broken(&round, rate, promise),
            };
            let holds = tried.broken.is_none();
            step = Some(tried);
            if holds {
                break;
            }
        }
        steps.extend(step);
        let (held, lost) = knee(&steps);
        rate = match lost {
            None => rate * 2.0,
            Some(lost) if held == 0.0 && lost > 2.0 => lost / 2.0,
            Some(lost) if held > 0.0 && lost / held > CLOSE => (held * lost).sqrt(),
            Some(_) => break,
        };
    }
    Ok(steps)
}

fn broken(round: &Round, rate: f64, promise: Duration) -> Option<String> {
    let p99 = round.latency.quantile(0.99);
    let reached = round.requests as f64 / round.seconds.max(1e-9);
    if round.failed_share() > 0.01 {
        let why = round.errors.keys().next().cloned();
        return Some(format!(
            "{:.1} % failed{}",
            round.failed_share() * 100.0,
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        ));
    }
    if p99.is_nan() || p99 > promise.as_secs_f64() {
        return Some(format!("p99 {}", units::seconds(p99)));
    }
    (reached < rate * 0.9).then(|| format!("only {}/s came through", units::digits(reached)))
}

/// The highest rate that held, and the lowest above it that did not.
fn knee(steps: &[Step]) -> (f64, Option<f64>) {
    let lost = steps
        .iter()
        .filter(|step| step.broken.is_some())
        .map(|step| step.rate);
    let lost = lost.fold(f64::INFINITY, f64::min);
    let held = steps
        .iter()
        .filter(|step| step.broken.is_none() && step.rate < lost);
    (
        held.map(|step| step.rate).fold(0.0, f64::max),
        lost.is_finite().then_some(lost),
    )
}

fn told(ramps: &[(String, Vec<Step>)], promise: Duration) -> Sheet {
    let promised = units::seconds(promise.as_secs_f64());
    let mut table =
        "| Target | rate | p99 | failed | promise |\n|---|--:|--:|--:|---|\n".to_owned();
    let mut knees = Vec::new();
    for (name, steps) in ramps {
        let mut sorted = steps.clone();
        sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        for step in &sorted {
            writeln!(
                table,
                "| {name} | {}/s | {} | {:.1} % | {} |",
                Figure::RequestsPerSecond.show(step.rate),
                units::seconds(step.p99),
                step.failed * 100.0,
                step.broken.as_deref().unwrap_or("held")
            )
            .expect("a string takes all");
        }
        let (held, lost) = knee(steps);
        let broke = lost.and_then(|lost| steps.iter().find(|step| step.rate == lost));
        knees.push(match broke.and_then(|step| step.broken.as_ref()) {
            Some(why) => format!("{name} holds {}/s, then {why}", units::digits(held)),
            None => format!(
                "{name} held {}/s, the highest that was tried",
                units::digits(held)
            ),
        });
    }
    let charts = ramps.iter().map(|(name, steps)| {
        let mut points: Vec<_> = steps.iter().map(|step| (step.rate, step.p99)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (name.clone(), points)
    });
    Sheet {
        title: "Stress: where the knee is".to_owned(),
        verdict: "knee",
        words: format!(
            "Promise: p99 within {promised}, at most 1 % failed. {}.",
            knees.join("; ")
        ),
        table,
        charts: vec![(
            "Latency p99 over the rate".to_owned(),
            lines_over_rate(charts.collect()),
        )],
    }
}

const FIRST_RATE: f64 = 100.0;
/// Clients enough that not they are what breaks.
const CONNECTIONS: usize = 200;
/// How often a rate must break.
const TRIES: u64 = 3;
const MOST_STEPS: usize = 24;
/// How near the rates that held and broke must be.
const CLOSE: f64 = 1.15;

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: f64, holds: bool) -> Step {
        Step {
            rate,
            p99: 0.01,
            failed: 0.0,
            broken: (!holds).then(|| "p99 2 s".to_owned()),
        }
    }

    #[test]
    fn the_knee_is_between_what_held_and_what_did_not() {
        assert_eq!(knee(&[step(100.0, true), step(200.0, true)]), (200.0, None));
        let steps = [
            step(100.0, true),
            step(200.0, false),
            step(140.0, true),
            step(400.0, true),
        ];
        assert_eq!(
            knee(&steps),
            (140.0, Some(200.0)),
            "a lucky rate above is no promise"
        );
        let sheet = told(
            &[("direct".to_owned(), steps.into())],
            Duration::from_millis(50),
        );
        assert!(
            sheet.words.contains("direct holds 140/s, then p99 2 s"),
            "{}",
            sheet.words
        );
    }

    #[test]
    fn a_promise_is_broken_by_slowness_failure_and_absence() {
        let mut round = Round {
            seconds: 1.0,
            requests: 100,
            latency: crate::figures::Latency {
                quantiles: vec![(0.99, 0.02)],
                ..Default::default()
            },
            ..Round::default()
        };
        let promise = Duration::from_millis(50);
        assert_eq!(broken(&round, 100.0, promise), None);
        assert!(broken(&round, 200.0, promise).is_some_and(|why| why.contains("came through")));
        assert!(
            broken(&round, 100.0, Duration::from_millis(10)).is_some_and(|why| why.contains("p99"))
        );
        round.statuses.insert(503, 5);
        assert!(broken(&round, 100.0, promise).is_some_and(|why| why.contains("failed")));
    }
}
