//! The order of a stop, and the flag that `/readyz` shows.
//!
//! Not ready → no new connections → in flight is finished (`Connection: close`, GOAWAY) → what is
//! left is cut at the deadline → background tasks → the cores' threads end.
//!
//! **Streams** (event streams, gRPC, tunnels: what has no end of its own) would hold every stop for
//! the whole deadline, so they get a quarter of it: long enough for one that is about to end, and
//! a client of such a stream knows how to come back.

use std::sync::Arc;
use std::time::Duration;

use middleware::clock::Clock;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Whether traffic should be sent here; shared by `/readyz`, the supervisor and the stop.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<State>>);

/// See [`Readiness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Listening, but nobody has said yet that the app behind can be asked.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what is in flight; no way back.
    Stopping,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Starting)))
    }

    /// The state now.
    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    /// Notified of every change of state.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Says that requests can be served; tells systemd (`READY=1`) where it asks. Of no effect once
    /// a stop has begun.
    pub fn announce_ready(&self) {
        let first = self.0.send_if_modified(|state| {
            let first = *state == State::Starting;
            if first {
                *state = State::Ready;
            }
            first
        });
        if first {
            tell_supervisor(sd_notify::NotifyState::Ready);
        }
    }

    fn announce_stopping(&self) {
        self.0.send_replace(State::Stopping);
        tell_supervisor(sd_notify::NotifyState::Stopping);
    }
}

/// The steps of a stop, each a signal, given in this order. Listened to by one task of each core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// Accept no more; say goodbye on every connection.
    pub(crate) stopping: CancellationToken,
    /// Cut streams, and tunnels.
    pub(crate) streams: CancellationToken,
    /// Cut everything.
    pub(crate) cut: CancellationToken,
    /// All is done: threads end.
    pub(crate) exit: CancellationToken,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether everything in flight was finished, streams aside; otherwise it was cut at the deadline.
    pub drained: bool,
    /// How long it took.
    pub took: Duration,
}

/// What a stop has to wait for.
pub(crate) struct Stop<'a> {
    pub(crate) readiness: &'a Readiness,
    pub(crate) signals: &'a Signals,
    pub(crate) clock: &'a Clock,
    /// Every accept loop.
    pub(crate) doors: &'a TaskTracker,
    /// Every connection, tunnels included.
    pub(crate) connections: &'a TaskTracker,
    /// What runs in the background: validations, fills whose client has gone, the ends of tunnels.
    pub(crate) background: &'a TaskTracker,
    /// How long requests in flight may take.
    pub(crate) drain: Duration,
}

impl Stop<'_> {
    /// Carries it out, up to the point where only the threads are left to be ended.
    pub(crate) async fn carry_out(self) -> Stopped {
        let begun = self.clock.now().mono;
        self.readiness.announce_stopping();
        self.signals.stopping.cancel();
        let drained = timeout(self.drain, self.finish_connections()).await.is_ok();
        self.signals.streams.cancel();
        self.signals.cut.cancel();
        let spent = || self.clock.now().mono.saturating_duration_since(begun);
        self.background.close();
        let left = self.drain.saturating_sub(spent()).max(LAST_MOMENT);
        let background = async {
            self.connections.wait().await;
            self.background.wait().await;
        };
        if timeout(left, background).await.is_err() {
            info!(
                tasks = self.background.len(),
                connections = self.connections.len(),
                "The stop does not wait for background tasks any longer."
            );
        }
        Stopped {
            drained,
            took: spent(),
        }
    }

    async fn finish_connections(&self) {
        let finished = async {
            self.doors.wait().await;
            self.connections.wait().await;
        };
        let streams = async {
            sleep(self.drain / STREAMS_PART).await;
            self.signals.streams.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = finished => {}
            () = streams => {}
        }
    }
}

fn tell_supervisor(state: sd_notify::NotifyState<'_>) {
    // Without a supervisor that listens this does nothing and succeeds.
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "Could not tell systemd about a change of state.");
    }
}

/// The part of the deadline that streams and tunnels get.
const STREAMS_PART: u32 = 4;
/// What background tasks get at least, when connections have used up the whole deadline.
const LAST_MOMENT: Duration = Duration::from_millis(250);
