//! The command line of a measurement.

use std::path::PathBuf;
use std::time::Duration;

use crate::drills::Fault;
use crate::failure::{Failure, Result};
use crate::origin::Origin;
use crate::scenario::Scenario;
use crate::targets::Peer;
use crate::targets::app::App;
use crate::units;

/// What to measure, and how.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The app's command; it is told its port in PORT and in place of {port}. `synthetic` is a made-up app
    #[arg(
        long,
        value_name = "COMMAND",
        conflicts_with = "url",
        help_heading = "What is measured"
    )]
    pub(crate) app: Option<String>,
    /// An app that runs already: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URL", help_heading = "What is measured")]
    pub(crate) url: Option<String>,
    /// The port that the app takes without being told
    #[arg(long, value_name = "PORT", help_heading = "What is measured")]
    pub(crate) app_port: Option<u16>,
    /// What the app may take to start
    #[arg(long, value_name = "TIME", value_parser = units::span, default_value = "60s", help_heading = "What is measured")]
    pub(crate) app_wait: Duration,
    /// Measure another version of the app instead of Pillion: both direct, the other one judged
    #[arg(long, value_name = "COMMAND", help_heading = "What is measured")]
    pub(crate) other_app: Option<String>,
    /// Other proxies to measure beside Pillion, where they are installed
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "What is measured"
    )]
    pub(crate) against: Vec<Peer>,
    /// The Pillion to measure [default: the one beside this program, or on PATH]
    #[arg(long, value_name = "FILE", help_heading = "What is measured")]
    pub(crate) pillion: Option<PathBuf>,
    /// Pillion's configuration [default: its defaults, without its request log]
    #[arg(long, value_name = "FILE", help_heading = "What is measured")]
    pub(crate) pillion_config: Option<PathBuf>,
    /// Every proxy without its cache
    #[arg(long, help_heading = "What is measured")]
    pub(crate) no_cache: bool,

    /// A scenario's file, or the name of one that comes with the program (--list-scenarios)
    #[arg(
        long,
        value_name = "FILE|NAME",
        default_value = "page",
        help_heading = "The load"
    )]
    pub(crate) scenario: String,
    /// How often each target is measured [default: 12, and up to 36 while noise hides what may be there]
    #[arg(long, value_name = "N", help_heading = "The load")]
    pub(crate) rounds: Option<usize>,
    /// How long a round takes
    #[arg(long, value_name = "TIME", value_parser = units::span, help_heading = "The load")]
    pub(crate) duration: Option<Duration>,
    /// How long each target is warmed up first
    #[arg(long, value_name = "TIME", value_parser = units::span, help_heading = "The load")]
    pub(crate) warm_up: Option<Duration>,
    /// Connections
    #[arg(long, value_name = "N", help_heading = "The load")]
    pub(crate) connections: Option<usize>,
    /// Requests per second; latency then counts from when each was due
    #[arg(long, value_name = "N", help_heading = "The load")]
    pub(crate) rate: Option<f64>,
    /// Proxies on the first core, app and generator on the others: for figures per core
    #[arg(long, help_heading = "The load")]
    pub(crate) pin: bool,

    /// How long the proxy is loaded, to see whether its memory, descriptors or threads grow
    #[arg(long, value_name = "TIME", value_parser = units::span, help_heading = "Other questions", conflicts_with_all = ["stress", "drill"])]
    pub(crate) soak: Option<Duration>,
    /// Raise the rate until the promise breaks, and name the knee
    #[arg(long, help_heading = "Other questions", conflicts_with = "drill")]
    pub(crate) stress: bool,
    /// The promise of --stress: p99 within this
    #[arg(long, value_name = "TIME", value_parser = units::span, default_value = "50ms", help_heading = "Other questions")]
    pub(crate) slo: Duration,
    /// What happens to the app in mid-run: measured before, during and after
    #[arg(
        long,
        value_name = "FAULT",
        value_delimiter = ',',
        help_heading = "Other questions"
    )]
    pub(crate) drill: Vec<Fault>,

    /// The least change that counts
    #[arg(long, value_name = "SHARE", value_parser = units::percent, default_value = "5%", help_heading = "The verdict")]
    pub(crate) threshold: f64,
    /// End with code 1 if the verdict is worse
    #[arg(long, help_heading = "The verdict")]
    pub(crate) fail_on_worse: bool,
    /// Compare with the baseline of this machine: a folder of them, or a file
    #[arg(long, value_name = "PATH", help_heading = "The verdict")]
    pub(crate) baseline: Option<PathBuf>,
    /// The least change against the baseline that counts; code 1 if it is for the worse
    #[arg(long, value_name = "SHARE", value_parser = units::percent, default_value = "20%", help_heading = "The verdict")]
    pub(crate) regression: f64,
    /// Where the report goes: report.html, report.md, report.json
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "loadtest-report",
        help_heading = "The verdict"
    )]
    pub(crate) out: PathBuf,
    /// Say only what was found
    #[arg(long, short, help_heading = "The verdict")]
    pub(crate) quiet: bool,
}

impl Args {
    /// The scenario, with what the command line says instead.
    ///
    /// # Errors
    /// When it is wrong.
    pub(crate) fn scenario(&self) -> Result<Scenario> {
        let mut scenario = Scenario::load(&self.scenario)?;
        if self.rate.is_some_and(|rate| rate <= 0.0)
            || self.rounds == Some(0)
            || self.connections == Some(0)
        {
            return Err(Failure::usage(
                "--rate, --rounds and --connections are above 0.",
            ));
        }
        scenario.rounds = self.rounds.unwrap_or(scenario.rounds);
        scenario.duration = self.duration.unwrap_or(scenario.duration);
        scenario.warm_up = self.warm_up.unwrap_or(scenario.warm_up);
        scenario.connections = self.connections.unwrap_or(scenario.connections);
        scenario.rate = self.rate.or(scenario.rate);
        Ok(scenario)
    }

    /// The app.
    ///
    /// # Errors
    /// When none is named.
    pub(crate) fn app(&self) -> Result<App> {
        match (&self.app, &self.url) {
            (Some(command), _) => Ok(self.command(command)),
            (None, Some(url)) => Origin::parse(url).map(App::Running),
            (None, None) => Err(Failure::usage(
                "Which app? Start one: --app \"npm start\"; or name one that runs: --url http://localhost:3000. \
                 --app synthetic is a made-up one, to see what this does.",
            )),
        }
    }

    fn command(&self, command: &str) -> App {
        App::Command {
            command: command.to_owned(),
            port: self.app_port,
            patience: self.app_wait,
        }
    }
}
