//! From a byte stream to an HTTP connection, and the task that drives it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use middleware::{Error, ErrorKind, Result};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Lane;
use super::bell::{Bell, Belled};
use super::connect::{Connected, Stream as Bytes, Wanted};
use super::endpoint::{Slot, Spoken};
use super::multiplex::{Http2, Load};
use super::pool::{Connection, Http1};
use super::wire::Wire;

impl Lane {
    /// Opens a connection to endpoint `at`.
    pub(super) async fn connect(
        self: &Arc<Self>,
        at: usize,
        version: Wanted,
        slot: Slot,
    ) -> Result<Connection> {
        let endpoint = self.endpoint(at);
        let connected = endpoint.connector.connect(version).await;
        let connected = connected.inspect_err(|_| {
            self.state.metrics.connect_failed();
            endpoint.shun(self.state.clock.mono());
        })?;
        if version == Wanted::Any {
            endpoint.spoke(match connected.http2 {
                true => Spoken::Http2,
                false => Spoken::Http1,
            });
        }
        if connected.http2 {
            let http2 = self.http2(connected.stream, slot).await?;
            let stream = http2.stream();
            self.publish(at, http2);
            Ok(Connection::Http2(stream))
        } else {
            Ok(Connection::Http1(Box::new(
                self.http1(connected, slot).await?,
            )))
        }
    }

    async fn http1(&self, connected: Connected, slot: Slot) -> Result<Http1> {
        let mut builder = http1::Builder::new();
        let fields = self.state.settings.fields_count;
        if fields > HYPERS_FIELDS {
            // Only where more are wanted: hyper keeps its own number on the stack, any other on the heap.
            builder.max_headers(fields);
        }
        // Of TLS it cannot be told whether what came is for us.
        let is_tls = connected.stream.is_tls();
        let (wire, hypers_end) = Wire::of(connected.stream);
        let wire = (!is_tls).then_some(wire);
        let io = TokioIo::new(hypers_end);
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        // Upgrades must be possible on each, since any may be taken for one.
        let connection = connection.with_upgrades();
        let bell = Bell::new();
        let connection = Belled::new(connection, bell.clone());
        let open = self.state.metrics.opened();
        let task = self.state.tasks.spawn(async move {
            let _held = (slot, open);
            if let Err(error) = connection.await {
                debug!(%error, "An upstream connection ended.");
            }
        });
        let heard = connected.heard;
        Ok(Http1::new(
            sender,
            wire,
            heard,
            bell,
            task.abort_handle(),
            self,
        ))
    }

    async fn http2(&self, stream: Bytes, slot: Slot) -> Result<Http2> {
        let (sender, mut connection) = http2::Builder::new(Tracked(self.state.tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(FIELDS_SIZE)
            // A dead peer would otherwise be noticed by each request's own deadline only.
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let load = Arc::new(Load::new());
        let http2 = Http2::new(sender, load.clone());
        let open = self.state.metrics.opened();
        self.state.tasks.spawn(async move {
            let _held = (slot, open);
            let driven = std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<hyper::Result<()>> {
                let driven = Pin::new(&mut connection).poll(cx);
                load.permit(connection.current_max_send_streams());
                driven
            });
            if let Err(error) = driven.await {
                debug!(%error, "An upstream connection ended.");
            }
        });
        Ok(http2)
    }
}

fn failed(error: hyper::Error) -> Error {
    Error::upstream(ErrorKind::ConnectionTerminated)
        .caused_by(error)
        .retryable()
}

/// Lets hyper spawn its HTTP/2 tasks where shutdown can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// hyper's own limit of header fields.
pub(super) const HYPERS_FIELDS: usize = 100;

/// What an upstream may send before we take it; bounds memory per stream, and per connection.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Bytes of an answer's header section by HTTP/2's count; hyper's 16 KiB is less than its HTTP/1 takes.
const FIELDS_SIZE: u32 = 128 << 10;

/// When a silent connection with requests in flight is asked whether it lives, and for how long.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(10);
