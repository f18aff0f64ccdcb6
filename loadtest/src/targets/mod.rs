//! The programs that are measured: the app, and what stands in front of it.

pub(crate) mod app;
mod certificate;
mod peers;
mod program;

use std::path::{Path, PathBuf};

pub(crate) use certificate::Certificate;
pub(crate) use peers::Peer;
pub(crate) use program::{Program, free_port};

use crate::failure::Result;
use crate::origin::Origin;
use crate::processes::Pid;

/// What load is put on.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// One word, unique: "direct", "pillion", "nginx".
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) origin: Origin,
    /// Whose CPU time a request to it costs: "app" and the proxy's name, with the process of each.
    pub(crate) processes: Vec<(String, Pid)>,
    /// Where Pillion tells its metrics.
    pub(crate) admin: Option<Origin>,
}

impl Target {
    /// Whether nothing stands in front of the app.
    pub(crate) fn is_the_app(&self) -> bool {
        self.processes.iter().all(|(name, _)| name == "app")
    }
}

/// How proxies are started.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// For configurations, logs and caches.
    pub(crate) folder: &'a Path,
    /// The same, in memory where the machine has such a place: for caches that are files.
    pub(crate) memory: &'a Path,
    /// The app.
    pub(crate) app: &'a Origin,
    /// Listen with TLS, showing this.
    pub(crate) certificate: Option<&'a Certificate>,
    /// Cores for the proxy, as `taskset` wants them.
    pub(crate) cores: Option<String>,
    /// Speak HTTP/2, without TLS by prior knowledge.
    pub(crate) http2: bool,
    /// One worker, as the peers have.
    pub(crate) one_worker: bool,
    /// Responses may be stored.
    pub(crate) cache: bool,
    /// The Pillion to start.
    pub(crate) pillion: PathBuf,
    /// Its configuration, instead of its defaults.
    pub(crate) pillion_config: Option<PathBuf>,
}

/// Starts `peer` in front of the app and waits until it listens.
///
/// # Errors
/// When it is not installed, or does not start.
pub(crate) async fn start(
    peer: Peer,
    setting: &Setting<'_>,
    app: &[(String, Pid)],
) -> Result<(Target, Program)> {
    let port = free_port()?;
    let admin = (peer == Peer::Pillion).then(free_port).transpose()?;
    let mut program = peer.start(setting, port, admin)?;
    let origin = Origin::local(port, setting.certificate.is_some());
    program.listens(&origin, program::PATIENCE).await?;
    let mut processes = app.to_vec();
    processes.push((peer.name().to_owned(), program.pid()));
    let target = Target {
        name: peer.name().to_owned(),
        origin: origin.in_the_name_of(setting.app),
        processes,
        admin: admin.map(|port| Origin::local(port, false)),
    };
    Ok((target, program))
}
