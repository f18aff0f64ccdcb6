//! `pillion guard` and `pillion launch` (both hidden): what stands between Pillion and the app.
//!
//! Pillion may be killed at any moment, with no chance to clean up. So the app is not its child but
//! its grandchild: the guard is told by the kernel when Pillion dies, adopts whatever the app leaves
//! behind (a start script's real server, a daemon that forked twice), and goes only when all of it
//! has gone. The launcher becomes the app, and has the kernel kill it should the guard die first.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::Pin;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{self, Pid, Signal, WaitOptions};
use tokio::time::{Sleep, sleep, timeout};

use super::family;
use super::signals::Signals;

/// Arguments of both commands.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The process whose death ends this one.
    #[arg(long)]
    parent: i32,
    /// Leave the app in the terminal's foreground group, which gets the terminal's signals by itself.
    #[arg(long)]
    terminal: bool,
    /// The app and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the app until it, and all that it started, has ended.
pub(crate) fn guard(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.and_then(|runtime| runtime.block_on(watch(args)));
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pillion: the app cannot be watched over ({error}), so it was not started.");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the app.
pub(crate) fn launch(args: &Args) -> ExitCode {
    let Some((program, arguments)) = args.command.split_first() else {
        return ExitCode::from(2);
    };
    if !die_with(args.parent, Signal::KILL) {
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!(
        "pillion: {} cannot be started: {error}. Run it by itself to see that it works.",
        program.display()
    );
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    })
}

async fn watch(args: &Args) -> io::Result<u8> {
    // Before the app is there, so that no signal and no death is missed.
    let mut signals = Signals::listen(LISTENED)?;
    adopt_orphans();
    if !die_with(args.parent, Signal::TERM) {
        return Ok(FAILURE);
    }
    let mut app = App::start(args)?;
    let mut deadline = None;
    while app.reap().is_continue() {
        // What is left once the app itself has gone gets the same notice as the app had.
        if app.ended.is_some() && deadline.is_none() {
            deadline = Some(app.ask_to_end());
        }
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = passed(&mut deadline) => break,
        };
        match (signal, &deadline) {
            (Signal::CHILD, _) => {}
            (Signal::TERM, None) => deadline = Some(app.ask_to_end()),
            // Whoever asks twice does not want to wait.
            (Signal::TERM, Some(_)) => break,
            // The terminal has sent it to the app as well.
            (signal, _) if args.terminal && OF_TERMINALS.contains(&signal) => {}
            (signal, _) => app.tell(signal),
        }
    }
    app.kill(&mut signals).await;
    Ok(app.code())
}

/// The app's processes.
struct App {
    leader: Pid,
    /// Whether they are a process group of their own.
    grouped: bool,
    /// How the app itself ended; others may still run.
    ended: Option<ExitStatus>,
}

impl App {
    fn start(args: &Args) -> io::Result<Self> {
        let mut launcher = super::own_command("launch", args.terminal)?;
        let launched = launcher.arg("--").args(&args.command).spawn()?;
        let leader = i32::try_from(launched.id()).ok().and_then(Pid::from_raw);
        Ok(Self {
            leader: leader.ok_or_else(|| io::Error::other("a process without an id"))?,
            grouped: !args.terminal,
            ended: None,
        })
    }

    /// Sends the polite signal, and says when it is time for the other one.
    fn ask_to_end(&self) -> Pin<Box<Sleep>> {
        self.tell(Signal::TERM);
        // A stopped process would not hear it.
        self.tell(Signal::CONT);
        Box::pin(sleep(GRACE))
    }

    /// Collects the dead; breaks when nobody is left.
    fn reap(&mut self) -> ControlFlow<()> {
        loop {
            match process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => {
                    self.ended = Some(ExitStatus::from_raw(status.as_raw()));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return ControlFlow::Continue(()),
                Err(_) => return ControlFlow::Break(()),
            }
        }
    }

    /// Sends `signal` to every process that belongs to the app.
    fn tell(&self, signal: Signal) {
        if self.grouped {
            // At once for all, so that none can fork between two looks at the list.
            let _gone = process::kill_process_group(self.leader, signal);
        } else if self.ended.is_none() {
            let _gone = process::kill_process(self.leader, signal);
        }
        for pid in family::descendants(process::getpid()) {
            let in_group = self.grouped && process::getpgid(Some(pid)) == Ok(self.leader);
            let told = in_group || (!self.grouped && pid == self.leader);
            if !told {
                let _gone = process::kill_process(pid, signal);
            }
        }
    }

    /// Kills what has not gone by itself. A process that even this does not end waits for hardware;
    /// nobody can do more.
    async fn kill(&mut self, signals: &mut Signals) {
        let all_gone = async {
            while self.reap().is_continue() {
                self.tell(Signal::KILL);
                // Whether somebody died or not, the list of those to kill is made again.
                let _woken = timeout(KILL_PAUSE, signals.next()).await;
            }
        };
        let _given_up = timeout(KILL_TIME, all_gone).await;
    }

    /// As a shell puts it: the exit code, or 128 and the signal's number.
    fn code(&self) -> u8 {
        self.ended.map_or(FAILURE, |status| {
            let code = status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal));
            code.and_then(|code| u8::try_from(code).ok())
                .unwrap_or(FAILURE)
        })
    }
}

async fn passed(deadline: &mut Option<Pin<Box<Sleep>>>) {
    match deadline {
        Some(deadline) => deadline.await,
        None => pending().await,
    }
}

/// Has the kernel send `signal` to this process when `parent` dies; false if it is dead already.
fn die_with(parent: i32, signal: Signal) -> bool {
    #[cfg(target_os = "linux")]
    if let Err(error) = process::set_parent_process_death_signal(Some(signal)) {
        eprintln!("pillion: should Pillion be killed, its app may go on ({error}).");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = signal;
    // It may have died before the call above; then somebody else is our parent now.
    process::getppid().map(Pid::as_raw_pid) == Some(parent)
}

/// Makes this process the parent of whatever loses its own.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = process::set_child_subreaper(Some(process::getpid())) {
        eprintln!("pillion: what the app leaves behind may go on after it ({error}).");
    }
}

/// All that the guard listens to: what asks for an end, and what is the app's.
const LISTENED: [Signal; 8] = [
    Signal::CHILD,
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::HUP,
    Signal::WINCH,
    Signal::USR1,
    Signal::USR2,
];
/// What a terminal sends to its whole foreground group.
const OF_TERMINALS: [Signal; 4] = [Signal::INT, Signal::QUIT, Signal::HUP, Signal::WINCH];
/// From the polite signal to the other one; less than what container runtimes give all of us.
const GRACE: Duration = Duration::from_secs(4);
/// How long killed processes are waited for.
const KILL_TIME: Duration = Duration::from_secs(2);
/// How often the list of those to kill is made again.
const KILL_PAUSE: Duration = Duration::from_millis(100);
/// Where no better code is known.
const FAILURE: u8 = 1;
