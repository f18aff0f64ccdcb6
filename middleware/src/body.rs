//! The one body type: empty, whole, stored segments, or a stream.

mod buffering;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::buffering::Buffering;
use crate::{Error, Result};

/// A request's or a response's body. Always `Send`; cloning is not possible, since a stream is not.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Whole(Bytes),
    /// The body of a stored response, shared by all who are served from it; and how far we are.
    Segments(Arc<[Bytes]>, usize),
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>),
}

/// Content in memory: mostly in one piece, for which nothing else is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segments {
    /// One piece, not empty.
    One(Bytes),
    /// Any number of pieces.
    Many(Arc<[Bytes]>),
}

impl Segments {
    /// Whether both are the same bytes of memory.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Bytes, &Bytes)| {
            one.as_ptr() == other.as_ptr() && one.len() == other.len()
        };
        self.len() == other.len() && self.iter().zip(&**other).all(is_same)
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.iter().map(|segment| segment.len() as u64).sum()
    }
}

impl std::ops::Deref for Segments {
    type Target = [Bytes];

    fn deref(&self) -> &[Bytes] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }
}

impl Default for Segments {
    fn default() -> Self {
        Self::Many(Arc::default())
    }
}

impl From<Vec<Bytes>> for Segments {
    fn from(segments: Vec<Bytes>) -> Self {
        match <[Bytes; 1]>::try_from(segments) {
            Ok([only]) if !only.is_empty() => Self::One(only),
            Ok(one) => Self::Many(Arc::new(one)),
            Err(segments) => Self::Many(segments.into()),
        }
    }
}

/// What [`Body::buffer`] found.
pub enum Buffered {
    /// All of it, within the limit and without trailers.
    Whole(Bytes),
    /// More than the limit, trailers, or too slow: a body that replays what was read, then the rest.
    TooLong(Body),
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// These segments, in order, none copied; of a single one nothing else is held.
    pub fn segments(segments: Arc<[Bytes]>) -> Self {
        match &*segments {
            [] => Self::empty(),
            [only] => Self::from(only.clone()),
            _ => Self(Kind::Segments(segments, 0)),
        }
    }

    /// The content of a stored response, none of it copied.
    pub fn of_stored(segments: &Segments) -> Self {
        match segments {
            Segments::One(only) => Self(Kind::Whole(only.clone())),
            Segments::Many(all) => Self::segments(all.clone()),
        }
    }

    /// Bytes that are still to come.
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = Error> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(body)))
    }

    /// All bytes, if they are here already and in one piece; an empty body is no bytes.
    pub fn as_whole(&self) -> Option<&Bytes> {
        static NONE: Bytes = Bytes::new();
        match &self.0 {
            Kind::Empty => Some(&NONE),
            Kind::Whole(bytes) => Some(bytes),
            Kind::Segments(..) | Kind::Stream(_) => None,
        }
    }

    /// Whether bytes are still to come from elsewhere.
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(_))
    }

    /// The bytes from position `first` on, at most `length` of them, without copying; `None` for a
    /// stream. What is past the end is not there.
    pub fn pieces(&self, first: u64, length: u64) -> Option<Vec<Bytes>> {
        let all = match &self.0 {
            Kind::Empty => &[][..],
            Kind::Whole(bytes) => std::slice::from_ref(bytes),
            Kind::Segments(segments, next) => segments.get(*next..).unwrap_or_default(),
            Kind::Stream(_) => return None,
        };
        Some(cut(all, first, length))
    }

    /// Reads up to `limit` bytes into memory. A body whose declared length is over the limit is
    /// returned unread.
    ///
    /// # Errors
    /// Whatever the body fails with while it is read.
    pub async fn buffer(self, limit: usize) -> Result<Buffered> {
        let mut buffering = match Buffering::start(self, limit) {
            Ok(buffering) => buffering,
            Err(done) => return Ok(done),
        };
        let complete = buffering.fill(limit).await?;
        Ok(buffering.finish(complete))
    }

    /// As [`buffer`](Self::buffer), but a body that takes too long is let go, and nothing is lost: one
    /// that pauses for longer than `patience.pause`, or takes longer than `patience.total` in all.
    /// Counted from the call, so it is to be made when the head has come.
    ///
    /// # Errors
    /// Whatever the body fails with while it is read.
    pub async fn buffer_promptly(self, limit: usize, patience: Patience) -> Result<Buffered> {
        let mut buffering = match Buffering::start(self, limit) {
            Ok(buffering) => buffering,
            Err(done) => return Ok(done),
        };
        let filling = buffering.fill_promptly(limit, patience.pause);
        let complete = match tokio::time::timeout(patience.total, filling).await {
            Ok(complete) => complete?,
            Err(_) => false,
        };
        Ok(buffering.finish(complete))
    }
}

/// `length` bytes of the content `all`, from the byte `first` on, none of them copied.
pub(crate) fn cut(all: &[Bytes], first: u64, length: u64) -> Vec<Bytes> {
    let (mut skip, mut left) = (first, length);
    let mut pieces = Vec::new();
    for segment in all {
        // Both are at most the segment's length, so they fit.
        let start = skip.min(segment.len() as u64) as usize;
        let taken = left.min((segment.len() - start) as u64) as usize;
        if taken > 0 {
            pieces.push(segment.slice(start..start + taken));
        }
        skip -= start as u64;
        left -= taken as u64;
        if left == 0 {
            break;
        }
    }
    pieces
}

/// See [`Body::buffer_promptly`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Between any two frames, and before the first.
    pub pause: Duration,
    /// For the whole body.
    pub total: Duration,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Kind::Whole(bytes))
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Segments(segments, next) => {
                let segment = segments.get(*next).cloned();
                *next += 1;
                Poll::Ready(segment.map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Segments(segments, next) => *next >= segments.len(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Segments(segments, next) => SizeHint::with_exact(
                segments
                    .iter()
                    .skip(*next)
                    .map(|bytes| bytes.len() as u64)
                    .sum(),
            ),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("size", &self.size_hint())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
