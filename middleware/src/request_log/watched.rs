//! Content that is counted while it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::record::Asked;
use super::{Books, Ending, Head};
use crate::metrics::InFlight;
use crate::{Body, Error, Result};

/// A response's stream. Its request is entered when it ends, breaks off, or is dropped.
pub(super) struct Watched {
    body: Body,
    bytes: u64,
    /// Of the content, where the head says it.
    declared: Option<u64>,
    books: Arc<Books>,
    /// `None` once entered.
    open: Option<(Asked, Head, InFlight)>,
}

impl Watched {
    pub(super) fn new(
        books: Arc<Books>,
        asked: Asked,
        head: Head,
        fields: &HeaderMap,
        body: Body,
    ) -> Self {
        let declared = fields.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let in_flight = books.metrics.begin();
        Self {
            declared: declared.or(body.size_hint().exact()),
            body,
            bytes: 0,
            books,
            open: Some((asked, head, in_flight)),
        }
    }

    fn enter(&mut self, ending: Ending) {
        if let Some((asked, head, _in_flight)) = self.open.take() {
            let now = self.books.clock.mono();
            let total = now.saturating_duration_since(asked.received.mono);
            self.books.finish(asked, head, self.bytes, total, ending);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(error)) => self.enter(Ending::Failed(error.kind())),
            None => self.enter(Ending::Complete),
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

impl Drop for Watched {
    fn drop(&mut self) {
        // HTTP stops asking once it has what the head promised.
        let is_complete = self.body.is_end_stream() || self.declared == Some(self.bytes);
        self.enter(if is_complete {
            Ending::Complete
        } else {
            Ending::Aborted
        });
    }
}
