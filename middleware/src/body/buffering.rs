//! Reading a body into memory, and giving up without losing what was read.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{Body, Buffered};
use crate::{Error, Result};

/// A body that is being read into memory. What was read stays here when reading is given up.
pub(super) struct Buffering {
    seen: Vec<Frame<Bytes>>,
    /// Of what was seen, in bytes.
    length: usize,
    rest: Body,
}

impl Buffering {
    /// What needs no reading is done at once.
    pub(super) fn start(body: Body, limit: usize) -> std::result::Result<Self, Buffered> {
        if let Some(whole) = body.as_whole() {
            return Err(if whole.len() <= limit {
                Buffered::Whole(whole.clone())
            } else {
                Buffered::TooLong(body)
            });
        }
        if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > limit) {
            return Err(Buffered::TooLong(body));
        }
        Ok(Self {
            seen: Vec::new(),
            length: 0,
            rest: body,
        })
    }

    /// Reads to the end (`true`), or until there is too much.
    pub(super) async fn fill(&mut self, limit: usize) -> Result<bool> {
        while let Some(frame) = self.rest.frame().await {
            if !self.take(frame?, limit) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Likewise, or until nothing comes for the time of `pause`.
    pub(super) async fn fill_promptly(&mut self, limit: usize, pause: Duration) -> Result<bool> {
        while let Ok(next) = tokio::time::timeout(pause, self.rest.frame()).await {
            let Some(frame) = next else {
                return Ok(true);
            };
            if !self.take(frame?, limit) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Whether to go on. Trailers would be lost in a whole body, so they end the attempt like too many
    /// bytes; and so do too many frames, each of which costs memory however short it is.
    fn take(&mut self, frame: Frame<Bytes>, limit: usize) -> bool {
        let more = frame.data_ref().map(Bytes::len);
        self.seen.push(frame);
        self.length += more.unwrap_or_default();
        more.is_some() && self.length <= limit && self.seen.len() < MAX_FRAMES
    }

    pub(super) fn finish(self, complete: bool) -> Buffered {
        if !complete {
            return Buffered::TooLong(Body::stream(Replayed::new(self.seen, self.rest)));
        }
        let mut frames = self
            .seen
            .into_iter()
            .filter_map(|frame| frame.into_data().ok());
        let first = frames.next().unwrap_or_default();
        if first.len() == self.length {
            return Buffered::Whole(first);
        }
        let mut whole = BytesMut::with_capacity(self.length);
        whole.extend_from_slice(&first);
        frames.for_each(|bytes| whole.extend_from_slice(&bytes));
        Buffered::Whole(whole.freeze())
    }
}

/// Frames read already, then the rest.
struct Replayed {
    seen: std::vec::IntoIter<Frame<Bytes>>,
    rest: Body,
}

impl Replayed {
    fn new(seen: Vec<Frame<Bytes>>, rest: Body) -> Self {
        Self {
            seen: seen.into_iter(),
            rest,
        }
    }
}

impl HttpBody for Replayed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match self.seen.next() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.seen.len() == 0 && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let seen = self
            .seen
            .as_slice()
            .iter()
            .filter_map(Frame::data_ref)
            .map(|bytes| bytes.len() as u64)
            .sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(seen));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(seen));
        }
        hint
    }
}

/// Frames of a body that is read into memory.
const MAX_FRAMES: usize = 4096;
