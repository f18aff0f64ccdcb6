//! The load generator `oha`, driven by its JSON contract.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::failure::{Failure, Result};
use crate::figures::{Latency, Round, SHARES};
use crate::origin::Origin;
use crate::scenario::{Http, Scenario};

/// An `oha` that was found, and is new enough.
#[derive(Clone, Debug)]
pub(crate) struct Oha {
    program: PathBuf,
    /// As it says itself.
    pub(crate) version: String,
}

impl Oha {
    /// The one on PATH, or where cargo puts programs.
    ///
    /// # Errors
    /// When there is none or an old one: how to get one.
    pub(crate) fn find() -> Result<Self> {
        let cargo = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| {
                let home = std::env::var_os("HOME")?;
                Some(Path::new(&home).join(".cargo"))
            });
        let candidates = [
            Some(PathBuf::from("oha")),
            cargo.map(|home| home.join("bin/oha")),
        ];
        for program in candidates.into_iter().flatten() {
            let output = std::process::Command::new(&program)
                .arg("--version")
                .output();
            match output {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Failure::unmeasured(format!(
                        "{} cannot be started ({error}). {INSTALL}",
                        program.display()
                    )));
                }
                Ok(output) => {
                    return Self::judged(program, &String::from_utf8_lossy(&output.stdout));
                }
            }
        }
        Err(Failure::unmeasured(format!(
            "oha, the load generator, is not installed. {INSTALL}"
        )))
    }

    fn judged(program: PathBuf, answer: &str) -> Result<Self> {
        let version = answer.trim().strip_prefix("oha ").unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        let number = (parts.next().flatten(), parts.next().flatten());
        match number {
            (Some(major), Some(minor)) if (major, minor) >= OLDEST => Ok(Self {
                program,
                version: version.to_owned(),
            }),
            (Some(_), Some(_)) => Err(Failure::unmeasured(format!(
                "oha {version} is too old; {}.{} or later is needed. {INSTALL}",
                OLDEST.0, OLDEST.1
            ))),
            _ => Err(Failure::unmeasured(format!(
                "{} --version says \"{}\", which is no oha. {INSTALL}",
                program.display(),
                answer.trim()
            ))),
        }
    }

    /// Installs it with cargo; takes some minutes.
    ///
    /// # Errors
    /// When cargo is not there or fails.
    pub(crate) fn install() -> Result<()> {
        eprintln!("Installing oha with cargo; this takes some minutes.");
        let version = format!("{}.{}", OLDEST.0, OLDEST.1);
        let done = std::process::Command::new("cargo")
            .args(["install", "oha", "--locked", "--version", &version])
            .status();
        match done {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::unmeasured(format!("cargo install oha: {status}."))),
            Err(error) => Err(Failure::unmeasured(format!(
                "cargo cannot be started ({error}). Install Rust first: https://rustup.rs"
            ))),
        }
    }

    /// Puts the scenario's load on a target for `duration`. Its files go to `folder`.
    ///
    /// # Errors
    /// When oha fails, or says what is not in its contract.
    pub(crate) async fn run(
        &self,
        scenario: &Scenario,
        origin: &Origin,
        duration: Duration,
        folder: &Path,
    ) -> Result<Round> {
        let arguments = arguments(scenario, origin, duration, folder)?;
        let running = Command::new(&self.program)
            .args(&arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(duration + scenario.patience * 2, running).await;
        let output = match output {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(Failure::unmeasured(format!("oha: {error}."))),
            Err(_) => return Err(Failure::unmeasured("oha does not come to an end.")),
        };
        if !output.status.success() {
            return Err(Failure::unmeasured(format!(
                "oha failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        parse(&output.stdout)
    }
}

fn arguments(
    scenario: &Scenario,
    origin: &Origin,
    duration: Duration,
    folder: &Path,
) -> Result<Vec<String>> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["--no-tui", "--no-color", "--output-format", "json"]);
    // What is accepted is the scenario's to say, and oha would say it too.
    add(&["--disable-compression", "--insecure"]);
    // Requests under way at the end count, or slow ones would be left out of the percentiles.
    add(&["-z", &format!("{}ms", duration.as_millis()), "-w"]);
    add(&["-t", &format!("{}ms", scenario.patience.as_millis())]);
    add(&["-c", &scenario.connections.to_string()]);
    match scenario.http {
        Http::One => add(&["--http-version", "1.1"]),
        Http::Two => add(&["--http-version", "2", "-p", &scenario.parallel.to_string()]),
    }
    if let Some(rate) = scenario.rate {
        add(&["-q", &rate.to_string(), "--latency-correction"]);
    }
    if let Some(path) = &origin.unix {
        add(&["--unix-socket", &path.to_string_lossy()]);
    }
    // With HTTP/2 the URL is the only authority, and must be where to connect.
    if origin.authority.is_some() && scenario.http == Http::One {
        add(&["--host", &origin.authority()]);
    }
    let first = scenario
        .requests
        .first()
        .expect("a scenario asks for something");
    add(&["-m", first.method.as_str()]);
    for (name, value) in scenario.headers.iter().chain(&first.headers) {
        add(&["-H", &format!("{name}: {value}")]);
    }
    let keep = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content)
            .map(|()| path.to_string_lossy().into_owned())
            .map_err(|error| Failure::unmeasured(format!("{}: {error}.", path.display())))
    };
    if let Some(body) = &first.body {
        add(&["-D", &keep("body", body)?]);
    }
    if let [only] = scenario.requests.as_slice() {
        add(&[&format!("{}{}", origin.base(), only.path)]);
    } else {
        // oha takes each line with the same chance, so a weight is a number of lines.
        let mut lines = String::new();
        for kind in &scenario.requests {
            for _ in 0..kind.weight {
                writeln!(lines, "{}{}", origin.base(), kind.path).expect("a string takes all");
            }
        }
        add(&["--urls-from-file", &keep("urls", lines.as_bytes())?]);
    }
    Ok(arguments)
}

