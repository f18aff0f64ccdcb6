//! One request and its answer: which connection it takes, what is sent there, what is made of what comes back. What
//! lies between is in `sent`.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use bytes::Bytes;
use config::forwarding::ForwardedHost;
use http::header::HOST;
use http::response::Parts;
use http::{Extensions, Request, StatusCode, Version};
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use middleware::facts::{self, RequestFacts, UpstreamTiming};
use middleware::forwarding::write_outgoing;
use middleware::{Body, Error, ErrorKind, Response, ResponseFuture, Result, Side};

use super::Lane;
use super::answer;
use super::balance::Tried;
use super::connect::Wanted;
use super::outgoing;
use super::pool::{Lease, Need};
use super::retry::{self, Kept};
use super::sent::Sent;
use super::upload::{Outgoing, Watch};

/// What is done with an answer of 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is an error: nobody asked to upgrade.
    Plain,
    /// It is passed on, with the upgraded connection in its extensions.
    Upgrade,
}

/// Forwards `request`: the whole way of a request through this module. Where a connection is there, one
/// of HTTP/1.1 is sent before this returns.
pub(super) fn forward(lane: &Arc<Lane>, request: middleware::Request, way: Way) -> ResponseFuture {
    if lane.state.gate.is_held() {
        // At start-up only.
        return ResponseFuture::boxed(held(lane.clone(), request, way));
    }
    lane.exchange(request, way)
}

async fn held(lane: Arc<Lane>, request: middleware::Request, way: Way) -> Result<Response> {
    lane.state.gate.wait(lane.state.settings.queue).await?;
    lane.exchange(request, way).await
}

/// What a request came with beside what is sent: [`RequestFacts`], which [`write_outgoing`] writes of.
/// Nothing below looks at it, so it is not sent along; the map is the answer's, since to make one takes
/// five allocations.
pub(super) struct Told(Extensions);

/// One request on its way, whichever connection it takes.
pub(super) struct Exchange {
    way: Way,
    started: Instant,
    told: Told,
    pub(super) timing: UpstreamTiming,
}

/// What is sent.
pub(super) struct Message {
    pub(super) request: Request<Outgoing>,
    /// Whether it has what we write into it.
    pub(super) is_written: bool,
    /// Its content, where that is streamed.
    pub(super) upload: Option<Watch>,
}

impl Lane {
    fn exchange(self: &Arc<Self>, request: middleware::Request, way: Way) -> ResponseFuture {
        let started = self.state.clock.mono();
        // Of HTTP/2, a request is told of before all that came with it is read, and that may end it:
        // content of a wrong length, or the client's reset. So it is sent when its answer is asked for.
        let goes_at_once = request.version() < Version::HTTP_2;
        let (message, told) = match self.prepare(request) {
            Ok(prepared) => prepared,
            Err(error) => return ResponseFuture::ready(Err(self.counted(error))),
        };
        let exchange = Exchange {
            way,
            started,
            told,
            timing: UpstreamTiming::default(),
        };
        if !goes_at_once {
            return ResponseFuture::boxed(exchange.connect(self.clone(), message, None));
        }
        let first = self.pick(started, &Tried::default());
        match self.unused(first, self.need(first, way, 0), started) {
            Some(lease) => exchange.send(message, lease),
            None => ResponseFuture::boxed(exchange.connect(self.clone(), message, Some(first))),
        }
    }

    /// Counts what the client is not to blame for.
    pub(super) fn counted(&self, error: Error) -> Error {
        if error.side() != Side::Client {
            self.state.metrics.failed(error.kind());
        }
        error
    }

    /// What is the same for every endpoint; and what is to be told of the request.
    fn prepare(&self, mut request: middleware::Request) -> Result<(Message, Told)> {
        let told = Told(std::mem::take(request.extensions_mut()));
        if let Some(prefix) = &self.strip_prefix {
            outgoing::strip_prefix(request.uri_mut(), prefix)?;
        }
        let (request, upload) = outgoing::frame(request, &self.state.clock)?;
        let message = Message {
            request,
            is_written: false,
            upload,
        };
        Ok((message, told))
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

    /// What a request that goes this `way` needs of a connection to endpoint `at`.
    fn need(&self, at: usize, way: Way, retries: u8) -> Need {
        Need {
            version: match way {
                Way::Upgrade if self.endpoint(at).connector.speaks_http1() => Wanted::Http1,
                // An upgrade may be ignored (RFC 9110 §7.8), and HTTP/2 knows none.
                Way::Upgrade | Way::Plain => Wanted::Any,
            },
            fresh: retries > 0,
        }
    }
}

impl Exchange {
    /// Sends it on a connection that has to be opened or waited for; to endpoint `first`, if one was
    /// chosen already.
    pub(super) async fn connect(
        mut self,
        lane: Arc<Lane>,
        message: Message,
        first: Option<usize>,
    ) -> Result<Response> {
        match self.connection(&lane, first).await {
            Ok(lease) => self.send(message, lease).await,
            Err(error) => Err(lane.counted(error)),
        }
    }

