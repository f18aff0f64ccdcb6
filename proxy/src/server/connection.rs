//! One connection from its first byte to its last: PROXY protocol, TLS, HTTP/1 or HTTP/2.
//!
//! TLS clients choose the HTTP version by ALPN; others by how they begin (HTTP/2 prior knowledge,
//! RFC 9113 §3.3). The time until the first request is complete is bounded as a whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use config::limits::LimitsSettings;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use middleware::Inner;
use middleware::facts::{Peer, Scheme};
use middleware::metrics::Metrics;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::server::client_io::{ClientIo, Place, Transport};
use crate::server::proxy_protocol::{self, Source};
use crate::server::service::{Front, Service};
use crate::server::socket::{Rewound, Socket, canonical};
use crate::server::watch::{Order, Watch};

/// How the connections of one listener on one core are served.
#[derive(Debug)]
pub(crate) struct Manner<S> {
    pub(crate) front: Arc<Front<S>>,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) proxy_protocol: bool,
    pub(crate) protocols: Protocols,
    pub(crate) metrics: Metrics,
}

/// A listener's TLS.
pub(crate) struct TlsConfig(pub(crate) TlsAcceptor);

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConfig")
    }
}

/// Both versions of HTTP with the limits set.
#[derive(Clone, Debug)]
pub(crate) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Spawner>,
}

impl Protocols {
    /// `tasks` are given the streams of HTTP/2.
    pub(crate) fn new(limits: &LimitsSettings, tasks: TaskTracker) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // The warden bounds heads and idleness, without a timer for each request.
            .header_read_timeout(None)
            .max_headers(limits.fields_count)
            .max_header_size(limits.fields_size)
            // Also the size of a piece of content; hyper wants 8 KiB at least.
            .max_buf_size(limits.fields_size.max(8 << 10));
        let mut http2 = http2::Builder::new(Spawner(tasks));
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.fields_size).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams)
            .max_pending_accept_reset_streams(limits.resets)
            .max_local_error_reset_streams(LOCAL_RESETS);
        Self { http1, http2 }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: Inner>(
    socket: Socket,
    peer: Peer,
    watch: Arc<Watch>,
    place: Place,
    manner: Arc<Manner<S>>,
) {
    let opened = Obedient::new(open(socket, peer, &manner), watch.clone()).await;
    let Opened {
        transport,
        peer,
        version,
    } = match opened {
        Some(Ok(Some(opened))) => opened,
        // Opened and closed without a word, as health checks and browsers do.
        Some(Ok(None)) => return,
        Some(Err(error)) => {
            manner.metrics.listener().refused_connections.inc();
            debug!(%error, ?peer, "A connection ended before its first request.");
            return;
        }
        None => return,
    };
    let service = Service {
        front: manner.front.clone(),
        watch: watch.clone(),
        peer,
        scheme: if manner.tls.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        },
    };
    let io = TokioIo::new(ClientIo::new(transport, watch.clone(), place));
    let protocols = &manner.protocols;
    let ended = match version {
        Version::Http1 => {
            let connection = protocols.http1.serve_connection(io, service);
            Obedient::new(connection.with_upgrades(), watch).await
        }
        Version::Http2 => {
            watch.is_http2();
            let connection = protocols.http2.serve_connection(io, service);
            Obedient::new(connection, watch).await
        }
    };
    match ended {
        None => debug!(?peer, "A connection was cut."),
        Some(Ok(())) => {}
        Some(Err(error)) => {
            if error.is_parse() {
                manner.metrics.listener().malformed_requests.inc();
            }
            debug!(%error, ?peer, "A connection broke.");
        }
    }
}

/// A connection that is ready for HTTP.
struct Opened {
    transport: Rewound<Transport>,
    peer: Peer,
    version: Version,
}

/// The HTTP version that the client speaks.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// What comes before HTTP. `None` when the client closes without a byte.
async fn open<S>(
    socket: Socket,
    mut peer: Peer,
    manner: &Manner<S>,
) -> io::Result<Option<Opened>> {
    let socket = if manner.proxy_protocol {
        let (source, socket) = proxy_protocol::read(socket).await?;
        if let Source::Client(address) = source {
            peer = Peer::Ip(canonical(address));
        }
        socket
    } else {
        Rewound::new(Bytes::new(), socket)
    };
    let mut chosen = None;
    let transport = match &manner.tls {
        None => Transport::Plain(socket),
        Some(TlsConfig(acceptor)) => {
            let stream = acceptor.accept(socket).await?;
            chosen = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Some(Version::Http2),
                Some(_) => Some(Version::Http1),
                None => None,
            };
            Transport::Tls(Box::new(stream))
        }
    };
    let (version, transport) = match chosen {
        Some(version) => (version, Rewound::new(Bytes::new(), transport)),
        None => match sniff(transport).await? {
            Some(sniffed) => sniffed,
            None => return Ok(None),
        },
    };
    Ok(Some(Opened {
        transport,
        peer,
        version,
    }))
}

/// Tells HTTP/2 from HTTP/1 by the first bytes, which are then still to be read.
async fn sniff(mut transport: Transport) -> io::Result<Option<(Version, Rewound<Transport>)>> {
    let mut seen = BytesMut::with_capacity(FIRST_READ);
    loop {
        if transport.read_buf(&mut seen).await? == 0 {
            return if seen.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        let version = if !seen.iter().zip(PREFACE).all(|(byte, wanted)| byte == wanted) {
            Version::Http1
        } else if seen.len() >= PREFACE.len() {
            Version::Http2
        } else {
            continue;
        };
        return Ok(Some((version, Rewound::new(seen.freeze(), transport))));
    }
}

/// A future that obeys its connection's orders; `None` when it was cut.
struct Obedient<F> {
    inner: Pin<Box<F>>,
    watch: Arc<Watch>,
    /// The waker that the watch knows; a task has the same one all its life.
    known: Option<Waker>,
    has_left: bool,
}

impl<F> Obedient<F> {
    fn new(inner: F, watch: Arc<Watch>) -> Self {
        Self {
            inner: Box::pin(inner),
            watch,
            known: None,
            has_left: false,
        }
    }

    fn make_known(&mut self, waker: &Waker) {
        if !self.known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.watch.driven_by(waker);
            self.known = Some(waker.clone());
        }
    }
}

impl<F: Leave> Future for Obedient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.make_known(cx.waker());
        loop {
            // First of all: a request that is here already is still taken, whatever the order.
            if let Poll::Ready(output) = self.inner.as_mut().poll(cx) {
                self.watch.hand_over();
                return Poll::Ready(Some(output));
            }
            let order = self.watch.order();
            if order == Order::Cut
                || (order == Order::CutStreams && self.watch.has_only_streams())
            {
                return Poll::Ready(None);
            }
            if order == Order::Stay || self.has_left {
                return Poll::Pending;
            }
            self.has_left = true;
            if self.inner.as_mut().leave() == Left::Gone {
                return Poll::Ready(None);
            }
        }
    }
}

/// What can be asked to come to its end.
trait Leave: Future {
    fn leave(self: Pin<&mut Self>) -> Left;
}

/// The answer to being asked to leave.
#[derive(PartialEq, Eq)]
enum Left {
    /// It finishes what it has begun.
    Finishing,
    /// There is nothing to finish.
    Gone,
}

/// The way to the first request: not worth a stop's wait.
impl<F: Future<Output = io::Result<Option<Opened>>>> Leave for F {
    fn leave(self: Pin<&mut Self>) -> Left {
        Left::Gone
    }
}
