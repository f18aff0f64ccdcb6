//! Listeners and connections: one thread with a runtime and listeners of its own for each core.
//!
//! A connection's way: [`socket`] (accepted by `accept`) → PROXY protocol → TLS → HTTP
//! (`connection`) → the core's front stack (`service`). Deadlines of all connections of a core are
//! kept by its `warden`.

mod accept;
mod client_io;
mod connection;
pub mod listen;
pub mod proxy_protocol;
mod service;
pub mod socket;
mod systemd;
#[cfg(test)]
mod tests;
mod tls;
mod warden;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::{io, mem, thread};

use config::limits::LimitsSettings;
use config::listen::ListenSettings;
use middleware::Inner;
use middleware::clock::Clock;
use middleware::metrics::Metrics;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::server::accept::Door;
use crate::server::connection::{Manner, Protocols, TlsConfig};
use crate::server::listen::{Opened, SocketFile, StdListener};
use crate::server::service::Front;
use crate::server::socket::Listener;
use crate::server::tls::{Certificate, CertificateWatch};
use crate::server::warden::Warden;
use crate::server::watch::Deadlines;
use crate::shutdown::Signals;
use crate::start_error::StartError;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// As it is bound, so port 0 is a real port here.
    pub address: BoundAddress,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// See [`Bound`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// An address and its real port.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl Bound {
    /// The address, if it is a TCP one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self.address {
            BoundAddress::Tcp(address) => Some(address),
            BoundAddress::Unix(_) => None,
        }
    }
}

/// All listeners, bound and with their certificates read; nobody accepts yet.
pub(crate) struct Listeners {
    opened: Vec<OneListener>,
    certificates: Option<CertificateWatch>,
    files: Vec<SocketFile>,
}

struct OneListener {
    bound: Bound,
    /// One for each core.
    sockets: Vec<StdListener>,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
}

impl Listeners {
    /// Opens everything that `settings` name, or nothing.
    pub(crate) fn open(
        settings: &[ListenSettings],
        cores: usize,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let mut listeners = Self {
            opened: Vec::new(),
            certificates: None,
            files: Vec::new(),
        };
        let mut certificates = Vec::new();
        for settings in settings {
            // Files first: a wrong certificate is not worth a moment of an open port.
            let tls = match &settings.tls {
                None => None,
                Some(files) => {
                    let (certificate, pem) = Certificate::load(files)?;
                    let acceptor = tls::acceptor(certificate.clone())?;
                    certificates.push((certificate, pem));
                    Some(acceptor)
                }
            };
            let Opened {
                address,
                listeners: sockets,
                file,
            } = listen::open(&settings.address, cores)?;
            listeners.files.extend(file);
            listeners.opened.push(OneListener {
                bound: Bound {
                    address,
                    tls: tls.is_some(),
                },
                sockets,
                tls,
                proxy_protocol: settings.proxy_protocol,
            });
        }
        if !certificates.is_empty() {
            listeners.certificates = Some(CertificateWatch::start(certificates, metrics.clone())?);
        }
        Ok(listeners)
    }

    /// Where they listen, in the order of the settings.
    pub(crate) fn bound(&self) -> Vec<Bound> {
        self.opened
            .iter()
            .map(|listener| listener.bound.clone())
            .collect()
    }
}

/// The cores' threads, serving.
#[derive(Debug)]
pub(crate) struct Cores {
    threads: Vec<thread::JoinHandle<()>>,
    /// Every open connection, tunnels included, and every stream of HTTP/2.
    pub(crate) connections: TaskTracker,
    /// Every accept loop: while one runs, connections may still be added.
    pub(crate) doors: TaskTracker,
    _certificates: Option<CertificateWatch>,
    files: Vec<SocketFile>,
}

/// What the cores have in common.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) limits: LimitsSettings,
    pub(crate) signals: Signals,
}

