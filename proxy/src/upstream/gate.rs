//! Holds requests back while the app is still starting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use middleware::{Error, ErrorKind, Result};
use tokio::sync::Notify;

/// Longest time that a request is held.
const PATIENCE: Duration = Duration::from_secs(30);

/// Open, unless someone holds it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// How many [`Hold`]s there are. Written at start-up only, so every core reads its own copy.
    holds: AtomicUsize,
    /// Requests that wait; each also waits on `opened`.
    waiting: AtomicUsize,
    opened: Notify,
}

/// While it lives, requests to its upstream wait: as many as `upstream.queue`, for 30 s each;
/// the rest is answered with 503. Dropping it lets them go.
#[derive(Debug)]
#[must_use = "dropping a hold releases it"]
pub struct Hold(Arc<Gate>);

impl Hold {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        gate.holds.fetch_add(1, Ordering::SeqCst);
        Self(gate)
    }

    /// Lets all waiting requests go, and later ones pass.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.opened.notify_waiters();
        }
    }
}

impl Gate {
    /// Whether a request has to [`wait`](Self::wait).
    pub(super) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }

    /// Waits until nobody holds the gate.
    pub(super) async fn wait(&self, queue: usize) -> Result<()> {
        let Some(_place) = Place::take(&self.waiting, queue) else {
            return Err(starting());
        };
        let opened = async {
            loop {
                let mut opened = std::pin::pin!(self.opened.notified());
                // From here on no opening is missed, so: look after, not before.
                opened.as_mut().enable();
                if self.holds.load(Ordering::SeqCst) == 0 {
                    return;
                }
                opened.await;
            }
        };
        tokio::time::timeout(PATIENCE, opened)
            .await
            .map_err(|_| starting())
    }
}

fn starting() -> Error {
    Error::upstream(ErrorKind::DestinationUnavailable)
        .detail("the app is still starting; try again soon")
        .retryable()
}

/// One place in a bounded queue; given back when dropped.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// A place, unless `limit` are taken.
    pub(super) fn take(taken: &'a AtomicUsize, limit: usize) -> Option<Self> {
        taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Self(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
