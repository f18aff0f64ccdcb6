//! Interim responses on their way to an HTTP/1.1 client (RFC 9110 §15.2).
//!
//! hyper writes none but its own `100`, so the connection under it does. It may whenever the bytes
//! written so far end at the boundary between two messages and the next one is the answer to the
//! request that the interim response is about:
//!
//! - hyper takes one request at a time: it calls the service for the next, pipelined or not, when
//!   the answer to the one before is in its write buffer to the last byte. While the service has not
//!   answered ([`Interims::await_answer`] to [`Interims::answered`]), nothing of the answer is there.
//! - hyper flushes the connection only when its write buffer is empty. So at a flush between these
//!   two, all of the answers before is written and nothing of this one.
//!
//! An answer that is ready while interim responses wait is held for that one flush, so that they come
//! first. Both steps and the flush are taken by the one task that drives the connection; only
//! [`Interims::take`] is called by others.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Those of one connection; see the module.
#[derive(Debug, Default)]
pub(crate) struct Interims {
    /// The number of the request whose answer is next and has not begun; 0 for none. Written by the
    /// connection's task.
    awaited: AtomicU32,
    /// Whether any wait, so that the lock is for those who have some. Written under the lock.
    any: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What they are about.
    request: u32,
    /// How many came for it, those that were written or refused among them.
    count: usize,
    bytes: Vec<u8>,
}

impl Interims {
    /// A request is given to the service: interim responses to it may be sent from now on.
    pub(crate) fn await_answer(&self, request: u32) {
        self.awaited.store(request, Relaxed);
    }

    /// Its answer is about to be given to HTTP: false, if interim responses are to be written first.
    /// Then the task is woken when they are.
    pub(crate) fn answered(&self) -> bool {
        if self.any.load(Relaxed) {
            return false;
        }
        self.awaited.store(0, Relaxed);
        true
    }

    /// Takes one that the upstream sent; false if it is let go, since the request has had its
    /// answer or [too many](MOST), or its client does not [read](ROOM).
    pub(crate) fn take(&self, request: u32, head: &[u8]) -> bool {
        let mut waiting = self.waiting();
        if request == 0 || self.awaited.load(Relaxed) != request {
            return false;
        }
        if waiting.request != request {
            waiting.request = request;
            waiting.count = 0;
            waiting.bytes.clear();
        }
        waiting.count += 1;
        if waiting.count > MOST || waiting.bytes.len() + head.len() > ROOM {
            return false;
        }
        waiting.bytes.extend_from_slice(head);
        self.any.store(true, Relaxed);
        true
    }

    /// Whether [`next`](Self::next) has anything to do.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// What is to be written now; to be asked when HTTP flushes the connection, and no other time.
    pub(crate) fn next(&self) -> Bytes {
        let mut waiting = self.waiting();
        self.any.store(false, Relaxed);
        let bytes = std::mem::take(&mut waiting.bytes);
        if waiting.request == self.awaited.load(Relaxed) {
            bytes.into()
        } else {
            Bytes::new()
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Interim responses to one request; more are for nobody's good.
const MOST: usize = 32;
/// Bytes of them that wait for a client which does not read.
const ROOM: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_for_the_awaited_request_is_written_once_and_before_its_answer() {
        let interims = Interims::default();
        interims.await_answer(1);
        assert!(interims.take(1, b"a"));
        assert!(interims.take(1, b"b"));
        assert!(!interims.answered());
        assert_eq!(interims.next(), "ab");
        assert!(!interims.any());
        assert_eq!(interims.next(), "");
        assert!(interims.answered());
    }

    #[test]
    fn nothing_is_written_once_the_answer_has_begun() {
        let interims = Interims::default();
        assert!(!interims.take(0, b"before any request"));
        interims.await_answer(1);
        assert!(interims.answered());
        assert!(!interims.take(1, b"late"));
        interims.await_answer(2);
        assert!(!interims.take(1, b"of another request"));
        assert!(interims.take(2, b"a"));
        assert_eq!(interims.next(), "a");
    }

    #[test]
    fn what_was_left_of_one_request_is_not_written_before_the_answer_to_another() {
        let interims = Interims::default();
        interims.await_answer(1);
        assert!(interims.take(1, b"a"));
        interims.await_answer(2);
        assert_eq!(interims.next(), "");
        interims.await_answer(3);
        assert!(interims.take(3, b"c"));
        assert_eq!(interims.next(), "c");
    }

    #[test]
    fn number_and_room_are_bounded() {
        let interims = Interims::default();
        interims.await_answer(1);
        let taken = (0..MOST + 18).filter(|_| interims.take(1, b"x")).count();
        assert_eq!(taken, MOST);
        interims.next();
        assert!(
            !interims.take(1, b"x"),
            "writing them makes no room for more"
        );
        interims.await_answer(2);
        assert!(!interims.take(2, &[b'x'; ROOM + 1]));
        assert!(interims.take(2, &[b'x'; ROOM]));
        assert!(!interims.take(2, b"x"));
    }
}
