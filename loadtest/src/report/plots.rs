//! The charts of a comparison.

use std::fmt::Write;

use super::Report;
use super::charts::{Axis, Bar, Series, bars, escaped, lines};
use crate::compare::Summary;
use crate::figures::{Figure, Round, SHARES, Tick};
use crate::stats::{median, quartiles};
use crate::units;

/// For each figure a bar for each target.
pub(super) fn comparison_bars(report: &Report) -> String {
    let mut out = String::from(
        "<section class=\"card bars\"><h2>Side by side</h2>\
         <p class=\"note\">Medians of the rounds. Point at a bar for its spread.</p>",
    );
    let shown = [
        (
            Figure::RequestsPerSecond,
            "Requests per second (more is better)",
        ),
        (Figure::P50, "Latency, median (less is better)"),
        (
            Figure::P99,
            "Latency of the slowest hundredth (less is better)",
        ),
        (
            Figure::CpuPerRequest,
            "CPU time per request: app and proxy (less is better)",
        ),
        (
            Figure::BytesPerAnswer,
            "Content bytes per answer (less is better)",
        ),
    ];
    for (figure, heading) in shown {
        let drawn: Vec<Bar> = report
            .targets
            .iter()
            .enumerate()
            .filter_map(|(index, target)| {
                let summary = Summary::of(figure, &target.rounds)?;
                let parts = parts(figure, index, &summary, &target.rounds);
                Some(Bar {
                    name: name(&target.name),
                    value: figure.show(summary.median),
                    parts,
                })
            })
            .collect();
        if drawn
            .iter()
            .any(|bar| bar.parts.iter().any(|(length, ..)| *length > 0.0))
        {
            write!(out, "<h3>{heading}</h3>{}", bars(&drawn)).expect("a string takes all");
        }
    }
    out.push_str("</section>");
    out
}

fn parts(
    figure: Figure,
    index: usize,
    summary: &Summary,
    rounds: &[Round],
) -> Vec<(f64, usize, String)> {
    let spread = |figure: Figure, summary: &Summary| {
        format!(
            "{}: {}\nhalf of the rounds: {} to {}",
            figure.name(),
            figure.show(summary.median),
            figure.show(summary.low),
            figure.show(summary.high)
        )
    };
    if figure == Figure::CpuPerRequest {
        let of = |figure: Figure, colour: usize| {
            let summary = Summary::of(figure, rounds)?;
            Some((summary.median, colour, spread(figure, &summary)))
        };
        let both = [
            of(Figure::AppCpuPerRequest, 0),
            of(Figure::SidecarCpuPerRequest, colour(index)),
        ];
        return both.into_iter().flatten().collect();
    }
    vec![(summary.median, colour(index), spread(figure, summary))]
}

/// Latency over the share of answers that were as quick.
pub(super) fn distribution(report: &Report) -> String {
    let series: Vec<Series> = report
        .targets
        .iter()
        .enumerate()
        .map(|(index, target)| {
            let who = name(&target.name);
            let mut one = Series {
                colour: colour(index),
                points: Vec::new(),
                band: Vec::new(),
                joined: true,
            };
            for share in SHARES {
                let values: Vec<f64> = target
                    .rounds
                    .iter()
                    .map(|round| round.latency.quantile(share))
                    .filter(|value| value.is_finite() && *value > 0.0)
                    .collect();
                if values.is_empty() {
                    continue;
                }
                let (middle, (low, high)) = (median(&values), quartiles(&values));
                let tip = format!(
                    "{}, p{}\n{}\nhalf of the rounds: {} to {}",
                    who,
                    (share * 1e6).round() / 1e4,
                    units::seconds(middle),
                    units::seconds(low),
                    units::seconds(high)
                );
                one.points.push((nines(share), middle, tip));
                one.band.push((nines(share), low, high));
            }
            one
        })
        .collect();
    let across = Axis {
        low: nines(0.1),
        high: nines(0.9999),
        marks: [
            (0.1, "p10"),
            (0.5, "p50"),
            (0.9, "p90"),
            (0.99, "p99"),
            (0.999, "p99.9"),
            (0.9999, "p99.99"),
        ]
        .map(|(share, name)| (nines(share), name.to_owned()))
        .into(),
        logarithmic: false,
    };
    let values = series
        .iter()
        .flat_map(|one| one.band.iter().flat_map(|(_, low, high)| [*low, *high]));
    let up = Axis::logarithmic(values, units::seconds);
    card(
        "Latency distribution",
        "How long the quickest half took, the slowest hundredth, and so on; bands hold half of the rounds.",
        &legend(report),
        &lines(&series, &across, &up, 330.0),
    )
}

