//! A page for what is no comparison: soak, stress, drills.

use std::fs;
use std::io::{Write, stderr, stdout};
use std::path::Path;

use super::charts::{Axis, Series, escaped, lines};
use super::html;
use crate::clock;
use crate::failure::{Failure, Result};
use crate::machine::Machine;
use crate::units;

/// What it says.
pub(crate) struct Sheet {
    pub(crate) title: String,
    /// "same", "worse", or what else there is to say in one word.
    pub(crate) verdict: &'static str,
    pub(crate) words: String,
    /// A table of Markdown, and perhaps lines below it.
    pub(crate) table: String,
    /// Titles and SVG.
    pub(crate) charts: Vec<(String, String)>,
}

impl Sheet {
    /// Writes `NAME.md` and `NAME.html` into `folder`, and says it.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let text = self.markdown();
        let page = folder.join(format!("{name}.html"));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join(format!("{name}.md")), &text))
            .and_then(|()| fs::write(&page, self.html()));
        written.map_err(|error| Failure::unmeasured(format!("{}: {error}.", folder.display())))?;
        // Whoever reads it may have seen enough; the page is written.
        writeln!(stdout(), "{text}").ok();
        writeln!(stderr(), "The report: {}", page.display()).ok();
        Ok(())
    }

    fn markdown(&self) -> String {
        format!(
            "# {}\n\n**{}**\n\n{}\n\n{}\n",
            self.title,
            self.words,
            self.table,
            origin()
        )
    }

    fn html(&self) -> String {
        let mut body = format!(
            "<section class=\"card verdict\"><span class=\"badge big {0}\">{1}</span><p class=\"words\">{2}</p></section>\
             <div class=\"grid\">",
            self.verdict,
            if self.verdict == "same" {
                "held"
            } else {
                self.verdict
            },
            escaped(&self.words)
        );
        for (title, chart) in &self.charts {
            body.push_str(&format!(
                "<section class=\"card wide\"><h2>{}</h2>{chart}</section>",
                escaped(title)
            ));
        }
        body.push_str(&format!(
            "<section class=\"card wide\">{}</section></div>",
            table(&self.table)
        ));
        body.push_str(&format!("<footer>{}</footer>", escaped(&origin())));
        html::document(&self.title, &clock::date(clock::unix_seconds()), &body)
    }
}

fn origin() -> String {
    format!(
        "Machine: {}. Made {}.",
        Machine::this().words(),
        clock::date(clock::unix_seconds())
    )
}

/// Markdown's table as HTML's.
fn table(text: &str) -> String {
    let (rows, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('|'));
    let mut out = String::from("<table>");
    for (number, row) in rows.iter().enumerate() {
        if number == 1 {
            continue;
        }
        let tag = if number == 0 { "th" } else { "td" };
        out.push_str("<tr>");
        for cell in row.trim_matches('|').split('|') {
            out.push_str(&format!(
                "<{tag}>{}</{tag}>",
                escaped(&cell.trim().replace("**", ""))
            ));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
    for line in rest.iter().filter(|line| !line.is_empty()) {
        out.push_str(&format!("<p class=\"note\">{}</p>", escaped(line)));
    }
    out
}

/// One line over seconds.
pub(crate) fn lines_over_time(points: Vec<(f64, f64)>) -> String {
    let end = points.iter().map(|(at, _)| *at).fold(0.0, f64::max);
    let most = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let told = |(at, value): (f64, f64)| {
        (
            at,
            value,
            format!("after {at:.0} s\n{}", units::digits(value)),
        )
    };
    let series = Series {
        colour: 1,
        points: points.into_iter().map(told).collect(),
        band: Vec::new(),
        joined: true,
    };
    let across = Axis::until(end, |value| format!("{value:.0} s"));
    lines(
        &[series],
        &across,
        &Axis::from_zero(most, units::digits),
        160.0,
    )
}

/// A line for each target: seconds over requests per second.
pub(crate) fn lines_over_rate(ramps: Vec<(String, Vec<(f64, f64)>)>) -> String {
    let values = || ramps.iter().flat_map(|(_, points)| points);
    let across = Axis::logarithmic(values().map(|(rate, _)| *rate), |rate| {
        format!("{}/s", units::digits(rate))
    });
    let up = Axis::logarithmic(
        values().map(|(_, p99)| *p99).filter(|p99| p99.is_finite()),
        units::seconds,
    );
    let series: Vec<_> = ramps
        .iter()
        .enumerate()
        .map(|(colour, (name, points))| Series {
            colour,
            points: points
                .iter()
                .filter(|(_, p99)| p99.is_finite())
                .map(|(rate, p99)| {
                    (
                        *rate,
                        *p99,
                        format!(
                            "{name} at {}/s\np99 {}",
                            units::digits(*rate),
                            units::seconds(*p99)
                        ),
                    )
                })
                .collect(),
            band: Vec::new(),
            joined: true,
        })
        .collect();
    let mut legend = String::from("<div class=\"legend\">");
    for (colour, (name, _)) in ramps.iter().enumerate() {
        legend.push_str(&format!(
            "<span><i style=\"background:var(--s{colour})\"></i>{}</span>",
            escaped(name)
        ));
    }
    legend + "</div>" + &lines(&series, &across, &up, 220.0)
}