/// The parts of oha's JSON that are used (its `schema.json`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contract {
    summary: Summary,
    latency_percentiles: BTreeMap<String, Option<f64>>,
    status_code_distribution: BTreeMap<String, u64>,
    error_distribution: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    total: f64,
    slowest: Option<f64>,
    fastest: Option<f64>,
    average: Option<f64>,
    total_data: u64,
}

fn parse(json: &[u8]) -> Result<Round> {
    let contract: Contract = serde_json::from_slice(json).map_err(|error| {
        Failure::unmeasured(format!(
            "oha's answer is not what its schema says ({error}). {INSTALL}"
        ))
    })?;
    let statuses: BTreeMap<u16, u64> = contract
        .status_code_distribution
        .iter()
        .filter_map(|(status, count)| Some((status.parse().ok()?, *count)))
        .collect();
    let mut errors = contract.error_distribution;
    errors.remove("aborted due to deadline");
    let quantiles = SHARES
        .into_iter()
        .filter_map(|share| {
            let seconds = contract
                .latency_percentiles
                .get(&name(share))
                .copied()
                .flatten()?;
            Some((share, seconds))
        })
        .collect();
    Ok(Round {
        engine: "oha".to_owned(),
        seconds: contract.summary.total,
        requests: statuses.values().sum(),
        latency: Latency {
            fastest: contract.summary.fastest.unwrap_or(0.0),
            mean: contract.summary.average.unwrap_or(0.0),
            slowest: contract.summary.slowest.unwrap_or(0.0),
            quantiles,
        },
        body_bytes: contract.summary.total_data,
        statuses,
        errors,
        ..Round::default()
    })
}

/// `p99.9`, as oha calls it.
fn name(share: f64) -> String {
    format!("p{}", (share * 1e6).round() / 1e4)
}

/// Its `-w` and its JSON's `latencyPercentiles` to p99.99 are as we need them from here on.
const OLDEST: (u32, u32) = (1, 16);
const INSTALL: &str = "Install it: pillion-loadtest --install-oha, or cargo install oha --locked.";

#[cfg(test)]
mod tests;
