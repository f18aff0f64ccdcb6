//! One request and its answer: connection, deadlines, safe retries.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Instant;

use config::forwarding::ForwardedHost;
use http::header::HOST;
use http::{Extensions, Request, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use middleware::facts::{self, RequestFacts, UpstreamTiming};
use middleware::forwarding::write_outgoing;
use middleware::{Body, Error, ErrorKind, Response, Result, Side};

use super::Lane;
use super::answer;
use super::balance::Tried;
use super::connect::Wanted;
use super::deadline::Deadline;
use super::failure::{self, Seen};
use super::outgoing;
use super::pool::{Connection, Lease, Need};
use super::retry;
use super::upload::{Outgoing, Watch};

/// What is done with an answer of 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is an error: nobody asked to upgrade.
    Plain,
    /// It is passed on, with the upgraded connection in its extensions.
    Upgrade,
}

/// Forwards `request`: the whole way of a request through this module.
pub(super) async fn forward(
    lane: Arc<Lane>,
    request: middleware::Request,
    way: Way,
) -> Result<Response> {
    let gate = &lane.state.gate;
    if gate.is_held() {
        // At start-up only, so its state is not part of every request's.
        Box::pin(gate.wait(lane.state.settings.queue)).await?;
    }
    let answer = lane.exchange(request, way).await;
    if let Err(error) = &answer
        && error.side() != Side::Client
    {
        lane.state.metrics.failed(error.kind());
    }
    answer
}

/// What a request came with beside what is sent: [`RequestFacts`], which [`write_outgoing`] writes of.
/// Nothing below looks at it, so it is not sent along; the map serves for the answer's facts, since
/// to make one takes two allocations.
struct Told(Extensions);

/// A request that got no answer.
struct Failed {
    error: Error,
    seen: Seen,
    /// The request, if hyper gave it back: then it was not sent.
    request: Option<Request<Outgoing>>,
}

impl Lane {
    async fn exchange(
        self: &Arc<Self>,
        request: middleware::Request,
        way: Way,
    ) -> Result<Response> {
        let started = self.state.clock.mono();
        let (mut request, mut upload, told) = self.prepare(request)?;
        // Whether `request` has what we write into it.
        let mut is_written = false;
        let mut timing = UpstreamTiming::default();
        loop {
            let mut lease = self.connection(way, started, &mut timing).await?;
            lease.upload = upload.take();
            let repeatable = retry::may_repeat(&request);
            // hyper gives back what it did not send; HTTP/2 also knows requests sent but refused.
            // Copied before our own fields are written, since their values are not shared yet: the
            // first copy of each would allocate.
            let copy = (lease.is_http2() || (lease.reused && repeatable))
                .then(|| retry::copy_of(&request))
                .flatten();
            let copy = copy.map(|copy| (copy, is_written));
            if !is_written && let Some(facts) = told.facts() {
                write_outgoing(request.headers_mut(), facts);
            }
            self.address(&mut request, &lease)?;
            if !lease.is_http2() {
                let client = told.facts().and_then(|facts| facts.interim.as_ref());
                outgoing::listen(&mut request, self.interims.as_ref(), client);
            }
            let failed = match self.send(&mut lease, request, started).await {
                Ok(answer) => {
                    let answer = self.finish(answer, lease, way, started, &mut timing).await;
                    return answer.map(|response| told.finished(response, timing));
                }
                Err(failed) => failed,
            };
            let repeatable = repeatable && lease.reused;
            upload = lease.upload.take();
            // Closed now, not after the next attempt.
            drop(lease);
            match failed.request.map(|request| (request, true)).or(copy) {
                Some(again) if retry::goes_again(failed.seen, repeatable, timing.retries) => {
                    (request, is_written) = again;
                    timing.retries += 1;
                    self.state.metrics.retried();
                }
                _ => return Err(failed.error),
            }
        }
    }

    /// What is the same for every endpoint; and what is to be told of the request.
    fn prepare(
        &self,
        mut request: middleware::Request,
    ) -> Result<(Request<Outgoing>, Option<Watch>, Told)> {
        let told = Told(std::mem::take(request.extensions_mut()));
        if let Some(prefix) = &self.strip_prefix {
            outgoing::strip_prefix(request.uri_mut(), prefix)?;
        }
        let (request, upload) = outgoing::frame(request, &self.state.clock)?;
        Ok((request, upload, told))
    }

    /// What depends on the endpoint and its connection.
    fn address(&self, request: &mut Request<Outgoing>, lease: &Lease) -> Result<()> {
        let endpoint = self.endpoint(lease.at);
        outgoing::for_http1(request)?;
        if self.host == ForwardedHost::Upstream {
            request.headers_mut().insert(HOST, endpoint.host.clone());
        }
        if lease.is_http2() {
            outgoing::for_http2(request, endpoint)?;
        }
        Ok(())
    }

