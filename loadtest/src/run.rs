//! The measurement: app, proxies, rounds, comparisons, report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::compare::{self, Verdict};
use crate::failure::{Code, Failure, Result};
use crate::machine::Machine;
use crate::origin::Origin;
use crate::progress::Progress;
use crate::report::{Comparison, Load, Measured, Report, VERSION};
use crate::samples;
use crate::scenario::{Http, Scenario};
use crate::session::{Engine, Session};
use crate::targets::app::{self, App};
use crate::targets::{self, Certificate, Peer, Setting};
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
    /// How often each target is measured; below five, little can be told from noise
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

    /// The least change that counts
    #[arg(long, value_name = "SHARE", value_parser = units::percent, default_value = "5%", help_heading = "The verdict")]
    pub(crate) threshold: f64,
    /// End with code 1 if the verdict is worse
    #[arg(long, help_heading = "The verdict")]
    pub(crate) fail_on_worse: bool,
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

/// Measures and reports.
///
/// # Errors
/// When something cannot be measured.
pub(crate) async fn run(args: &Args) -> Result<Option<Code>> {
    let folder = Folder::make()?;
    let mut session = prepare(args, &folder.0).await?;
    let machine = Machine::this();
    let mut found = Vec::new();
    if args.other_app.is_none() {
        found = sampled(&session).await;
    }
    let rounds = session.measure_all().await?;
    if args.other_app.is_none() {
        // Once more: now that all is warm, answers come from caches.
        merge(&mut found, sampled(&session).await);
    }
    let names = session.targets.iter().map(|target| target.name.clone());
    let targets: Vec<Measured> = names
        .zip(rounds)
        .map(|(name, rounds)| Measured { name, rounds })
        .collect();
    let mut report = Report {
        version: VERSION,
        made: clock::unix_seconds(),
        command: command_line(),
        machine,
        load: Load::of(&session.scenario, session.engine.name()),
        targets,
        comparisons: Vec::new(),
        samples: found,
        warnings: Vec::new(),
    };
    for program in std::mem::take(&mut session.programs).into_iter().rev() {
        program.stop().await;
    }
    compare_all(&mut report, args);
    let code = judge(&mut report, args);
    let page = report.write(&args.out)?;
    println!("{}", report.markdown());
    eprintln!("The report: {}", page.display());
    Ok(code)
}

/// Starts all programs.
pub(crate) async fn prepare(args: &Args, folder: &Path) -> Result<Session> {
    let scenario = args.scenario()?;
    let engine = Engine::choose(&scenario)?;
    let (front, back) = cores(args.pin);
    let app = args.app()?;
    let pillion = match &args.other_app {
        None => Some(app::pillion(args.pillion.as_deref())?),
        Some(_) => None,
    };
    if args.pin {
        pin_self(back.as_deref())?;
    }
    let (direct, program) = app.start("direct", folder, back.as_deref()).await?;
    let mut programs: Vec<_> = program.into_iter().collect();
    let mut targets = vec![direct.clone()];
    if let Some(other) = &args.other_app {
        let app = App::Command {
            port: None,
            command: other.clone(),
            patience: args.app_wait,
        };
        let (target, program) = app.start("other", folder, back.as_deref()).await?;
        programs.extend(program);
        targets.push(target);
    }
    let certificate = match scenario.tls && pillion.is_some() {
        true => Some(Certificate::make(folder)?),
        false => None,
    };
    if let Some(pillion) = pillion {
        let setting = Setting {
            folder,
            app: &direct.origin,
            certificate: certificate.as_ref(),
            cores: front,
            http2: scenario.http == Http::Two,
            one_worker: !args.against.is_empty() || args.pin,
            cache: !args.no_cache,
            pillion,
            pillion_config: args.pillion_config.clone(),
        };
        let mut peers = vec![Peer::Pillion];
        peers.extend(args.against.iter().filter(|peer| **peer != Peer::Pillion));
        for peer in peers {
            let (target, program) = targets::start(peer, &setting, &direct.processes).await?;
            programs.push(program);
            targets.push(target);
        }
    }
    if scenario.http == Http::Two && !direct.origin.tls {
        // Apps speak HTTP/2 to nobody but TLS clients, if at all; then there is no "direct".
        targets.retain(|target| !target.is_the_app());
    }
    let synthetic = args.app.as_deref().is_some_and(app::is_synthetic) && args.other_app.is_none();
    let planned = (scenario.warm_up
        + scenario.duration * u32::try_from(scenario.rounds).unwrap_or(u32::MAX))
        * u32::try_from(targets.len()).unwrap_or(1);
    let progress = Progress::new(planned, args.quiet);
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    progress.say(&format!(
        "{}: {} about {} min. {}",
        scenario.name,
        names.join(", "),
        planned.as_secs().div_ceil(60),
        Load::of(&scenario, engine.name()).words()
    ));
    Ok(Session {
        scenario,
        engine,
        app: direct.origin.clone(),
        targets,
        programs,
        counter: synthetic.then(|| direct.origin.clone()),
        folder: folder.to_owned(),
        progress,
        began: clock::now(),
    })
}

/// The answers of all proxies, against the app's own.
async fn sampled(session: &Session) -> Vec<samples::Samples> {
    let mut found = Vec::new();
    for target in session.targets.iter().filter(|target| !target.is_the_app()) {
        let samples = samples::check(
            &session.scenario,
            &session.app,
            &target.origin,
            &target.name,
        )
        .await;
        found.push(samples);
    }
    found
}

