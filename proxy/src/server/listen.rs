//! Opens the sockets that the settings name, and says clearly why one cannot be had.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use config::listen::ListenAddress;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tracing::warn;

use crate::server::{BoundAddress, systemd};
use crate::start_error::StartError;

/// Sockets that listen, not yet with a runtime.
#[derive(Debug)]
pub struct Opened {
    /// Where.
    pub address: BoundAddress,
    /// As many as were asked for. On TCP each has a queue of its own; else all are one socket.
    pub listeners: Vec<StdListener>,
    /// Removes the Unix socket's file when it is dropped.
    pub file: Option<SocketFile>,
}

/// One listening socket.
#[derive(Debug)]
pub enum StdListener {
    /// Non-blocking, `TCP_NODELAY` and keep-alive inherited by what it accepts.
    Tcp(TcpListener),
    /// Non-blocking.
    Unix(UnixListener),
}

/// Opens `address` for `cores` cores.
///
/// # Errors
/// When it is taken, not ours, or not there.
pub fn open(address: &ListenAddress, cores: usize) -> Result<Opened, StartError> {
    match address {
        ListenAddress::Tcp(address) => {
            open_tcp(*address, cores).map_err(|error| tcp_error(*address, error))
        }
        ListenAddress::Unix { path, mode } => {
            open_unix(path, *mode, cores).map_err(|error| unix_error(path, error))
        }
        ListenAddress::Systemd(name) => open_passed(name, cores),
    }
}

fn open_tcp(address: SocketAddr, cores: usize) -> io::Result<Opened> {
    if cores > 1 && address.port() != 0 {
        // Whoever shares the port by SO_REUSEPORT (an older Pillion, say) would let us in, and the
        // kernel would deal connections to both. Bound without it, the conflict shows.
        tcp_socket(address, Sharing::Alone)?;
    }
    let sharing = if cores > 1 {
        Sharing::AmongCores
    } else {
        Sharing::Alone
    };
    let first = tcp_socket(address, sharing)?;
    // With port 0 the kernel has chosen one by now: the other cores take the same.
    let address = first
        .local_addr()?
        .as_socket()
        .ok_or(ErrorKind::AddrNotAvailable)?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(tcp_socket(address, sharing)?);
    }
    let listeners = sockets
        .into_iter()
        .map(|socket| {
            socket.listen(BACKLOG)?;
            Ok(StdListener::Tcp(socket.into()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Opened {
        address: BoundAddress::Tcp(address),
        listeners,
        file: None,
    })
}

/// Whether a port may be bound several times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    AmongCores,
}

/// A bound TCP socket that does not listen yet.
fn tcp_socket(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever the system's default is.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Without it a restart fails while connections of the last run are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::AmongCores {
        socket.set_reuse_port(true)?;
    }
    // Both are inherited by accepted sockets. Keep-alive finds clients that vanished from an event
    // stream without a FIN; a keep-alive that cannot be had is not worth a refusal to start.
    socket.set_tcp_nodelay(true)?;
    if let Err(error) = socket.set_tcp_keepalive(&keepalive()) {
        warn!(%error, "TCP keep-alive is not to be had; vanished clients are found later.");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
}

fn open_unix(path: &Path, mode: u32, cores: usize) -> io::Result<Opened> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before `listen`, so the permission bits are in force for every client,
    // without touching the process's umask.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let file = SocketFile::of(path)?;
    socket.listen(BACKLOG)?;
    let listener: UnixListener = socket.into();
    Ok(Opened {
        address: BoundAddress::Unix(path.to_owned()),
        listeners: shared(&listener, cores, UnixListener::try_clone, StdListener::Unix)?,
        file: Some(file),
    })
}

/// Removes a socket file that nobody listens on any more, as after a crash.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn open_passed(name: &str, cores: usize) -> Result<Opened, StartError> {
    let not_usable = |error: io::Error| {
        StartError::new(
            format!("The socket \"{name}\" that systemd passed cannot be used"),
            "Make it a listening stream socket: ListenStream= with Accept=no",
        )
        .caused_by(error)
    };
    match systemd::take(name)? {
        StdListener::Tcp(listener) => {
            let address = listener.local_addr().map_err(not_usable)?;
            let listeners = shared(&listener, cores, TcpListener::try_clone, StdListener::Tcp);
            Ok(Opened {
                address: BoundAddress::Tcp(address),
                listeners: listeners.map_err(not_usable)?,
                file: None,
            })
        }
        StdListener::Unix(listener) => {
            let address = listener.local_addr().map_err(not_usable)?;
            let listeners = shared(&listener, cores, UnixListener::try_clone, StdListener::Unix);
            Ok(Opened {
                address: BoundAddress::Unix(
                    address
                        .as_pathname()
                        .map(Path::to_owned)
                        .unwrap_or_default(),
                ),
                listeners: listeners.map_err(not_usable)?,
                // The file is systemd's.
                file: None,
            })
        }
    }
}

/// The same socket for every core: whoever is free accepts.
fn shared<L>(
    listener: &L,
    cores: usize,
    clone: impl Fn(&L) -> io::Result<L>,
    wrap: impl Fn(L) -> StdListener,
) -> io::Result<Vec<StdListener>> {
    (0..cores).map(|_| clone(listener).map(&wrap)).collect()
}

/// A Unix socket's file, removed on drop if it is still the one that was made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that a successor's socket is not removed.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!(%error, path = %self.path.display(), "Could not remove the socket's file.");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn tcp_error(address: SocketAddr, error: io::Error) -> StartError {
    let cannot = |why: &dyn fmt::Display| format!("Cannot listen on {address}: {why}");
    match error.kind() {
        ErrorKind::AddrInUse => StartError::new(
            cannot(&"the port is in use"),
            format!(
                "Stop the program that holds it (`ss -ltnp 'sport = :{}'` names it), or choose another address with --listen",
                address.port()
            ),
        ),
        ErrorKind::PermissionDenied => StartError::new(
            cannot(&"permission denied"),
            "Choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
        ),
        ErrorKind::AddrNotAvailable => StartError::new(
            cannot(&"this machine has no such address"),
            "Use 127.0.0.1 for this machine alone, or [::] for all its addresses",
        ),
        _ => StartError::new(
            cannot(&error),
            "Choose another address with --listen, or in [[listen]]",
        ),
    }
}

fn unix_error(path: &Path, error: io::Error) -> StartError {
    let path = path.display();
    let cannot = |why: &dyn fmt::Display| format!("Cannot listen on unix:{path}: {why}");
    match error.kind() {
        ErrorKind::AddrInUse => StartError::new(
            cannot(&"another program listens there"),
            "Stop it, or choose another path",
        ),
        ErrorKind::AlreadyExists => StartError::new(
            cannot(&"a file that is no socket is in the way"),
            "Remove it, or choose another path",
        ),
        ErrorKind::NotFound => StartError::new(
            cannot(&"its directory does not exist"),
            "Create the directory, or choose another path",
        ),
        ErrorKind::PermissionDenied => StartError::new(
            cannot(&"permission denied"),
            "Choose a directory that this user may write to",
        ),
        ErrorKind::InvalidInput => StartError::new(
            cannot(&"the path is too long for a socket"),
            "Choose a path of at most 107 bytes",
        ),
        _ => StartError::new(cannot(&error), "Choose another path"),
    }
}

/// Connections that the kernel holds for us: enough for a burst, and for a stop of the accept loop
/// while all connections are taken. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
