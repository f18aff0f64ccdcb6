//! Content that is hashed as it passes: nothing is held back, nothing is kept.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::cache::ghost::trail::Trail;
use crate::{Body, Error, Result};

/// What was seen of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    /// Whether it was all of it.
    pub(super) is_whole: bool,
    /// 0 where none was made.
    pub(super) hash: u64,
}

impl Seen {
    /// Content that is here already; hashed if there is a `seed`.
    pub(super) fn whole(body: &Body, seed: Option<u64>) -> Self {
        let bytes = body.size_hint().lower();
        let hash = match (body.as_whole(), seed) {
            (_, None) => 0,
            (Some(content), Some(seed)) => xxh3_64_with_seed(content, seed),
            (None, Some(seed)) => {
                let mut hasher = Xxh3::with_seed(seed);
                let pieces = body.pieces(0, u64::MAX).unwrap_or_default();
                pieces.iter().for_each(|piece| hasher.update(piece));
                hasher.digest()
            }
        };
        Self {
            bytes,
            is_whole: true,
            hash,
        }
    }
}

/// A stream on its way to the client. What is seen of it is told when it ends or is dropped.
pub(super) struct Followed {
    body: Body,
    declared: Option<u64>,
    bytes: u64,
    /// `None` where only the length matters.
    hasher: Option<Box<Xxh3>>,
    /// `None` once told.
    trail: Option<Box<Trail>>,
}

impl Followed {
    pub(super) fn new(
        body: Body,
        declared: Option<u64>,
        seed: Option<u64>,
        trail: Box<Trail>,
    ) -> Self {
        Self {
            declared: declared.or(body.size_hint().exact()),
            body,
            bytes: 0,
            hasher: seed.map(|seed| Box::new(Xxh3::with_seed(seed))),
            trail: Some(trail),
        }
    }

    fn take(&mut self, data: &Bytes) {
        self.bytes += data.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
        }
    }

    fn end(&mut self, is_whole: bool) {
        let is_whole = is_whole && self.declared.is_none_or(|declared| declared == self.bytes);
        if let Some(trail) = self.trail.take() {
            trail.end(Seen {
                bytes: self.bytes,
                is_whole,
                hash: self.hasher.take().map_or(0, |hasher| hasher.digest()),
            });
        }
    }
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.take(data);
                }
            }
            Some(Err(_)) => self.end(false),
            None => self.end(true),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // HTTP stops asking once it has what the head promised.
        self.end(self.body.is_end_stream() || self.declared == Some(self.bytes));
    }
}
