//! Pillion, the program: everything that owns a socket, a process or the lifetime of something.
//!
//! [`start`] brings it up in order, [`Running::stop`] takes it down in order. In between a request
//! goes: [`server`] (a core's listener, connection and HTTP) → [`pipeline`] (the page) →
//! [`routing`] → the route's layers → [`upstream`], or [`tunnel`].

pub mod admin;
pub mod explain;
mod gathered;
pub mod logging;
pub mod pipeline;
pub mod routing;
pub mod server;
pub mod shared;
pub mod shutdown;
mod start_error;
pub mod tiers;
pub mod tunnel;
pub mod upstream;
pub mod warm_up;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use config::Settings;
use middleware::cache::{Figures, SharedCache};
use middleware::clock::Clock;
use middleware::metrics::{Metrics, Sampled, resident_bytes};
use middleware::request_log::AccessLog;
use tokio::runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::server::{Bound, BoundAddress};
use crate::server::{Cores, Ground, Listeners};
use crate::shared::{Core, Shared};
pub use crate::shutdown::{Readiness, Stopped};
use crate::shutdown::{Signals, Stop};
pub use crate::start_error::StartError;
use crate::tiers::LowerTiers;
use crate::upstream::{Hold, Upstreams};

/// Binds every listener, starts one thread for each core, and returns when all of them listen.
/// Blocks for some milliseconds; needs no runtime.
///
/// # Errors
/// When something that the settings name cannot be had: a port, a file, a certificate.
pub fn start(settings: Settings, clock: Clock) -> Result<Running, StartError> {
    begin(settings, clock, None).map(|(running, _)| running)
}

/// As [`start`]; requests to the upstream `name` are [held](Upstreams::hold) from the first one on.
///
/// # Errors
/// As of [`start`].
///
/// # Panics
/// If there is no upstream of that name.
pub fn start_holding(
    settings: Settings,
    clock: Clock,
    name: &str,
) -> Result<(Running, Hold), StartError> {
    let (running, hold) = begin(settings, clock, Some(name))?;
    Ok((running, hold.expect("it was asked for")))
}

fn begin(
    settings: Settings,
    clock: Clock,
    held: Option<&str>,
) -> Result<(Running, Option<Hold>), StartError> {
    server::allow_descriptors(&settings);
    let settings = Arc::new(settings);
    let signals = Signals::default();
    let shared = share(&settings, clock.clone(), &signals)?;
    // Before anybody listens, so that no request overtakes it.
    let hold = held.map(|name| shared.upstreams.hold(name));
    let listeners = Listeners::open(&settings.listen, settings.threads, &shared.metrics)?;
    let bound = listeners.bound();
    let ground = Ground {
        clock,
        metrics: shared.metrics.clone(),
        limits: settings.limits,
        interim: settings.forwarding.interim,
        signals: signals.clone(),
    };
    let front = {
        let (settings, shared) = (settings.clone(), shared.clone());
        move |index| {
            let hottest = warm_up::hottest(&settings).map(|most| shared.cache.hottest(most));
            let core = Core {
                index,
                metrics: shared.metrics.core(),
                // Hits are counted where they are written down.
                journal: (settings.admin.is_some() || hottest.is_some())
                    .then(|| shared.cache.journal(settings.threads)),
                hottest,
            };
            pipeline::front_stack(&settings, &shared, &core)
        }
    };
    let cores = Cores::start(settings.threads, listeners, &ground, front)?;
    let mut running = Running {
        settings,
        shared,
        bound,
        readiness: Readiness::new(),
        signals,
        cores: Some(cores),
        beside: Vec::new(),
    };
    warm_up::begin(&mut running)?;
    Ok((running, hold))
}

