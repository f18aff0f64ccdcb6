//! Signals as a stream: those that are listened to, in the order in which they are found.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};

/// Signals that do not end this process any more, since it listens to them.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, Arrivals)>);

impl Signals {
    /// Listens to `kinds` from here on.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn listen(kinds: impl IntoIterator<Item = Signal>) -> io::Result<Self> {
        kinds
            .into_iter()
            .map(|kind| Ok((kind, signal(SignalKind::from_raw(kind.as_raw()))?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next one; where several have arrived, the one that was listed first.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            let arrived = self
                .0
                .iter_mut()
                .find_map(|(kind, arrivals)| arrivals.poll_recv(cx).is_ready().then_some(*kind));
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The next one that asks for an end.
    pub(crate) async fn next_stop(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if is_stop(signal) {
                return signal;
            }
        }
    }
}

/// Whether `signal` asks for an end.
pub(crate) fn is_stop(signal: Signal) -> bool {
    signal == Signal::TERM || signal == Signal::INT
}

/// What a shell shows for a process that `signal` ended.
pub(crate) fn code_of(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}
