//! One connection's state as its core's warden sees it, and the rule of what it may wait for.
//!
//! Instead of timers of its own, a connection leaves marks here (a few plain writes for each
//! request); the [warden](crate::server::warden) of its core looks at all of them now and then.
//! Everything happens on one thread, bodies dropped elsewhere aside: atomics are there for those.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use middleware::facts::TakesInterim;

use crate::server::interim::Interims;
use crate::server::repeats::repeater::Exchange;
use crate::server::stalls::Stalls;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Requests begun, wrapping. Written by the service.
    served: AtomicU32,
    /// Requests begun whose answer is not handed over to HTTP in full. Written by the service.
    in_flight: AtomicU32,
    /// How many of those answer without an end of their own (event streams, gRPC).
    streams: AtomicU32,
    /// Request contents that are not all here yet.
    receiving: AtomicU32,
    /// HTTP/2: requests that the client took back before they were answered.
    cancelled: AtomicU32,
    /// Answers of which HTTP took a part and wants no more for now: the client does not read.
    stalls: Stalls,
    /// Bytes came that no request was made of yet.
    head_begun: AtomicBool,
    /// A request's content was let go before its end, so the client may still be sending it.
    content_left: AtomicBool,
    /// Bytes were written since the warden's last look.
    wrote: AtomicBool,
    /// The last write found no room.
    write_blocked: AtomicBool,
    /// The client has shut down its direction while we still answer.
    half_closed: AtomicBool,
    /// We have shut down ours and wait for the client to notice.
    lingering: AtomicBool,
    /// The connection has come as far as HTTP.
    opened: AtomicBool,
    /// HTTP/2: requests come side by side, and bytes without a request mean nothing.
    http2: AtomicBool,
    /// HTTP is over: a tunnel, or the end.
    handed_over: AtomicBool,
    /// The socket is closed. Set last; the warden forgets it then.
    closed: AtomicBool,
    /// The client is let go in the middle of a head, and can be told so.
    owes_timeout: AtomicBool,
    /// An [`Order`], only ever raised.
    order: AtomicU8,
    /// HTTP/1.1: what comes before the answer.
    interims: Interims,
    /// HTTP/1.1: what may be repeated of the answer.
    exchange: Exchange,
    /// Whom to wake for an order: the task that drives the connection, later the tunnel's.
    driver: Mutex<Option<Waker>>,
    /// The warden's own: what it saw at its last look, and for how long it has seen no progress.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    phase: AtomicU8,
    served: AtomicU32,
    waited_ms: AtomicU32,
    /// The connection's age, by all looks together; wraps.
    age_ms: AtomicU32,
}

/// What a connection is told to do; a later one includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Go on.
    Stay,
    /// Say goodbye (`Connection: close`, GOAWAY) and finish what is in flight.
    Leave,
    /// As before, and drop streams and tunnels as soon as nothing else is in flight.
    CutStreams,
    /// Drop everything now.
    Cut,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client owes us the rest of a request's head, or its first one.
    Head,
    /// Nobody owes anybody anything.
    Idle,
    /// We owe an answer.
    Answering,
    /// The client owes us that it reads the answer.
    Blocked,
    /// The client has half-closed: it wants its answer, or it is gone.
    HalfClosed,
    /// It has half-closed, and of its content something is not read yet: perhaps only by the
    /// upstream, more likely the client broke off.
    BrokenOff,
    /// We have said goodbye; HTTP/2 clients are to confirm it.
    Leaving,
    /// We have closed our direction; the client is to read the answer and close its own.
    Lingering,
    /// A tunnel with its own deadlines.
    Tunnel,
}

/// How long each may take. From the settings, or fixed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// `limits.header_time`
    pub(crate) head: Duration,
    /// `limits.idle`
    pub(crate) idle: Duration,
}

impl Deadlines {
    /// How long a phase may last without progress, and what follows.
    fn of(&self, phase: Phase) -> Option<(Duration, Order)> {
        match phase {
            Phase::Head | Phase::Leaving => Some((self.head, Order::Cut)),
            Phase::Idle => Some((self.idle, Order::Leave)),
            Phase::Blocked => Some((self.idle, Order::Cut)),
            // An answer that takes longer than this without a byte is not waited for by anybody
            // who has half-closed; while bytes flow, a client that is gone resets the connection.
            Phase::HalfClosed => Some((HALF_CLOSED, Order::Cut)),
            Phase::BrokenOff => Some((BROKEN_OFF, Order::Cut)),
            Phase::Lingering => Some((LINGER, Order::Cut)),
            Phase::Answering | Phase::Tunnel => None,
        }
    }

