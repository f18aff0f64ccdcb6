//! A program that was started for a measurement, and ends with it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::clock;
use crate::failure::{Failure, Result};
use crate::origin::Origin;
use crate::processes;

/// A running program with all that it started. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it in a process group of its own, its output in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let failed =
            |error: io::Error| Failure::unmeasured(format!("{name} cannot be started ({error})."));
        let log = folder.join(format!("{name}.out"));
        let output = File::create(&log).map_err(failed)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> processes::Pid {
        self.child.id()
    }

    /// Waits until something accepts connections at `origin`.
    ///
    /// # Errors
    /// When the program ends before, or nothing listens in time: with its last words.
    pub(crate) async fn listens(&mut self, origin: &Origin, patience: Duration) -> Result<()> {
        let begin = clock::now();
        let plain = Origin {
            tls: false,
            ..origin.clone()
        };
        loop {
            if plain.connect(crate::scenario::Http::One).await.is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Failure::unmeasured(format!(
                    "{} ended before it listened ({status}).{}",
                    self.name,
                    last_lines(&self.log)
                )));
            }
            if begin.elapsed() > patience {
                return Err(self.never_listens(origin, patience));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn never_listens(&self, origin: &Origin, patience: Duration) -> Failure {
        let ports = processes::listening(self.pid());
        let elsewhere = match ports.first() {
            Some(port) => format!(
                " It listens on port {port}: write {{port}} where its command takes a port, or say \
                 --app-port {port}."
            ),
            None => format!(
                " It was told the port in PORT and in place of {{port}}; it may need longer than \
                 {} s (--app-wait).",
                patience.as_secs()
            ),
        };
        Failure::unmeasured(format!(
            "{} does not listen at {}.{elsewhere}{}",
            self.name,
            origin.base(),
            last_lines(&self.log)
        ))
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!(
            "{} ended while it was measured ({status}).{}",
            self.name,
            last_lines(&self.log)
        ))
    }

    /// Sends `signal` to it and all that it started.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.pid().cast_signed()) {
            // It may be gone already.
            kill_process_group(group, signal).ok();
        }
    }

    /// Ends it kindly, and after five seconds for certain.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        for _ in 0..250 {
            if self.child.try_wait().ok().flatten().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What it started may outlive it in its group.
        self.signal(Signal::KILL);
        self.child.wait().ok();
    }
}

/// The last words of a program, for a failure's message.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(8)..)
        .unwrap_or_default();
    if last.is_empty() {
        return " It said nothing.".to_owned();
    }
    format!(" Its last words:\n    {}", last.join("\n    "))
}

/// A port on which nobody listens, below those that kernels give to outgoing connections.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> Result<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    // Two calls must not find the same port before either is bound.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (std::process::id().wrapping_mul(7) + step) % PORTS;
        let port = FIRST_PORT + u16::try_from(offset).unwrap_or(0);
        let taken = |address: SocketAddr| {
            TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        };
        if !taken((Ipv4Addr::UNSPECIFIED, port).into())
            && !taken((Ipv6Addr::LOCALHOST, port).into())
        {
            return Ok(port);
        }
    }
    Err(Failure::unmeasured("No port is free."))
}

const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 10_000;
/// What a proxy may take to start.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
