//! What reads and writes a connection, and may be asked to do so at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Driven by a task of its own, and by whoever has something to be written that should not wait until
/// that task has its turn: while the server is at it, there is other work to do.
pub(super) struct Driver(Mutex<State>);

struct State {
    /// The library's; `None` when it has come to its end.
    driving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Of the task.
    waker: Option<Waker>,
}

impl Driver {
    pub(super) fn new(driving: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Mutex::new(State {
            driving: Some(Box::pin(driving)),
            waker: None,
        }))
    }

    /// Reads and writes until there is nothing more to.
    pub(super) async fn done(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waker = &mut state.waker;
            if !waker
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                *waker = Some(cx.waker().clone());
            }
            state.drive(cx)
        })
        .await;
    }

    /// Writes what is to be written, as far as the system takes it at once. Does nothing where that is being
    /// done, or the task has not begun.
    pub(super) fn push(&self) {
        let Ok(mut state) = self.0.try_lock() else {
            return;
        };
        let Some(waker) = state.waker.clone() else {
            return;
        };
        if state.drive(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
    }
}

impl State {
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(driving) = &mut self.driving else {
            return Poll::Ready(());
        };
        let polled = driving.as_mut().poll(cx);
        if polled.is_ready() {
            self.driving = None;
        }
        polled
    }
}
