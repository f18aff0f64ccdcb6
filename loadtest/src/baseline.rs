//! Figures that later ones are compared with: one file for each scenario and kind of machine.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::compare::{self, Summary};
use crate::failure::{Failure, Result};
use crate::figures::{Figure, Round};
use crate::machine::Machine;
use crate::report::{Comparison, Load, Measured, Report, VERSION};

/// What was accepted as the measure of later runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Baseline {
    version: u32,
    made: u64,
    machine: Machine,
    load: Load,
    targets: Vec<Measured>,
}

/// A run, in the history of its baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Past {
    made: u64,
    target: String,
    /// Medians.
    figures: Vec<(Figure, f64)>,
}

impl Baseline {
    /// Of a report that says what can be believed.
    ///
    /// # Errors
    /// When the report is of failures.
    pub(crate) fn accept(report: &Report, folder: &Path) -> Result<PathBuf> {
        let failed = |round: &Round| round.failed_share() > 0.01 || round.requests == 0;
        if report
            .targets
            .iter()
            .flat_map(|target| &target.rounds)
            .any(failed)
        {
            return Err(Failure::unmeasured(
                "This report is of failures; they would make a baseline that everything beats.",
            ));
        }
        let baseline = Self {
            version: VERSION,
            made: report.made,
            machine: report.machine.clone(),
            load: report.load.clone(),
            targets: report.targets.iter().map(without_timeline).collect(),
        };
        let path = folder.join(file(&report.load.name, &report.machine));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, serde_json::to_string_pretty(&baseline)?));
        written.map_err(|error| Failure::unmeasured(format!("{}: {error}.", path.display())))?;
        Ok(path)
    }

    /// The one for this scenario and machine: `place` is its file, or the folder of many.
    ///
    /// # Errors
    /// When there is none, or it is another machine's or another load's: what to do.
    pub(crate) fn find(place: &Path, load: &Load, machine: &Machine) -> Result<Self> {
        let path = if place.is_dir() {
            place.join(file(&load.name, machine))
        } else {
            place.to_owned()
        };
        let accept =
            "Make one here: run without --baseline, then `pillion loadtest accept-baseline`.";
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if place.is_dir() => {
                let others = others(place, &load.name);
                let others = if others.is_empty() {
                    "There is none of this scenario.".to_owned()
                } else {
                    format!(
                        "There are those of {}, but figures of another machine say nothing of this one.",
                        others.join(", ")
                    )
                };
                return Err(Failure::unmeasured(format!(
                    "{} has no baseline of \"{}\" for this machine ({}). {others} {accept}",
                    place.display(),
                    load.name,
                    machine.key
                )));
            }
            Err(error) => {
                return Err(Failure::unmeasured(format!(
                    "{}: {error}. {accept}",
                    path.display()
                )));
            }
        };
        let baseline: Self = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} is no baseline ({error}).", path.display()))
        })?;
        if baseline.machine.key != machine.key {
            return Err(Failure::unmeasured(format!(
                "{} is of another machine ({}), and this is {}: its figures say nothing of this one. {accept}",
                path.display(),
                baseline.machine.key,
                machine.key
            )));
        }
        let same = |one: &Load| {
            (
                one.connections,
                one.parallel,
                one.rate,
                one.http,
                one.tls,
                one.about.clone(),
            )
        };
        if same(&baseline.load) != same(load) {
            return Err(Failure::unmeasured(format!(
                "{} was made with another load ({}). {accept}",
                path.display(),
                baseline.load.words()
            )));
        }
        Ok(baseline)
    }

    /// Each target of the report against itself, then.
    pub(crate) fn compare(&self, report: &Report, threshold: f64) -> Vec<Comparison> {
        let then = |name: &str| self.targets.iter().find(|target| target.name == name);
        report
            .targets
            .iter()
            .filter_map(|now| {
                let figures = compare::apart(&then(&now.name)?.rounds, &now.rounds, threshold);
                Some(Comparison {
                    reference: format!("{} at {}", now.name, clock::date(self.made)),
                    subject: now.name.clone(),
                    threshold,
                    overall: compare::overall(&figures, report.load.rate.is_some()),
                    figures,
                })
            })
            .collect()
    }
}

/// Adds the report to the history that is kept beside the baselines.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn remember(place: &Path, report: &Report) -> Result<()> {
    let folder = if place.is_dir() {
        place
    } else {
        place.parent().unwrap_or(Path::new("."))
    };
    let path = folder.join(history_file(&report.load.name, &report.machine));
    let mut lines = String::new();
    for target in &report.targets {
        let median = |figure| Some((figure, Summary::of(figure, &target.rounds)?.median));
        let past = Past {
            made: report.made,
            target: target.name.clone(),
            figures: Figure::ALL.into_iter().filter_map(median).collect(),
        };
        lines.push_str(&serde_json::to_string(&past).unwrap_or_default());
        lines.push('\n');
    }
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|error| Failure::unmeasured(format!("{}: {error}.", path.display())))
}

