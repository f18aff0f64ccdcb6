//! The cores: a thread, a current-thread runtime, a front stack and a warden each.

use std::sync::Arc;
use std::{io, mem, thread};

use config::limits::LimitsSettings;
use middleware::Outer;
use middleware::clock::Clock;
use middleware::metrics::Metrics;
use tokio::runtime::{self, Runtime};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::server::accept::Door;
use crate::server::connection::{Manner, Protocols, TlsConfig};
use crate::server::listen::SocketFile;
use crate::server::service::Front;
use crate::server::socket::Listener;
use crate::server::tls::CertificateWatch;
use crate::server::warden::Warden;
use crate::server::watch::Deadlines;
use crate::server::{Listeners, OneListener, Share};
use crate::shutdown::Signals;
use crate::start_error::StartError;

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
    /// `forwarding.interim`
    pub(crate) interim: bool,
    pub(crate) signals: Signals,
}

impl Cores {
    /// Starts `count` threads; `stack` makes the front stack of the core with the given number, on
    /// its thread and in its runtime.
    pub(crate) fn start<S: Outer>(
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
            };
            let shares = opened.iter_mut().filter_map(OneListener::share).collect();
            let stack = stack.clone();
            let thread = core.start(index, shares, move || stack(index));
            cores.threads.push(thread.map_err(|error| {
                // Those that run already have nothing to do.
                ground.signals.exit.cancel();
                no_thread(error)
            })?);
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
    pub(crate) fn join(mut self) {
        for thread in mem::take(&mut self.threads) {
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

/// One core.
struct OneCore {
    ground: Ground,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    doors: TaskTracker,
}

/// A listener of a core's runtime.
struct Entrance {
    listener: Listener,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
}

impl OneCore {
    fn start<S: Outer>(
        self,
        index: usize,
        shares: Vec<Share>,
        stack: impl FnOnce() -> S + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("pillion-block-{index}"))
            .build()?;
        let entrances = entrances(&runtime, shares)?;
        // A stop right after the start must not find that there is nothing to wait for.
        let opening = self.doors.token();
        thread::Builder::new()
            .name(format!("pillion-core-{index}"))
            .spawn(move || {
                runtime.block_on(async {
                    let warden = self.open(entrances, stack());
                    drop(opening);
                    tokio::select! {
                        () = self.ground.signals.exit.cancelled() => {}
                        () = warden.run(&self.ground.signals) => {}
                    }
                });
                // Whatever still runs on the blocking threads is not worth a wait.
                runtime.shutdown_background();
            })
    }

    /// Begins to accept.
    fn open<S: Outer>(&self, entrances: Vec<Entrance>, stack: S) -> Arc<Warden> {
        let Ground {
            clock,
            metrics,
            limits,
            interim,
            signals,
        } = &self.ground;
        let front = Arc::new(Front::new(stack, clock.clone(), *interim));
        let deadlines = Deadlines {
            head: limits.header_time,
            idle: limits.idle,
        };
        let warden = Arc::new(Warden::new(deadlines, metrics.clone()));
        let protocols = Protocols::new(limits, self.connections.clone());
        for entrance in entrances {
            let door = Door {
                manner: Arc::new(Manner {
                    front: front.clone(),
                    tls: entrance.tls.map(TlsConfig),
                    proxy_protocol: entrance.proxy_protocol,
                    protocols: protocols.clone(),
                    metrics: metrics.clone(),
                }),
                warden: warden.clone(),
                permits: self.permits.clone(),
                connections: self.connections.clone(),
                stopping: signals.stopping.clone(),
            };
            self.doors
                .spawn(async move { door.keep(entrance.listener).await });
        }
        warden
    }
}

/// Takes listeners into `runtime`.
fn entrances(runtime: &Runtime, shares: Vec<Share>) -> io::Result<Vec<Entrance>> {
    let _inside = runtime.enter();
    shares
        .into_iter()
        .map(|share| {
            Ok(Entrance {
                listener: Listener::new(share.socket)?,
                tls: share.tls,
                proxy_protocol: share.proxy_protocol,
            })
        })
        .collect()
}
