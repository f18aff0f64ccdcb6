//! `pillion run` with real processes: its child, its signals, its codes, and how it says no.
//!
//! The app is this test binary again: [`as_app`] with a variable set does as standard input says,
//! which also shows that Pillion passes that on.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_program_that_is_not_there() {
    let (code, said) = refused(&["--", "no-such-program-anywhere"]);
    assert_eq!(code, Some(127), "{said}");
    assert!(said.contains("no-such-program-anywhere"), "{said}");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for listen in [
        ["--listen", &address, "--admin", "off"],
        ["--listen", "127.0.0.1:0", "--admin", &address],
    ] {
        let arguments = [&["--upstream", "http://127.0.0.1:9"][..], &listen].concat();
        let (code, said) = refused(&arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&address) && said.contains("in use"), "{said}");
    }
}

#[test]
fn a_wrong_configuration() {
    let (code, said) = refused(&["--upstream", "gopher://127.0.0.1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--upstream"), "{said}");
    let (code, said) = refused(&["--no-such-flag"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn an_app_that_ends_at_once() {
    let mut pillion = Pillion::in_front_of(&["sh", "-c", "exit 3"]);
    pillion.until_said("The app ended with code 3 before it accepted");
    assert_eq!(pillion.code(), Some(3));
}

#[test]
fn an_app_that_ends_later() {
    let mut pillion = Pillion::in_front_of_our_app();
    pillion.order("listen");
    pillion.until_said("The app accepts connections");
    pillion.order("exit 5");
    pillion.until_said("The app has ended with code 5");
    assert_eq!(pillion.code(), Some(5));
}

#[test]
fn ready_is_when_the_app_accepts() {
    let mut pillion = Pillion::in_front_of_our_app();
    let admin = pillion.until_said("  admin  ").address();
    assert!(ask(&admin, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(ask(&admin, "/healthz").starts_with("HTTP/1.1 200"));
    pillion.order("listen");
    pillion.until_said("The app accepts connections");
    assert!(ask(&admin, "/readyz").starts_with("HTTP/1.1 200"));
    pillion.tell(Signal::TERM);
    assert_eq!(pillion.code(), Some(0));
}

/// Many development servers listen on `::1` only, and some machines know `localhost` as 127.0.0.1 only.
#[test]
fn an_app_on_the_other_loopback_address_is_found() {
    let mut pillion = Pillion::in_front_of_our_app();
    pillion.order("listen-v6");
    pillion.until_said("The app accepts connections");
}

#[test]
fn early_requests_are_held_until_the_app_accepts() {
    let mut pillion = Pillion::in_front_of_our_app();
    let clients = pillion.until_said("listens on").address();
    pillion.until_said("  admin  ");
    // The app hears its order after both requests are under way, and no sooner can they be answered.
    let early = [1, 2].map(|_| send(&clients, "/"));
    pillion.order("serve");
    for mut request in early {
        let mut answer = String::new();
        request.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("here I am"), "{answer}");
    }
}

#[test]
fn a_stop_is_a_success_and_leaves_nothing() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut pillion = Pillion::in_front_of_our_app();
        pillion.order("listen");
        pillion.until_said("The app accepts connections");
        pillion.tell(signal);
        assert_eq!(pillion.code(), Some(0));
        pillion.until_app_has_gone();
    }
}

/// Signals are heard before the first word is said, so whoever has read it may send one.
#[test]
fn a_stop_at_the_first_word_is_one_in_order() {
    for _ in 0..10 {
        let mut pillion = Pillion::in_front_of_our_app();
        pillion.until_said("");
        pillion.tell(Signal::TERM);
        assert_eq!(pillion.code(), Some(0));
        pillion.until_app_has_gone();
    }
}

#[test]
fn nothing_is_orphaned_when_pillion_is_killed() {
    let pillion = Pillion::in_front_of(&["sh", "-c", "sleep 1000 & setsid sleep 1000 & wait"]);
    pillion.until_said("  admin  ");
    pillion.tell(Signal::KILL);
    pillion.until_app_has_gone();
}

#[test]
fn an_app_that_listens_elsewhere() {
    let mut pillion = Pillion::in_front_of_our_app();
    pillion.order("listen-elsewhere");
    let said = pillion.until_said("The app listens on port");
    assert!(
        said.0.contains("--upstream http://localhost:"),
        "{}",
        said.0
    );
}

#[test]
fn other_signals_end_nothing() {
    let mut pillion = Pillion::in_front_of_our_app();
    pillion.order("listen");
    pillion.until_said("The app accepts connections");
    pillion.tell(Signal::HUP);
    pillion.until_said("SIGHUP");
    pillion.tell(Signal::USR1);
    pillion.until_said("SIGUSR1");
    pillion.tell(Signal::TERM);
    assert_eq!(pillion.code(), Some(0));
}

#[test]
fn the_port_is_in_the_environment_and_in_the_arguments() {
    let script = "test \"$PORT\" = {port} && test -z \"$NOTIFY_SOCKET\" && exit 9";
    let mut pillion = Pillion::in_front_of(&["sh", "-c", script]);
    assert_eq!(pillion.code(), Some(9));
}

#[test]
fn explain_and_purge_without_anybody_to_ask() {
    for task in ["explain", "purge"] {
        let asked = Command::new(BIN)
            .args([task, "/page", "--admin", "127.0.0.1:9"])
            .output()
            .expect("the binary under test");
        let said = String::from_utf8_lossy(&asked.stderr);
        assert_eq!(asked.status.code(), Some(1), "{said}");
        assert!(said.contains("pillion run"), "{said}");
    }
}

/// Not a test: the app.
#[test]
fn as_app() {
    if std::env::var_os("PILLION_TEST_APP").is_none() {
        return;
    }
    let port: u16 = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .expect("a port to listen on");
    let mut listening = Vec::new();
    for order in std::io::stdin().lines().map_while(Result::ok) {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("listen", _) => listening.push(TcpListener::bind(("127.0.0.1", port))),
            ("listen-v6", _) => listening.push(TcpListener::bind(("::1", port))),
            ("listen-elsewhere", _) => listening.push(TcpListener::bind("127.0.0.1:0")),
            ("serve", _) => serve(TcpListener::bind(("127.0.0.1", port)).expect("a free port")),
            ("exit", code) => std::process::exit(code.parse().expect("a code")),
            other => panic!("an order that this app does not know: {other:?}"),
        }
    }
}

/// Answers one request on each connection.
fn serve(listener: TcpListener) -> ! {
    loop {
        let Ok((mut stream, _)) = listener.accept() else {
            continue;
        };
        let head = BufReader::new(&stream).lines().map_while(Result::ok);
        // A connection that only looks whether somebody listens says nothing.
        if head.take_while(|line| !line.is_empty()).count() > 0 {
            let answer =
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhere I am";
            let _gone = stream.write_all(answer.as_bytes());
        }
    }
}

/// `pillion run` on free ports; its log is read as it comes.
struct Pillion {
    process: Child,
    stdin: Option<ChildStdin>,
    log: Receiver<String>,
    /// Disconnected when the last process of the app has closed its standard output.
    app: Receiver<()>,
}

impl Pillion {
    fn in_front_of_our_app() -> Self {
        let ourselves = std::env::current_exe().expect("the path of this test");
        let ourselves = ourselves.to_str().expect("a path that is text");
        Self::in_front_of(&[ourselves, "--exact", "as_app", "--nocapture"])
    }

    fn in_front_of(app: &[&str]) -> Self {
        let mut process = pillion()
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--"])
            .args(app)
            .env("PILLION_TEST_APP", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test");
        let (line, log) = mpsc::channel();
        let stderr = process.stderr.take().map(BufReader::new);
        thread::spawn(move || {
            for said in stderr
                .into_iter()
                .flat_map(BufRead::lines)
                .map_while(Result::ok)
            {
                let _nobody_listens = line.send(said);
            }
        });
        let (running, app) = mpsc::channel();
        let stdout = process.stdout.take();
        thread::spawn(move || {
            let _running = running;
            stdout.map(|mut stdout| stdout.read_to_end(&mut Vec::new()))
        });
        Self {
            stdin: process.stdin.take(),
            process,
            log,
            app,
        }
    }

    fn order(&mut self, order: &str) {
        let stdin = self.stdin.as_mut().expect("open to the end");
        writeln!(stdin, "{order}").expect("the app reads its orders");
    }

    fn tell(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a living process");
    }

    fn until_said(&self, wanted: &str) -> Said {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(DEADLINE) {
                Ok(line) if line.contains(wanted) => return Said(line),
                Ok(line) => before.push(line),
                Err(_) => panic!("\"{wanted}\" was not said, but:\n{}", before.join("\n")),
            }
        }
    }

    fn until_app_has_gone(&self) {
        let gone = self.app.recv_timeout(DEADLINE);
        assert_eq!(gone, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    fn code(&mut self) -> Option<i32> {
        for _ in 0..DEADLINE.as_millis() {
            let ended = self.process.try_wait().expect("a child of ours");
            if let Some(status) = ended {
                return status.code();
            }
            thread::sleep(Duration::from_millis(1));
        }
        let said: Vec<String> = self.log.try_iter().collect();
        panic!("it does not end:\n{}", said.join("\n"));
    }
}

impl Drop for Pillion {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// One line of the log, or of the banner.
struct Said(String);

impl Said {
    fn address(&self) -> String {
        let (_, rest) = self.0.split_once("http://").expect("an address");
        let end = rest.find('/').unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default().to_owned()
    }
}

fn ask(address: &str, target: &str) -> String {
    let mut answer = String::new();
    let read = send(address, target).read_to_string(&mut answer);
    read.expect("an answer");
    answer
}

/// A connection on which one request is under way.
fn send(address: &str, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a connection");
    stream
}

/// What is said by a start that fails, and its code.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = pillion()
        .args(arguments)
        .output()
        .expect("the binary under test");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

fn pillion() -> Command {
    let mut command = Command::new(BIN);
    command.arg("run");
    for name in ["CONFIG", "UPSTREAM", "LISTEN", "ADMIN", "PROFILE"] {
        command.env_remove(format!("PILLION_{name}"));
    }
    command
}

const BIN: &str = env!("CARGO_BIN_EXE_pillion");
/// More than all of Pillion's own deadlines together.
const DEADLINE: Duration = Duration::from_secs(30);
