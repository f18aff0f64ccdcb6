//! A connection's bytes, used in turn by hyper and by [plain exchanges](super::plain) beneath it.
//!
//! hyper has the connection: it is opened for hyper, driven by hyper's task, and what is not plain is
//! hyper's. But a request without content whose answer is here whole with its head needs neither that task nor the
//! channels to it. While hyper has nothing to do on the connection, such an exchange writes and reads by
//! itself ([`Wire::begin`], [`Wire::poll_read`]) and hyper sees nothing of it ([`Turn::Plain`]). If the answer
//! turns out to be anything else, hyper is given the same request and what has come of the answer
//! ([`Wire::hand_over`]): what it then writes was written before and is let go, and what came is read first. So
//! whatever there is to be known of HTTP beyond the plainest answers, and of what can be wrong with one, hyper knows.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Stream;

/// The end of plain exchanges.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Line>>);

/// hyper's end.
pub(super) struct HypersEnd(Wire);

struct Line {
    /// `None` once hyper has let go of the connection: then it is closed, whoever still has the other end.
    stream: Option<Stream>,
    turn: Turn,
    /// What is still to be written of a plain request; mostly nothing.
    unwritten: Bytes,
    /// What came to a plain request and is hyper's to read.
    unread: Bytes,
    /// What reading failed with, which hyper is to hear too: the system tells it once.
    failure: Option<io::Error>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Hyper,
    /// A plain exchange: hyper waits.
    Plain,
    /// hyper writes a request that was sent before, and has written so many bytes of the line ends that are the
    /// head's last.
    Again {
        ends: usize,
    },
}

impl Wire {
    /// The two ends of `stream`.
    pub(super) fn of(stream: Stream) -> (Self, HypersEnd) {
        let wire = Self(Arc::new(Mutex::new(Line {
            stream: Some(stream),
            turn: Turn::Hyper,
            unwritten: Bytes::new(),
            unread: Bytes::new(),
            failure: None,
        })));
        (wire.clone(), HypersEnd(wire))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request, `head` and no content, if hyper need not know of it yet. To be asked only while hyper has
    /// nothing to do. False if nothing was sent.
    pub(super) fn begin(&self, head: &[u8]) -> bool {
        let mut line = self.line();
        if line.turn != Turn::Hyper || !line.unread.is_empty() || head.len() > LONGEST {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let Some(stream) = &mut line.stream else {
            return false;
        };
        // What came unasked, an end among it, is hyper's to judge.
        if stream.poll_idle(&mut cx).is_ready() {
            return false;
        }
        match Pin::new(stream).poll_write(&mut cx, head) {
            Poll::Ready(Ok(written)) if written > 0 => {
                if let Some(rest) = head.get(written..).filter(|rest| !rest.is_empty()) {
                    line.unwritten = Bytes::copy_from_slice(rest);
                }
                line.turn = Turn::Plain;
                true
            }
            Poll::Ready(_) | Poll::Pending => false,
        }
    }

    /// Reads what comes to the request that was [begun](Self::begin); nothing at the end, or after a failure.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<()> {
        let mut line = self.line();
        let polled = line.poll_read(cx, buffer);
        polled.map(|read| line.failure = read.err())
    }

    /// The answer was whole. `hyper` is who drives the connection, to be woken when something comes unasked.
    pub(super) fn rest(&self, hyper: &Waker) {
        let mut line = self.line();
        line.turn = Turn::Hyper;
        let mut cx = Context::from_waker(hyper);
        let stream = line.stream.as_ref();
        let has_come = stream.is_none_or(|stream| stream.poll_idle(&mut cx).is_ready());
        drop(line);
        if has_come {
            hyper.wake_by_ref();
        }
    }

    /// The answer is hyper's to read, from its first byte: `came` is what came of it. hyper is to be given the same
    /// request next.
    pub(super) fn hand_over(&self, came: Bytes) {
        let mut line = self.line();
        line.turn = match line.unwritten.is_empty() {
            true => Turn::Again { ends: 0 },
            // It would not be the same: hyper's writing fails, and so ends the connection.
            false => Turn::Plain,
        };
        line.unread = came;
    }
}

impl Line {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(written);
        }
        Pin::new(stream).poll_read(cx, buffer)
    }

    /// hyper's, which has the connection as long as there is one.
    fn stream(&mut self) -> Pin<&mut Stream> {
        let stream = self.stream.as_mut();
        Pin::new(stream.expect("it is there until hyper's end is dropped"))
    }

    /// Lets go of what hyper writes of a head that was written before; how many bytes of `bytes` that are.
    fn let_go(&mut self, ends: usize, bytes: &[u8], cx: &Context<'_>) -> usize {
        let mut ends = ends;
        for (at, byte) in bytes.iter().enumerate() {
            ends = match (END.get(ends) == Some(byte), *byte) {
                (true, _) => ends + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
            if ends == END.len() {
                self.turn = Turn::Hyper;
                // It has asked for the answer before, and was told to wait.
                cx.waker().wake_by_ref();
                return at + 1;
            }
        }
        self.turn = Turn::Again { ends };
        bytes.len()
    }
}

impl Drop for HypersEnd {
    fn drop(&mut self) {
        self.0.line().stream = None;
    }
}

