//! A long run: does the proxy's memory grow, does it keep descriptors or threads?

use std::fmt::Write;
use std::time::Duration;

use crate::args::Args;
use crate::failure::{Code, Result};
use crate::processes;
use crate::report::sheet::{Sheet, lines_over_time};
use crate::run::{self, Folders};
use crate::stats::{Centre, line, median};
use crate::units;

/// What was seen at the end of a slice of the run.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Hours since the run began.
    at: f64,
    resident: f64,
    descriptors: f64,
    threads: f64,
}

/// Puts the load on Pillion (or on the app, if it is measured alone) for `duration`.
///
/// # Errors
/// When it cannot be measured to the end.
pub(crate) async fn run(args: &Args, duration: Duration) -> Result<Option<Code>> {
    let folders = Folders::make()?;
    let mut session = run::prepare(args, &folders).await?;
    let index = session.targets.len() - 1;
    let Some(target) = session.targets.get_mut(index) else {
        return Ok(None);
    };
    if !target.is_the_app() {
        // The proxy alone is looked at.
        target.processes.retain(|(name, _)| name != "app");
    }
    let (name, pids) = (target.name.clone(), target.processes.clone());
    let slices = (duration.as_secs() / 10).clamp(10, 360) as u32;
    let slice = duration / slices;
    let (mut seen, mut failed, mut requests) = (Vec::new(), 0.0, 0u64);
    for number in 0..slices {
        let what = format!("soak {} of {slices}, {name}", number + 1);
        let round = session
            .measure(index, slice, &what, u64::from(number) + 1)
            .await?;
        session.progress.round(&what, &round);
        let ticks: Vec<f64> = round
            .timeline
            .iter()
            .map(|tick| tick.resident as f64)
            .collect();
        let sum = |of: &dyn Fn(processes::Pid) -> usize| {
            pids.iter().map(|(_, pid)| of(*pid)).sum::<usize>() as f64
        };
        let end = pids
            .iter()
            .map(|(_, pid)| processes::resident(*pid))
            .sum::<u64>() as f64;
        seen.push(Seen {
            at: session.began.elapsed().as_secs_f64() / 3600.0,
            resident: if ticks.is_empty() {
                end
            } else {
                median(&ticks)
            },
            descriptors: sum(&processes::descriptors),
            threads: sum(&processes::threads),
        });
        failed += round.failed_share() * round.requests as f64;
        requests += round.requests;
    }
    run::stop(&mut session).await;
    let (sheet, grows) = told(&name, duration, &seen, requests, failed);
    sheet.write(&args.out, "soak")?;
    Ok(if failed > requests as f64 * 0.01 || requests == 0 {
        Some(Code::Unmeasured)
    } else {
        grows.then_some(Code::Worse)
    })
}

fn told(
    name: &str,
    duration: Duration,
    seen: &[Seen],
    requests: u64,
    failed: f64,
) -> (Sheet, bool) {
    // Caches and pools fill at first.
    let settled = seen.get(seen.len() / 4..).unwrap_or_default();
    let growth = |of: fn(&Seen) -> f64| {
        let points: Vec<_> = settled.iter().map(|seen| (seen.at, of(seen))).collect();
        line(&points).map(|line| line.slope)
    };
    let mut text = String::new();
    let mut row = |what: &str, of: fn(&Seen) -> f64, show: &dyn Fn(f64) -> String| {
        let (Some(first), Some(last)) = (settled.first(), settled.last()) else {
            return false;
        };
        let Some(slope) = growth(of) else {
            return false;
        };
        let grows = grows(slope, of(first), &duration);
        writeln!(
            text,
            "| {what} | {} | {} | {} ± {} | {} |",
            show(of(first)),
            show(of(last)),
            signed(slope.value, show),
            show(slope.within()),
            if grows {
                "**grows**"
            } else {
                "does not grow beyond the noise"
            }
        )
        .expect("a string takes all");
        grows
    };
    let memory = row("Resident set", |seen| seen.resident, &units::bytes);
    let descriptors = row("Open descriptors", |seen| seen.descriptors, &units::digits);
    let threads = row("Threads", |seen| seen.threads, &units::digits);
    let grows = memory || descriptors || threads;
    let table = format!(
        "| {name} | after a quarter of the run | at the end | growth per hour, 99 % interval | |\n\
         |---|--:|--:|--:|---|\n{text}\n{} requests, {} failed.",
        units::digits(requests as f64),
        units::digits(failed)
    );
    let points = |of: fn(&Seen) -> f64| {
        seen.iter()
            .map(|seen| (seen.at * 3600.0, of(seen)))
            .collect()
    };
    let sheet = Sheet {
        title: format!("Soak of {name}: {} s", duration.as_secs()),
        verdict: if grows { "worse" } else { "same" },
        words: if grows {
            format!("{name} keeps what it should let go of.")
        } else {
            format!("Nothing of {name} grows beyond the noise.")
        },
        table,
        charts: vec![
            (
                "Resident MiB".to_owned(),
                lines_over_time(points(|seen| seen.resident / 1048576.0)),
            ),
            (
                "Open descriptors".to_owned(),
                lines_over_time(points(|seen| seen.descriptors)),
            ),
        ],
    };
    (sheet, grows)
}

/// Growth that is no noise, and that would matter: 2 % in a run as long as this, or in a day.
fn grows(slope: Centre, base: f64, duration: &Duration) -> bool {
    let hours = (duration.as_secs_f64() / 3600.0).min(24.0);
    slope.value > slope.within() && slope.value * hours > base * 0.02
}

fn signed(value: f64, show: &dyn Fn(f64) -> String) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", show(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(growth: f64) -> Vec<Seen> {
        (0..40u32)
            .map(|number| Seen {
                at: f64::from(number) / 40.0,
                resident: 5e7 + growth * f64::from(number) / 40.0 + f64::from(number * 7 % 5) * 1e5,
                descriptors: 20.0,
                threads: 3.0,
            })
            .collect()
    }

    #[test]
    fn growth_is_told_from_noise() {
        let hour = Duration::from_secs(3600);
        assert!(!told("pillion", hour, &seen(0.0), 1000, 0.0).1);
        let (sheet, grows) = told("pillion", hour, &seen(2e7), 1000, 0.0);
        assert!(grows, "{}", sheet.table);
        assert!(
            sheet
                .table
                .contains("| Open descriptors | 20.0 | 20.0 | +0.00 ± 0.00 |"),
            "{}",
            sheet.table
        );
        assert!(
            !told("pillion", hour, &seen(-2e7), 1000, 0.0).1,
            "shrinking is no leak"
        );
    }
}
