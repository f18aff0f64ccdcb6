//! Sockets that systemd passes (socket activation, `sd_listen_fds(3)`), by their names.
//!
//! Turning a descriptor's number into its owner needs `unsafe`, which this workspace forbids and
//! sd-notify leaves to its caller; `sd-listen-fds` (no dependencies) does that one step for us.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, SockRef};

use crate::server::listen::StdListener;
use crate::start_error::StartError;

/// What was passed and is not taken yet; `None` before the first look. A process is given each
/// socket once, so the first look takes all.
static PASSED: Mutex<Option<BTreeMap<String, OwnedFd>>> = Mutex::new(None);

/// The listening socket `name` (`FileDescriptorName=`, by default the socket unit's name).
///
/// # Errors
/// When systemd passed none of that name, or it was taken, or it is no listening stream socket.
pub(crate) fn take(name: &str) -> Result<StdListener, StartError> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let passed = match &mut *passed {
        Some(passed) => passed,
        none => none.insert(receive()?),
    };
    let Some(socket) = passed.remove(name) else {
        let others: Vec<_> = passed.keys().map(String::as_str).collect();
        return Err(StartError::new(
            format!(
                "systemd passed no socket named \"{name}\" (but: {})",
                if others.is_empty() {
                    "none".to_owned()
                } else {
                    others.join(", ")
                }
            ),
            format!(
                "Start Pillion by its socket unit, with FileDescriptorName={name} in its [Socket] section"
            ),
        ));
    };
    listener(socket).map_err(|error| {
        StartError::new(
            format!("The socket \"{name}\" that systemd passed cannot be used"),
            "Make it a listening stream socket: ListenStream= with Accept=no",
        )
        .caused_by(error)
    })
}

fn receive() -> Result<BTreeMap<String, OwnedFd>, StartError> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        StartError::new(
            "The environment's LISTEN_PID, LISTEN_FDS or LISTEN_FDNAMES cannot be understood",
            "Start Pillion by systemd's socket unit, or unset them",
        )
        .caused_by(error)
    };
    // Asked for its side effect: it sets close-on-exec, so that a child does not hold our ports.
    drop(sd_notify::listen_fds().map_err(|error| unreadable(error.into()))?);
    let passed = sd_listen_fds::get().map_err(|error| unreadable(error.into()))?;
    Ok(passed
        .into_iter()
        .map(|(name, socket)| (name.unwrap_or_else(|| UNNAMED.into()), socket.into_std()))
        .collect())
}

fn listener(socket: OwnedFd) -> std::io::Result<StdListener> {
    let facts = SockRef::from(&socket);
    if !facts.is_listener()? {
        return Err(std::io::Error::other("it does not listen"));
    }
    facts.set_nonblocking(true)?;
    let domain = facts.domain()?;
    Ok(if domain == Domain::UNIX {
        StdListener::Unix(UnixListener::from(socket))
    } else {
        StdListener::Tcp(TcpListener::from(socket))
    })
}

/// What sd_listen_fds_with_names(3) calls a socket without a name.
const UNNAMED: &str = "unknown";
