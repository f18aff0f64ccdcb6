//! From an endpoint's address to a byte stream, within one deadline.

mod tcp;
mod tls;
mod unix;

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use config::upstream::{EndpointAddress, Protocol, Transport, UpstreamTls};
use middleware::clock::Clock;
use middleware::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::gathered;

pub use tcp::loopback;

use tcp::Tcp;
pub(super) use tls::Roots;
use tls::Tls;

/// Knows how to reach one endpoint.
pub(super) struct Connector {
    way: Way,
    protocol: Protocol,
    /// Longest time for name, connection and TLS handshake together.
    limit: Duration,
    clock: Clock,
}

enum Way {
    Tcp(Tcp),
    Tls(Tcp, Tls),
    Unix(PathBuf),
}

/// Which version a new connection has to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What the endpoint prefers.
    Any,
    /// HTTP/1.1, since only that can be upgraded.
    Http1,
}

/// A new connection.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// Set whenever bytes arrive; see [`Stream`].
    pub(super) heard: Arc<AtomicBool>,
    /// Whether HTTP/2 is to be spoken on it.
    pub(super) http2: bool,
}

impl Connector {
    /// Prepares everything that needs no connection. System roots are read once, if at all.
    pub(super) fn new(
        address: &EndpointAddress,
        tls: &UpstreamTls,
        limit: Duration,
        roots: &mut Roots,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let way = match &address.transport {
            Transport::Unix(path) => Way::Unix(path.clone()),
            Transport::Tcp {
                host,
                port,
                tls: false,
            } => Way::Tcp(Tcp::new(host, *port)),
            Transport::Tcp {
                host,
                port,
                tls: true,
            } => {
                let handshake = Tls::new(host, address.protocol, tls, roots)?;
                Way::Tls(Tcp::new(host, *port), handshake)
            }
        };
        Ok(Self {
            way,
            protocol: address.protocol,
            limit,
            clock: clock.clone(),
        })
    }

    /// Whether connections may turn out to speak HTTP/2, so that one would do for many requests.
    pub(super) fn may_multiplex(&self) -> bool {
        self.protocol == Protocol::Http2 || self.is_tls()
    }

    /// Whether HTTP/1.1 can be had.
    pub(super) fn speaks_http1(&self) -> bool {
        self.protocol == Protocol::Http1
    }

    /// Whether connections are encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.way, Way::Tls(..))
    }

    /// Connects. Whatever fails here, the upstream has not seen a request.
    pub(super) async fn connect(&self, wanted: Wanted) -> Result<Connected> {
        let budget = Budget {
            clock: &self.clock,
            due: self.clock.mono() + self.limit,
        };
        let prior = self.protocol == Protocol::Http2;
        let (kind, http2) = match &self.way {
            Way::Unix(path) => (Kind::Unix(budget.spend(unix::connect(path)).await?), prior),
            Way::Tcp(tcp) => (Kind::Tcp(tcp.connect(&budget).await?), prior),
            Way::Tls(tcp, tls) => {
                let plain = tcp.connect(&budget).await?;
                let (stream, http2) = budget.spend(tls.handshake(plain, wanted)).await?;
                (Kind::Tls(Box::new(stream)), http2)
            }
        };
        let heard = Arc::new(AtomicBool::new(false));
        let stream = Stream {
            kind,
            ends_head: false,
            heard: heard.clone(),
        };
        Ok(Connected {
            stream,
            heard,
            http2,
        })
    }
}

/// What is left of the time for connecting.
struct Budget<'a> {
    clock: &'a Clock,
    due: Instant,
}

impl Budget<'_> {
    async fn spend<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.spend_or(step, ErrorKind::ConnectionTimeout).await
    }

    async fn spend_or<T>(
        &self,
        step: impl Future<Output = Result<T>>,
        late: ErrorKind,
    ) -> Result<T> {
        let left = self.due.saturating_duration_since(self.clock.mono());
        tokio::time::timeout(left, step)
            .await
            .unwrap_or_else(|_| Err(Error::upstream(late).retryable()))
    }
}

/// A failure to connect, in the words of RFC 9209.
fn refused(error: io::Error) -> Error {
    use io::ErrorKind as E;
    let failure = match error.kind() {
        E::TimedOut => Error::upstream(ErrorKind::ConnectionTimeout),
        E::NotFound => Error::upstream(ErrorKind::ConnectionRefused)
            .detail("the upstream's socket does not exist"),
        E::PermissionDenied => Error::upstream(ErrorKind::ConnectionRefused)
            .detail("the upstream's socket may not be used"),
        E::HostUnreachable | E::NetworkUnreachable => {
            Error::upstream(ErrorKind::ConnectionRefused).detail("the upstream is not reachable")
        }
        E::AddrNotAvailable => Error::internal().detail("no local ports are left"),
        _ if is_out_of_descriptors(&error) => {
            Error::internal().detail("no file descriptors are left")
        }
        _ => Error::upstream(ErrorKind::ConnectionRefused),
    };
    failure.caused_by(error).retryable()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The bytes of a connection. It notes when any arrive: whether a connection died before the first
/// byte of an answer decides about a retry, and hyper does not tell.
pub(super) struct Stream {
    kind: Kind,
    heard: Arc<AtomicBool>,
    /// Whether the last bytes that came end as a header section does.
    ends_head: bool,
}

enum Kind {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Calls the method of the same name on whichever stream it is.
macro_rules! on_stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.kind {
            Kind::Tcp($stream) => $call,
            Kind::Tls($stream) => $call,
            Kind::Unix($stream) => $call,
        }
    };
}

impl Stream {
    #[cfg(test)]
    pub(super) fn of_tcp(stream: TcpStream) -> Self {
        Self {
            kind: Kind::Tcp(stream),
            heard: Arc::default(),
            ends_head: false,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.kind, Kind::Tls(_))
    }

    /// Ready once something has come, an end among it, that nobody has read; then `cx` is woken. Also where that cannot
    /// be told: with TLS, what came need not be for us.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.kind {
            Kind::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            Kind::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            Kind::Tls(_) => Poll::Ready(()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = on_stream!(self, stream => Pin::new(stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
            self.ends_head = buffer.filled().ends_with(b"\r\n\r\n");
        } else if read.is_pending() && self.ends_head {
            self.ends_head = false;
            self.kind.acknowledge();
        }
        read
    }
}

impl Kind {
    /// Acknowledges at once what has come. Many app servers write head and content apart; with
    /// Nagle's algorithm the content then waits for the head's acknowledgement, which Linux delays
    /// by 40 ms (RFC 1122 §4.2.3.2). Other systems have no such option and lose nothing but time.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        {
            let socket = match self {
                Self::Tcp(stream) => stream,
                Self::Tls(stream) => stream.get_ref().0,
                Self::Unix(_) => return,
            };
            if let Err(error) = rustix::net::sockopt::set_tcp_quickack(socket, true) {
                tracing::debug!(%error, "An acknowledgement could not be hurried.");
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => gathered::poll_write(Pin::new(stream), cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
            Kind::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests;
