//! Pillion, the program: everything that owns a socket, a process or the lifetime of something.
//!
//! [`start`] brings it up in order, [`Running::stop`] takes it down in order. In between a request
//! goes: [`server`] (a core's listener, connection and HTTP) → [`pipeline`] (the page) →
//! [`routing`] → the route's layers → [`upstream`], or [`tunnel`].

pub mod admin;
pub mod logging;
pub mod pipeline;
pub mod routing;
pub mod server;
pub mod shared;
pub mod shutdown;
mod start_error;
pub mod tunnel;
pub mod upstream;

use std::io;
use std::sync::Arc;

use config::Settings;
use middleware::clock::Clock;
use tokio_util::sync::CancellationToken;

pub use crate::server::{Bound, BoundAddress};
use crate::shared::Shared;
pub use crate::shutdown::{Readiness, Stopped};
pub use crate::start_error::StartError;

/// Binds every listener, starts one thread for each core, and returns when all of them listen.
/// Blocks for some milliseconds; needs no runtime.
///
/// # Errors
/// When something that the settings name cannot be had: a port, a file, a certificate.
pub fn start(settings: Settings, clock: Clock) -> Result<Running, StartError> {
    let _ = (settings, clock);
    Err(StartError::new("not yet", "wait"))
}

/// A Pillion that listens. Dropping it ends it at once; [`stop`](Self::stop) does so with care.
#[derive(Debug)]
pub struct Running {
    settings: Arc<Settings>,
    shared: Shared,
    bound: Vec<Bound>,
    readiness: Readiness,
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
    /// cancelled when everything else has ended, and what then remains of it is dropped.
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
        let _ = (name, serve);
        Ok(())
    }

    /// Not ready → stop accepting → finish what is in flight, for `settings.drain` at most →
    /// background tasks → end of the threads. Runs on the caller's runtime (with its timer).
    pub async fn stop(self) -> Stopped {
        Stopped {
            drained: true,
            took: std::time::Duration::ZERO,
        }
    }
}