fn merge(found: &mut [samples::Samples], later: Vec<samples::Samples>) {
    for (found, later) in found.iter_mut().zip(later) {
        found.same += later.same;
        found.varying += later.varying;
        found.failed.extend(later.failed);
        found.different.extend(later.different);
    }
}

/// The subject (Pillion, or the other app) against everything else.
fn compare_all(report: &mut Report, args: &Args) {
    let subject = if args.other_app.is_some() {
        "other"
    } else {
        "pillion"
    };
    let with_rate = report.load.rate.is_some();
    for reference in report
        .targets
        .iter()
        .filter(|target| target.name != subject)
    {
        let figures = compare::pairs(&reference.rounds, report.rounds(subject), args.threshold);
        report.comparisons.push(Comparison {
            reference: reference.name.clone(),
            subject: subject.to_owned(),
            threshold: args.threshold,
            overall: compare::overall(&figures, with_rate),
            figures,
        });
    }
}

/// What a reader must mind, and the exit code.
fn judge(report: &mut Report, args: &Args) -> Option<Code> {
    let mut codes = Vec::new();
    let mut warnings = Vec::new();
    for target in &report.targets {
        let answers: u64 = target.rounds.iter().map(|round| round.requests).sum();
        let errors: u64 = target
            .rounds
            .iter()
            .map(crate::figures::Round::error_answers)
            .sum();
        let failed: Vec<f64> = target
            .rounds
            .iter()
            .map(crate::figures::Round::failed_share)
            .collect();
        let failed = failed.iter().sum::<f64>() / failed.len().max(1) as f64;
        let reasons = reasons(&target.rounds);
        if failed > 0.0 {
            warnings.push(format!(
                "{:.2} % of the requests to {} failed ({reasons}). A run of errors is not fast, whatever \
                 its figures say.",
                failed * 100.0,
                target.name
            ));
        } else if answers > 0 && errors == answers {
            warnings.push(format!(
                "Every answer of {} was an error ({reasons}). Is the scenario's path right?",
                target.name
            ));
        }
        if failed > FAILED_MOST || (answers > 0 && errors == answers) || answers == 0 {
            codes.push(Code::Unmeasured);
        }
    }
    for samples in &report.samples {
        if !samples.failed.is_empty() {
            codes.push(Code::Unmeasured);
            warnings.push(format!(
                "{} failed where the app did not: {}.",
                samples.target,
                samples.failed.join("; ")
            ));
        }
        if !samples.different.is_empty() {
            codes.push(Code::WrongAnswer);
            warnings.push(format!(
                "{} gave answers that are not the app's: {}.",
                samples.target,
                samples.different.join("; ")
            ));
        }
    }
    if report.load.rounds < 5 {
        warnings.push(
            "With fewer than five rounds, little can be told from noise; see --rounds.".to_owned(),
        );
    }
    if report.machine.load > report.machine.cores as f64 / 2.0 {
        warnings.push(format!(
            "The machine was busy before the measurement began (load {:.1} on {} cores).",
            report.machine.load, report.machine.cores
        ));
    }
    let worse = report
        .comparisons
        .iter()
        .any(|comparison| comparison.overall == Verdict::Worse);
    if worse && args.fail_on_worse {
        codes.push(Code::Worse);
    }
    report.warnings.extend(warnings);
    codes.into_iter().max_by_key(|code| *code as u8)
}

fn reasons(rounds: &[crate::figures::Round]) -> String {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for round in rounds {
        for (status, count) in round.statuses.iter().filter(|(status, _)| **status >= 400) {
            *counts.entry(format!("status {status}")).or_default() += count;
        }
        for (error, count) in &round.errors {
            *counts.entry(error.clone()).or_default() += count;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told: Vec<_> = counts
        .iter()
        .take(3)
        .map(|(reason, count)| format!("{count} × {reason}"))
        .collect();
    told.join(", ")
}

/// How to make the report again.
fn command_line() -> String {
    let mut words = vec!["pillion loadtest".to_owned()];
    words.extend(std::env::args().skip(1).map(|word| {
        if word.contains(|c: char| c.is_whitespace() || "'\"$&|;()<>".contains(c)) {
            format!("'{}'", word.replace('\'', r"'\''"))
        } else {
            word
        }
    }));
    words.join(" ")
}

/// Cores for the proxies, and for app and generator, as `taskset` writes them.
fn cores(pin: bool) -> (Option<String>, Option<String>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if !pin || cores < 2 {
        return (None, None);
    }
    (Some("0".to_owned()), Some(format!("1-{}", cores - 1)))
}

/// This process and what it starts from now on.
fn pin_self(cores: Option<&str>) -> Result<()> {
    let Some(last) = cores.and_then(|cores| cores.rsplit('-').next()?.parse::<usize>().ok()) else {
        return Ok(());
    };
    let mut set = rustix::thread::CpuSet::new();
    (1..=last).for_each(|core| set.set(core));
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| Failure::unmeasured(format!("--pin: {error}.")))
}

/// A folder that goes with the measurement.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Makes one that only this user reads.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!(
            "pillion-loadtest-{}-{}",
            std::process::id(),
            clock::unix_seconds()
        ));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::unmeasured(format!("{}: {error}.", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Share of failed requests above which the figures say nothing.
const FAILED_MOST: f64 = 0.01;
