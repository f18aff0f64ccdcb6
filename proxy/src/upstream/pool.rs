//! Connections: taken from the pool or opened, given back or closed.
//!
//! Each core has a pool of its own for each endpoint (a [`Shard`]), so that a request normally
//! shares nothing with other cores. Only the limit of connections is common to all: where it is
//! reached, another core's unused connection is borrowed, and after that one waits in a queue.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use middleware::{Error, ErrorKind, Result};
use tokio::task::AbortHandle;

use super::Lane;
use super::bell::Bell;
use super::connect::Wanted;
use super::deadline::Deadline;
use super::endpoint::{Endpoint, Shard, Slot};
use super::multiplex::{Room, Stream, share};
use super::outgoing::Ear;
use super::plain::{self, Before, Came};
use super::retry::Kept;
use super::upload::{Outgoing, Watch};
use super::wire::Wire;

/// An unused HTTP/1.1 connection.
pub(super) struct Idle {
    http1: Box<Http1>,
    deadline: Deadline,
    /// When it is closed.
    expires: Instant,
}

/// A connection for one request. Dropped without being given back, it is closed.
pub(super) struct Lease {
    pub(super) lane: Arc<Lane>,
    /// Which endpoint of the lane's upstream.
    pub(super) at: usize,
    /// `None` once it was given back.
    pub(super) connection: Option<Connection>,
    pub(super) deadline: Deadline,
    /// Whether it served a request before.
    pub(super) reused: bool,
    /// How long it took to open, if it was.
    pub(super) connect: Option<Duration>,
    /// The request's content, where it is streamed; given up with the lease.
    pub(super) upload: Option<Watch>,
}

pub(super) enum Connection {
    /// In a box for all its life, since a lease is moved with each request.
    Http1(Box<Http1>),
    Http2(Stream),
}

/// One HTTP/1.1 connection.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Outgoing>,
    /// Where plain requests go, past the sender; `None` where none can.
    wire: Option<Wire>,
    /// Requests for which that is not tried, since an answer was not plain.
    not_plain: u8,
    /// Set when bytes arrive.
    pub(super) heard: Arc<AtomicBool>,
    /// Gives the task that drives it its turns.
    bell: Arc<Bell>,
    /// The bell's own.
    waker: Waker,
    driver: Driver,
    /// Whose pool it belongs to: the core that drives it.
    home: usize,
    /// How long it may be unused: our setting, or less if the upstream has said so.
    pub(super) lifetime: Duration,
    /// Where the next request is kept, should it have to be sent again.
    spare: Option<Box<Kept>>,
    /// Hears interim responses, once any meant something.
    pub(super) ear: Option<Ear>,
}

/// The task that moves a connection's bytes.
struct Driver {
    task: AbortHandle,
    /// Whether a request is on the way: then dropping this ends the task at once. hyper alone would
    /// go on to send the rest of an upload that nobody wants any more, for ever if nobody reads it.
    busy: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.busy {
            self.task.abort();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shard = self.lane.endpoint(self.at).shard(self.lane.core);
        shard.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request needs of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) version: Wanted,
    /// Whether it must be a new one, since a used one has just failed.
    pub(super) fresh: bool,
}

/// What came of waiting for a connection.
enum Grant {
    Used(Connection, Deadline),
    New(Slot),
}

impl Lane {
    /// A connection to endpoint `at`: an unused one if there is any, else a new one.
    pub(super) async fn lease(
        self: &Arc<Self>,
        at: usize,
        need: Need,
        now: Instant,
    ) -> Result<Lease> {
        match self.unused(at, need, now) {
            Some(lease) => Ok(lease),
            None => self.open(at, need, now).await,
        }
    }

    /// An unused connection of this core to endpoint `at`.
    pub(super) fn unused(self: &Arc<Self>, at: usize, need: Need, now: Instant) -> Option<Lease> {
        let endpoint = self.endpoint(at);
        // Those who wait come first, or a busy core would starve them.
        if need.fresh || endpoint.slots.waiting() > 0 {
            return None;
        }
        let (connection, deadline) = self.own(endpoint, need.version, now)?;
        Some(self.leased(at, connection, deadline, None))
    }

    async fn open(self: &Arc<Self>, at: usize, need: Need, now: Instant) -> Result<Lease> {
        let endpoint = self.endpoint(at);
        if need.version == Wanted::Http1 || !endpoint.probably_multiplexes() {
            return self.granted(at, need, now).await;
        }
        // One connects, the others then find its connection.
        let shard = endpoint.shard(self.core);
        let turn = tokio::time::timeout(self.state.settings.connect, shard.opening.lock());
        let Ok(opening) = turn.await else {
            return Err(Error::upstream(ErrorKind::ConnectionTimeout).retryable());
        };
        if let Some(stream) = share(shard, Room::Needed) {
            return Ok(self.leased(at, Connection::Http2(stream), Deadline::default(), None));
        }
        if !endpoint.probably_multiplexes() {
            // It chose HTTP/1.1 meanwhile, so each opens its own.
            drop(opening);
        }
        self.granted(at, need, now).await
    }

