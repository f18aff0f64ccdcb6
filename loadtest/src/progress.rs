//! What is seen while a measurement runs.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use crate::figures::{Figure, Round};
use crate::units;

/// A bar with live figures on a terminal; elsewhere a line after each round.
#[derive(Debug)]
pub(crate) struct Progress {
    live: bool,
    quiet: bool,
    /// Of the whole measurement, as planned.
    planned: Duration,
    done: Duration,
}

/// A moment of a running round.
pub(crate) struct Moment<'a> {
    /// "round 3 of 10, pillion"
    pub(crate) what: &'a str,
    /// Since the round began.
    pub(crate) elapsed: Duration,
    /// Answers per second, where the generator tells while it runs.
    pub(crate) rate: Option<f64>,
    /// CPU seconds per second of the target's processes.
    pub(crate) cpu: f64,
    /// Their resident set.
    pub(crate) resident: u64,
}

impl Progress {
    /// Of a measurement that takes about `planned`.
    pub(crate) fn new(planned: Duration, quiet: bool) -> Self {
        Self {
            live: stderr().is_terminal() && !quiet,
            quiet,
            planned,
            done: Duration::ZERO,
        }
    }

    /// Says what begins.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.clear();
            // Whoever reads it may have seen enough.
            writeln!(stderr(), "{text}").ok();
        }
    }

    /// Shows a moment.
    pub(crate) fn show(&self, moment: &Moment<'_>) {
        if !self.live {
            return;
        }
        let done = self.done + moment.elapsed;
        let share = (done.as_secs_f64() / self.planned.as_secs_f64().max(1e-9)).min(1.0);
        let left = self.planned.saturating_sub(done).as_secs();
        let full = (share * WIDTH as f64) as usize;
        let bar = "━".repeat(full) + &"─".repeat(WIDTH - full);
        let rate = moment
            .rate
            .map(|rate| format!("  {}/s", units::digits(rate)))
            .unwrap_or_default();
        write!(
            stderr(),
            "\r\x1b[2K{bar} {:3.0} %  {}{rate}  CPU {:.2}  {}  {}:{:02} left",
            share * 100.0,
            moment.what,
            moment.cpu,
            units::bytes(moment.resident as f64),
            left / 60,
            left % 60,
        )
        .ok();
        stderr().flush().ok();
    }

    /// A part of the plan is done.
    pub(crate) fn passed(&mut self, part: Duration) {
        self.done += part;
    }

    /// Tells what a round found.
    pub(crate) fn round(&self, what: &str, round: &Round) {
        let figure = |figure: Figure| {
            figure
                .of(round)
                .map_or("–".to_owned(), |value| figure.show(value))
        };
        let hits = Figure::HitRatio
            .of(round)
            .map(|ratio| format!("  hits {:.0} %", ratio * 100.0));
        let failed = round.failed_share();
        let failures = (failed > 0.0).then(|| format!("  FAILED {:.1} %", failed * 100.0));
        self.say(&format!(
            "{what:28} {:>9}/s  p50 {:>8}  p99 {:>8}  CPU {:>8}{}{}",
            figure(Figure::RequestsPerSecond),
            figure(Figure::P50),
            figure(Figure::P99),
            figure(Figure::CpuPerRequest),
            hits.unwrap_or_default(),
            failures.unwrap_or_default(),
        ));
    }

    fn clear(&self) {
        if self.live {
            write!(stderr(), "\r\x1b[2K").ok();
        }
    }
}

const WIDTH: usize = 24;
