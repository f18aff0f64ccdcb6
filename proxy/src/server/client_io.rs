//! A client's connection as HTTP reads and writes it: marks its [`Watch`], forgives a half-close,
//! answers what it has answered before in the same words (see the module `repeats`), and lingers before it closes on a client that is still sending.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use middleware::metrics::{Level, Metrics, Raised};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::server::repeats::repeater::Repeater;
use crate::server::socket::{Rewound, Socket};
use crate::server::watch::{Order, Watch};

/// Bytes to and from a client, TLS taken off.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Rewound<Socket>),
    Tls(Box<TlsStream<Rewound<Socket>>>),
}

/// See the module. Outlives HTTP in a tunnel, and with it the connection's place among
/// `limits.connections` and among what a stop waits for.
#[derive(Debug)]
pub(crate) struct ClientIo {
    transport: Rewound<Transport>,
    watch: Arc<Watch>,
    /// What is left of interim responses that are being written.
    interim: Bytes,
    /// Answers what it has answered before.
    repeater: Option<Repeater>,
    /// What is left of such an answer; mostly nothing.
    owed: Option<Owed>,
    /// Bytes thrown away since we closed our direction; `None` before.
    lingered: Option<usize>,
    _place: Place,
}

/// A connection's place; given back when it is closed.
#[derive(Debug)]
pub(crate) struct Place {
    /// Among what the warden looks at.
    watch: Arc<Watch>,
    /// Among `limits.connections`.
    _permit: OwnedSemaphorePermit,
    /// Among what a stop waits for.
    _token: TaskTrackerToken,
    /// Among what is counted as open.
    _open: Raised,
}

impl Place {
    pub(crate) fn new(
        watch: Arc<Watch>,
        permit: OwnedSemaphorePermit,
        token: TaskTrackerToken,
        metrics: &Metrics,
    ) -> Self {
        Self {
            watch,
            _permit: permit,
            _token: token,
            _open: metrics.raise(Level::Connections),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watch.close();
    }
}

impl ClientIo {
    pub(crate) fn new(
        transport: Rewound<Transport>,
        watch: Arc<Watch>,
        place: Place,
        repeater: Option<Repeater>,
    ) -> Self {
        Self {
            transport,
            watch,
            interim: Bytes::new(),
            repeater,
            owed: None,
            lingered: None,
            _place: place,
        }
    }

    /// In a tunnel nobody else obeys the warden.
    fn obey(&self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.watch.is_handed_over() {
            return Ok(());
        }
        self.watch.driven_by(cx.waker());
        if self.watch.order() >= Order::CutStreams {
            return Err(io::Error::new(
                ErrorKind::ConnectionAborted,
                "the program stops",
            ));
        }
        Ok(())
    }

    /// A client whose head came too slowly is told so, if its socket takes that at once: most that
    /// stand here are no clients at all, and nobody waits for them.
    fn tell_timeout(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut transport = Pin::new(&mut self.transport);
        let written = transport.as_mut().poll_write(&mut cx, TIMEOUT);
        if matches!(written, Poll::Ready(Ok(_))) {
            // To be polled once is enough for what fits into the socket.
            drop(transport.as_mut().poll_flush(&mut cx));
            drop(transport.poll_shutdown(&mut cx));
        }
    }

    /// Writes what is begun of all that HTTP does not know of.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(cx))?;
        self.poll_interim(cx)
    }