impl Cores {
    /// Starts `count` threads; `stack` makes the front stack of the core with the given number, on
    /// its thread and in its runtime.
    pub(crate) fn start<S: Inner>(
        count: usize,
        listeners: Listeners,
        ground: &Ground,
        stack: impl Fn(usize) -> S + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        let Listeners {
            mut opened,
            certificates,
            files,
        } = listeners;
        let mut cores = Self {
            threads: Vec::with_capacity(count),
            connections: TaskTracker::new(),
            doors: TaskTracker::new(),
            _certificates: certificates,
            files,
        };
        let permits = Arc::new(Semaphore::new(
            ground.limits.connections.min(Semaphore::MAX_PERMITS),
        ));
        for index in 0..count {
            let core = OneCore {
                ground: ground.clone(),
                permits: permits.clone(),
                connections: cores.connections.clone(),
                doors: cores.doors.clone(),
                listeners: opened.iter_mut().filter_map(OneListener::share).collect(),
            };
            let stack = stack.clone();
            let thread = core.start(index, move || stack(index)).inspect_err(|_| {
                // Those that run already have nothing to do.
                ground.signals.exit.cancel();
            });
            cores.threads.push(thread.map_err(no_thread)?);
        }
        cores.connections.close();
        cores.doors.close();
        Ok(cores)
    }

    /// Removes the sockets' files: nobody listens there any more.
    pub(crate) fn remove_files(&mut self) {
        self.files.clear();
    }

    /// Waits for the threads, which end after [`Signals::exit`]; blocks.
    pub(crate) fn join(self) {
        for thread in self.threads {
            // A thread that panicked has said so already.
            thread.join().ok();
        }
    }
}

fn no_thread(error: io::Error) -> StartError {
    StartError::new(
        "Cannot start a core's thread",
        "Raise this user's limits of processes and open files (ulimit -u, ulimit -n)",
    )
    .caused_by(error)
}

/// One core's part of a listener.
struct Share {
    socket: StdListener,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
}

impl OneListener {
    fn share(&mut self) -> Option<Share> {
        Some(Share {
            socket: self.sockets.pop()?,
            tls: self.tls.clone(),
            proxy_protocol: self.proxy_protocol,
        })
    }
}

/// One core before its start.
struct OneCore {
    ground: Ground,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    doors: TaskTracker,
    listeners: Vec<Share>,
}

impl OneCore {
    fn start<S: Inner>(
        mut self,
        index: usize,
        stack: impl FnOnce() -> S + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("pillion-block-{index}"))
            .build()?;
        let listeners = {
            let _inside = runtime.enter();
            mem::take(&mut self.listeners)
                .into_iter()
                .map(|share| {
                    Ok((
                        Listener::new(share.socket)?,
                        share.tls,
                        share.proxy_protocol,
                    ))
                })
                .collect::<io::Result<Vec<_>>>()?
        };
        let Self {
            ground,
            permits,
            connections,
            doors,
            ..
        } = self;
        thread::Builder::new()
            .name(format!("pillion-core-{index}"))
            .spawn(move || {
                runtime.block_on(async move {
                    serve(listeners, stack(), ground, permits, connections, doors).await;
                });
                // Whatever still runs on the blocking threads is not worth a wait.
                runtime.shutdown_background();
            })
    }
}

/// One core's life.
async fn serve<S: Inner>(
    listeners: Vec<(Listener, Option<TlsAcceptor>, bool)>,
    stack: S,
    ground: Ground,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    doors: TaskTracker,
) {
    let front = Arc::new(Front::new(stack, ground.clock));
    let deadlines = Deadlines {
        head: ground.limits.header_time,
        idle: ground.limits.idle,
    };
    let warden = Arc::new(Warden::new(deadlines, ground.metrics.clone()));
    let protocols = Protocols::new(&ground.limits, connections.clone());
    for (listener, tls, proxy_protocol) in listeners {
        let door = Door {
            manner: Arc::new(Manner {
                front: front.clone(),
                tls: tls.map(TlsConfig),
                proxy_protocol,
                protocols: protocols.clone(),
                metrics: ground.metrics.clone(),
            }),
            warden: warden.clone(),
            permits: permits.clone(),
            connections: connections.clone(),
            stopping: ground.signals.stopping.clone(),
        };
        doors.spawn(async move { door.keep(listener).await });
    }
    tokio::select! {
        () = ground.signals.exit.cancelled() => {}
        () = warden.run(&ground.signals) => {}
    }
}
