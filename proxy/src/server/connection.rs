//! One connection from its first byte to its last: PROXY protocol, TLS, HTTP/1 or HTTP/2.
//!
//! TLS clients choose the HTTP version by ALPN; others by how they begin (HTTP/2 prior knowledge,
//! RFC 9113 §3.3). The time until the first request is complete is bounded as a whole.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use config::limits::LimitsSettings;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use middleware::Outer;
use middleware::facts::{Peer, Scheme};
use middleware::metrics::{Event, Metrics};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::server::client_io::{ClientIo, Place, Transport};
use crate::server::proxy_protocol::{self, Source};
use crate::server::repeats::repeater::Repeater;
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

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            .max_header_size(limits.fields_size)
            // Also the size of a piece of content; hyper wants 8 KiB at least.
            .max_buf_size(limits.fields_size.max(8 << 10));
        // Said only where it differs: hyper then takes memory for every head instead of its stack.
        if limits.fields_count != HYPER_FIELDS {
            http1.max_headers(limits.fields_count);
        }
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

/// Gives HTTP/2's streams to the core's tasks.
#[derive(Clone, Debug)]
pub(crate) struct Spawner(TaskTracker);

impl<F> Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: Outer>(
    socket: Socket,
    peer: Peer,
    watch: Arc<Watch>,
    place: Place,
    manner: Arc<Manner<S>>,
) {
    let opening = Obedient::new(open(socket, peer, &manner), watch.clone(), |_| {});
    let opened = match opening.await {
        Some(Ok(Some(opened))) => opened,
        Some(Ok(None)) | None => return,
        Some(Err(refused)) => {
            manner.metrics.count(refused.event());
            debug!(%refused, ?peer, "A connection ended before its first request.");
            return;
        }
    };
    let service = Service {
        front: manner.front.clone(),
        watch: watch.clone(),
        peer: opened.peer,
        scheme: if manner.tls.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        },
    };
    let repeater = match opened.version {
        Version::Http1 => Some(Repeater::new(
            manner.front.repeats.clone(),
            watch.clone(),
            service.scheme,
            service.peer,
        )),
        Version::Http2 => None,
    };
    let io = ClientIo::new(opened.transport, watch.clone(), place, repeater);
    let ended = speak(opened.version, io, service, &manner.protocols, watch).await;
    match ended {
        None => debug!(?peer, "A connection was cut."),
        Some(Ok(())) => {}
        Some(Err(error)) => {
            if error.is_parse() {
                manner.metrics.count(Event::RequestMalformed);
            }
            debug!(%error, ?peer, "A connection broke.");
        }
    }
}