/// What outlives a reload. Reads the files that it needs, and opens the log.
fn share(settings: &Settings, clock: Clock, signals: &Signals) -> Result<Shared, StartError> {
    let metrics = Metrics::new();
    let tasks = TaskTracker::new();
    let upstreams = Upstreams::new(
        &settings.upstreams,
        // Who warms the cache up has connections of its own.
        settings.threads + usize::from(settings.warm_up.is_some()),
        clock.clone(),
        &metrics,
        &tasks,
        &signals.stopping,
    )
    .map_err(|error| {
        StartError::new(
            "An upstream cannot be set up",
            "Check its table [upstream.…] and the files that it names",
        )
        .caused_by(error)
    })?;
    let access_log = AccessLog::open(&settings.request_log, &metrics).map_err(|error| {
        StartError::new(
            "The request log cannot be opened",
            "Check [request_log] target, and that this user may write there",
        )
        .caused_by(error)
    })?;
    let cache = SharedCache::with_ghost(
        settings.cache_memory,
        settings.ghost_keys,
        clock.clone(),
        tasks.clone(),
        &metrics,
    );
    let (cache, tiers) = LowerTiers::start(settings, cache, &metrics)?;
    observe(&cache, &metrics);
    Ok(Shared {
        clock,
        tasks,
        stopping: signals.stopping.clone(),
        streams: signals.streams.clone(),
        metrics,
        access_log,
        cache,
        tiers,
        upstreams,
    })
}

/// Has every scrape ask the cache how full it is.
fn observe(cache: &SharedCache, metrics: &Metrics) {
    let gauge = |what, of: fn(Figures) -> u64| {
        let cache = cache.clone();
        metrics.observe(what, move || of(cache.figures()) as f64);
    };
    gauge(Sampled::CacheBudget, |figures| figures.budget);
    gauge(Sampled::CacheAccounted, |figures| figures.bytes);
    gauge(Sampled::CacheEntries, |figures| figures.entries);
    metrics.observe(Sampled::CacheResident, || {
        resident_bytes().unwrap_or_default()
    });
}

/// A Pillion that listens. Dropping it ends it at once; [`stop`](Self::stop) does so with care.
#[derive(Debug)]
pub struct Running {
    settings: Arc<Settings>,
    shared: Shared,
    bound: Vec<Bound>,
    readiness: Readiness,
    signals: Signals,
    /// `None` once stopped.
    cores: Option<Cores>,
    beside: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// Where it listens, in the order of the settings.
    pub fn addresses(&self) -> &[Bound] {
        &self.bound
    }

    /// What all cores share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What it was told.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The flag of `/readyz`. It says `Starting` until somebody calls
    /// [`announce_ready`](Readiness::announce_ready): at once, or when the child accepts.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Runs `serve` (the admin listener) on a thread and a current-thread runtime of its own, beside
    /// the cores. It is polled during a whole stop, so that `/readyz` can say so; its token is
    /// cancelled when everything else has ended, and it is dropped if it does not end soon after.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn beside<F>(
        &mut self,
        name: &str,
        serve: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()>,
    {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ended = self.signals.exit.clone();
        let thread = thread::Builder::new()
            .name(format!("pillion-{name}"))
            .spawn(move || {
                runtime.block_on(async {
                    let mut serving = pin!(serve(ended.clone()));
                    tokio::select! {
                        () = ended.cancelled() => {
                            timeout(LAST_WORDS, serving).await.ok();
                        }
                        () = &mut serving => {}
                    }
                });
                runtime.shutdown_background();
            })?;
        self.beside.push(thread);
        Ok(())
    }

    /// Not ready → stop accepting → finish what is in flight, for `settings.drain` at most →
    /// background tasks → end of the threads. Runs on the caller's runtime (with its timer).
    pub async fn stop(mut self) -> Stopped {
        let mut cores = self.cores.take().expect("it is stopped once");
        let stop = Stop {
            readiness: &self.readiness,
            signals: &self.signals,
            clock: &self.shared.clock,
            doors: &cores.doors,
            connections: &cores.connections,
            background: &self.shared.tasks,
            drain: self.settings.drain,
        };
        let stopped = stop.carry_out().await;
        if let Some(tiers) = &self.shared.tiers {
            let left = self.settings.drain.saturating_sub(stopped.took);
            tiers.stop(&self.shared.cache, left).await;
        }
        cores.remove_files();
        self.signals.exit.cancel();
        let beside = std::mem::take(&mut self.beside);
        let access_log = self.shared.access_log.clone();
        let ended = tokio::task::spawn_blocking(move || {
            cores.join();
            access_log.flush();
            // A thread that panicked has said so already.
            beside.into_iter().for_each(|thread| drop(thread.join()));
        });
        ended.await.ok();
        stopped
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without a stop before: the threads end by themselves, and take what they serve with them.
        self.signals.exit.cancel();
    }
}

/// What is served beside the cores gets after the end of everything else.
const LAST_WORDS: Duration = Duration::from_millis(250);