    async fn granted(self: &Arc<Self>, at: usize, need: Need, now: Instant) -> Result<Lease> {
        let endpoint = self.endpoint(at);
        let free = (endpoint.slots.waiting() == 0)
            .then(|| endpoint.slots.take())
            .flatten();
        let grant = match free {
            Some(slot) => Grant::New(slot),
            None => self.queue(endpoint, need, now).await?,
        };
        match grant {
            Grant::Used(connection, deadline) => Ok(self.leased(at, connection, deadline, None)),
            Grant::New(slot) => {
                let started = self.state.clock.mono();
                let connection = self.connect(at, need.version, slot).await?;
                let took = self.state.clock.mono().saturating_duration_since(started);
                Ok(self.leased(at, connection, Deadline::default(), Some(took)))
            }
        }
    }

    /// Waits for an unused connection, or for the right to open one.
    async fn queue(&self, endpoint: &Endpoint, need: Need, now: Instant) -> Result<Grant> {
        let settings = &self.state.settings;
        let slots = &endpoint.slots;
        let full = || Error::upstream(ErrorKind::ConnectionLimitReached).retryable();
        let _place = slots.queue(settings.queue).ok_or_else(full)?;
        self.state.metrics.waited();
        let granted = async {
            loop {
                let mut freed = std::pin::pin!(slots.freed());
                // From here on nothing is missed, so: look after, not before.
                freed.as_mut().enable();
                if let Some(slot) = slots.take() {
                    return Grant::New(slot);
                }
                let found = self.borrowed(endpoint, need.version, now);
                match found {
                    // The slot is what is wanted: it comes when this one is closed.
                    Some(unused) if need.fresh => drop(unused),
                    Some((connection, deadline)) => return Grant::Used(connection, deadline),
                    None => {}
                }
                freed.await;
            }
        };
        tokio::time::timeout(settings.connect, granted)
            .await
            .map_err(|_| full())
    }

    /// An unused connection of this core.
    fn own(
        &self,
        endpoint: &Endpoint,
        version: Wanted,
        now: Instant,
    ) -> Option<(Connection, Deadline)> {
        take(
            endpoint.shard(self.core),
            endpoint,
            version,
            Room::Needed,
            now,
        )
    }

    /// An unused connection of any core, this one first; or a share of a crowded one.
    fn borrowed(
        &self,
        endpoint: &Endpoint,
        version: Wanted,
        now: Instant,
    ) -> Option<(Connection, Deadline)> {
        endpoint
            .shards_from(self.core)
            .find_map(|shard| take(shard, endpoint, version, Room::Wished, now))
    }

    fn leased(
        self: &Arc<Self>,
        at: usize,
        connection: Connection,
        deadline: Deadline,
        connect: Option<Duration>,
    ) -> Lease {
        let shard = self.endpoint(at).shard(self.core);
        shard.in_flight.fetch_add(1, Ordering::Relaxed);
        if connect.is_none() {
            self.state.metrics.reused();
        }
        Lease {
            lane: self.clone(),
            at,
            connection: Some(connection),
            deadline,
            reused: connect.is_none(),
            connect,
            upload: None,
        }
    }
}

/// Takes from one shard what can still be used. What cannot is dropped after the locks.
fn take(
    shard: &Shard,
    endpoint: &Endpoint,
    version: Wanted,
    room: Room,
    now: Instant,
) -> Option<(Connection, Deadline)> {
    if version == Wanted::Any
        && endpoint.connector.may_multiplex()
        && let Some(stream) = share(shard, room)
    {
        return Some((Connection::Http2(stream), Deadline::default()));
    }
    loop {
        let mut idle = shard.idle().pop_back()?;
        if now < idle.expires && idle.http1.sender.is_ready() {
            idle.http1.driver.busy = true;
            idle.http1.heard.store(false, Ordering::Relaxed);
            return Some((Connection::Http1(idle.http1), idle.deadline));
        }
    }
}

impl Idle {
    /// Whether it must not be used again.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.expires <= now || self.http1.sender.is_closed()
    }
}

impl Http1 {
    pub(super) fn new(
        sender: http1::SendRequest<Outgoing>,
        wire: Option<Wire>,
        heard: Arc<AtomicBool>,
        bell: Arc<Bell>,
        task: AbortHandle,
        lane: &Lane,
    ) -> Self {
        Self {
            sender,
            wire,
            not_plain: 0,
            heard,
            waker: Waker::from(bell.clone()),
            bell,
            driver: Driver { task, busy: true },
            home: lane.core,
            lifetime: lane.state.settings.keep_alive,
            spare: None,
            ear: None,
        }
    }

    /// Whether hyper has nothing to do on it, and the next answer may be plain.
    fn is_at_rest(&mut self) -> bool {
        if self.wire.is_none() || self.not_plain > 0 {
            self.not_plain = self.not_plain.saturating_sub(1);
            return false;
        }
        self.sender.is_ready()
    }

    /// Sends `request` beneath hyper, if it is plain.
    pub(super) fn sends_plainly(&self, request: &Request<Outgoing>) -> bool {
        self.wire
            .as_ref()
            .is_some_and(|wire| plain::send(request, wire))
    }

