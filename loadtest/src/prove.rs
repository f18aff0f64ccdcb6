//! Whether the verdicts can be believed: an app against itself, and against one that is a fifth slower.

use std::io::{Write, stderr, stdout};

use crate::args::Args;
use crate::compare::{self, Verdict};
use crate::failure::{Code, Failure, Result};
use crate::run::{self, Folders};

/// How often, and how carefully.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Comparisons of each kind
    #[arg(long, value_name = "N", default_value_t = 20)]
    comparisons: usize,
    /// How the slower app differs
    #[arg(long, value_name = "SHARE", default_value = "20%")]
    slow: String,
}

/// Compares again and again, and counts the verdicts. One of twenty may be wrong.
///
/// # Errors
/// When nothing can be measured.
pub(crate) async fn prove(
    options: &Options,
    args: impl Fn(&[&str]) -> Args,
) -> Result<Option<Code>> {
    let folders = Folders::make()?;
    let scenario = folders.files.0.join("prove.toml");
    std::fs::write(&scenario, SCENARIO)
        .map_err(|error| Failure::unmeasured(format!("{}: {error}.", scenario.display())))?;
    let scenario = scenario.to_string_lossy().into_owned();
    let slow = format!("synthetic --slow {}", options.slow);
    let mut right = true;
    for (what, other, wanted) in [
        ("an app against itself", "synthetic", Verdict::Same),
        ("an app that is slower", slow.as_str(), Verdict::Worse),
    ] {
        let arguments = [
            "--app",
            "synthetic",
            "--other-app",
            other,
            "--scenario",
            &scenario,
            "--quiet",
        ];
        let args = args(&arguments);
        let found = count(&args, options.comparisons, wanted, &folders, what).await?;
        let enough = found * 20 >= options.comparisons * 19;
        right &= enough;
        writeln!(
            stdout(),
            "{what}: {} in {found} of {}",
            wanted.word(),
            options.comparisons
        )
        .ok();
    }
    Ok((!right).then_some(Code::Worse))
}

async fn count(
    args: &Args,
    comparisons: usize,
    wanted: Verdict,
    folders: &Folders,
    what: &str,
) -> Result<usize> {
    let mut session = run::prepare(args, folders).await?;
    let mut found = 0;
    for number in 1..=comparisons {
        let rounds = session.measure_all().await?;
        let [reference, subject] = rounds.as_slice() else {
            return Err(Failure::unmeasured("There are not two apps."));
        };
        let judged = compare::pairs(reference, subject, args.threshold);
        let verdict = compare::overall(&judged, false);
        let told: Vec<String> = judged
            .iter()
            .filter(|one| one.figure.decides(false))
            .map(|one| {
                format!(
                    "{} {:+.1} % ± {:.1} %",
                    one.figure.name(),
                    one.change * 100.0,
                    one.noise * 100.0
                )
            })
            .collect();
        writeln!(
            stderr(),
            "{what}, {number}: {} ({})",
            verdict.word(),
            told.join(", ")
        )
        .ok();
        found += usize::from(verdict == wanted);
    }
    run::stop(&mut session).await;
    Ok(found)
}

/// The app's work is a wait, so that what is judged is the judging, not this machine.
const SCENARIO: &str = "\
connections = 8
duration = \"500ms\"
warm_up = \"300ms\"

[[request]]
path = \"/?size=2048&wait=50ms\"
";
