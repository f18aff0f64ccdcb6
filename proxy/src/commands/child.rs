//! The app that `pillion run -- CMD` starts: its port, its guard, and the wait until it accepts.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use config::upstream::Transport;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{sleep, timeout};

/// The running app, behind its guard.
#[derive(Debug)]
pub(crate) struct Child {
    guard: tokio::process::Child,
    pid: Pid,
}

impl Child {
    /// Starts `command` with `port` in `PORT`, and in place of every `{port}` in its arguments.
    ///
    /// Must be called on the main thread: the kernel takes the death of the thread that started the
    /// guard for the death of Pillion.
    ///
    /// # Errors
    /// When the guard cannot be started; what becomes of the app, [`ended`](Self::ended) tells.
    pub(crate) fn start(command: &[OsString], port: u16) -> io::Result<Self> {
        let terminal = io::stdin().is_terminal();
        let mut guard = super::own_command("guard", terminal)?;
        guard
            .arg("--")
            .args(command.iter().map(|argument| with_port(argument, port)))
            .env("PORT", port.to_string());
        for name in OUR_OWN_VARIABLES {
            guard.env_remove(name);
        }
        let guard = tokio::process::Command::from(guard).spawn()?;
        let pid = guard.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw);
        Ok(Self {
            guard,
            pid: pid.ok_or_else(|| io::Error::other("a process without an id"))?,
        })
    }

    /// Waits for the app's end and says with which code: the app's own, or 128 and its signal.
    pub(crate) async fn ended(&mut self) -> u8 {
        let code = |status: ExitStatus| {
            status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal))
        };
        let status = self.guard.wait().await;
        let code = status.ok().and_then(code);
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }

    /// Passes `signal` to the app. SIGTERM begins its end, and a second one cuts it short.
    pub(crate) fn tell(&self, signal: Signal) {
        // Not once its end was seen: the number may be another's by then.
        if self.guard.id().is_some() {
            let _gone = kill_process(self.pid, signal);
        }
    }

    /// The guard's process: the app's closest ancestor.
    pub(crate) fn guard(&self) -> Pid {
        self.pid
    }
}

/// A port on which nobody listens.
///
/// Taken from below the range that kernels give to outgoing connections: a free port within it may
/// be taken by anyone's connection before the app binds it, and a connection attempt to a port of
/// that range on the own machine can be connected *with itself* while nobody listens there.
///
/// # Errors
/// When no port of the range is free.
pub(crate) fn free_port() -> io::Result<u16> {
    let start = std::process::id() % u32::from(PORTS);
    (0..u32::from(PORTS))
        .filter_map(|step| u16::try_from((start + step) % u32::from(PORTS)).ok())
        .map(|offset| FIRST_PORT + offset)
        .find(|port| is_free(*port))
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}

fn is_free(port: u16) -> bool {
    let bind = |address: SocketAddr| TcpListener::bind(address).map(drop);
    let taken = |result: io::Result<()>| {
        // A machine without IPv6 fails otherwise, and has nobody there who listens.
        result.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    bind((Ipv4Addr::LOCALHOST, port).into()).is_ok()
        && !taken(bind((Ipv4Addr::UNSPECIFIED, port).into()))
        && !taken(bind((Ipv6Addr::LOCALHOST, port).into()))
}

fn with_port(argument: &OsStr, port: u16) -> OsString {
    match argument.to_str() {
        Some(text) => text.replace("{port}", &port.to_string()).into(),
        None => argument.to_owned(),
    }
}

/// Whether `program` is there to be started, searched as the shell does.
pub(crate) fn exists(program: &OsStr) -> bool {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.exists();
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).any(|directory| directory.join(path).is_file())
}

/// Waits until something accepts connections at `transport`.
pub(crate) async fn accepts(transport: &Transport) {
    let mut pause = FIRST_PAUSE;
    while !connects(transport).await {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether something accepts connections at `transport` now.
pub(crate) async fn connects(transport: &Transport) -> bool {
    let attempt = async {
        match transport {
            Transport::Unix(path) => UnixStream::connect(path).await.is_ok(),
            Transport::Tcp { host, port, .. } => {
                // `localhost` is two addresses, and apps differ in which one they take.
                let addresses: Vec<_> = match proxy::upstream::loopback(host) {
                    Some(both) => both.map(|address| (address, *port).into()).into(),
                    None => lookup_host((host.as_str(), *port))
                        .await
                        .into_iter()
                        .flatten()
                        .collect(),
                };
                for address in addresses {
                    if TcpStream::connect(address).await.is_ok() {
                        return true;
                    }
                }
                false
            }
        }
    };
    timeout(ATTEMPT, attempt).await.unwrap_or(false)
}

/// Below the ranges of Linux (32768) and macOS (49152).
const FIRST_PORT: u16 = 20_000;
/// How many there are to choose from.
const PORTS: u16 = 10_000;
/// Between the first two attempts; it doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Between any two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// For one attempt, all addresses together.
const ATTEMPT: Duration = Duration::from_secs(1);
/// What the service manager says to us is not for the app.
const OUR_OWN_VARIABLES: [&str; 6] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::net::TcpListener;

    use config::upstream::Transport;

    use super::{accepts, connects, exists, free_port, is_free, with_port};

    #[test]
    fn a_free_port_is_below_those_of_outgoing_connections() {
        let port = free_port().unwrap();
        assert!((20_000..30_000).contains(&port));
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(!is_free(port));
    }

    #[test]
    fn a_port_taken_for_all_addresses_is_not_free() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
    }

    #[test]
    fn the_port_replaces_its_place_in_arguments() {
        assert_eq!(
            with_port(OsStr::new("--listen=0:{port}"), 7),
            "--listen=0:7"
        );
        assert_eq!(
            with_port(OsStr::new("{ports}"), 7),
            OsString::from("{ports}")
        );
    }

    #[test]
    fn programs_are_searched_as_the_shell_does() {
        assert!(exists(OsStr::new("sh")));
        assert!(exists(OsStr::new("/bin/sh")));
        assert!(!exists(OsStr::new("no-such-program-anywhere")));
        assert!(!exists(OsStr::new("./no-such-program")));
    }

    #[tokio::test]
    async fn who_listens_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        accepts(&Transport::Tcp {
            host: "localhost".into(),
            port: listener.local_addr().unwrap().port(),
            tls: false,
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_listens_at_a_socket_that_is_not_there() {
        assert!(!connects(&Transport::Unix("/no/such/socket".into())).await);
    }
}
