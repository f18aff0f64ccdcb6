//! How an answer on its way through HTTP becomes one that is kept.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use middleware::Response;
use middleware::body::Segments;
use middleware::cache::stored::StoredResponse;
use middleware::clock::Now;
use middleware::content_coding::Coding;
use middleware::facts::{RequestId, ResponseFacts};
use middleware::repeat::Repeat;

use crate::server::repeats::{By, LONGEST_HEAD};

/// An answer that was given to HTTP, and will be kept if it is written as expected.
#[derive(Debug)]
pub(crate) struct Saying {
    repeat: Arc<Repeat>,
    which: Which,
    /// Of the content, in bytes.
    length: usize,
    /// The request's, as it is written.
    name: [u8; NAME],
}

/// Which bytes of a stored response were an answer's content. They are looked for each time: a purge lets go of
/// them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// None: a 304, or there are none.
    Nothing,
    /// Those that are stored.
    Identity,
    /// Those of a coded copy.
    Coded(Coding),
}

/// An answer as it was written.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) head: Box<[u8]>,
    by: By,
    pub(super) repeat: Arc<Repeat>,
    /// The answer's head.
    top: Box<[u8]>,
    /// Where in it the request's name is.
    id_at: usize,
    which: Which,
    length: usize,
}

impl Saying {
    /// What may be kept of `response`, which is the answer to the request of this name.
    pub(crate) fn of(response: &Response, id: &RequestId) -> Option<Self> {
        let facts = response.extensions().get::<ResponseFacts>()?;
        let (repeat, stored) = (facts.repeat.clone()?, facts.stored.as_ref()?);
        let content = response.body().as_whole()?;
        let which = Which::of(content, stored)?;
        Some(Self {
            repeat,
            which,
            length: content.len(),
            // One that was kept is the client's, and as long as it likes.
            name: id.digits()?,
        })
    }

    /// What is kept of it if HTTP writes `pieces` in answer to `head`, and nothing else follows.
    pub(super) fn written<'a>(
        self,
        head: Box<[u8]>,
        by: By,
        first: &[u8],
        rest: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Kept> {
        let end = memmem::find(first, b"\r\n\r\n")? + 4;
        let (top, content) = first.split_at_checked(end)?;
        let written = content.len() + rest.map(<[u8]>::len).sum::<usize>();
        if written != self.length || top.len() > LONGEST_HEAD || !self.is_plain(top) {
            return None;
        }
        let mut found = memmem::find_iter(top, X_REQUEST_ID);
        let (id_at, None) = (found.next()? + X_REQUEST_ID.len(), found.next()) else {
            return None;
        };
        let is_its_name = top.get(id_at..)?.starts_with(&self.name);
        is_its_name.then_some(Kept {
            head,
            by,
            repeat: self.repeat,
            top: top.into(),
            id_at,
            which: self.which,
            length: self.length,
        })
    }

    /// Whether the connection goes on after an answer with this head, and its length is told as it is.
    fn is_plain(&self, top: &[u8]) -> bool {
        let says = |line: &str| memmem::find(top, line.as_bytes()).is_some();
        let is_whole = match self.which {
            Which::Nothing if top.starts_with(b"HTTP/1.1 304 ") => true,
            _ => says(&format!("\r\ncontent-length: {}\r\n", self.length)),
        };
        is_whole
            && top.starts_with(b"HTTP/1.1 ")
            && !says("\r\nconnection:")
            && !says("\r\ntransfer-encoding:")
    }
}

impl Which {
    fn of(content: &Bytes, stored: &StoredResponse) -> Option<Self> {
        if content.is_empty() {
            return Some(Self::Nothing);
        }
        let codings = Coding::ALL.map(Self::Coded);
        let mut all = std::iter::once(Self::Identity).chain(codings);
        all.find(|which| {
            let bytes = which.bytes(stored);
            bytes.is_some_and(|bytes| {
                bytes.as_ptr() == content.as_ptr() && bytes.len() == content.len()
            })
        })
    }

    fn bytes(self, stored: &StoredResponse) -> Option<&Bytes> {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Nothing => Some(&NONE),
            Self::Identity => match &stored.body {
                Segments::One(only) => Some(only),
                Segments::Many(_) => None,
            },
            Self::Coded(coding) => stored.coded(coding),
        }
    }
}

impl Kept {
    /// Whether it answers `head` at this time.
    pub(super) fn is_of(&self, head: &[u8], by: By, now: Now) -> bool {
        *self.head == *head && self.by == by && self.is_good(now)
    }

    /// Whether it says what would be said at this time.
    pub(super) fn is_good(&self, now: Now) -> bool {
        let until = self.repeat.until();
        now.mono < until.mono && now.wall < until.wall
    }

    /// Its content, if `stored` has it.
    pub(super) fn content<'a>(&self, stored: &'a StoredResponse) -> Option<&'a Bytes> {
        let content = self.which.bytes(stored);
        content.filter(|content| content.len() == self.length)
    }

    /// Writes its head to the request of another name, in place of what is in `top`.
    pub(super) fn write_top(&self, id: &RequestId, top: &mut Vec<u8>) {
        top.clear();
        top.extend_from_slice(&self.top);
        let place = self.id_at..self.id_at + NAME;
        if let (Some(digits), Some(place)) = (id.digits(), top.get_mut(place)) {
            place.copy_from_slice(&digits);
        }
    }
}

const X_REQUEST_ID: &[u8] = b"\r\nx-request-id: ";
/// Bytes of a request's name that is made here.
const NAME: usize = 32;
