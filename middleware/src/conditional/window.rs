//! A part of a stream: what comes before is read and dropped, what comes after is not read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::fields::range::Span;
use crate::{Body, Error, ErrorKind, Result};

/// The bytes of one span of a stream whose length is known. Trailers belong to the whole, so they are left out.
pub(super) struct Window {
    rest: Body,
    /// Bytes still to drop.
    skip: u64,
    /// Bytes still to give.
    left: u64,
    /// Whether the span's end is the stream's: then it is read until it says so, since those below
    /// (a cache being filled, a connection to be used again) wait for that.
    to_end: bool,
}

impl Window {
    pub(super) fn new(span: Span, length: u64, whole: Body) -> Self {
        Self {
            rest: whole,
            skip: span.first,
            left: span.length(),
            to_end: span.last + 1 == length,
        }
    }

    /// What of `bytes` lies in the window.
    fn cut(&mut self, mut bytes: Bytes) -> Bytes {
        let before = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        bytes.advance(before);
        self.skip -= before as u64;
        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= bytes.len() as u64;
        bytes
    }
}

impl HttpBody for Window {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        while self.left > 0 || self.to_end {
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let bytes = self.cut(frame.into_data().unwrap_or_default());
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.left > 0 => {
                    self.left = 0;
                    self.to_end = false;
                    let short = Error::upstream(ErrorKind::HttpResponseIncomplete);
                    return Poll::Ready(Some(Err(short)));
                }
                None => self.to_end = false,
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && (!self.to_end || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
