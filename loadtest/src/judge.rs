//! What the figures mean: comparisons, warnings, the exit code.

use crate::args::Args;
use crate::compare::{self, Verdict};
use crate::failure::Code;
use crate::figures::Round;
use crate::report::{Comparison, Report};

/// The subject (Pillion, or the other app) against everything else.
pub(crate) fn compare_all(report: &mut Report, args: &Args) {
    let subject = if args.other_app.is_some() {
        "other"
    } else {
        "pillion"
    };
    let with_rate = report.load.rate.is_some();
    for reference in report
        .targets
        .iter()
        .filter(|target| target.name != subject)
    {
        let figures = compare::pairs(&reference.rounds, report.rounds(subject), args.threshold);
        report.comparisons.push(Comparison {
            reference: reference.name.clone(),
            subject: subject.to_owned(),
            threshold: args.threshold,
            overall: compare::overall(&figures, with_rate),
            figures,
        });
    }
}

/// What a reader must mind, and the exit code.
pub(crate) fn judge(report: &mut Report, args: &Args) -> Option<Code> {
    let mut codes = Vec::new();
    let mut warnings = Vec::new();
    for target in &report.targets {
        let answers: u64 = target.rounds.iter().map(|round| round.requests).sum();
        let errors: u64 = target.rounds.iter().map(Round::error_answers).sum();
        let failed: Vec<f64> = target.rounds.iter().map(Round::failed_share).collect();
        let failed = failed.iter().sum::<f64>() / failed.len().max(1) as f64;
        let reasons = reasons(&target.rounds);
        if failed > 0.0 {
            warnings.push(format!(
                "{:.2} % of the requests to {} failed ({reasons}). A run of errors is not fast, whatever \
                 its figures say.",
                failed * 100.0,
                target.name
            ));
        } else if answers > 0 && errors == answers {
            warnings.push(format!(
                "Every answer of {} was an error ({reasons}). Is the scenario's path right?",
                target.name
            ));
        }
        if failed > FAILED_MOST || (answers > 0 && errors == answers) || answers == 0 {
            codes.push(Code::Unmeasured);
        }
    }
    for samples in &report.samples {
        if !samples.failed.is_empty() {
            codes.push(Code::Unmeasured);
            warnings.push(format!(
                "{} failed where the app did not: {}.",
                samples.target,
                samples.failed.join("; ")
            ));
        }
        if !samples.different.is_empty() {
            codes.push(Code::WrongAnswer);
            warnings.push(format!(
                "{} gave answers that are not the app's: {}.",
                samples.target,
                samples.different.join("; ")
            ));
        }
    }
    if report.load.rounds < 5 {
        warnings.push(
            "With fewer than five rounds, little can be told from noise; see --rounds.".to_owned(),
        );
    }
    if report.machine.load > report.machine.cores as f64 / 2.0 {
        warnings.push(format!(
            "The machine was busy before the measurement began (load {:.1} on {} cores).",
            report.machine.load, report.machine.cores
        ));
    }
    let worse = report
        .comparisons
        .iter()
        .any(|comparison| comparison.overall == Verdict::Worse);
    if worse && args.fail_on_worse {
        codes.push(Code::Worse);
    }
    report.warnings.extend(warnings);
    codes.into_iter().max_by_key(|code| *code as u8)
}

fn reasons(rounds: &[Round]) -> String {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for round in rounds {
        for (status, count) in round.statuses.iter().filter(|(status, _)| **status >= 400) {
            *counts.entry(format!("status {status}")).or_default() += count;
        }
        for (error, count) in &round.errors {
            *counts.entry(error.clone()).or_default() += count;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told: Vec<_> = counts
        .iter()
        .take(3)
        .map(|(reason, count)| format!("{count} × {reason}"))
        .collect();
    told.join(", ")
}

/// Share of failed requests above which the figures say nothing.
const FAILED_MOST: f64 = 0.01;