    /// A connection to one of the endpoints: the next one, where one cannot be connected to.
    async fn connection(
        self: &Arc<Self>,
        way: Way,
        now: Instant,
        timing: &mut UpstreamTiming,
    ) -> Result<Lease> {
        let mut tried = Tried::default();
        loop {
            let at = self.pick(now, &tried);
            let need = Need {
                version: match way {
                    Way::Upgrade if self.endpoint(at).connector.speaks_http1() => Wanted::Http1,
                    // An upgrade may be ignored (RFC 9110 §7.8), and HTTP/2 knows none.
                    Way::Upgrade | Way::Plain => Wanted::Any,
                },
                fresh: timing.retries > 0,
            };
            let error = match self.lease(at, need, now).await {
                Ok(lease) => {
                    timing.connect = lease.connect.or(timing.connect);
                    return Ok(lease);
                }
                Err(error) => error,
            };
            tried.add(at);
            if !error.may_retry() || tried.len() == self.endpoints().min(ENDPOINTS_TRIED) {
                return Err(error);
            }
        }
    }

    /// Sends `request` and waits for the answer's head.
    async fn send(
        &self,
        lease: &mut Lease,
        request: Request<Outgoing>,
        started: Instant,
    ) -> Result<http::Response<Incoming>, Failed> {
        let sent = if lease.reused {
            started
        } else {
            self.state.clock.mono()
        };
        let wait = HeadWait {
            lane: self,
            deadline: &mut lease.deadline,
            upload: lease.upload.as_ref(),
            sent,
        };
        let connection = lease.connection.as_mut();
        let (answered, heard) = match connection.expect("a lease has its connection until it ends")
        {
            Connection::Http1(http1) => {
                let answered = wait.head(http1.sender.try_send_request(request)).await;
                (answered, http1.heard.load(Ordering::Relaxed))
            }
            Connection::Http2(stream) => (
                wait.head(stream.sender.try_send_request(request)).await,
                false,
            ),
        };
        let upload = lease.upload.as_ref();
        match answered {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Late(error)) => Err(Failed::final_with(error)),
            Err(Unanswered::Broken(mut broken)) => {
                let request = broken.take_message();
                // An upload that the client broke off ends the exchange as well, and is no fault here.
                if let Some(error) = upload.and_then(Watch::failure) {
                    return Err(Failed::final_with(error));
                }
                let (error, seen) = failure::of_head(broken.into_error(), heard);
                Err(Failed {
                    error,
                    seen,
                    request,
                })
            }
        }
    }

    async fn finish(
        &self,
        answer: http::Response<Incoming>,
        mut lease: Lease,
        way: Way,
        started: Instant,
        timing: &mut UpstreamTiming,
    ) -> Result<Response> {
        let now = self.state.clock.mono();
        timing.first_byte = now.saturating_duration_since(started);
        let (mut head, incoming) = answer.into_parts();
        let body = match (head.status, way) {
            (StatusCode::SWITCHING_PROTOCOLS, Way::Upgrade) => {
                lease.let_go();
                answer::keep_upgrade(&mut head.headers);
                Body::empty()
            }
            (StatusCode::SWITCHING_PROTOCOLS, Way::Plain) => {
                return Err(Error::upstream(ErrorKind::HttpProtocolError)
                    .detail("the upstream switched protocols unasked"));
            }
            _ => {
                answer::check_head(&mut head, &incoming, &mut lease)?;
                answer::body(incoming, &head.headers, lease, now).await?
            }
        };
        Ok(Response::from_parts(head, body))
    }
}

impl Told {
    fn facts(&self) -> Option<&RequestFacts> {
        self.0.get()
    }

    /// The answer with what it took.
    fn finished(mut self, mut response: Response, timing: UpstreamTiming) -> Response {
        if response.extensions().is_empty() {
            self.0.clear();
            *response.extensions_mut() = self.0;
        }
        facts::of_response(&mut response).upstream = Some(timing);
        response
    }
}

impl Failed {
    /// A failure after which nothing is tried again.
    fn final_with(error: Error) -> Self {
        Self {
            error,
            seen: Seen::Yes,
            request: None,
        }
    }
}

/// Waits for an answer's head until `first_byte` after the request's last byte.
struct HeadWait<'a> {
    lane: &'a Lane,
    deadline: &'a mut Deadline,
    upload: Option<&'a Watch>,
    sent: Instant,
}

enum Unanswered {
    Late(Error),
    Broken(Box<TrySendError<Request<Outgoing>>>),
}

impl HeadWait<'_> {
    async fn head(
        self,
        answer: impl Future<Output = Result<http::Response<Incoming>, TrySendError<Request<Outgoing>>>>,
    ) -> Result<http::Response<Incoming>, Unanswered> {
        let mut answer = pin!(answer);
        let first_byte = self.lane.state.settings.first_byte;
        poll_fn(|cx| {
            if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
                return Poll::Ready(
                    answered.map_err(|broken| Unanswered::Broken(Box::new(broken))),
                );
            }
            loop {
                let moved = self.moved();
                let clock = &self.lane.state.clock;
                ready!(self.deadline.poll(cx, clock, moved + first_byte));
                if self.moved() == moved {
                    return Poll::Ready(Err(Unanswered::Late(self.lateness())));
                }
            }
        })
        .await
    }

    /// When the request was sent, or its content last moved: an upload may take its time.
    fn moved(&self) -> Instant {
        self.upload.map_or(self.sent, Watch::moved)
    }

    fn lateness(&self) -> Error {
        let silent = || Error::upstream(ErrorKind::ConnectionReadTimeout);
        self.upload.map_or_else(silent, Watch::lateness)
    }
}

/// Most endpoints that one request is offered to.
const ENDPOINTS_TRIED: usize = 3;
