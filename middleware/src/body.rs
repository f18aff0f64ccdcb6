//! The one body type: empty, whole, stored segments, or a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

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

/// What [`Body::buffer`] found.
pub enum Buffered {
    /// All of it, within the limit and without trailers.
    Whole(Bytes),
    /// More than the limit, or trailers: a body that replays what was read, then the rest.
    TooLong(Body),
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// The segments of a stored response, in order, none copied.
    pub fn segments(segments: Arc<[Bytes]>) -> Self {
        match &*segments {
            [] => Self::empty(),
            [only] => Self::from(only.clone()),
            _ => Self(Kind::Segments(segments, 0)),
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

    /// Reads up to `limit` bytes into memory. A body whose declared length is over the limit is
    /// returned unread.
    ///
    /// # Errors
    /// Whatever the body fails with while it is read.
    pub async fn buffer(mut self, limit: usize) -> Result<Buffered> {
        if let Some(whole) = self.as_whole() {
            return Ok(if whole.len() <= limit {
                Buffered::Whole(whole.clone())
            } else {
                Buffered::TooLong(self)
            });
        }
        if usize::try_from(self.size_hint().lower()).map_or(true, |least| least > limit) {
            return Ok(Buffered::TooLong(self));
        }
        let mut seen: Vec<Frame<Bytes>> = Vec::new();
        let mut length = 0;
        while let Some(frame) = self.frame().await {
            let frame = frame?;
            let more = frame.data_ref().map(Bytes::len);
            seen.push(frame);
            match more {
                Some(more) if length + more <= limit => length += more,
                // Trailers would be lost in a whole body, so they end the attempt like too many bytes.
                _ => return Ok(Buffered::TooLong(Self::stream(Replayed::new(seen, self)))),
            }
        }
        let mut frames = seen.into_iter().filter_map(|frame| frame.into_data().ok());
        let first = frames.next().unwrap_or_default();
        if first.len() == length {
            return Ok(Buffered::Whole(first));
        }
        let mut whole = BytesMut::with_capacity(length);
        whole.extend_from_slice(&first);
        frames.for_each(|bytes| whole.extend_from_slice(&bytes));
        Ok(Buffered::Whole(whole.freeze()))
    }
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
