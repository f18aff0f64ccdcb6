//! Content that is watched while it comes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::too_large;
use crate::clock;
use crate::{Body, Error, ErrorKind, Result};

/// A request body that fails once it is too large or comes too slowly.
pub(super) struct Guarded {
    body: Body,
    /// Bytes that may still come; `None` is any number.
    left: Option<u64>,
    rate: Option<Rate>,
    /// Set by a failure: nothing comes after it.
    is_over: bool,
}

impl Guarded {
    pub(super) fn new(body: Body, limit: Option<u64>, rate: Option<u64>) -> Self {
        Self {
            body,
            left: limit,
            rate: rate.map(Rate::new),
            is_over: false,
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.is_over = true;
        // What the client still sends is of no use; let go of it at once.
        self.body = Body::empty();
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
            let is_too_slow = self
                .rate
                .as_mut()
                .is_some_and(|rate| rate.is_too_slow_while_waiting(cx));
            return if is_too_slow {
                self.fail(too_slow())
            } else {
                Poll::Pending
            };
        };
        let length = polled
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        let length = length.map_or(0, |data| data.len() as u64);
        if let Some(rate) = &mut self.rate {
            rate.arrived(length);
        }
        if let Some(left) = self.left {
            match left.checked_sub(length) {
                Some(left) => self.left = Some(left),
                None => return self.fail(too_large()),
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Measures how fast content comes *while we wait for it*: when the upstream takes its time, we do
/// not ask for more, and that is no fault of the client's.
struct Rate {
    /// Bytes per second.
    least: u64,
    /// Bytes in this window.
    bytes: u64,
    /// What of this window was spent waiting already.
    waited: Duration,
    /// When the present wait began, and when the window ends if it goes on.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Rate {
    fn new(least: u64) -> Self {
        Self {
            least,
            bytes: 0,
            waited: Duration::ZERO,
            wait: None,
        }
    }

    /// To be asked when nothing is there. Wakes the task at the window's end.
    fn is_too_slow_while_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let left = WINDOW.saturating_sub(self.waited);
            let (_, end) = self.wait.get_or_insert_with(|| {
                let now = clock::timer_now();
                (now, Box::pin(sleep_until(now + left)))
            });
            if end.as_mut().poll(cx).is_pending() {
                return false;
            }
            if self.bytes < self.least.saturating_mul(WINDOW.as_secs()) {
                return true;
            }
            self.begin_window();
        }
    }

    fn arrived(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let Some((since, end)) = self.wait.take() else {
            return;
        };
        if end.is_elapsed() || clock::timer_now() >= end.deadline() {
            // The window ended while nobody asked us: then nobody waited either.
            self.begin_window();
        } else {
            self.waited += since.elapsed();
        }
    }

    fn begin_window(&mut self) {
        *self = Self::new(self.least);
    }
}

fn too_slow() -> Error {
    Error::client(ErrorKind::RequestTimeout).detail("the content came too slowly")
}

/// Long enough for a phone in a tunnel, short enough that slow senders do not pile up.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
