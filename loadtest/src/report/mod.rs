//! What was found, for people and for machines.

mod charts;
mod html;
mod markdown;
mod plots;
pub(crate) mod sheet;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compare::{Judged, Verdict};
use crate::failure::{Failure, Result};
use crate::figures::Round;
use crate::machine::Machine;
use crate::samples::Samples;
use crate::scenario::{Http, Scenario};

/// A measurement and what it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of this form.
    pub(crate) version: u32,
    /// Seconds since 1970.
    pub(crate) made: u64,
    /// How to make it again.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) load: Load,
    pub(crate) targets: Vec<Measured>,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) samples: Vec<Samples>,
    /// What a reader must know before believing it.
    pub(crate) warnings: Vec<String>,
}

/// The scenario, as reports tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) engine: String,
    pub(crate) connections: usize,
    pub(crate) parallel: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    pub(crate) http: Http,
    pub(crate) tls: bool,
}

/// One target's rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Round>,
}

/// Two targets, or a target and its baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) reference: String,
    pub(crate) subject: String,
    /// The least change that counts.
    pub(crate) threshold: f64,
    pub(crate) figures: Vec<Judged>,
    pub(crate) overall: Verdict,
}

impl Load {
    /// As the scenario says.
    pub(crate) fn of(scenario: &Scenario, engine: String) -> Self {
        Self {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            engine,
            connections: scenario.connections,
            parallel: scenario.parallel,
            rate: scenario.rate,
            seconds: scenario.duration.as_secs_f64(),
            rounds: scenario.rounds,
            http: scenario.http,
            tls: scenario.tls,
        }
    }

    /// In one line.
    pub(crate) fn words(&self) -> String {
        let rate = match self.rate {
            Some(rate) => format!(
                "{} requests/s, latency from when each was due",
                crate::units::digits(rate)
            ),
            None => "as fast as answers come".to_owned(),
        };
        let http = match self.http {
            Http::One => "HTTP/1.1".to_owned(),
            Http::Two => format!("HTTP/2 with {} at once on each", self.parallel),
        };
        let tls = if self.tls { " over TLS" } else { "" };
        format!(
            "{} connections, {http}{tls}, {rate}; {} rounds of {} s each, interleaved; {}",
            self.connections, self.rounds, self.seconds, self.engine
        )
    }
}

impl Report {
    /// The rounds of the target of this name.
    pub(crate) fn rounds(&self, name: &str) -> &[Round] {
        let measured = self.targets.iter().find(|measured| measured.name == name);
        measured.map_or(&[], |measured| &measured.rounds)
    }

    /// Reads a report's JSON.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong =
            |what: &dyn std::fmt::Display| Failure::usage(format!("{}: {what}.", path.display()));
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let report: Self = serde_json::from_str(&text)
            .map_err(|error| wrong(&format!("no report of pillion-loadtest ({error})")))?;
        if report.version != VERSION {
            return Err(wrong(&format!(
                "a report of form {}, not {VERSION}",
                report.version
            )));
        }
        Ok(report)
    }

    /// Writes `report.json`, `report.md` and `report.html` into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let failed = |error: std::io::Error| {
            Failure::unmeasured(format!(
                "The report cannot be written to {} ({error}).",
                folder.display()
            ))
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let json = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        fs::write(folder.join("report.json"), json).map_err(failed)?;
        fs::write(folder.join("report.md"), self.markdown()).map_err(failed)?;
        let page = folder.join("report.html");
        fs::write(&page, html::of(self)).map_err(failed)?;
        Ok(page)
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        markdown::of(self)
    }
}

/// Of the JSON's form.
pub(crate) const VERSION: u32 = 1;

#[cfg(test)]
pub(crate) mod tests;
