//! A deadline that costs a request nothing but a look, as long as nothing is late.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use middleware::clock::Clock;
use tokio::time::Sleep;

/// One timer for the life of a connection. Setting a timer locks the runtime's wheel, so it is set
/// for the first wait and left there: when it rings for a wait that has long ended, it is set anew
/// for the present one. Hence a busy connection sets it once per deadline, not once per request.
#[derive(Default)]
pub(super) struct Deadline(Option<Timer>);

struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// By our clock; the wait that it was set for may be over.
    rings: Instant,
}

impl Deadline {
    /// Ready once `due` has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Instant) -> Poll<()> {
        loop {
            if let Some(timer) = &mut self.0
                && timer.rings <= due
            {
                ready!(timer.sleep.as_mut().poll(cx));
            }
            let now = clock.mono();
            if due <= now {
                return Poll::Ready(());
            }
            self.set(now, due);
        }
    }

    fn set(&mut self, now: Instant, due: Instant) {
        let sleep = tokio::time::sleep(due - now);
        match &mut self.0 {
            Some(timer) => {
                timer.sleep.as_mut().set(sleep);
                timer.rings = due;
            }
            None => {
                self.0 = Some(Timer {
                    sleep: Box::pin(sleep),
                    rings: due,
                });
            }
        }
    }
}
