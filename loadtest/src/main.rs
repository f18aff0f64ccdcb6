//! `pillion-loadtest`: what Pillion saves on your own app, measured from outside.

mod args;
mod ask;
mod baseline;
mod clock;
mod compare;
mod drills;
mod driver;
mod failure;
mod figures;
mod folder;
mod histogram;
mod judge;
mod machine;
mod oha;
mod origin;
mod processes;
mod progress;
mod prove;
mod report;
mod run;
mod samples;
mod scenario;
mod session;
mod soak;
mod stats;
mod stress;
mod targets;
mod units;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::baseline::Baseline;
use crate::failure::{Code, Failure, Result};
use crate::report::Report;
use crate::scenario::Scenario;

/// Measures what Pillion saves on your own app: direct and behind Pillion, in interleaved rounds.
#[derive(Debug, Parser)]
#[command(
    name = "pillion loadtest",
    bin_name = "pillion loadtest",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    after_help = EXAMPLES,
    max_term_width = 100
)]
struct Loadtest {
    /// Install oha, the load generator, with cargo
    #[arg(long, exclusive = true)]
    install_oha: bool,
    /// Tell the scenarios that come with the program
    #[arg(long, exclusive = true)]
    list_scenarios: bool,
    #[command(flatten)]
    run: args::Args,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write a report again from its JSON
    Report {
        /// A report.json
        json: PathBuf,
        /// Where it goes
        #[arg(long, value_name = "FOLDER", default_value = "loadtest-report")]
        out: PathBuf,
    },
    /// Make a report the baseline that later runs on this machine are compared with
    AcceptBaseline {
        /// A report.json
        #[arg(default_value = "loadtest-report/report.json")]
        json: PathBuf,
        /// Where baselines are kept
        #[arg(long, value_name = "FOLDER", default_value = "baselines")]
        baselines: PathBuf,
    },
    /// Tell the runs that were compared with baselines
    History {
        /// Where baselines are kept
        #[arg(default_value = "baselines")]
        baselines: PathBuf,
    },
    /// Show that the verdicts can be believed: an app against itself, and against a slower one
    Prove(prove::Options),
    /// Be a synthetic app: what it answers, and how slowly, is said by the URL
    Upstream(upstream::Args),
}

fn main() -> ExitCode {
    let loadtest = Loadtest::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(async {
                tokio::select! {
                    // The handlers stand before anything is started: a signal that comes at
                    // once would end this process and leave the app behind.
                    biased;
                    // What was started ends as it is dropped.
                    () = told_to_end() => Err(Failure::unmeasured("Interrupted.")),
                    done = act(loadtest) => done,
                }
            });
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::unmeasured(format!(
            "No runtime can be made ({error})."
        ))),
    };
    match done {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(code)) => code.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.code.into()
        }
    }
}

/// Waits for Ctrl-C, or for SIGTERM, which is how CI cancels.
async fn told_to_end() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else {
        // Without handlers the signals end the process as they always did.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn act(loadtest: Loadtest) -> Result<Option<Code>> {
    if loadtest.install_oha {
        return oha::Oha::install().map(|()| None);
    }
    if loadtest.list_scenarios {
        for (name, about) in Scenario::built_in() {
            println!("{name:12} {about}");
        }
        return Ok(None);
    }
    match loadtest.task {
        Some(Task::Report { json, out }) => {
            let page = Report::read(&json)?.write(&out)?;
            println!("{}", page.display());
            Ok(None)
        }
        Some(Task::AcceptBaseline { json, baselines }) => {
            let path = Baseline::accept(&Report::read(&json)?, &baselines)?;
            println!("{}", path.display());
            Ok(None)
        }
        Some(Task::History { baselines }) => {
            print!("{}", baseline::history(&baselines)?);
            Ok(None)
        }
        Some(Task::Prove(options)) => {
            let arguments =
                |words: &[&str]| Loadtest::parse_from(["loadtest"].iter().chain(words)).run;
            prove::prove(&options, arguments).await
        }
        Some(Task::Upstream(args)) => upstream::serve(args).await.map(|()| None),
        None if std::env::args().len() == 1 => {
            println!("{}", Loadtest::command().render_help());
            Ok(Some(Code::Usage))
        }
        None => measure(&loadtest.run).await,
    }
}

async fn measure(args: &args::Args) -> Result<Option<Code>> {
    if let Some(duration) = args.soak {
        soak::run(args, duration).await
    } else if args.stress {
        stress::run(args, args.slo).await
    } else if !args.drill.is_empty() {
        drills::run(args, &args.drill).await
    } else {
        run::run(args).await
    }
}

const EXAMPLES: &str = "\
Examples:
  pillion loadtest --app \"npm start\"                        the start page, direct and behind Pillion
  pillion loadtest --url http://localhost:3000 --scenario shop.toml
  pillion loadtest --app synthetic --scenario catalogue     a made-up app, to see what this does
  pillion loadtest --app synthetic --against nginx,haproxy --pin
  pillion loadtest --app \"npm start\" --soak 10m
  pillion loadtest --app \"npm start\" --stress --slo 100ms
  pillion loadtest --app \"npm start\" --drill kill,stop,slow
  pillion loadtest accept-baseline                          what was measured last is the baseline
  pillion loadtest --app \"npm start\" --baseline baselines   and later runs are compared with it

Exit codes: 0 measured; 1 worse (--fail-on-worse, baselines); 2 command line or scenario is wrong;
3 nothing could be measured, or a target answered errors; 4 an answer was not the app's own.";
