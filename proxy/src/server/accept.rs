//! Accepts connections for one core: one loop for each of its listeners.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use middleware::Outer;
use middleware::facts::Peer;
use middleware::metrics::Event;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::server::client_io::Place;
use crate::server::connection::{self, Manner};
use crate::server::socket::{Listener, Socket};
use crate::server::warden::Warden;
use crate::server::watch::Watch;

/// What an accept loop needs beside its listener.
pub(crate) struct Door<S> {
    pub(crate) manner: Arc<Manner<S>>,
    pub(crate) warden: Arc<Warden>,
    /// `limits.connections`, for all cores together.
    pub(crate) permits: Arc<Semaphore>,
    /// What a stop waits for.
    pub(crate) connections: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl<S: Outer> Door<S> {
    /// Lets clients in until the stop begins.
    pub(crate) async fn keep(&self, listener: Listener) {
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    trouble = Trouble::default();
                    if self.admit(socket, peer).await.is_err() {
                        return;
                    }
                }
                Err(error) => trouble.wait_out(&error).await,
            }
        }
        for (socket, peer) in listener.rest() {
            if self.admit(socket, peer).await.is_err() {
                return;
            }
        }
    }

    /// Serves a connection as soon as there is a place for it. Until then nobody else is let in:
    /// further clients wait in the kernel's queue.
    async fn admit(&self, socket: Socket, peer: Peer) -> Result<(), Stopping> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.manner.metrics.count(Event::ConnectionOverLimit);
                tokio::select! {
                    biased;
                    permit = self.permits.clone().acquire_owned() => {
                        permit.expect("the semaphore is never closed")
                    }
                    () = self.stopping.cancelled() => return Err(Stopping),
                }
            }
        };
        self.manner.metrics.count(Event::ConnectionAccepted);
        let watch = Arc::new(Watch::default());
        self.warden.keep(watch.clone());
        let place = Place::new(
            watch.clone(),
            permit,
            self.connections.token(),
            &self.manner.metrics,
        );
        self.connections.spawn(connection::serve(
            socket,
            peer,
            watch,
            place,
            self.manner.clone(),
        ));
        Ok(())
    }
}

/// The stop began while a connection waited for a place.
struct Stopping;

/// Failures to accept, one after the other.
#[derive(Default)]
struct Trouble {
    in_a_row: u32,
}

impl Trouble {
    async fn wait_out(&mut self, error: &io::Error) {
        if is_of_the_connection(error) {
            return;
        }
        // Out of descriptors or memory: to try again at once would only burn the processor that
        // could free some. Said once; it tends to last.
        if self.in_a_row == 0 {
            warn!(%error, "Cannot accept connections; trying again.");
        }
        sleep(FIRST_PAUSE.saturating_mul(1 << self.in_a_row.min(5))).await;
        self.in_a_row += 1;
    }
}

/// Whether the client was gone before we accepted it (accept(2): network errors already pending).
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
    )
}

/// Doubled up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(31);
