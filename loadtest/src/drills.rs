//! Fault drills: the app is killed, stopped or slowed in mid-run, and comes back.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::args::Args;
use crate::ask::{Question, ask};
use crate::clock;
use crate::failure::{Code, Failure, Result};
use crate::figures::{Figure, Round};
use crate::report::sheet::Sheet;
use crate::run::{self, Folders};
use crate::session::Session;
use crate::targets::app::App;
use crate::units;

/// What happens to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// It is killed, and started again
    Kill,
    /// It hangs: connections are accepted by the kernel, nothing answers
    Stop,
    /// It runs a tenth of the time only
    Slow,
}

/// One phase of one target.
struct Phase {
    fault: Fault,
    target: String,
    when: &'static str,
    round: Round,
}

/// Measures before, during and after each fault.
///
/// # Errors
/// When the app was not started by us, or does not come back.
pub(crate) async fn run(args: &Args, faults: &[Fault]) -> Result<Option<Code>> {
    let app = args.app()?;
    if matches!(app, App::Running(_)) {
        return Err(Failure::usage(
            "A drill ends and starts the app itself: give it with --app.",
        ));
    }
    let folders = Folders::make()?;
    let mut session = run::prepare(args, &folders).await?;
    session.scenario.patience = PATIENCE;
    // Only our own generator gives up on single requests and goes on without an error of its own.
    session.engine = crate::session::Engine::Own;
    let (mut phases, mut recovered) = (Vec::new(), Vec::new());
    for index in 0..session.targets.len() {
        session
            .measure(index, session.scenario.warm_up, "warming up", 0)
            .await?;
    }
    for fault in faults {
        measure(&mut session, *fault, "before", &mut phases).await?;
        let broken = Broken::begin(&mut session, *fault)?;
        measure(&mut session, *fault, "during", &mut phases).await?;
        broken.end(&mut session, &app, &folders).await?;
        recovered.extend(recovery(&session, *fault).await);
        measure(&mut session, *fault, "after", &mut phases).await?;
    }
    run::stop(&mut session).await;
    let (sheet, healthy) = told(&phases, &recovered);
    sheet.write(&args.out, "drills")?;
    Ok((!healthy).then_some(Code::Worse))
}

async fn measure(
    session: &mut Session,
    fault: Fault,
    when: &'static str,
    phases: &mut Vec<Phase>,
) -> Result<()> {
    for index in 0..session.targets.len() {
        let target = session
            .targets
            .get(index)
            .map_or(String::new(), |target| target.name.clone());
        let what = format!("{} {when}, {target}", fault.name());
        let round = session
            .measure(index, session.scenario.duration, &what, 1)
            .await?;
        session.progress.round(&what, &round);
        phases.push(Phase {
            fault,
            target,
            when,
            round,
        });
    }
    Ok(())
}