/// How many nines a share has: 0.9 → 1, 0.99 → 2.
fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// Each round as a point, so that drift and disturbance are seen.
pub(super) fn rounds(report: &Report, figure: Figure) -> String {
    let series: Vec<Series> = report
        .targets
        .iter()
        .enumerate()
        .map(|(index, target)| Series {
            colour: colour(index),
            points: target
                .rounds
                .iter()
                .enumerate()
                .filter_map(|(number, round)| {
                    let value = figure.of(round)?;
                    let tip = format!(
                        "{}, round {}\n{}",
                        name(&target.name),
                        number + 1,
                        figure.show(value)
                    );
                    Some((number as f64 + 1.0, value, tip))
                })
                .collect(),
            band: Vec::new(),
            joined: true,
        })
        .collect();
    let most = series
        .iter()
        .flat_map(|one| &one.points)
        .map(|(_, value, _)| *value)
        .fold(0.0, f64::max);
    let count = report
        .targets
        .iter()
        .map(|target| target.rounds.len())
        .max()
        .unwrap_or(1);
    let step = count.div_ceil(12).max(1);
    let across = Axis {
        low: 0.7,
        high: count as f64 + 0.3,
        marks: (1..=count)
            .step_by(step)
            .map(|n| (n as f64, n.to_string()))
            .collect(),
        logarithmic: false,
    };
    let up = Axis::from_zero(most, |value| figure.show(value));
    card(
        &format!("{}, round by round", figure.name()),
        "The targets take turns, so what disturbs the machine for a while disturbs all of them.",
        &legend(report),
        &lines(&series, &across, &up, 250.0),
    )
}

/// Where answers came from.
pub(super) fn hits(report: &Report) -> String {
    let drawn: Vec<Bar> = report
        .targets
        .iter()
        .enumerate()
        .filter_map(|(index, target)| {
            let asked = Summary::of(Figure::UpstreamRequests, &target.rounds)?
                .median
                .clamp(0.0, 1000.0)
                / 1000.0;
            let saved = 1.0 - asked;
            Some(Bar {
                name: name(&target.name),
                value: format!("{:.1} % saved", saved * 100.0),
                parts: vec![
                    (
                        saved,
                        colour(index),
                        format!("{:.1} % answered without the app", saved * 100.0),
                    ),
                    (asked, 0, format!("{:.1} % reached the app", asked * 100.0)),
                ],
            })
        })
        .collect();
    if drawn.is_empty() {
        return String::new();
    }
    let ratios: Vec<String> = report
        .targets
        .iter()
        .filter_map(|target| {
            let ratio = Summary::of(Figure::HitRatio, &target.rounds)?;
            Some(format!(
                "Hit ratio of {}: {}.",
                name(&target.name),
                Figure::HitRatio.show(ratio.median)
            ))
        })
        .collect();
    card(
        "Requests that the app was spared",
        &format!(
            "Grey is what reached the app. {}",
            escaped(&ratios.join(" "))
        ),
        "",
        &bars(&drawn),
    )
}

/// CPU and memory over the whole measurement.
pub(super) fn timeline(report: &Report) -> String {
    let ticks = |measure: &dyn Fn(&Tick) -> f64, show: &dyn Fn(f64) -> String| {
        let series: Vec<Series> = report
            .targets
            .iter()
            .enumerate()
            .map(|(index, target)| Series {
                colour: colour(index),
                points: target
                    .rounds
                    .iter()
                    .flat_map(|round| &round.timeline)
                    .map(|tick| {
                        let value = measure(tick);
                        let tip = format!(
                            "{} after {:.1} s\n{}",
                            name(&target.name),
                            tick.at,
                            show(value)
                        );
                        (tick.at, value, tip)
                    })
                    .collect(),
                band: Vec::new(),
                joined: false,
            })
            .collect();
        let points = || series.iter().flat_map(|one| &one.points);
        let end = points().map(|(at, ..)| *at).fold(0.0, f64::max);
        let most = points().map(|(_, value, _)| *value).fold(0.0, f64::max);
        let any = points().next().is_some();
        let across = Axis::until(end, |value| format!("{value:.0} s"));
        let up = Axis::from_zero(most, show);
        any.then(|| lines(&series, &across, &up, 220.0))
    };
    let cores = ticks(&|tick| tick.cpu, &|value| format!("{value:.2}"));
    let memory = ticks(
        &|tick| tick.resident as f64 / 1024.0 / 1024.0,
        &units::digits,
    );
    let draw = |title: &str, note: &str, chart: Option<String>| {
        let drawn = chart.map(|chart| card(title, note, &legend(report), &chart));
        drawn.unwrap_or_default()
    };
    let cores = draw(
        "Timeline: cores in use",
        "App and proxy together, while it was their turn.",
        cores,
    );
    cores
        + &draw(
            "Timeline: memory",
            "Resident MiB of app and proxy together.",
            memory,
        )
}

fn card(title: &str, note: &str, legend: &str, chart: &str) -> String {
    format!(
        "<section class=\"card\"><h2>{title}</h2><p class=\"note\">{note}</p>{legend}{chart}</section>"
    )
}

fn legend(report: &Report) -> String {
    let mut out = String::from("<div class=\"legend\">");
    for (index, target) in report.targets.iter().enumerate() {
        write!(
            out,
            "<span><i style=\"background:var(--s{})\"></i>{}</span>",
            colour(index),
            escaped(&name(&target.name))
        )
        .expect("a string takes all");
    }
    out.push_str("</div>");
    out
}

/// As people write it.
pub(super) fn name(target: &str) -> String {
    match target {
        "pillion" => "Pillion".to_owned(),
        "haproxy" => "HAProxy".to_owned(),
        "varnish" => "Varnish".to_owned(),
        other => other.to_owned(),
    }
}

/// The colours of the page, in the order of the targets.
fn colour(index: usize) -> usize {
    if index < 5 {
        index
    } else {
        1 + (index - 1) % 4
    }
}
