//! The real binary, for what only a process can show: signals, exit codes, output.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A running `pillion`; it is killed when dropped.
pub struct Binary {
    /// The process.
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// The binary that was built beside this test.
///
/// # Panics
/// If it was not built: `cargo build` comes first.
pub fn path() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let path = folder.join("pillion");
    assert!(
        path.exists(),
        "{} is not there; run `cargo build --workspace`",
        path.display()
    );
    path
}

impl Binary {
    /// Starts it with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), arguments)
    }

    /// Starts it in this folder.
    pub fn start_in(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.args(arguments).current_dir(folder);
        Self::run(command)
    }

    /// Starts it where no file may be longer than some kibibytes: 512 of them, or half of that, by shell.
    pub fn start_with_short_files(arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let script = "ulimit -f 512 && exec \"$0\" \"$@\"";
        command.args(["-c", script]).arg(path()).args(arguments);
        Self::run(command)
    }

    /// Starts it after the shell has run `mounts` in a mount namespace: what is mounted there is seen by
    /// this process alone. `None` where the system gives nobody such a namespace.
    pub fn start_with_mounts(mounts: &str, arguments: &[&str]) -> Option<Self> {
        let unshare = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
            command
        };
        let is_given = unshare("mount -t tmpfs none /mnt").status();
        if !is_given.is_ok_and(|status| status.success()) {
            return None;
        }
        let mut command = unshare(&format!("{mounts} && exec \"$0\" \"$@\""));
        command.arg(path()).args(arguments);
        Some(Self::run(command))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let keep = |output: Box<dyn std::io::Read + Send>| {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.lock().expect("no reader panics").push(line);
                }
            })
        };
        let readers = vec![
            keep(Box::new(child.stdout.take().expect("a pipe"))),
            keep(Box::new(child.stderr.take().expect("a pipe"))),
        ];
        Self {
            child,
            lines,
            readers,
        }
    }

    /// All lines of both outputs so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Waits for a line that `found` recognises.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn line<T>(&self, found: impl Fn(&str) -> Option<T>) -> T {
        let search = async {
            let mut poll = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                if let Some(value) = self.lines().iter().find_map(|line| found(line)) {
                    return value;
                }
                poll.tick().await;
            }
        };
        match tokio::time::timeout(crate::PATIENCE, search).await {
            Ok(value) => value,
            Err(_) => panic!("no such line in:\n{}", self.lines().join("\n")),
        }
    }

    /// Waits for the line that names an address after `word` and returns the address.
    pub async fn address(&self, word: &str) -> SocketAddr {
        self.line(|line| {
            let rest = line.split_once(word)?.1;
            rest.split(|byte: char| byte.is_whitespace() || byte == '/')
                .find_map(|part| part.parse().ok())
        })
        .await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end and returns how it ended, with all its lines.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let wait = async {
            let mut poll = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                    return status;
                }
                poll.tick().await;
            }
        };
        let Ok(status) = tokio::time::timeout(crate::PATIENCE, wait).await else {
            panic!("it does not end:\n{}", self.lines().join("\n"));
        };
        for reader in std::mem::take(&mut self.readers) {
            reader.join().expect("a reader ends with its pipe");
        }
        (status, self.lines())
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
