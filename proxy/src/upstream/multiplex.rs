//! HTTP/2 connections, which many requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;

use super::Lane;
use super::endpoint::Shard;
use super::upload::Outgoing;

/// An HTTP/2 connection that a core's requests share.
pub(super) struct Multiplexed {
    http2: Http2,
    expires: Instant,
}

/// One HTTP/2 connection.
pub(super) struct Http2 {
    sender: http2::SendRequest<Outgoing>,
    load: Arc<Load>,
}

/// One request's share of an HTTP/2 connection.
pub(super) struct Stream {
    pub(super) sender: http2::SendRequest<Outgoing>,
    load: Arc<Load>,
}

/// How busy an HTTP/2 connection is. Written by its own core, nearly always.
pub(super) struct Load {
    streams: AtomicUsize,
    /// What the upstream permits at once.
    limit: AtomicUsize,
}

/// Whether an HTTP/2 connection will do that is at its peer's limit, where requests wait in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Needed,
    Wished,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.load.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http2 {
    pub(super) fn new(sender: http2::SendRequest<Outgoing>, load: Arc<Load>) -> Self {
        Self { sender, load }
    }

    pub(super) fn stream(&self) -> Stream {
        self.load.streams.fetch_add(1, Ordering::Relaxed);
        Stream {
            sender: self.sender.clone(),
            load: self.load.clone(),
        }
    }
}

impl Load {
    /// Of a connection whose peer has not said yet what it permits.
    pub(super) fn new() -> Self {
        Self {
            streams: AtomicUsize::new(0),
            limit: AtomicUsize::new(PRESUMED_STREAMS),
        }
    }

    /// What the peer permits.
    pub(super) fn permit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
    }
}

impl Multiplexed {
    /// Whether it is kept: it is in use, or was within `keep_alive`.
    pub(super) fn lives_on(&mut self, now: Instant, keep_alive: Duration) -> bool {
        if self.http2.load.streams.load(Ordering::Relaxed) > 0 {
            self.expires = now + keep_alive;
        }
        now < self.expires && !self.http2.sender.is_closed()
    }
}

impl Lane {
    /// Puts a new HTTP/2 connection where this core's requests find it.
    pub(super) fn publish(self: &Arc<Self>, at: usize, http2: Http2) {
        let expires = self.state.clock.mono() + self.state.settings.keep_alive;
        let shard = self.endpoint(at).shard(self.core);
        let mut connections = shard.multiplexed();
        if shard.is_closed() {
            return;
        }
        connections.push(Multiplexed { http2, expires });
        drop(connections);
        self.sweep(at);
    }
}

/// A stream of the shard's least busy HTTP/2 connection.
pub(super) fn share(shard: &Shard, room: Room) -> Option<Stream> {
    let mut connections = shard.multiplexed();
    connections.retain(|one| !one.http2.sender.is_closed());
    let least = connections
        .iter()
        .min_by_key(|one| one.http2.load.streams.load(Ordering::Relaxed))?;
    (room == Room::Wished || least.http2.load.has_room()).then(|| least.http2.stream())
}

/// Streams that we open before the upstream has told its limit (RFC 9113 §6.5.2 recommends that it
/// be no less than this).
const PRESUMED_STREAMS: usize = 100;