    /// Reads the answer to it. Then hyper has the connection again; an answer that is not plain is its to read.
    pub(super) fn poll_plainly(&mut self, before: &mut Before, cx: &mut Context<'_>) -> Poll<Came> {
        let wire = self.wire.as_ref().expect("the request was sent there");
        let came = ready!(plain::poll_answer(wire, before, cx));
        match &came {
            Came::Answer(..) => wire.rest(&self.waker),
            Came::Odd(bytes) => {
                wire.hand_over(bytes.clone());
                self.not_plain = NOT_PLAIN;
            }
        }
        Poll::Ready(came)
    }

    /// Leaves the connection to whoever it was upgraded for.
    pub(super) fn let_go(mut self) {
        self.driver.busy = false;
    }
}

impl Lease {
    /// Whether hyper has nothing to do on its connection, which served before and is driven on this core.
    pub(super) fn is_at_rest(&mut self) -> bool {
        match &mut self.connection {
            Some(Connection::Http1(http1)) => {
                self.reused && http1.home == self.lane.core && http1.is_at_rest()
            }
            Some(Connection::Http2(_)) | None => false,
        }
    }

    /// Whether HTTP/2 is spoken on it.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.connection, Some(Connection::Http2(_)))
    }

    /// Whether any byte of an answer came; known of HTTP/1.1 alone.
    pub(super) fn has_heard(&self) -> bool {
        match &self.connection {
            Some(Connection::Http1(http1)) => http1.heard.load(Ordering::Relaxed),
            Some(Connection::Http2(_)) | None => false,
        }
    }

    /// The next piece of the answer's content. When the last was taken of a connection that is ready for
    /// the next request, it is not given a turn: it has nothing to do until then.
    pub(super) fn poll_content(
        &self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(Connection::Http1(http1)) = &self.connection else {
            return Pin::new(incoming).poll_frame(cx);
        };
        let take = || Pin::new(&mut *incoming).poll_frame(cx);
        let (polled, rung) = http1.bell.held(take);
        let is_over = rung == 1 && incoming.is_end_stream() && http1.sender.is_ready();
        if rung > 0 && !is_over {
            http1.bell.ring();
        }
        polled
    }

    /// Where a request is kept, if one was kept on this connection before.
    pub(super) fn spare(&mut self) -> Option<Box<Kept>> {
        match &mut self.connection {
            Some(Connection::Http1(http1)) => http1.spare.take(),
            Some(Connection::Http2(_)) | None => None,
        }
    }

    /// The answer's head is here: lets go of the client, and of the request that was `kept`, whose
    /// place serves the next one.
    pub(super) fn heard_head(&mut self, kept: Option<Box<Kept>>) {
        let Some(Connection::Http1(http1)) = &mut self.connection else {
            return;
        };
        if let Some(ear) = &http1.ear {
            ear.stop();
        }
        if let Some(mut kept) = kept {
            kept.clear();
            http1.spare = Some(kept);
        }
    }

    /// The connection was upgraded: it is no longer ours.
    pub(super) fn let_go(&mut self) {
        if let Some(Connection::Http1(http1)) = self.connection.take() {
            http1.let_go();
        }
    }

    /// The answer is complete: the connection goes back to its pool, or is closed if it cannot
    /// serve again.
    pub(super) fn give_back(mut self, now: Instant) {
        let sent = self.upload.take().is_none_or(|upload| upload.is_complete());
        let Some(Connection::Http1(http1)) = self.connection.take() else {
            return;
        };
        if !sent || http1.lifetime.is_zero() || http1.sender.is_closed() {
            return;
        }
        let deadline = std::mem::take(&mut self.deadline);
        if http1.sender.is_ready() {
            self.lane.keep(self.at, http1, deadline, now);
        } else {
            // Driven by another core, or the last bytes of the request are still being flushed.
            self.lane.clone().keep_when_ready(self.at, http1, deadline);
        }
    }
}

impl Lane {
    fn keep(self: &Arc<Self>, at: usize, mut http1: Box<Http1>, deadline: Deadline, now: Instant) {
        let endpoint = self.endpoint(at);
        let shard = endpoint.shard(http1.home);
        http1.driver.busy = false;
        let mut idle = shard.idle();
        // Looked at under the lock, since closing empties the pool under it.
        if shard.is_closed() {
            return;
        }
        idle.push_back(Idle {
            expires: now + http1.lifetime,
            http1,
            deadline,
        });
        drop(idle);
        endpoint.slots.offer();
        self.sweep(at);
    }

    fn keep_when_ready(self: Arc<Self>, at: usize, mut http1: Box<Http1>, deadline: Deadline) {
        let tasks = self.state.tasks.clone();
        tasks.spawn(async move {
            let ready = tokio::time::timeout(SETTLING, http1.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                let now = self.state.clock.mono();
                self.keep(at, http1, deadline, now);
            }
        });
    }
}

/// Requests on a connection for which an answer is not expected to be plain, after one that was not: most apps
/// answer in one way.
const NOT_PLAIN: u8 = 63;
/// How long a connection may take to become ready after an answer is complete.
const SETTLING: Duration = Duration::from_secs(1);
