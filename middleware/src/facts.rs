//! What parts tell each other: one value down with the request, one value up with the response.
//!
//! Each entry of an extension map is an allocation, so all facts of one direction travel as one
//! value and nothing else does (hyper's own upgrade handle aside).

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderName, HeaderValue, StatusCode};

use crate::cache::stored::StoredResponse;
use crate::clock::Now;
use crate::metrics::Event;
use crate::repeat::Repeat;
use crate::{ErrorKind, Request, Response};

/// Downward: written by the listener, completed by the forwarding layer.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// The one reading of the clock that this request is judged by.
    pub received: Now,
    /// Names the request in logs, in `X-Request-Id` and in `explain`.
    pub id: RequestId,
    /// The other end of the connection (as PROXY protocol tells it, where that is on).
    pub peer: Peer,
    /// How the client speaks to us, or to the trusted proxy in front of us.
    pub scheme: Scheme,
    /// Who the client is: the peer, or what a trusted peer says. `None` on a Unix socket.
    pub client: Option<IpAddr>,
    /// The W3C trace that the client says this request belongs to.
    pub trace: Option<TraceParent>,
    /// Our entry in `Via` towards the upstream, by which a loop is noticed; `None` until the
    /// forwarding layer has run. Each core has its own copy.
    pub via: Option<HeaderValue>,
    /// Where interim responses go; `None` where the client cannot be sent any.
    pub interim: Option<InterimSink>,
    /// Whether the connection would say the answer again to the same bytes, and wants to know what it
    /// stands by; taken back by layers whose part in it depends on more than those.
    pub repeats: bool,
}

impl RequestFacts {
    /// What the listener knows; the forwarding layer adds the rest.
    pub fn new(received: Now, id: RequestId, peer: Peer, scheme: Scheme) -> Self {
        Self {
            received,
            id,
            peer,
            scheme,
            client: peer.address(),
            trace: None,
            via: None,
            interim: None,
            repeats: false,
        }
    }
}

/// The way of interim responses (RFC 9110 §15.2) to the one client that made a request.
#[derive(Clone, Debug)]
pub struct InterimSink {
    connection: Arc<dyn TakesInterim>,
    request: u32,
}

impl InterimSink {
    /// For the request that `connection` knows by this number.
    pub fn new(connection: Arc<dyn TakesInterim>, request: u32) -> Self {
        Self {
            connection,
            request,
        }
    }

    /// Sends a whole head as HTTP/1.1 writes it, its empty line included.
    pub fn send(&self, head: &[u8]) {
        self.connection.take(self.request, head);
    }
}

/// A client's connection that can be sent interim responses.
pub trait TakesInterim: Send + Sync + fmt::Debug {
    /// Takes the head of one, or lets it go: where `request` has had its answer, or too many.
    fn take(&self, request: u32, head: &[u8]);
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Ip(SocketAddr),
    /// A process of this machine, by a Unix socket.
    Unix,
}

impl Peer {
    /// Its address; none on a Unix socket.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

/// The scheme of a request's target URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant where none is written (RFC 9110 §4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A request's name: 128 bits of our own, or what a trusted peer sent (visible ASCII, at most 128 bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made here; written as 32 hexadecimal digits, the high half first. Two halves, since whatever
    /// holds a `u128` is aligned to 16 bytes, and the allocator has a slow way for that.
    Made([u64; 2]),
    /// Kept as it came.
    Kept(Arc<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made([high, low]) => write!(f, "{high:016x}{low:016x}"),
            Self::Kept(id) => f.write_str(id),
        }
    }
}

impl RequestId {
    /// As a field's value; `None` if what was kept cannot be one.
    pub fn value(&self) -> Option<HeaderValue> {
        match self {
            Self::Kept(id) => HeaderValue::from_str(id).ok(),
            // Of a known length the check becomes 32 checks, one after the other, which take
            // twice as long as the loop.
            Self::Made(halves) => HeaderValue::from_bytes(black_box(&digits(*halves)[..])).ok(),
        }
    }

    /// As it is displayed; `None` if it was kept.
    pub fn digits(&self) -> Option<[u8; 32]> {
        match self {
            Self::Made(halves) => Some(digits(*halves)),
            Self::Kept(_) => None,
        }
    }
}

fn digits([high, low]: [u64; 2]) -> [u8; 32] {
    let mut digits = [0; 32];
    let (first, second) = digits.split_at_mut(16);
    first.copy_from_slice(&hex(high));
    second.copy_from_slice(&hex(low));
    digits
}

/// The hexadecimal digits of `number`. By hand: the formatting machinery costs more than all else that
/// a hit does with a request's name.
pub(crate) fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&eight_digits(number >> 32));
    low.copy_from_slice(&eight_digits(number & LOW));
    digits
}

/// The low half of 64 bits.
const LOW: u64 = 0xffff_ffff;

