//! The command line: one file for each command.

mod ask;
mod banner;
mod check;
mod child;
mod completions;
mod explain;
mod family;
mod guard;
mod health;
mod load;
mod loadtest;
mod print_config;
mod purge;
mod run;
mod savings;
mod schema;
mod signals;
mod waiting;

use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

/// Stands in front of your app and makes it faster: caching, validation, compression, measurement.
#[derive(Debug, Parser)]
#[command(name = "pillion", version)]
struct Pillion {
    /// How much Pillion says about itself, as in RUST_LOG: info, or warn,proxy=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run in front of an app: `pillion run -- npm start`, or `pillion run --upstream http://localhost:3000`
    Run(run::Args),
    /// Look for problems in a configuration, and show all of them: exit code 2 if there are any
    Check(check::Args),
    /// Print the effective configuration, with where each value came from
    PrintConfig(print_config::Args),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print completions for a shell
    Completions(completions::Args),
    /// Say what would become of a request or became of one, why, and what would change it
    Explain(explain::Args),
    /// Say what a cache would save where nothing is stored, at which risk, and the TOML for it
    Savings(savings::Args),
    /// Forget what is stored for a URL
    Purge(purge::Args),
    /// Ask whether a running Pillion is ready: exit code 0 if so, else 1
    Health(health::Args),
    /// Measure what Pillion saves on your app: `pillion loadtest --help`
    #[command(disable_help_flag = true)]
    Loadtest(loadtest::Args),
    /// Watch over the app of `run`
    #[command(hide = true)]
    Guard(guard::Args),
    /// Become the app of `run`
    #[command(hide = true)]
    Launch(guard::Args),
}

/// Does what the command line says. Usage errors end the process with code 2.
pub(crate) fn main() -> ExitCode {
    let pillion = Pillion::parse();
    let done = match &pillion.command {
        Task::Run(args) => log(pillion.log.as_deref()).and_then(|()| run::run(args)),
        Task::Check(args) => check::check(args).map(|()| ExitCode::SUCCESS),
        Task::PrintConfig(args) => print_config::print_config(args).map(|()| ExitCode::SUCCESS),
        Task::Schema => schema::schema().map(|()| ExitCode::SUCCESS),
        Task::Completions(args) => {
            completions::completions(args, Pillion::command()).map(|()| ExitCode::SUCCESS)
        }
        Task::Explain(args) => explain::explain(args).map(|()| ExitCode::SUCCESS),
        Task::Savings(args) => savings::savings(args).map(|()| ExitCode::SUCCESS),
        Task::Purge(args) => purge::purge(args).map(|()| ExitCode::SUCCESS),
        Task::Health(args) => health::health(args).map(|()| ExitCode::SUCCESS),
        Task::Loadtest(args) => loadtest::loadtest(args),
        Task::Guard(args) => return guard::guard(args),
        Task::Launch(args) => return guard::launch(args),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        ExitCode::from(failure.code)
    })
}

/// Why a command failed: for people, with the next step.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A failure that ends the process with code 1: what is wrong, and what to do about it.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: format!("error: {message}"),
            code: 1,
        }
    }

    /// The configuration is not one.
    pub(crate) fn problems(problems: &config::Problems) -> Self {
        Self {
            message: problems.to_string(),
            code: USAGE,
        }
    }

    /// A start that failed, in its own words.
    pub(crate) fn start(error: proxy::StartError) -> Self {
        Self::new(error.to_string())
    }

    /// The same with another code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Begins the program's log: as the flag says, else as RUST_LOG says, else `info`.
fn log(flag: Option<&str>) -> Result<(), Failure> {
    let environment = std::env::var("RUST_LOG").ok();
    let filter = flag.or(environment.as_deref()).unwrap_or("info");
    proxy::logging::begin(filter).map_err(|error| {
        Failure::new(format!(
            "\"{filter}\" is no filter for the log ({error}). Write one like info, or warn,proxy=debug."
        ))
        .with_code(USAGE)
    })
}

/// Prints what a command was asked for. A reader that has enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("Standard output: {error}.")))
        }
        _ => Ok(()),
    }
}

/// This program again, for a hidden command that ends when this process does.
///
/// With `terminal` it stays in the terminal's foreground group: there, a group of its own would be
/// stopped as soon as it reads what the user types.
fn own_command(name: &str, terminal: bool) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(name)
        .args(["--parent", &std::process::id().to_string()]);
    if terminal {
        command.arg("--terminal");
    } else {
        command.process_group(0);
    }
    Ok(command)
}

/// The code of a wrong command line, or a wrong configuration.
const USAGE: u8 = 2;
