//! Upgraded connections (WebSocket and other 101s): bytes in both directions, with idle deadlines.
//!
//! A request that asks to upgrade (RFC 9110 §7.8) is forwarded on HTTP/1.1 with its `Upgrade` field
//! and its content, if any (Docker's attach is a POST). Only if the upstream answers 101 are the two
//! connections joined; any other answer passes as any other answer does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use middleware::metrics::{Event, Metrics, OpenTunnel};
use middleware::{Error, ErrorKind, Request, Response, ResponseFuture, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::debug;

use crate::shared::Shared;
use crate::upstream::Upstream;

/// The way of a request that asks to upgrade.
#[derive(Clone, Debug)]
pub struct Tunnel {
    upstream: Upstream,
    metrics: Metrics,
    /// Where the tasks go that carry the bytes.
    tasks: TaskTracker,
    /// Cuts all tunnels when it is cancelled: nothing else would end them.
    stopping: CancellationToken,
}

impl Tunnel {
    /// Tunnels to `upstream`.
    pub fn new(upstream: Upstream, shared: &Shared) -> Self {
        Self {
            upstream,
            metrics: shared.metrics.clone(),
            tasks: shared.tasks.clone(),
            stopping: shared.streams.clone(),
        }
    }
}

impl Service<Request> for Tunnel {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.upstream.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> ResponseFuture {
        let client = hyper::upgrade::on(&mut request);
        let asked = request.headers().get(UPGRADE).cloned();
        // What else `Connection` named was removed on the way here.
        let upgrade = HeaderValue::from_static("upgrade");
        request.headers_mut().insert(CONNECTION, upgrade);
        let tunnel = self.clone();
        let answer = self.upstream.upgrade(request);
        answer.map(move |answer| match answer? {
            answer if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tunnel.join(answer, client, asked)
            }
            answer => Ok(answer),
        })
    }
}

impl Tunnel {
    /// Lets the 101 go to the client, and joins the two connections once HTTP is over on both.
    fn join(
        &self,
        mut answer: Response,
        client: OnUpgrade,
        asked: Option<HeaderValue>,
    ) -> Result<Response> {
        let chosen = answer.headers().get(UPGRADE);
        if !chosen.is_some_and(|chosen| is_asked_for(chosen, asked.as_ref())) {
            return Err(Error::upstream(ErrorKind::HttpUpgradeFailed)
                .detail("the upstream switched to a protocol that was not asked for"));
        }
        let upstream = hyper::upgrade::on(&mut answer);
        self.tasks.spawn(carry(Ends {
            client,
            upstream,
            idle: self.upstream.stream_idle(),
            stopping: self.stopping.clone(),
            metrics: self.metrics.clone(),
            _counted: self.upstream.count_tunnel(),
        }));
        Ok(answer)
    }
}

/// "A server MUST NOT switch to a protocol that was not indicated by the client" (RFC 9110 §7.8).
fn is_asked_for(chosen: &HeaderValue, asked: Option<&HeaderValue>) -> bool {
    let names = |list: &HeaderValue| -> Vec<Vec<u8>> {
        list.as_bytes()
            .split(|byte| *byte == b',')
            .map(|name| name.trim_ascii().to_ascii_lowercase())
            .collect()
    };
    let asked = asked.map(names).unwrap_or_default();
    names(chosen).iter().all(|name| asked.contains(name))
}

/// What a tunnel is made of.
struct Ends {
    client: OnUpgrade,
    upstream: OnUpgrade,
    /// Longest pause of both directions together.
    idle: Duration,
    stopping: CancellationToken,
    metrics: Metrics,
    _counted: OpenTunnel,
}

async fn carry(ends: Ends) {
    let carried = async {
        let both = async { tokio::try_join!(ends.client, ends.upstream) };
        let (client, upstream) = tokio::time::timeout(LETTING_GO, both)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map_err(io::Error::other)?;
        let moved = Arc::new(AtomicU64::new(0));
        let counted = |read| Counted {
            metrics: ends.metrics.clone(),
            read,
        };
        let mut client = Watched::new(client, &moved, counted(Event::TunnelBytesIn));
        let mut upstream = Watched::new(upstream, &moved, counted(Event::TunnelBytesOut));
        tokio::select! {
            // Ends when both sides have ended; one that has sent all is still sent to.
            copied = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => {
                copied.map(|_| ())
            }
            () = nothing_moves(&moved, ends.idle) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    tokio::select! {
        () = ends.stopping.cancelled() => debug!("A tunnel was cut, since the program stops."),
        carried = carried => if let Err(error) = carried {
            debug!(%error, "A tunnel ended.");
        },
    }
}

/// Waits until nothing has moved for `idle`, or up to a quarter longer: looking costs a busy tunnel
/// four wake-ups in that time, and its bytes nothing.
async fn nothing_moves(moved: &AtomicU64, idle: Duration) {
    let mut seen = moved.load(Ordering::Relaxed);
    let mut quiet = 0;
    while quiet <= 4 {
        tokio::time::sleep(idle / 4).await;
        let now = moved.load(Ordering::Relaxed);
        quiet = if now == seen { quiet + 1 } else { 1 };
        seen = now;
    }
}

/// A stream that notes when bytes come out of it.
struct Watched {
    stream: TokioIo<Upgraded>,
    /// Shared by both directions.
    moved: Arc<AtomicU64>,
    counted: Counted,
}

/// As what the bytes of one direction count.
struct Counted {
    metrics: Metrics,
    read: Event,
}

impl Watched {
    fn new(stream: Upgraded, moved: &Arc<AtomicU64>, counted: Counted) -> Self {
        Self {
            stream: TokioIo::new(stream),
            moved: moved.clone(),
            counted,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
            let bytes = buffer.filled().len() - before;
            self.counted.metrics.add(self.counted.read, bytes as u64);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long client and upstream may take to let go of HTTP after the 101.
const LETTING_GO: Duration = Duration::from_secs(10);

/// Bytes that are carried at once in each direction.
const BUFFER: usize = 16 << 10;

#[cfg(test)]
mod tests;