/// Of 32 bits, all at once: each digit has a byte of a word to itself.
fn eight_digits(number: u64) -> [u8; 8] {
    let pairs = (number << 16 | number) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs << 8 | pairs) & 0x00ff_00ff_00ff_00ff;
    let values = (bytes << 4 | bytes) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in the byte of each digit over nine: these are letters, which come 39 places later.
    let letters = (values + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (values + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

/// The two halves of `number`.
pub(crate) fn halves(number: u128) -> (u64, u64) {
    let [high, low] = [number >> 64, number & u128::from(u64::MAX)];
    let half = |half| u64::try_from(half).expect("half of 128 bits are 64");
    (half(high), half(low))
}

/// Names the request, on both sides.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A W3C `traceparent`, version 00 (Trace Context §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// 16 bytes, not zero; the high half first (see [`RequestId::Made`]).
    pub trace_id: [u64; 2],
    /// 8 bytes, not zero: the span of whoever sends it.
    pub span_id: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

/// Upward: what the layers below tell those above, and the request log in the end.
#[derive(Clone, Debug, Default)]
pub struct ResponseFacts {
    /// What the cache did and why; `None` where the request did not come as far as a cache.
    pub cache: Option<CacheStatus>,
    /// What the upstream took; `None` if it was not asked.
    pub upstream: Option<UpstreamTiming>,
    /// The stored response that this one replays: coded copies are kept with it.
    pub stored: Option<Arc<StoredResponse>>,
    /// Whether it has the line of `Vary` that the content coding layer adds where an answer varies: ready
    /// fields are kept with it.
    pub says_vary: bool,
    /// The route that answered; each core has its own copy of the name, so that counting references stays on the core.
    pub route: Option<Arc<str>>,
    /// The failure that this response tells of.
    pub error: Option<ErrorKind>,
    /// What a trusted peer said of the request, where one did: for the log, which stands above the
    /// layer that believes it.
    pub told: Option<Told>,
    /// What features that only observe would have done.
    pub observed: Observed,
    /// What it takes to say the answer again, where that was asked for and may be; taken away by layers
    /// whose part in it is not the same each time.
    pub repeat: Option<Arc<Repeat>>,
}

/// What features with `mode = "observe"` would have done with an answer, for log and metrics: nothing
/// of it reaches the client. `None` for those that are on or off, or would have done nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The cache.
    pub cache: Option<Event>,
    /// Preconditions and ranges.
    pub conditional: Option<Event>,
    /// Content codings.
    pub content_coding: Option<Event>,
    /// Entity tags, where it is known with the head; they are counted when content has ended.
    pub etag: Option<Event>,
}

impl Observed {
    /// Nothing.
    pub const NONE: Self = Self {
        cache: None,
        conditional: None,
        content_coding: None,
        etag: None,
    };
}

/// What a trusted peer says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who the client is.
    pub client: Option<IpAddr>,
    /// How the request is called.
    pub id: RequestId,
}

/// What the cache did with a request (RFC 9211), as one value for header, log, metric and `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Hit, or forwarded and why.
    pub outcome: CacheOutcome,
    /// The status of the upstream's answer, where the request was forwarded (`fwd-status`).
    pub fwd_status: Option<StatusCode>,
    /// Whether the upstream's answer was stored (`stored`).
    pub stored: bool,
    /// Whether the answer was shared with another request's forwarding (`collapsed`).
    pub collapsed: bool,
    /// Remaining freshness in seconds, negative once stale (`ttl`).
    pub ttl: Option<i64>,
    /// The rule that decided (`detail`).
    pub reason: Option<Reason>,
}

/// Hit or forward (RFC 9211 §2.1, §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheOutcome {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale stored response, as the upstream's or operator's word permits.
    HitStale,
    /// Forwarded to validate; the stored response was confirmed and served.
    Revalidated,
    /// Forwarded.
    Fwd(Fwd),
}

/// Why a request went upstream (RFC 9211 §2.2), most specific that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fwd {
    /// The cache was told not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing stored matches the URI.
    UriMiss,
    /// Something stored matches the URI, but not its `Vary`.
    VaryMiss,
    /// Nothing usable is stored, or it cannot be told which of the two it was.
    Miss,
    /// The request's own directives asked for it.
    Request,
    /// A stored response was stale.
    Stale,
    /// Only a part is stored.
    Partial,
}

/// The rule that decided about reuse or storing. Closed; each has a name, a sentence and, where the
/// operator or the app can change it, the shortest change that would (see [`crate::cache`]).
pub use crate::cache::reason::Reason;

/// What the upstream took for one answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamTiming {
    /// From forwarding to the answer's head.
    pub first_byte: Duration,
    /// Opening a connection, if one was opened.
    pub connect: Option<Duration>,
    /// How often the request was sent again.
    pub retries: u8,
}

/// Makes `spare`, which may have served a request before ([`let_go`]), the map of one with these `facts`.
pub fn begin(spare: &mut Extensions, facts: RequestFacts) {
    match spare.get_mut() {
        Some(place) => *place = facts,
        None => drop(spare.insert(facts)),
    }
}

/// Lets go of all that the facts in `map` hold; false if there is anything else in it. Such a map serves
/// the next request: to make one takes five allocations.
pub fn let_go(map: &mut Extensions) -> bool {
    let mut facts = 0;
    if let Some(request) = map.get_mut::<RequestFacts>() {
        request.interim = None;
        facts += 1;
    }
    if let Some(response) = map.get_mut::<ResponseFacts>() {
        *response = ResponseFacts::default();
        facts += 1;
    }
    facts == map.len()
}

/// The facts that came with `request`.
///
/// # Panics
/// If there are none: the listener puts them there.
pub fn of_request(request: &Request) -> &RequestFacts {
    request
        .extensions()
        .get()
        .expect("the listener gives every request its facts")
}

/// The facts of `response`, empty if there were none.
pub fn of_response(response: &mut Response) -> &mut ResponseFacts {
    response.extensions_mut().get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_fmt(number in any::<u64>()) {
            let digits = hex(number);
            prop_assert_eq!(str::from_utf8(&digits).unwrap(), format!("{number:016x}"));
        }

        #[test]
        fn a_name_is_written_as_it_is_displayed(number in any::<[u64; 2]>()) {
            let id = RequestId::Made(number);
            prop_assert_eq!(id.value().unwrap(), id.to_string());
        }
    }
}
