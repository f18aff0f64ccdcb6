//! The measurement: app, proxies, rounds, comparisons, report.

use std::io::{Write, stderr, stdout};

use crate::args::Args;
use crate::baseline::{self, Baseline};
use crate::clock;
use crate::compare::Verdict;
use crate::failure::{Code, Failure, Result};
use crate::folder::Folder;
use crate::judge;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::report::{Load, Measured, Report, VERSION};
use crate::samples;
use crate::scenario::Http;
use crate::session::{Engine, Session};
use crate::targets::app::{self, App};
use crate::targets::{self, Certificate, Peer, Setting};

/// Measures and reports.
///
/// # Errors
/// When something cannot be measured.
pub(crate) async fn run(args: &Args) -> Result<Option<Code>> {
    let folders = Folders::make()?;
    let mut session = prepare(args, &folders).await?;
    let machine = Machine::this();
    let mut load = Load::of(&session.scenario, session.engine.name());
    // Before anything is measured in vain.
    let baseline = args
        .baseline
        .as_deref()
        .map(|place| Baseline::find(place, &load, &machine));
    let baseline = baseline.transpose()?;
    let mut found = Vec::new();
    if args.other_app.is_none() {
        found = sampled(&session).await;
    }
    let rounds = session.measure_all().await?;
    load.rounds = rounds.first().map_or(0, Vec::len);
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
        load,
        targets,
        comparisons: Vec::new(),
        samples: found,
        warnings: Vec::new(),
    };
    stop(&mut session).await;
    judge::compare_all(&mut report, args);
    let mut code = judge::judge(&mut report, args);
    if let (Some(baseline), Some(place)) = (&baseline, &args.baseline) {
        let against_then = baseline.compare(&report, args.regression);
        let worse = against_then.iter().any(|one| one.overall == Verdict::Worse);
        report.comparisons.extend(against_then);
        baseline::remember(place, &report)?;
        code = code.or(worse.then_some(Code::Worse));
    }
    let page = report.write(&args.out)?;
    // Whoever reads it may have seen enough; the report is written.
    writeln!(stdout(), "{}", report.markdown()).ok();
    writeln!(stderr(), "The report: {}", page.display()).ok();
    Ok(code)
}

/// Ends what was started, proxies first.
pub(crate) async fn stop(session: &mut Session) {
    for program in std::mem::take(&mut session.programs).into_iter().rev() {
        program.stop().await;
    }
}

/// Where a measurement's files are.
pub(crate) struct Folders {
    pub(crate) files: Folder,
    /// For caches that are files.
    pub(crate) memory: Folder,
}

impl Folders {
    /// Makes them.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn make() -> Result<Self> {
        Ok(Self {
            files: Folder::make(&std::env::temp_dir())?,
            memory: Folder::in_memory()?,
        })
    }
}

/// Starts all programs.
pub(crate) async fn prepare(args: &Args, folders: &Folders) -> Result<Session> {
    let (folder, memory) = (folders.files.0.as_path(), folders.memory.0.as_path());
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
            memory,
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
    // Whoever says how many rounds there are gets as many.
    let most_rounds = args.rounds.unwrap_or(scenario.rounds * 3);
    Ok(Session {
        most_rounds,
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
