//! A request on its way, until its answer's head is here: waits, and sends it again where that is safe.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::Request;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use middleware::{Error, ErrorKind, Response, ResponseFuture, Result};
use pin_project_lite::pin_project;

use super::exchange::{Exchange, Message};
use super::failure::{self, Seen};
use super::outgoing;
use super::plain::{Before, Came};
use super::pool::{Connection, Lease};
use super::retry::{self, Kept};
use super::upload::{Outgoing, Watch};

/// A request that was sent, until its answer's head is here.
pub(super) struct Sent {
    pub(super) exchange: Exchange,
    pub(super) lease: Lease,
    /// To send it again.
    pub(super) kept: Option<Box<Kept>>,
    /// Whether it may go out twice after it may have been seen.
    pub(super) is_repeatable: bool,
    /// When its head was sent.
    pub(super) at: Instant,
    /// Whether it went out before hyper was given it, which then knows nothing of that.
    pub(super) was_sent: bool,
}

impl Sent {
    /// Sends `request` beneath hyper, if it is plain.
    pub(super) fn plainly(self, request: Request<Outgoing>) -> ResponseFuture {
        match &self.lease.connection {
            Some(Connection::Http1(http1)) if http1.sends_plainly(&request) => {
                ResponseFuture::boxed(PlainWait {
                    request: Some(request),
                    came: Before::default(),
                    sent: Some(self),
                    again: None,
                })
            }
            _ => self.kept_by_hyper(request),
        }
    }

    /// Has hyper send it, and keeps it if it may be needed again.
    fn kept_by_hyper(mut self, request: Request<Outgoing>) -> ResponseFuture {
        if self.is_repeatable {
            self.kept = Kept::of(&request, true, self.lease.spare());
        }
        self.by_hyper(request)
    }

    /// Has hyper send it.
    pub(super) fn by_hyper(mut self, mut request: Request<Outgoing>) -> ResponseFuture {
        let Lease {
            lane, connection, ..
        } = &mut self.lease;
        match connection
            .as_mut()
            .expect("a lease has its connection until it ends")
        {
            Connection::Http1(http1) => {
                let client = self
                    .exchange
                    .facts()
                    .and_then(|facts| facts.interim.as_ref());
                let interims = lane.interims.as_ref();
                outgoing::listen(&mut request, &mut http1.ear, interims, client);
                let answer = http1.sender.try_send_request(request);
                HeadWait::boxed(answer, self)
            }
            Connection::Http2(stream) => {
                let answer = stream.sender.try_send_request(request);
                HeadWait::boxed(answer, self)
            }
        }
    }

    /// Ready once the head is late: `first_byte` after the request's last byte.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let state = &self.lease.lane.state;
        loop {
            let moved = moved(&self.lease, self.at);
            let due = moved + state.settings.first_byte;
            ready!(self.lease.deadline.poll(cx, &state.clock, due));
            if moved == self::moved(&self.lease, self.at) {
                let silent = || Error::upstream(ErrorKind::ConnectionReadTimeout);
                let upload = self.lease.upload.as_ref();
                return Poll::Ready(upload.map_or_else(silent, Watch::lateness));
            }
        }
    }

    /// What follows from a request that got no answer: the next attempt, or the error.
    fn broken(mut self, mut broken: TrySendError<Request<Outgoing>>) -> ResponseFuture {
        let unsent = broken.take_message();
        let upload = self.lease.upload.take();
        let lane = self.lease.lane.clone();
        // An upload that the client broke off ends the exchange as well, and is no fault here.
        if let Some(error) = upload.as_ref().and_then(Watch::failure) {
            return ResponseFuture::ready(Err(lane.counted(error)));
        }
        let has_heard = self.lease.has_heard();
        let (error, seen) = failure::of_head(broken.into_error(), has_heard);
        let seen = match seen {
            Seen::No if self.was_sent && has_heard => Seen::Yes,
            Seen::No if self.was_sent => Seen::Silent,
            seen => seen,
        };
        // Closed now, not after the next attempt.
        drop(self.lease);
        let timing = &mut self.exchange.timing;
        let again = match unsent {
            Some(request) => Some((request, true)),
            None => self.kept.map(|kept| kept.into_request()),
        };
        match again {
            Some((request, is_written))
                if retry::goes_again(seen, self.is_repeatable, timing.retries) =>
            {
                timing.retries += 1;
                lane.state.metrics.retried();
                let message = Message {
                    request,
                    is_written,
                    upload,
                };
                ResponseFuture::boxed(self.exchange.connect(lane, message, None))
            }
            _ => ResponseFuture::ready(Err(lane.counted(error))),
        }
    }
}

