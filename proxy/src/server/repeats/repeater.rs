//! Where one HTTP/1.1 connection is, as far as that decides whether an answer may be written beneath HTTP.
//!
//! What comes is a request of its own only if it begins where a head begins, and what is written comes in
//! its place only if all before it is written. Both are known as long as the connection keeps to the plainest
//! way, each read a whole head without content and nothing else, the next one after the answer:
//!
//! - HTTP made one request of each such read ([`Watch::served`]), and its answer is in HTTP's hands to the
//!   last byte (nothing is in flight);
//! - HTTP flushes the connection only when it holds nothing more to write, and whenever it took a piece of an
//!   answer it writes or flushes before it reads again (hyper, since 1.12, also before it yields). So where nothing
//!   was written since the last flush that came to its end, by HTTP or beneath it, nothing is held anywhere.
//!
//! Once it is not known where a head begins (pipelining, a head in two reads, content, a tunnel), it never is
//! again, and HTTP has the rest of the connection to itself.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memchr::memchr_iter;
use middleware::facts::{Peer, Scheme};

use crate::server::repeats::saying::Saying;
use crate::server::repeats::{By, Entry, Heard, Repeats};
use crate::server::watch::{Order, Watch};

/// See the module.
#[derive(Debug)]
pub(crate) struct Repeater {
    repeats: Arc<Repeats>,
    watch: Arc<Watch>,
    by: By,
    peer: Peer,
    at: At,
    /// Whether something was written since the last flush.
    is_writing: bool,
    /// Heads in a row that came to nothing.
    in_vain: u32,
    /// The head whose answer is wanted.
    wanted: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Where a head begins, once so many requests have begun and are answered.
    Head { served: u32 },
    /// Nobody knows.
    Lost,
}

impl Repeater {
    pub(crate) fn new(
        repeats: Arc<Repeats>,
        watch: Arc<Watch>,
        scheme: Scheme,
        peer: Peer,
    ) -> Self {
        Self {
            repeats,
            watch,
            by: By::of(scheme, peer),
            peer,
            at: At::Head { served: 0 },
            is_writing: false,
            in_vain: 0,
            wanted: Box::default(),
        }
    }

    /// `bytes` came. Answers them by `write`, which gets an answer's head and content, if that is known to be
    /// right; `None` if they are HTTP's.
    pub(crate) fn hear<W>(
        &mut self,
        bytes: &[u8],
        write: impl FnOnce(&[u8], &Bytes) -> W,
    ) -> Option<(W, Entry)> {
        let At::Head { served } = self.at else {
            return None;
        };
        self.wanted = Box::default();
        let exchange = self.watch.exchange();
        if served != self.watch.served()
            || self.watch.is_answering()
            || self.is_writing
            || exchange.had_content()
            || self.watch.is_handed_over()
            || self.watch.order() != Order::Stay
        {
            self.at = At::Lost;
            return None;
        }
        let is_tried = self.in_vain < PATIENCE || self.in_vain.is_multiple_of(SELDOM);
        let heard = match is_tried {
            true => self.repeats.hear(bytes, self.by, write),
            false => Heard::New,
        };
        match heard {
            Heard::Said(written, entry) => {
                // It was one head when it was kept.
                self.at = At::Head {
                    served: served.wrapping_add(1),
                };
                self.in_vain = 0;
                return Some((written, entry));
            }
            Heard::Wanted if is_one_head(bytes) => {
                self.wanted = bytes.into();
                exchange.set_wanted(true);
                self.has_one_more(served);
            }
            Heard::New if is_one_head(bytes) => {
                exchange.set_wanted(false);
                self.has_one_more(served);
            }
            Heard::Wanted | Heard::New => self.at = At::Lost,
        }
        None
    }

    fn has_one_more(&mut self, served: u32) {
        self.in_vain = self.in_vain.wrapping_add(1);
        self.at = At::Head {
            served: served.wrapping_add(1),
        };
    }

    /// HTTP writes `pieces`; none if something else is written beneath it.
    pub(crate) fn note_written(&mut self, pieces: &[IoSlice<'_>]) {
        self.is_writing = true;
        let Some((first, rest)) = pieces.split_first() else {
            return;
        };
        let Some(saying) = self.watch.exchange().take() else {
            return;
        };
        let head = std::mem::take(&mut self.wanted);
        if self.at == At::Lost {
            return;
        }
        let rest = rest.iter().map(|piece| &**piece);
        if let Some(kept) = saying.written(head, self.by, first, rest) {
            self.repeats.keep(kept);
            self.in_vain = 0;
        }
    }

    /// HTTP holds nothing more that is to be written.
    pub(crate) fn note_flushed(&mut self) {
        self.is_writing = false;
    }

    /// Enters an answer that was written here.
    pub(crate) fn enter(&self, entry: Entry) {
        entry.repeat.enter(entry.received, entry.id, self.peer);
    }
}

/// Whether `bytes` are one head, whole, and nothing else, for every reader of HTTP/1.1: the first empty line
/// ends it, and some take a bare line feed for a line's end (RFC 9112 §2.2).
fn is_one_head(bytes: &[u8]) -> bool {
    let empty_line = memchr_iter(b'\n', bytes).find_map(|at| {
        let after = bytes.get(at + 1..)?;
        [&b"\r\n"[..], b"\n"]
            .into_iter()
            .find_map(|end| after.starts_with(end).then_some(at + 1 + end.len()))
    });
    empty_line == Some(bytes.len()) && bytes.ends_with(b"\r\n\r\n")
}

/// What the service tells the connection beneath HTTP about the request that is being answered.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Whether the connection would keep its answer.
    wanted: AtomicBool,
    /// Whether any request had content.
    had_content: AtomicBool,
    /// Whether there is an answer to be kept, so that the lock is for those who have one.
    any: AtomicBool,
    saying: Mutex<Option<Saying>>,
}

impl Exchange {
    fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    fn had_content(&self) -> bool {
        self.had_content.load(Relaxed)
    }

    /// A request begins; whether its answer is wanted.
    pub(crate) fn begin(&self, has_content: bool) -> bool {
        if has_content {
            self.had_content.store(true, Relaxed);
        }
        let wanted = self.wanted.load(Relaxed);
        if wanted {
            self.wanted.store(false, Relaxed);
        }
        wanted && !has_content
    }

    /// Tells what may be kept of the answer that is given to HTTP now.
    pub(crate) fn say(&self, saying: Saying) {
        *self.saying.lock().unwrap_or_else(PoisonError::into_inner) = Some(saying);
        self.any.store(true, Relaxed);
    }

    fn take(&self) -> Option<Saying> {
        if !self.any.load(Relaxed) {
            return None;
        }
        self.any.store(false, Relaxed);
        let mut saying = self.saying.lock().unwrap_or_else(PoisonError::into_inner);
        saying.take()
    }
}

/// Heads that come to nothing, one after the other, until they are looked up seldom.
const PATIENCE: u32 = 64;
/// One of so many is, then.
const SELDOM: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_head_is_whole_and_nothing_else() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("", false),
            ("\r\nGET / HTTP/1.1\r\n\r\n", true),
            ("\n\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\nG", false),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\n\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\n\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\n\r\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\n\n", false),
        ] {
            assert_eq!(is_one_head(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