/// How long each target answers nothing after the fault has ended.
async fn recovery(session: &Session, fault: Fault) -> Vec<String> {
    let mut found = Vec::new();
    let path = session
        .scenario
        .requests
        .first()
        .map_or("/", |kind| &kind.path)
        .replace("{key}", "0");
    for target in session.targets.iter().filter(|target| !target.is_the_app()) {
        let begin = clock::now();
        let healthy = loop {
            let answer = ask(
                &target.origin,
                session.scenario.http,
                &Question::get(&path),
                PATIENCE,
            )
            .await;
            if answer.is_ok_and(|answer| !answer.status.is_server_error()) {
                break true;
            }
            if begin.elapsed() > LONGEST {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let took = units::seconds(begin.elapsed().as_secs_f64());
        found.push(match healthy {
            true => format!(
                "{}: {} answers again after {took}",
                fault.name(),
                target.name
            ),
            false => format!(
                "{}: {} does NOT recover within {took}",
                fault.name(),
                target.name
            ),
        });
    }
    found
}

/// A fault under way.
struct Broken {
    fault: Fault,
    group: Option<Pid>,
    port: u16,
    slowing: Option<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

impl Broken {
    /// The app is the first of the programs.
    fn begin(session: &mut Session, fault: Fault) -> Result<Self> {
        let app = session
            .programs
            .first()
            .ok_or_else(|| Failure::unmeasured("There is no app to break."))?;
        let group = Pid::from_raw(app.pid().cast_signed());
        let mut broken = Self {
            fault,
            group,
            port: session.app.port,
            slowing: None,
        };
        match fault {
            Fault::Kill => drop(session.programs.remove(0)),
            Fault::Stop => broken.signal(Signal::STOP),
            Fault::Slow => broken.slowing = Some(slow(group)),
        }
        Ok(broken)
    }

    async fn end(mut self, session: &mut Session, app: &App, folders: &Folders) -> Result<()> {
        match self.fault {
            Fault::Kill => {
                let (target, program) = app
                    .start_at(self.port, "direct", &folders.files.0, None)
                    .await?;
                if let Some(program) = program {
                    session.programs.insert(0, program);
                }
                for known in &mut session.targets {
                    known.processes.retain(|(name, _)| name != "app");
                    known.processes.extend(target.processes.iter().cloned());
                }
            }
            Fault::Stop => self.signal(Signal::CONT),
            Fault::Slow => {
                if let Some((end, thread)) = self.slowing.take() {
                    end.store(true, Ordering::Relaxed);
                    thread.join().ok();
                }
            }
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended by itself, which is told elsewhere.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Broken {
    /// A measurement that was given up leaves nothing stopped.
    fn drop(&mut self) {
        if let Some((end, _)) = &self.slowing {
            end.store(true, Ordering::Relaxed);
        }
    }
}

/// Stops the app for 45 of every 50 ms.
fn slow(group: Option<Pid>) -> (Arc<AtomicBool>, std::thread::JoinHandle<()>) {
    let end = Arc::new(AtomicBool::new(false));
    let told = end.clone();
    let thread = std::thread::spawn(move || {
        let Some(group) = group else {
            return;
        };
        while !told.load(Ordering::Relaxed) {
            kill_process_group(group, Signal::STOP).ok();
            std::thread::sleep(Duration::from_millis(45));
            kill_process_group(group, Signal::CONT).ok();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    (end, thread)
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "app killed",
            Self::Stop => "app hangs",
            Self::Slow => "app slowed",
        }
    }
}

fn told(phases: &[Phase], recovered: &[String]) -> (Sheet, bool) {
    let mut table =
        "| Fault | target | phase | requests/s | p50 | p99 | failed |\n|---|---|---|--:|--:|--:|--:|\n".to_owned();
    for phase in phases {
        let show = |figure: Figure| {
            figure
                .of(&phase.round)
                .map_or("–".to_owned(), |value| figure.show(value))
        };
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {:.1} % |",
            phase.fault.name(),
            phase.target,
            phase.when,
            show(Figure::RequestsPerSecond),
            show(Figure::P50),
            show(Figure::P99),
            phase.round.failed_share() * 100.0
        )
        .expect("a string takes all");
    }
    for line in recovered {
        writeln!(table, "\n{line}.").expect("a string takes all");
    }
    let after = phases.iter().filter(|phase| phase.when == "after");
    let ill: Vec<_> = after
        .filter(|phase| phase.round.failed_share() > 0.01)
        .collect();
    let healthy = ill.is_empty() && !recovered.iter().any(|line| line.contains("NOT"));
    let sheet = Sheet {
        title: "Fault drills".to_owned(),
        verdict: if healthy { "same" } else { "worse" },
        words: if healthy {
            "After every fault all targets answered again as before.".to_owned()
        } else {
            "Not every target recovered.".to_owned()
        },
        table,
        charts: Vec::new(),
    };
    (sheet, healthy)
}

/// An answer that takes longer is an error here.
const PATIENCE: Duration = Duration::from_secs(2);
/// A target that has not recovered by then has not recovered.
const LONGEST: Duration = Duration::from_secs(15);