    /// A connection to one of the endpoints: the next one, where one cannot be connected to.
    async fn connection(&mut self, lane: &Arc<Lane>, mut first: Option<usize>) -> Result<Lease> {
        let mut tried = Tried::default();
        let now = self.started;
        loop {
            let at = first.take().unwrap_or_else(|| lane.pick(now, &tried));
            let need = lane.need(at, self.way, self.timing.retries);
            let error = match lane.lease(at, need, now).await {
                Ok(lease) => {
                    self.timing.connect = lease.connect.or(self.timing.connect);
                    return Ok(lease);
                }
                Err(error) => error,
            };
            tried.add(at);
            if !error.may_retry() || tried.len() == lane.endpoints().min(ENDPOINTS_TRIED) {
                return Err(error);
            }
        }
    }

    /// Sends it; what is returned waits for the answer's head. All that can be done before is done
    /// here, since whatever the future keeps is moved when it is boxed.
    fn send(self, mut message: Message, mut lease: Lease) -> ResponseFuture {
        lease.upload = message.upload.take();
        let is_repeatable = lease.reused && retry::may_repeat(&message.request);
        let is_plain = self.way == Way::Plain && lease.is_at_rest();
        // hyper gives back what it did not send; HTTP/2 also knows requests sent but refused.
        // Kept before our own fields are written, since their values are not shared yet: the
        // first copy of each would allocate.
        let kept = if lease.is_http2() || is_repeatable && !is_plain {
            Kept::of(&message.request, message.is_written, lease.spare())
        } else {
            None
        };
        if !message.is_written
            && let Some(facts) = self.told.facts()
        {
            write_outgoing(message.request.headers_mut(), facts);
        }
        if let Err(error) = lease.lane.address(&mut message.request, &lease) {
            return ResponseFuture::ready(Err(lease.lane.counted(error)));
        }
        let at = if lease.reused {
            self.started
        } else {
            lease.lane.state.clock.mono()
        };
        let sent = Sent {
            exchange: self,
            lease,
            kept,
            is_repeatable,
            at,
            was_sent: false,
        };
        match is_plain {
            true => sent.plainly(message.request),
            false => sent.by_hyper(message.request),
        }
    }

    pub(super) fn facts(&self) -> Option<&RequestFacts> {
        self.told.facts()
    }

    /// The answer, when it came whole.
    pub(super) fn finish_plainly(
        mut self,
        mut head: Parts,
        content: Bytes,
        mut lease: Lease,
    ) -> Result<Response> {
        let now = lease.lane.state.clock.mono();
        self.timing.first_byte = now.saturating_duration_since(self.started);
        let length = SizeHint::with_exact(content.len() as u64);
        answer::check_head(&mut head, &length, &mut lease)?;
        lease.give_back(now);
        let response = Response::from_parts(head, Body::from(content));
        Ok(self.told.finished(response, self.timing))
    }

    /// The answer, with its body as far as it is here.
    pub(super) fn finish(
        mut self,
        answer: http::Response<Incoming>,
        mut lease: Lease,
        cx: &mut Context<'_>,
    ) -> Result<Response> {
        let now = lease.lane.state.clock.mono();
        self.timing.first_byte = now.saturating_duration_since(self.started);
        let (mut head, incoming) = answer.into_parts();
        let body = match (head.status, self.way) {
            (StatusCode::SWITCHING_PROTOCOLS, Way::Upgrade) => {
                lease.let_go();
                answer::keep_upgrade(&mut head.headers);
                Body::empty()
            }
            (StatusCode::SWITCHING_PROTOCOLS, Way::Plain) => {
                let error = Error::upstream(ErrorKind::HttpProtocolError)
                    .detail("the upstream switched protocols unasked");
                return Err(lease.lane.counted(error));
            }
            _ => {
                answer::check_head(&mut head, &incoming.size_hint(), &mut lease)?;
                answer::body(incoming, &head.headers, lease, now, cx)?
            }
        };
        let response = Response::from_parts(head, body);
        Ok(self.told.finished(response, self.timing))
    }
}

impl Told {
    fn facts(&self) -> Option<&RequestFacts> {
        self.0.get()
    }

    /// The answer with what it took.
    fn finished(self, mut response: Response, timing: UpstreamTiming) -> Response {
        if response.extensions().is_empty() {
            *response.extensions_mut() = self.0;
        }
        facts::of_response(&mut response).upstream = Some(timing);
        response
    }
}

/// Most endpoints that one request is offered to.
const ENDPOINTS_TRIED: usize = 3;