    /// How often to look, so that no deadline is missed by more than an eighth, or a second.
    pub(crate) fn interval(&self) -> Duration {
        (self.head.min(self.idle) / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// What the service and the connection write.
impl Watch {
    /// A request has begun; its number on this connection.
    pub(crate) fn begin(&self, content: bool) -> u32 {
        let number = self.served.fetch_add(1, Relaxed).wrapping_add(1);
        self.in_flight.fetch_add(1, Relaxed);
        if content {
            self.receiving.fetch_add(1, Relaxed);
        }
        self.head_begun.store(false, Relaxed);
        self.content_left.store(false, Relaxed);
        number
    }

    pub(crate) fn interims(&self) -> &Interims {
        &self.interims
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// A request was answered beneath HTTP, whole.
    pub(crate) fn note_repeated(&self) {
        // One writer, so this need not be one operation.
        let served = self.served.load(Relaxed);
        self.served.store(served.wrapping_add(1), Relaxed);
        self.note_written();
    }

    /// Requests begun, wrapping.
    pub(crate) fn served(&self) -> u32 {
        self.served.load(Relaxed)
    }

    /// Whether an answer is not handed over to HTTP in full.
    pub(crate) fn is_answering(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// Its answer is handed over, or given up.
    pub(crate) fn finish(&self, stream: bool, whole: bool) {
        if !whole && self.speaks_http2() {
            self.note_cancelled();
        }
        let left = self.in_flight.fetch_sub(1, Relaxed) - 1;
        if stream {
            self.streams.fetch_sub(1, Relaxed);
        }
        if left == 0 && self.half_closed.load(Relaxed) {
            // The end that was held may be seen now; HTTP does not look again by itself.
            self.wake();
        }
    }

    /// Who resets streams as fast as they are opened makes us and the upstream work for nothing
    /// (rapid reset, CVE-2023-44487). HTTP counts those that it has not looked at yet; here, the
    /// others. A browser that merely has much to cancel goes on by another connection.
    fn note_cancelled(&self) {
        let cancelled = self.cancelled.fetch_add(1, Relaxed) + 1;
        if cancelled < CANCELLED || cancelled < self.served.load(Relaxed) / 2 {
            return;
        }
        self.give(if cancelled < 2 * CANCELLED {
            Order::Leave
        } else {
            Order::Cut
        });
    }

    /// Its answer turned out to have no end of its own.
    pub(crate) fn is_stream(&self) {
        self.streams.fetch_add(1, Relaxed);
    }

    /// Its content is all here, or let go before.
    pub(crate) fn received(&self, whole: bool) {
        self.receiving.fetch_sub(1, Relaxed);
        if !whole {
            self.content_left.store(true, Relaxed);
        }
    }

    /// HTTP took a part of an answer (`Some` of now), or came back for more, since it did so last.
    pub(crate) fn set_stalled(&self, before: Option<u32>, now: Option<u32>) {
        self.stalls.change(before, now);
    }

    /// The time that stalls are told in.
    pub(crate) fn age(&self) -> u32 {
        self.seen.age_ms.load(Relaxed)
    }

    /// HTTP begins, in this version.
    pub(crate) fn open(&self, http2: bool) {
        self.opened.store(true, Relaxed);
        self.http2.store(http2, Relaxed);
    }

    pub(crate) fn speaks_http2(&self) -> bool {
        self.http2.load(Relaxed)
    }

    /// Bytes came.
    pub(crate) fn note_read(&self) {
        if self.in_flight.load(Relaxed) == 0 {
            self.head_begun.store(true, Relaxed);
        }
    }

    /// Bytes went.
    pub(crate) fn note_written(&self) {
        self.wrote.store(true, Relaxed);
        self.write_blocked.store(false, Relaxed);
        if self.half_closed.load(Relaxed) {
            self.wake();
        }
    }

    /// No byte would go.
    pub(crate) fn note_blocked(&self) {
        self.write_blocked.store(true, Relaxed);
    }

    /// Whether an end of the client's bytes is to be kept from HTTP for now, because the client may
    /// be waiting for its answer (RFC 9112 §9.6 lets it half-close).
    pub(crate) fn hold_end(&self) -> bool {
        let answering = self.in_flight.load(Relaxed) > 0 || self.write_blocked.load(Relaxed);
        let hold = answering && !self.http2.load(Relaxed);
        self.half_closed.store(hold, Relaxed);
        hold
    }

    /// Whether to wait for the client before the socket is closed: it may still be sending, and
    /// closing on unread bytes makes the kernel send a reset, which destroys the answer on its way.
    pub(crate) fn should_linger(&self) -> bool {
        !self.is_handed_over()
            && !self.http2.load(Relaxed)
            && (self.content_left.load(Relaxed) || self.head_begun.load(Relaxed))
    }

    /// Whether a client that is let go is to be told that its head came too slowly.
    pub(crate) fn owes_timeout(&self) -> bool {
        self.owes_timeout.load(Relaxed)
    }

    pub(crate) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Relaxed);
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Relaxed)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }
}

/// Orders: given by the warden, obeyed by whoever drives the connection.
impl Watch {
    pub(crate) fn order(&self) -> Order {
        match self.order.load(Relaxed) {
            0 => Order::Stay,
            1 => Order::Leave,
            2 => Order::CutStreams,
            _ => Order::Cut,
        }
    }

    pub(crate) fn give(&self, order: Order) {
        if self.order.fetch_max(order as u8, Relaxed) < order as u8 {
            self.wake();
        }
    }

    /// Wakes `waker` for every order from now on.
    pub(crate) fn driven_by(&self, waker: &Waker) {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *driver {
            Some(driver) => driver.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = &*driver {
            driver.wake_by_ref();
        }
    }

    /// Whether only streams are in flight.
    pub(crate) fn has_only_streams(&self) -> bool {
        let streams = self.streams.load(Relaxed);
        streams > 0 && self.in_flight.load(Relaxed) == streams
    }
}

impl TakesInterim for Watch {
    fn take(&self, request: u32, head: &[u8]) {
        if self.interims.take(request, head) {
            self.wake();
        }
    }
}

/// What the warden asks.
impl Watch {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Judges the time `passed` since the last look; gives the order that follows, and tells what
    /// took too long, if something newly did.
    pub(crate) fn look(&self, passed: Duration, deadlines: &Deadlines) -> Option<Phase> {
        let phase = self.phase();
        let served = self.served.load(Relaxed);
        let wrote = self.wrote.swap(false, Relaxed);
        let changed = self.seen.phase.swap(phase as u8, Relaxed) != phase as u8;
        let answered = self.seen.served.swap(served, Relaxed) != served;
        // Owing a head, or anything at all, an HTTP/2 client could make us write by asking for PINGs
        // to be answered.
        let proves_nothing = phase == Phase::Head || (phase == Phase::Idle && self.speaks_http2());
        let moved = changed || answered || (wrote && !proves_nothing);
        let passed = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX);
        self.seen.age_ms.fetch_add(passed, Relaxed);
        self.judge_stalls(deadlines);
        let waited = if moved {
            0
        } else {
            self.seen.waited_ms.load(Relaxed).saturating_add(passed)
        };
        self.seen.waited_ms.store(waited, Relaxed);
        let (limit, order) = deadlines.of(phase)?;
        // A stop does not wait for silent connections, but for a first request that is on its way.
        let limit = if self.opened.load(Relaxed) || self.order() < Order::Leave {
            limit
        } else {
            limit.min(ON_ITS_WAY)
        };
        let overdue = Duration::from_millis(waited.into()) >= limit && self.order() < order;
        overdue.then(|| {
            let in_a_head = phase == Phase::Head && self.head_begun.load(Relaxed);
            let can_be_told = self.opened.load(Relaxed)
                && !self.speaks_http2()
                && !self.write_blocked.load(Relaxed);
            self.owes_timeout.store(in_a_head && can_be_told, Relaxed);
            self.give(order);
            phase
        })
    }

    /// One stream that is never read holds an answer, and with it an upstream's connection, whatever
    /// moves on the streams beside it. First the client is asked to take its next requests elsewhere.
    fn judge_stalls(&self, deadlines: &Deadlines) {
        if !self.speaks_http2() {
            // There the phase says it all: nothing else can move.
            return;
        }
        let idle = u32::try_from(deadlines.idle.as_millis()).unwrap_or(u32::MAX);
        match self.stalls.longest(self.age()) {
            Some(longest) if longest >= idle.saturating_mul(2) => self.give(Order::Cut),
            Some(longest) if longest >= idle => self.give(Order::Leave),
            _ => {}
        }
    }

    fn phase(&self) -> Phase {
        if self.handed_over.load(Relaxed) {
            Phase::Tunnel
        } else if self.lingering.load(Relaxed) {
            Phase::Lingering
        } else if self.in_flight.load(Relaxed) > 0 {
            if self.half_closed.load(Relaxed) {
                if self.receiving.load(Relaxed) > 0 {
                    Phase::BrokenOff
                } else {
                    Phase::HalfClosed
                }
            } else if self.write_blocked.load(Relaxed) || !self.stalls.is_empty() {
                Phase::Blocked
            } else {
                Phase::Answering
            }
        } else if self.served.load(Relaxed) == 0
            || (self.head_begun.load(Relaxed) && !self.http2.load(Relaxed))
        {
            Phase::Head
        } else if self.order() >= Order::Leave {
            Phase::Leaving
        } else {
            Phase::Idle
        }
    }
}

/// How long a stop waits for the first bytes of a connection that was just accepted.
const ON_ITS_WAY: Duration = Duration::from_millis(250);
/// How long a client that has half-closed is believed to be there without a byte going to it.
const HALF_CLOSED: Duration = Duration::from_secs(10);
/// How long the upstream may take to read the last of a content whose client has half-closed: it is
/// in our hands already, or it will never come, and only the upstream's reading shows which.
const BROKEN_OFF: Duration = Duration::from_secs(1);
/// Requests that an HTTP/2 client may take back, if they are half of all, before it is sent away.
const CANCELLED: u32 = 256;
/// How long a client may take to notice that we have closed.
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
