//! One core's warden: looks at every connection now and then, and passes on the steps of a stop.
//!
//! One sleeping task for a whole core instead of a timer for each connection and request: nothing
//! is armed, moved or disarmed on a request's way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use middleware::metrics::{Event, Metrics};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::server::watch::{Deadlines, Order, Phase, Watch};
use crate::shutdown::Signals;

/// See the module.
#[derive(Debug)]
pub(crate) struct Warden {
    deadlines: Deadlines,
    metrics: Metrics,
    kept: Mutex<Kept>,
    /// Told of the first connection after there was none.
    first: Notify,
}

#[derive(Debug)]
struct Kept {
    /// Connections that are open, or were at the last look.
    watches: Vec<Arc<Watch>>,
    /// What newcomers are told: the stop may have begun when they are accepted.
    order: Order,
}

impl Warden {
    pub(crate) fn new(deadlines: Deadlines, metrics: Metrics) -> Self {
        Self {
            deadlines,
            metrics,
            kept: Mutex::new(Kept {
                watches: Vec::new(),
                order: Order::Stay,
            }),
            first: Notify::new(),
        }
    }

    /// Begins to watch a connection.
    pub(crate) fn keep(&self, watch: Arc<Watch>) {
        let mut kept = self.kept();
        watch.give(kept.order);
        if kept.watches.is_empty() {
            self.first.notify_one();
        }
        kept.watches.push(watch);
    }

    /// Runs until the core's thread ends.
    pub(crate) async fn run(&self, signals: &Signals) {
        let steps = async {
            signals.stopping.cancelled().await;
            self.order(Order::Leave);
            signals.streams.cancelled().await;
            self.order(Order::CutStreams);
            signals.cut.cancelled().await;
            self.order(Order::Cut);
        };
        tokio::join!(steps, self.look_again_and_again(signals));
    }

    async fn look_again_and_again(&self, signals: &Signals) {
        let mut interval = self.deadlines.interval();
        loop {
            if self.kept().watches.is_empty() {
                self.first.notified().await;
            }
            tokio::select! {
                () = sleep(interval) => self.look(interval),
                () = signals.stopping.cancelled(), if interval > HURRIED => interval = HURRIED,
            }
        }
    }

    fn look(&self, passed: Duration) {
        self.kept().watches.retain(|watch| {
            let open = !watch.is_closed();
            if open && watch.look(passed, &self.deadlines) == Some(Phase::Head) {
                self.metrics.count(Event::ConnectionSlow);
            }
            open
        });
    }

    fn order(&self, order: Order) {
        let mut kept = self.kept();
        kept.order = order;
        kept.watches.iter().for_each(|watch| watch.give(order));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often to look during a stop.
const HURRIED: Duration = Duration::from_millis(50);