/// HTTP to its end, or until a tunnel takes over; `None` if it was cut.
async fn speak<S: Outer>(
    version: Version,
    io: ClientIo,
    service: Service<S>,
    protocols: &Protocols,
    watch: Arc<Watch>,
) -> Option<hyper::Result<()>> {
    watch.open(matches!(version, Version::Http2));
    let io = TokioIo::new(io);
    match version {
        Version::Http1 => {
            let connection = protocols.http1.serve_connection(io, service);
            let connection = connection.with_upgrades();
            let leave = http1::UpgradeableConnection::graceful_shutdown;
            let ended = Obedient::new(connection, watch.clone(), leave).await;
            // From here on a tunnel may have the bytes, and obeys by itself.
            watch.hand_over();
            ended
        }
        Version::Http2 => {
            let connection = protocols.http2.serve_connection(io, service);
            Obedient::new(connection, watch, http2::Connection::graceful_shutdown).await
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

/// Why a connection did not come as far as HTTP.
enum Refused {
    ProxyHeader(io::Error),
    Tls(io::Error),
    Broken(io::Error),
}

impl Refused {
    fn event(&self) -> Event {
        match self {
            Self::ProxyHeader(_) => Event::ConnectionProxyHeader,
            Self::Tls(_) => Event::ConnectionTlsFailed,
            Self::Broken(_) => Event::ConnectionBroken,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProxyHeader(error) => write!(f, "PROXY protocol: {error}"),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

/// What comes before HTTP. `None` when the client closes without a byte, as health checks and
/// browsers do.
async fn open<S>(
    socket: Socket,
    mut peer: Peer,
    manner: &Manner<S>,
) -> Result<Option<Opened>, Refused> {
    let socket = if manner.proxy_protocol {
        let (source, socket) = proxy_protocol::read(socket)
            .await
            .map_err(Refused::ProxyHeader)?;
        if let Source::Client(address) = source {
            peer = Peer::Ip(canonical(address));
        }
        socket
    } else {
        Rewound::new(Bytes::new(), socket)
    };
    let (transport, chosen) = match &manner.tls {
        None => (Transport::Plain(socket), None),
        Some(TlsConfig(acceptor)) => {
            let stream = acceptor.accept(socket).await.map_err(Refused::Tls)?;
            let chosen = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Some(Version::Http2),
                Some(_) => Some(Version::Http1),
                None => None,
            };
            (Transport::Tls(Box::new(stream)), chosen)
        }
    };
    let opened = |(version, transport)| Opened {
        transport,
        peer,
        version,
    };
    match chosen {
        Some(version) => Ok(Some(opened((
            version,
            Rewound::new(Bytes::new(), transport),
        )))),
        None => sniff(transport)
            .await
            .map(|sniffed| sniffed.map(opened))
            .map_err(Refused::Broken),
    }
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
        let like_http2 = seen
            .iter()
            .zip(PREFACE)
            .all(|(byte, wanted)| byte == wanted);
        let version = match like_http2 {
            false => Version::Http1,
            true if seen.len() >= PREFACE.len() => Version::Http2,
            true => continue,
        };
        return Ok(Some((version, Rewound::new(seen.freeze(), transport))));
    }
}

/// A future that obeys its connection's orders; `None` when it was cut.
struct Obedient<F> {
    inner: Pin<Box<F>>,
    watch: Arc<Watch>,
    /// Asks it to come to its end.
    leave: fn(Pin<&mut F>),
    has_left: bool,
    /// The waker that the watch knows; a task has the same one all its life.
    known: Option<Waker>,
}

impl<F> Obedient<F> {
    fn new(inner: F, watch: Arc<Watch>, leave: fn(Pin<&mut F>)) -> Self {
        Self {
            inner: Box::pin(inner),
            watch,
            leave,
            has_left: false,
            known: None,
        }
    }

    /// Has it come to its end; of effect once.
    fn leave(&mut self) {
        if !self.has_left {
            self.has_left = true;
            let leave = self.leave;
            leave(self.inner.as_mut());
        }
    }

    fn make_known(&mut self, waker: &Waker) {
        let known = self.known.as_ref();
        if !known.is_some_and(|known| known.will_wake(waker)) {
            self.watch.driven_by(waker);
            self.known = Some(waker.clone());
        }
    }
}

impl<F: Future> Future for Obedient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.make_known(cx.waker());
        if self.watch.is_answering() && self.watch.order() >= Order::Leave {
            // Before the answer, which may be here by now, so that it says so.
            self.leave();
        }
        loop {
            // Before anything else: a request that is here already is still taken, whatever the order.
            if let Poll::Ready(output) = self.inner.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let order = self.watch.order();
            let cut = order == Order::Cut
                || (order == Order::CutStreams && self.watch.has_only_streams());
            if cut {
                return Poll::Ready(None);
            }
            if order == Order::Stay || self.has_left {
                return Poll::Pending;
            }
            self.leave();
        }
    }
}

/// How an HTTP/2 client begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for what a client sends first: most requests fit.
const FIRST_READ: usize = 4 << 10;
/// The fields in a head that hyper takes unless told otherwise.
const HYPER_FIELDS: usize = 100;
/// Streams that we may have to reset for errors of the client before its connection is closed.
const LOCAL_RESETS: usize = 256;
