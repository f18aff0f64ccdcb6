//! The report as Markdown: for a README, a pull request, a terminal.

use std::fmt::Write;

use super::{Comparison, Report};
use crate::clock;
use crate::compare::{Judged, Summary};
use crate::figures::{Better, Figure};

/// All of it.
pub(super) fn of(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes all");
    line(&format!("# Load test: {}\n", report.load.name));
    if !report.load.about.is_empty() {
        line(&format!("{}\n", report.load.about));
    }
    for warning in &report.warnings {
        line(&format!("> **Mind:** {warning}\n"));
    }
    for comparison in &report.comparisons {
        line(&format!("**{}**\n", headline(comparison)));
    }
    line(&figures(report));
    for comparison in &report.comparisons {
        line(&judged(comparison));
    }
    for samples in &report.samples {
        line(&samples_line(samples));
    }
    line(&format!("\n- Machine: {}", report.machine.words()));
    line(&format!("- Load: {}", report.load.words()));
    line(&format!(
        "- Made {} by `{}`",
        clock::date(report.made),
        report.command
    ));
    out
}

/// "pillion against direct: better. 6.9 × the requests per second, p99 …"
pub(super) fn headline(comparison: &Comparison) -> String {
    let told: Vec<String> = comparison
        .figures
        .iter()
        .filter(|judged| {
            let wanted = [
                Figure::RequestsPerSecond,
                Figure::P50,
                Figure::P99,
                Figure::CpuPerRequest,
                Figure::Failed,
            ];
            wanted.contains(&judged.figure) && judged.verdict != crate::compare::Verdict::Same
        })
        .map(|judged| format!("{} {}", brief(judged.figure), change(judged)))
        .collect();
    let told = if told.is_empty() {
        "nothing that counts changed beyond the noise".to_owned()
    } else {
        told.join(", ")
    };
    format!(
        "{} against {}: {}. {}.",
        comparison.subject,
        comparison.reference,
        comparison.overall.word(),
        told
    )
}

fn brief(figure: Figure) -> &'static str {
    match figure {
        Figure::RequestsPerSecond => "requests per second",
        Figure::P50 => "p50",
        Figure::P99 => "p99",
        Figure::CpuPerRequest => "CPU per request",
        other => other.name(),
    }
}

/// "× 6.9", "+12 %", "−30 %"
pub(super) fn change(judged: &Judged) -> String {
    if judged.change.is_infinite() {
        return "from none".to_owned();
    }
    let ratio = 1.0 + judged.change;
    if ratio >= 2.0 {
        format!("× {ratio:.1}")
    } else if judged.change < 0.0 {
        format!("−{}", share(-judged.change))
    } else {
        format!("+{}", share(judged.change))
    }
}

/// "± 12 %", "× or ÷ 3.1": what chance may make of a figure.
pub(super) fn noise(judged: &Judged) -> String {
    let noise = judged.noise;
    if noise.is_finite() && noise > 1.0 && noise < 20.0 {
        return format!("× or ÷ {:.1}", 1.0 + noise);
    }
    match noise {
        noise if noise > 1.0 => "unknown".to_owned(),
        noise => format!("± {}", share(noise)),
    }
}

/// "12 %", "0.4 %"
pub(super) fn share(value: f64) -> String {
    match value {
        value if value >= 0.1 => format!("{:.0}\u{a0}%", value * 100.0),
        value => format!("{:.1}\u{a0}%", value * 100.0),
    }
}

fn figures(report: &Report) -> String {
    let mut out = String::new();
    let names: Vec<_> = report
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    writeln!(out, "| Median of the rounds | {} |", names.join(" | ")).expect("a string takes all");
    writeln!(out, "|---|{}", "--:|".repeat(names.len())).expect("a string takes all");
    for figure in Figure::ALL {
        let summaries: Vec<_> = report
            .targets
            .iter()
            .map(|target| Summary::of(figure, &target.rounds))
            .collect();
        let told = summaries
            .iter()
            .flatten()
            .any(|summary| summary.median > 0.0);
        if !told {
            continue;
        }
        let cells: Vec<String> = summaries
            .iter()
            .map(|summary| match summary {
                Some(summary) => figure.show(summary.median),
                None => "–".to_owned(),
            })
            .collect();
        writeln!(out, "| {} | {} |", figure.name(), cells.join(" | ")).expect("a string takes all");
    }
    out
}

fn judged(comparison: &Comparison) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    line(format!(
        "## {} against {}\n",
        comparison.subject, comparison.reference
    ));
    line("| | change | noise | verdict |\n|---|--:|--:|---|".to_owned());
    for judged in &comparison.figures {
        if judged.reference.median == 0.0 && judged.subject.median == 0.0 {
            continue;
        }
        let verdict = match judged.figure.better() {
            Better::Neither => "",
            _ => judged.verdict.word(),
        };
        line(format!(
            "| {} | {} | {} | {verdict} |",
            judged.figure.name(),
            change(judged),
            noise(judged),
        ));
    }
    line(format!(
        "\nA change counts if it is beyond the noise (99 % interval) and at least {}.\n",
        share(comparison.threshold)
    ));
    out
}

/// What was found of a target's answers.
pub(super) fn samples_line(samples: &crate::samples::Samples) -> String {
    let mut text = format!(
        "- Answers of {} compared with the app's own, byte for byte: {} the same",
        samples.target, samples.same
    );
    if samples.varying > 0 {
        write!(
            text,
            ", {} that the app itself answers differently each time",
            samples.varying
        )
        .expect("a string takes all");
    }
    if !samples.different.is_empty() {
        write!(
            text,
            ", **{} wrong**: {}",
            samples.different.len(),
            samples.different.join("; ")
        )
        .expect("a string takes all");
    }
    text
}
