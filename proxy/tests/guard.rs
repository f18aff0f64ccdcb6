//! The guard with real processes: nothing of the app outlives what it should not outlive.
//!
//! Every process of an app holds the writing end of one pipe, its standard output. So the end of
//! that pipe is the moment at which the last of them has gone, and no test has to look or to wait.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_apps_code_is_passed_on() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let mut guarded = Guarded::start(script);
        guarded.until_all_ended();
        assert_eq!(guarded.code(), Some(code), "{script}");
    }
}

#[test]
fn a_program_that_is_not_there_has_the_shells_code() {
    let guard = guard_of(std::process::id())
        .arg("no-such-program-anywhere")
        .output()
        .expect("the guard");
    assert_eq!(guard.status.code(), Some(127));
    let said = String::from_utf8_lossy(&guard.stderr);
    assert!(said.contains("no-such-program-anywhere"), "{said}");
}

#[test]
fn who_is_not_our_parent_cannot_be_outlived() {
    let guard = guard_of(1).args(["echo", "started"]).output();
    let guard = guard.expect("the guard");
    assert_eq!(guard.stdout, b"");
    assert_eq!(guard.status.code(), Some(1));
}

/// Also what is left of a start script, and what has left the process group.
#[test]
fn nothing_is_orphaned_when_the_parent_is_killed() {
    let script = format!(
        "{BIN} guard --parent $$ -- sh -c 'sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &) ; echo up; wait'; true"
    );
    let mut parent = Guarded::of(Command::new("sh").args(["-c", &script]));
    parent.until_line("up");
    parent.tell(Signal::KILL);
    parent.until_all_ended();
}

#[test]
fn who_ignores_the_polite_signal_gets_the_other_one() {
    let mut guarded = Guarded::start("trap '' TERM; echo up; while :; do sleep 1000; done");
    guarded.until_line("up");
    guarded.tell(Signal::TERM);
    // The second one says that nobody wants to wait.
    guarded.tell(Signal::TERM);
    guarded.until_all_ended();
    assert_eq!(guarded.code(), Some(137));
}

#[test]
fn an_app_may_take_its_time_to_end() {
    let mut guarded = Guarded::start("trap 'echo bye; exit 3' TERM; echo up; sleep 1000 & wait");
    guarded.until_line("up");
    guarded.tell(Signal::TERM);
    guarded.until_line("bye");
    guarded.until_all_ended();
    assert_eq!(guarded.code(), Some(3));
}

#[test]
fn what_an_app_leaves_behind_ends_with_it() {
    let mut guarded = Guarded::start("setsid sleep 1000 & exit 5");
    guarded.until_all_ended();
    assert_eq!(guarded.code(), Some(5));
}

#[test]
fn other_signals_are_the_apps() {
    let mut guarded = Guarded::start(
        "trap 'echo usr2' USR2; trap 'echo hup' HUP; echo up; while :; do sleep 1000 & wait; done",
    );
    guarded.until_line("up");
    for (signal, said) in [(Signal::USR2, "usr2"), (Signal::HUP, "hup")] {
        guarded.tell(signal);
        guarded.until_line(said);
    }
    guarded.tell(Signal::TERM);
    guarded.until_all_ended();
}

#[test]
fn the_app_dies_with_its_guard() {
    let mut guarded = Guarded::start("echo up; exec sleep 1000");
    guarded.until_line("up");
    guarded.tell(Signal::KILL);
    guarded.until_all_ended();
}

#[test]
fn a_stopped_app_can_be_ended() {
    let mut guarded = Guarded::start("echo up; kill -STOP $$; exec sleep 1000");
    guarded.until_line("up");
    guarded.tell(Signal::TERM);
    guarded.until_all_ended();
    assert_eq!(guarded.code(), Some(143));
}

/// A guard, or the parent of one.
struct Guarded {
    process: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Guarded {
    fn start(script: &str) -> Self {
        Self::of(guard_of(std::process::id()).args(["sh", "-c", script]))
    }

    fn of(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary under test");
        let output = process.stdout.take().map(BufReader::new);
        Self { process, output }
    }

    fn tell(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a living process");
    }

    fn until_line(&mut self, wanted: &str) {
        let wanted = wanted.to_owned();
        self.within_deadline(move |output| {
            let found = output
                .lines()
                .map_while(Result::ok)
                .any(|line| line == wanted);
            assert!(found, "the output ended without {wanted}");
        });
    }

    fn until_all_ended(&mut self) {
        self.within_deadline(|output| {
            output.read_to_end(&mut Vec::new()).expect("a pipe");
        });
    }

    fn code(&mut self) -> Option<i32> {
        for _ in 0..DEADLINE.as_millis() {
            let ended = self.process.try_wait().expect("a child of ours");
            if let Some(status) = ended {
                return status.code();
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the guard does not end");
    }

    fn within_deadline(&mut self, read: impl FnOnce(&mut BufReader<ChildStdout>) + Send + 'static) {
        let mut output = self.output.take().expect("given back by every reader");
        let (done, read_to) = mpsc::channel();
        thread::spawn(move || {
            read(&mut output);
            let _nobody_waits = done.send(output);
        });
        self.output = read_to.recv_timeout(DEADLINE).ok();
        assert!(
            self.output.is_some(),
            "a process still runs, or said nothing"
        );
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Of a test that failed: the guard, and with it its app, would go on.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn guard_of(parent: u32) -> Command {
    let mut guard = Command::new(BIN);
    guard.args(["guard", "--parent", &parent.to_string(), "--"]);
    guard
}

const BIN: &str = env!("CARGO_BIN_EXE_pillion");
/// More than the guard's own two deadlines together.
const DEADLINE: Duration = Duration::from_secs(20);