    /// Something is being written, `pieces` if it is HTTP's.
    fn note_written(&mut self, pieces: &[IoSlice<'_>]) {
        if let Some(repeater) = &mut self.repeater {
            repeater.note_written(pieces);
        }
    }

    /// Writes what is begun of interim responses.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = Pin::new(&mut self.transport).poll_write(cx, &self.interim);
            match ready!(self.mark_written(written))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.interim.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Answers what was read, `bytes`, if it was answered before in the same words; false if HTTP has to.
    fn repeat(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<bool> {
        let Some(repeater) = &mut self.repeater else {
            return Ok(false);
        };
        let mut transport = Pin::new(&mut self.transport);
        let said = repeater.hear(bytes, |head, content| {
            let pieces = [IoSlice::new(head), IoSlice::new(content)];
            let written = match transport.as_mut().poll_write_vectored(cx, &pieces) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            let is_out =
                written == head.len() + content.len() && transport.poll_flush(cx)?.is_ready();
            io::Result::Ok((!is_out).then(|| Owed::of(head, content, written)))
        });
        let Some((owed, entry)) = said else {
            return Ok(false);
        };
        repeater.enter(entry);
        self.owed = owed?;
        match self.owed {
            None => self.watch.note_repeated(),
            Some(_) => {
                self.watch.begin(false);
                self.watch.note_blocked();
            }
        }
        Ok(true)
    }

    /// Writes what is left of an answer that was repeated.
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(piece) = self.owed.as_ref().and_then(Owed::next) {
            let written = Pin::new(&mut self.transport).poll_write(cx, piece);
            match ready!(self.mark_written(written))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => {
                    if let Some(owed) = &mut self.owed {
                        owed.advance(written);
                    }
                }
            }
        }
        if self.owed.is_some() {
            let flushed = Pin::new(&mut self.transport).poll_flush(cx)?;
            let flushed = self.mark_written(flushed.map(|()| Ok(0)));
            ready!(flushed)?;
            self.owed = None;
            self.watch.finish(false, true);
            // HTTP may have asked for the next request before, and was told to wait.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn mark_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(_)) => self.watch.note_written(),
            Poll::Pending => self.watch.note_blocked(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

/// An answer that found no room, or the rest of it.
#[derive(Debug)]
struct Owed {
    head: Bytes,
    content: Bytes,
}

impl Owed {
    fn of(head: &[u8], content: &Bytes, written: usize) -> Self {
        let mut owed = Self {
            head: Bytes::copy_from_slice(head),
            content: content.clone(),
        };
        owed.advance(written);
        owed
    }

    fn next(&self) -> Option<&[u8]> {
        [&self.head, &self.content]
            .into_iter()
            .find(|piece| !piece.is_empty())
            .map(|piece| &**piece)
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        self.content.advance(written - of_head);
        if self.content.is_empty() {
            // A purge may have let go of what it is a part of.
            self.content = Bytes::new();
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if self.watch.owes_timeout() {
            self.tell_timeout();
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.obey(cx)?;
        loop {
            // Nothing is read before what was read is answered.
            ready!(self.poll_owed(cx))?;
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
            let read = buf.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                let is_end = buf.remaining() > 0 && !self.watch.is_handed_over();
                if is_end && self.watch.hold_end() {
                    // HTTP asks again when the answer is written; the warden bounds the wait until then.
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            }
            if !self.repeat(cx, read)? {
                self.watch.note_read();
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.obey(cx)?;
        self.note_written(&[IoSlice::new(buf)]);
        ready!(self.poll_own(cx))?;
        let written = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.mark_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.obey(cx)?;
        self.note_written(bufs);
        ready!(self.poll_own(cx))?;
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, bufs);
        self.mark_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// Called when HTTP has written all it has, so interim responses may be (see the module `interim`).
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        if self.watch.interims().any() {
            self.interim = self.watch.interims().next();
            self.note_written(&[]);
            // The answer may have been held for them; HTTP does not look again by itself.
            cx.waker().wake_by_ref();
            ready!(self.poll_interim(cx))?;
        }
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        // Not before: what TLS holds is not written, nor is what follows it answered.
        if let Some(repeater) = &mut self.repeater {
            repeater.note_flushed();
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our direction, then throws away what the client still sends until it has read our
    /// answer and closes, for a bounded time (the warden's) and amount.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered.is_none() {
            ready!(self.poll_owed(cx))?;
            ready!(Pin::new(&mut self.transport).poll_shutdown(cx))?;
            if !self.watch.should_linger() {
                return Poll::Ready(Ok(()));
            }
            self.watch.linger();
        }
        let mut scratch = [0; 8 << 10];
        loop {
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.transport).poll_read(cx, &mut scratch))?;
            let lingered = self.lingered.get_or_insert(0);
            *lingered += scratch.filled().len();
            if scratch.filled().is_empty() || *lingered > LINGER_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Passes a call on to the stream that it is.
macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// RFC 9110 §15.5.9.
const TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How much a client may send after our answer. Enough for one that writes a whole upload before it
/// reads; the time bounds it as well.
const LINGER_BYTES: usize = 16 << 20;
