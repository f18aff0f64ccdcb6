//! The report as one page that needs nothing else.

use std::fmt::Write;

use super::charts::escaped;
use super::markdown::{change, noise, share};
use super::plots::{self, name};
use super::{Comparison, Report};
use crate::clock;
use crate::compare::{Judged, Summary, Verdict};
use crate::figures::{Better, Figure};

/// All of it.
pub(super) fn of(report: &Report) -> String {
    let mut page = String::with_capacity(64 * 1024);
    for warning in &report.warnings {
        write!(
            page,
            "<p class=\"mind\"><b>Mind:</b> {}</p>",
            escaped(warning)
        )
        .expect("a string takes all");
    }
    for comparison in &report.comparisons {
        page.push_str(&verdict(comparison));
    }
    if let Some(first) = report.comparisons.first() {
        page.push_str(&tiles(report, first));
    }
    let (left, right) = (
        plots::comparison_bars(report),
        plots::distribution(report) + &plots::hits(report),
    );
    write!(
        page,
        "<div class=\"grid\"><div class=\"column\">{left}</div><div class=\"column\">{right}</div>"
    )
    .expect("a string takes all");
    let by_rounds = if report.load.rate.is_some() {
        [Figure::P50, Figure::P99]
    } else {
        [Figure::RequestsPerSecond, Figure::P99]
    };
    for figure in by_rounds {
        page.push_str(&plots::rounds(report, figure));
    }
    page.push_str(&plots::timeline(report));
    for comparison in &report.comparisons {
        page.push_str(&table(comparison));
    }
    page.push_str("</div>");
    page.push_str(&footer(report));
    let about = format!("{} {}", report.load.about, clock::date(report.made));
    document(&format!("Load test: {}", report.load.name), &about, &page)
}

/// A page around `body`, which is markup already.
pub(super) fn document(title: &str, about: &str, body: &str) -> String {
    let (title, about) = (escaped(title), escaped(about));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><style>{CSS}</style></head><body><main>\
         <header><div><h1>{title}</h1><p class=\"soft\">{about}</p></div>\
         <button>light / dark</button></header>{body}\
         <div id=\"tip\"></div></main><script>{JS}</script></body></html>"
    )
}

fn verdict(comparison: &Comparison) -> String {
    let words = super::markdown::headline(comparison);
    let rest = words
        .split_once(": ")
        .map_or(words.as_str(), |(_, rest)| rest);
    let rest = rest.split_once(". ").map_or(rest, |(_, rest)| rest);
    format!(
        "<section class=\"card verdict\"><span class=\"badge big {0}\">{0}</span>\
         <p class=\"words\"><b>{1}</b> against <b>{2}</b>: {3}</p></section>",
        comparison.overall.word(),
        escaped(&name(&comparison.subject)),
        escaped(&name(&comparison.reference)),
        escaped(rest),
    )
}

/// The figures that a reader takes home.
fn tiles(report: &Report, comparison: &Comparison) -> String {
    let judged = |figure: Figure| {
        comparison
            .figures
            .iter()
            .find(|judged| judged.figure == figure)
    };
    let mut tiles = String::from("<div class=\"tiles\">");
    let mut tile = |big: String, small: String| {
        write!(
            tiles,
            "<div class=\"tile\"><b>{}</b><span>{}</span></div>",
            escaped(&big),
            escaped(&small).replace(": ", "<br>")
        )
        .expect("a string takes all");
    };
    let from_to = |judged: &Judged, what: &str| {
        let show = |value: f64| judged.figure.show(value);
        format!(
            "{what}: {} → {}",
            show(judged.reference.median),
            show(judged.subject.median)
        )
    };
    let wanted = [
        (Figure::RequestsPerSecond, "requests per second"),
        (Figure::P50, "latency p50"),
        (Figure::P99, "latency p99"),
        (Figure::CpuPerRequest, "CPU per request"),
        (Figure::BytesPerAnswer, "bytes per answer"),
    ];
    for (figure, what) in wanted {
        // At a set rate it says nothing.
        if figure == Figure::RequestsPerSecond && report.load.rate.is_some() {
            continue;
        }
        if let Some(judged) = judged(figure) {
            let big = if judged.verdict == Verdict::Same {
                "same".to_owned()
            } else {
                change(judged)
            };
            tile(big, from_to(judged, what));
        }
    }
    tiles.push_str("</div>");
    tiles
}

fn table(comparison: &Comparison) -> String {
    let mut out = format!(
        "<section class=\"card wide\"><h2>{} against {}</h2>\
         <p class=\"note\">A change counts if it is beyond the noise (what chance alone may make, in 99 of 100 \
         comparisons) and at least {}.</p><table><tr><th></th><th>{}</th><th>{}</th><th>change</th>\
         <th>noise</th><th></th></tr>",
        escaped(&name(&comparison.subject)),
        escaped(&name(&comparison.reference)),
        share(comparison.threshold),
        escaped(&name(&comparison.reference)),
        escaped(&name(&comparison.subject)),
    );
    for judged in &comparison.figures {
        if judged.reference.median == 0.0 && judged.subject.median == 0.0 {
            continue;
        }
        let cell = |summary: &Summary| {
            format!(
                "<td>{}<small>{} to {}</small></td>",
                judged.figure.show(summary.median),
                judged.figure.show(summary.low),
                judged.figure.show(summary.high)
            )
        };
        let badge = match judged.figure.better() {
            Better::Neither => String::new(),
            _ => format!(
                "<span class=\"badge {0}\">{0}</span>",
                judged.verdict.word()
            ),
        };
        write!(
            out,
            "<tr><td>{}</td>{}{}<td>{}</td><td>{}</td><td>{badge}</td></tr>",
            judged.figure.name(),
            cell(&judged.reference),
            cell(&judged.subject),
            change(judged),
            noise(judged),
        )
        .expect("a string takes all");
    }
    out.push_str("</table></section>");
    out
}

fn footer(report: &Report) -> String {
    let mut out = String::from("<footer><dl>");
    let mut row = |name: &str, text: &str| {
        write!(out, "<dt>{name}</dt><dd>{text}</dd>").expect("a string takes all");
    };
    for samples in &report.samples {
        let line = super::markdown::samples_line(samples);
        row(
            "Answers",
            &escaped(&line.trim_start_matches("- ").replace("**", "")),
        );
    }
    row("Load", &escaped(&report.load.words()));
    row("Machine", &escaped(&report.machine.words()));
    row(
        "Again",
        &format!("<code>{}</code>", escaped(&report.command)),
    );
    out.push_str("</dl></footer>");
    out
}

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
