//! A listener and its connections, TCP or Unix, as one type each.

use std::io::{self, IoSlice};
use std::iter;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use middleware::facts::Peer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::gathered;
use crate::server::listen::StdListener;

/// A listening socket of this runtime.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes `listener` into the current runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn new(listener: StdListener) -> io::Result<Self> {
        Ok(match listener {
            StdListener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            StdListener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    /// The next connection.
    ///
    /// # Errors
    /// When there was one and it is gone, or when we are out of descriptors or memory.
    pub async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(tcp(stream, address))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }

    /// The connections that the kernel has let in already; the listener is closed after them, and
    /// would reset them otherwise. On a socket that others share, some of theirs.
    pub(crate) fn rest(self) -> impl Iterator<Item = (Socket, Peer)> {
        // Asked of the kernel itself: the runtime may not have heard of them yet.
        let listener = match self {
            Self::Tcp(listener) => listener.into_std().map(StdListener::Tcp),
            Self::Unix(listener) => listener.into_std().map(StdListener::Unix),
        };
        let listener = listener.ok();
        iter::from_fn(move || listener.as_ref().and_then(|listener| next(listener).ok()))
    }
}

/// The next connection in the kernel's queue.
fn next(listener: &StdListener) -> io::Result<(Socket, Peer)> {
    match listener {
        StdListener::Tcp(listener) => {
            let (stream, address) = listener.accept()?;
            stream.set_nonblocking(true)?;
            Ok(tcp(TcpStream::from_std(stream)?, address))
        }
        StdListener::Unix(listener) => {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(true)?;
            Ok((Socket::Unix(UnixStream::from_std(stream)?), Peer::Unix))
        }
    }
}

fn tcp(stream: TcpStream, address: SocketAddr) -> (Socket, Peer) {
    // Inherited from our own listeners; one that systemd passed may lack it. Where it cannot be
    // set, the connection is gone, which its reader will see.
    stream.set_nodelay(true).ok();
    (Socket::Tcp(stream), Peer::Ip(canonical(address)))
}

/// An IPv4 client of a dual-stack listener is an IPv4 client, not `::ffff:192.0.2.1`: networks that
/// are trusted are written so.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// TCP, `TCP_NODELAY` on.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// Passes a call on to the socket that it is.
macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
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
        either!(self, stream => gathered::poll_write(Pin::new(stream), cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A stream of which some bytes were read too early: they come again first.
#[derive(Debug)]
pub(crate) struct Rewound<T> {
    unread: Bytes,
    inner: T,
}

impl<T> Rewound<T> {
    pub(crate) fn new(unread: Bytes, inner: T) -> Self {
        Self { unread, inner }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        if self.unread.is_empty() {
            // The buffer it is a part of is not needed for the rest of the connection.
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