/// The runs that were compared with a baseline, as a table of Markdown.
///
/// # Errors
/// When there are none.
pub(crate) fn history(folder: &Path) -> Result<String> {
    let mut out = String::new();
    let entries = fs::read_dir(folder)
        .map_err(|error| Failure::usage(format!("{}: {error}.", folder.display())))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for path in files
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(HISTORY))
    {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        out.push_str(&format!("## {}\n\n", name.trim_end_matches(HISTORY)));
        out.push_str("| When | Target | requests/s | p50 | p99 | CPU per request |\n|---|---|--:|--:|--:|--:|\n");
        let text = fs::read_to_string(path).unwrap_or_default();
        for past in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Past>(line).ok())
        {
            let show = |wanted: Figure| {
                let value = past.figures.iter().find(|(figure, _)| *figure == wanted);
                value.map_or("–".to_owned(), |(figure, value)| figure.show(*value))
            };
            out.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                clock::date(past.made),
                past.target,
                show(Figure::RequestsPerSecond),
                show(Figure::P50),
                show(Figure::P99),
                show(Figure::CpuPerRequest)
            ));
        }
        out.push('\n');
    }
    if out.is_empty() {
        let words = format!(
            "{} holds no history; runs with --baseline make it.",
            folder.display()
        );
        return Err(Failure::usage(words));
    }
    Ok(out)
}

fn without_timeline(target: &Measured) -> Measured {
    let mut target = target.clone();
    for round in &mut target.rounds {
        round.timeline.clear();
    }
    target
}

fn file(scenario: &str, machine: &Machine) -> String {
    format!("{}@{}.json", safe(scenario), machine.key)
}

fn history_file(scenario: &str, machine: &Machine) -> String {
    format!("{}@{}{HISTORY}", safe(scenario), machine.key)
}

fn safe(name: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '-'
        }
    };
    name.chars().map(fit).collect()
}

/// The machines that have a baseline of this scenario.
fn others(folder: &Path, scenario: &str) -> Vec<String> {
    let prefix = format!("{}@", safe(scenario));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some(
                name.strip_prefix(&prefix)?
                    .strip_suffix(".json")?
                    .to_owned(),
            )
        })
        .collect()
}

const HISTORY: &str = ".history.jsonl";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Verdict;
    use crate::report::tests::sample;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("baseline-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        path
    }

    #[test]
    fn a_run_is_compared_with_its_machine_s_baseline() {
        let folder = folder("same");
        let report = sample(1.0);
        Baseline::accept(&report, &folder).expect("written");
        let found = Baseline::find(&folder, &report.load, &report.machine).expect("found");
        let verdict = |factor| {
            found
                .compare(&sample(factor), 0.2)
                .first()
                .map(|one| one.overall)
        };
        assert_eq!(verdict(1.0), Some(Verdict::Same));
        assert_eq!(verdict(1.1), Some(Verdict::Same), "under the threshold");
        assert_eq!(verdict(1.3), Some(Verdict::Worse));
        assert_eq!(verdict(0.7), Some(Verdict::Better));
        remember(&folder, &report).expect("written");
        remember(&folder, &sample(1.3)).expect("written");
        let history = history(&folder).expect("two runs");
        assert_eq!(history.matches("| pillion |").count(), 2, "{history}");
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn another_machine_or_load_is_refused_in_words() {
        let folder = folder("other");
        let report = sample(1.0);
        let path = Baseline::accept(&report, &folder).expect("written");
        let refused = |place: &Path, load: &Load, machine: &Machine| {
            let failure = Baseline::find(place, load, machine).expect_err("it is another");
            assert_eq!(failure.code, crate::failure::Code::Unmeasured);
            failure.to_string()
        };
        let mut machine = report.machine.clone();
        machine.key = "abacus".to_owned();
        let message = refused(&folder, &report.load, &machine);
        assert!(
            message.contains("There are those of") && message.contains("abacus"),
            "{message}"
        );
        let message = refused(&path, &report.load, &machine);
        assert!(message.contains("is of another machine"), "{message}");
        let mut load = report.load.clone();
        load.connections += 1;
        let message = refused(&folder, &load, &report.machine);
        assert!(message.contains("another load"), "{message}");
        load.name = "other".to_owned();
        assert!(refused(&folder, &load, &report.machine).contains("none of this scenario"));
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn failures_are_no_baseline() {
        let mut report = sample(1.0);
        for round in report
            .targets
            .iter_mut()
            .flat_map(|target| &mut target.rounds)
        {
            round.statuses.insert(500, round.requests);
        }
        let folder = folder("failures");
        assert!(Baseline::accept(&report, &folder).is_err());
        fs::remove_dir_all(folder).expect("ours");
    }
}
