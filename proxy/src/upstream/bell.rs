//! What wakes the task that drives an HTTP/1.1 connection.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use pin_project_lite::pin_project;

/// Gives a connection its turns; it can be held for a moment. hyper wakes a connection whenever a piece
/// of an answer's content is taken, so that it brings the next: also after the last one, when it has
/// seen to all that follows long ago and would only look at everything once more. That turn takes a
/// thirtieth of all that a passed request does.
pub(super) struct Bell {
    /// The task that drives the connection.
    task: Mutex<Option<Waker>>,
    /// How often it was rung while it was held; [`RINGS`] while it is not.
    held: AtomicU32,
    /// Where the task runs. It is held by nobody elsewhere: nothing else rings there at the same time,
    /// since whoever has the connection alone may send on it, and the socket's events come there too.
    home: ThreadId,
}

impl Bell {
    /// For a task of this thread.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            task: Mutex::new(None),
            held: AtomicU32::new(RINGS),
            home: thread::current().id(),
        })
    }

    /// Runs `taking`, and tells how often it rang without being heard. Unless it is known that the
    /// connection needs no turn, the bell is to be [rung](Self::ring) for that afterwards.
    pub(super) fn held<T>(&self, taking: impl FnOnce() -> T) -> (T, u32) {
        if thread::current().id() != self.home {
            return (taking(), 0);
        }
        self.held.store(0, Ordering::SeqCst);
        let taken = taking();
        (taken, self.held.swap(RINGS, Ordering::SeqCst))
    }

    /// Gives the connection a turn.
    pub(super) fn ring(&self) {
        if let Some(task) = &*self.task() {
            task.wake_by_ref();
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let one_more = |before: u32| (before != RINGS).then(|| before + 1);
        let counted = self
            .held
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        if counted.is_err() {
            self.ring();
        }
    }
}

pin_project! {
    /// A connection that has its turns by a [`Bell`].
    pub(super) struct Belled<C> {
        #[pin]
        connection: C,
        bell: Arc<Bell>,
        // The bell's own.
        waker: Waker,
        // The task's, as the bell knows it; a task has the same one all its life.
        known: Option<Waker>,
    }
}

impl<C> Belled<C> {
    pub(super) fn new(connection: C, bell: Arc<Bell>) -> Self {
        Self {
            connection,
            waker: Waker::from(bell.clone()),
            bell,
            known: None,
        }
    }
}

impl<C: Future> Future for Belled<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        let known = this.known.as_ref();
        if !known.is_some_and(|known| known.will_wake(cx.waker())) {
            *this.known = Some(cx.waker().clone());
            *this.bell.task() = Some(cx.waker().clone());
        }
        this.connection.poll(&mut Context::from_waker(this.waker))
    }
}

/// More often than it is rung in one turn.
const RINGS: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Heard(AtomicUsize);

    impl Wake for Heard {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_rings_for_whoever_drives_the_connection_unless_it_is_held() {
        let (first, second) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let bell = Bell::new();
        // Before the first turn there is nobody to be woken.
        bell.wake_by_ref();
        let pending = std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let mut connection = std::pin::pin!(Belled::new(pending, bell.clone()));
        for (task, expected) in [(&first, [1, 0]), (&second, [1, 1])] {
            let waker = Waker::from(task.clone());
            let mut cx = Context::from_waker(&waker);
            assert!(connection.as_mut().poll(&mut cx).is_pending());
            let heard = [&first, &second].map(|task| task.0.load(Ordering::Relaxed));
            assert_eq!(heard, expected);
        }
        let (taken, rung) = bell.held(|| {
            bell.wake_by_ref();
            bell.clone().wake();
            7
        });
        assert_eq!((taken, rung), (7, 2));
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
        bell.ring();
        bell.wake_by_ref();
        assert_eq!(second.0.load(Ordering::Relaxed), 3);
        let elsewhere = thread::scope(|scope| {
            let held = scope.spawn(|| bell.held(|| bell.wake_by_ref()));
            held.join().unwrap()
        });
        assert_eq!(elsewhere, ((), 0), "it is held at home only");
        assert_eq!(second.0.load(Ordering::Relaxed), 4);
    }
}