/// When the request was sent, or its content last moved: an upload may take its time.
fn moved(lease: &Lease, sent: Instant) -> Instant {
    lease.upload.as_ref().map_or(sent, Watch::moved)
}

pin_project! {
    /// Waits for an answer's head. By hand, since an async block would keep places for all that it
    /// takes twice.
    struct HeadWait<A> {
        #[pin]
        answer: A,
        // `None` once it is over.
        sent: Option<Sent>,
        // The next attempt.
        again: Option<ResponseFuture>,
    }
}

impl<A> HeadWait<A>
where
    A: Future<Output = Result<http::Response<Incoming>, TrySendError<Request<Outgoing>>>>
        + Send
        + 'static,
{
    /// Made where it is boxed, since each place that it passes is a move of all it keeps.
    fn boxed(answer: A, sent: Sent) -> ResponseFuture {
        ResponseFuture::boxed(Self {
            answer,
            sent: Some(sent),
            again: None,
        })
    }
}

impl<A> Future for HeadWait<A>
where
    A: Future<Output = Result<http::Response<Incoming>, TrySendError<Request<Outgoing>>>>,
{
    type Output = Result<Response>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(again) = this.again {
            return Pin::new(again).poll(cx);
        }
        let sent = this.sent.as_mut();
        let sent = sent.expect("a future is not polled after it is done");
        let Poll::Ready(answered) = this.answer.poll(cx) else {
            let late = ready!(sent.poll_late(cx));
            let late = sent.lease.lane.counted(late);
            // Its connection is closed with it.
            *this.sent = None;
            return Poll::Ready(Err(late));
        };
        let mut sent = this.sent.take().expect("it was there a moment ago");
        match answered {
            Ok(answer) => {
                sent.lease.heard_head(sent.kept.take());
                Poll::Ready(sent.exchange.finish(answer, sent.lease, cx))
            }
            Err(broken) => Pin::new(this.again.insert(sent.broken(broken))).poll(cx),
        }
    }
}

/// Waits for the answer to a plain request.
struct PlainWait {
    /// `None` once hyper has it.
    request: Option<Request<Outgoing>>,
    /// What has come of an answer that is not whole.
    came: Before,
    /// `None` once it is over, or hyper's.
    sent: Option<Sent>,
    /// What hyper makes of it.
    again: Option<ResponseFuture>,
}

impl Future for PlainWait {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(again) = &mut this.again {
            return Pin::new(again).poll(cx);
        }
        let sent = this.sent.as_mut();
        let sent = sent.expect("a future is not polled after it is done");
        let Some(Connection::Http1(http1)) = &mut sent.lease.connection else {
            unreachable!("a plain request has its connection, of HTTP/1.1, until it is over");
        };
        let Poll::Ready(came) = http1.poll_plainly(&mut this.came, cx) else {
            let late = ready!(sent.poll_late(cx));
            let late = sent.lease.lane.counted(late);
            // Its connection is closed with it.
            this.sent = None;
            return Poll::Ready(Err(late));
        };
        let mut sent = this.sent.take().expect("it was there a moment ago");
        match came {
            Came::Answer(head, content) => {
                Poll::Ready(sent.exchange.finish_plainly(*head, content, sent.lease))
            }
            Came::Odd(_) => {
                sent.was_sent = true;
                let request = this.request.take().expect("it is handed over once");
                Pin::new(this.again.insert(sent.kept_by_hyper(request))).poll(cx)
            }
        }
    }
}