impl AsyncRead for HypersEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut line = self.0.line();
        if line.turn != Turn::Hyper {
            // Woken when it is its turn.
            return Poll::Pending;
        }
        if line.unread.is_empty() {
            return match line.failure.take() {
                Some(failure) => Poll::Ready(Err(failure)),
                None => line.stream().poll_read(cx, buffer),
            };
        }
        let length = line.unread.len().min(buffer.remaining());
        buffer.put_slice(&line.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HypersEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut line = self.0.line();
        match line.turn {
            Turn::Hyper => line.stream().poll_write(cx, bytes),
            Turn::Again { ends } => Poll::Ready(Ok(line.let_go(ends, bytes, cx))),
            Turn::Plain => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = pieces.iter().find(|piece| !piece.is_empty());
        let mut line = self.0.line();
        match (line.turn, first) {
            (Turn::Hyper, _) => line.stream().poll_write_vectored(cx, pieces),
            (_, Some(first)) => {
                drop(line);
                self.poll_write(cx, first)
            }
            (_, None) => Poll::Ready(Ok(0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.line().stream().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.line().stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.line().stream().poll_shutdown(cx)
    }
}

/// Bytes of a head that is written here. A longer one may find no room, while the upstream refuses it.
const LONGEST: usize = 16 << 10;
/// How a head ends.
const END: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    async fn pair() -> (Wire, HypersEnd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (wire, end) = Wire::of(Stream::of_tcp(ours.unwrap()));
        (wire, end, theirs.unwrap().0)
    }

    async fn has_come(wire: &Wire) {
        poll_fn(|cx| wire.line().stream().poll_idle(cx)).await;
    }

    async fn read(wire: &Wire) -> Vec<u8> {
        let mut bytes = [0; 100];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| wire.poll_read(cx, &mut buffer)).await;
        buffer.filled().to_vec()
    }

    #[derive(Default)]
    struct Heard(AtomicUsize);

    impl Wake for Heard {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[tokio::test]
    async fn nothing_is_begun_where_something_came_unasked() {
        let (wire, _end, mut theirs) = pair().await;
        theirs.write_all(b"unasked").await.unwrap();
        has_come(&wire).await;
        assert!(!wire.begin(HEAD));
        let (wire, _end, theirs) = pair().await;
        drop(theirs);
        has_come(&wire).await;
        assert!(!wire.begin(HEAD));
    }

    #[tokio::test]
    async fn what_comes_after_the_answer_wakes_hyper() {
        let (wire, mut end, mut theirs) = pair().await;
        assert!(wire.begin(HEAD));
        assert!(!wire.begin(HEAD), "one at a time");
        let mut bytes = [0; HEAD.len()];
        theirs.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, HEAD);
        theirs.write_all(b"answer").await.unwrap();
        let heard = Arc::new(Heard::default());
        let hyper = Waker::from(heard.clone());
        let polled = Pin::new(&mut end).poll_read(
            &mut Context::from_waker(&hyper),
            &mut ReadBuf::new(&mut [0; 9]),
        );
        assert!(polled.is_pending(), "it is not hyper's");
        assert_eq!(read(&wire).await, b"answer");
        wire.rest(&hyper);
        assert_eq!(heard.0.load(SeqCst), 0);
        theirs.write_all(b"more").await.unwrap();
        while heard.0.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // And what had come before it rests.
        let (wire, _end, mut theirs) = pair().await;
        assert!(wire.begin(HEAD));
        theirs.write_all(b"answer").await.unwrap();
        has_come(&wire).await;
        wire.rest(&hyper);
        assert_eq!(heard.0.load(SeqCst), 2);
    }

    #[tokio::test]
    async fn the_connection_ends_with_hypers_end() {
        let (wire, end, mut theirs) = pair().await;
        assert!(wire.begin(HEAD));
        drop(end);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, HEAD);
        assert_eq!(read(&wire).await, b"");
        wire.rest(Waker::noop());
        assert!(!wire.begin(HEAD));
    }

    #[tokio::test]
    async fn hyper_hears_what_reading_failed_with() {
        let (wire, mut end, theirs) = pair().await;
        assert!(wire.begin(HEAD));
        // With a request that was not read, closing is a reset.
        theirs.readable().await.unwrap();
        drop(theirs);
        assert_eq!(read(&wire).await, b"");
        wire.hand_over(Bytes::from_static(b"came"));
        end.write_all(HEAD).await.unwrap();
        let mut came = [0; 4];
        end.read_exact(&mut came).await.unwrap();
        let failed = end.read(&mut came).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn hyper_writes_again_for_nobody_and_reads_from_the_first_byte() {
        for cuts in [&[][..], &[1], &[15, 16, 17], &[16]] {
            let (wire, mut end, mut theirs) = pair().await;
            assert!(wire.begin(HEAD));
            let mut bytes = [0; HEAD.len()];
            theirs.read_exact(&mut bytes).await.unwrap();
            wire.hand_over(Bytes::from_static(b"came"));
            let mut at = 0;
            for end_of_piece in cuts.iter().copied().chain([HEAD.len()]) {
                end.write_all(HEAD.get(at..end_of_piece).unwrap())
                    .await
                    .unwrap();
                at = end_of_piece;
            }
            theirs.write_all(b" later").await.unwrap();
            let mut answer = [0; 10];
            end.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"came later");
            // What follows is written.
            end.write_all(b"next").await.unwrap();
            let mut next = [0; 4];
            theirs.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"next");
        }
    }
}
