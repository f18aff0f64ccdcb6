//! Between two connections (RFC 9110 §7.6): what a request asks for is made unambiguous, what
//! belongs to the client's connection is removed, who the client is gets decided, loops are broken.
//!
//! In: a request as the client sent it. Down: exactly one `Host`, a target in origin-form (or `*`),
//! no field of a connection (but for a request to upgrade), no claim of an untrusted peer, and
//! [`RequestFacts`] complete. The upstream leaf calls [`write_outgoing`] just before it sends.
//! Back: `Via`.
//!
//! ```
//! use std::sync::Arc;
//! use middleware::forwarding::ForwardingLayer;
//! use middleware::clock::Clock;
//! use middleware::facts::{self, Peer, RequestFacts, RequestId, Scheme};
//! use middleware::{Body, Request, Response, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let app = service_fn(|request: Request| {
//!     assert!(!request.headers().contains_key("x-forwarded-for"));
//!     assert_eq!(request.uri(), "/");
//!     ResponseFuture::ready(Ok(Response::new(Body::from("hello"))))
//! });
//! let mut service = ForwardingLayer::new(Arc::default()).layer(app);
//! let request = http::Request::get("http://example.com/")
//!     .header("host", "example.com")
//!     .header("x-forwarded-for", "1.2.3.4")
//!     .extension(RequestFacts::new(
//!         Clock::system().now(),
//!         RequestId::Made([0, 7]),
//!         Peer::Ip("127.0.0.1:5000".parse().unwrap()),
//!         Scheme::Http,
//!     ))
//!     .body(Body::empty())
//!     .unwrap();
//! let response = service.call(request).await.unwrap();
//! assert_eq!(response.headers()["via"], "1.1 pillion");
//! # });
//! ```

mod interim;
mod outgoing;
mod scan;
mod target;
#[cfg(test)]
mod tests;
mod trust;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use config::forwarding::ForwardingSettings;
use http::header::{CONNECTION, Entry, FORWARDED, MAX_FORWARDS, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use tower::{Layer, Service};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::interim::Interims;
pub use self::outgoing::{strip_trailers, write_outgoing};

use self::outgoing::X_FORWARDED_FOR;
use self::scan::{Class, Found, classify};
use self::target::{check_framing, normalise};
use self::trust::{Claim, claim, is_trusted};
use crate::facts::{self, Peer, RequestFacts, RequestId, Told, X_REQUEST_ID};
use crate::fields::own::own_place;
use crate::fields::traceparent::{self, TRACEPARENT};
use crate::fields::{hop_by_hop, list, via};
use crate::{Answering, Body, Error, ErrorKind, Outer, Request, Response, ResponseFuture, Result};

/// Makes requests fit to be forwarded; see the module.
#[derive(Clone, Debug)]
pub struct ForwardingLayer {
    settings: Arc<ForwardingSettings>,
    /// In `Via` towards the upstream: nobody else's name.
    pseudonym: Arc<str>,
    entries: Arc<Entries>,
}

/// Our entries in `Via`, for messages that came by HTTP/1.0, 1.1 and 2.
#[derive(Debug)]
struct Entries {
    /// Of responses: by our name.
    downward: [HeaderValue; 3],
    /// Of requests: by the pseudonym.
    upward: [HeaderValue; 3],
}

impl Entries {
    fn new(name: &str, pseudonym: &str) -> Self {
        let entries = |name| {
            [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2].map(|version| {
                via::entry(version, name).unwrap_or_else(|| HeaderValue::from_static("1.1 pillion"))
            })
        };
        Self {
            downward: entries(name),
            upward: entries(pseudonym),
        }
    }

    /// What is done to each answer, with what a trusted peer said of its request.
    fn name_us_on(&self, result: &mut Result<Response>, told: Option<Told>) {
        let facts = match result {
            Ok(response) => facts::of_response(response),
            Err(error) => error.facts_mut(),
        };
        if told.is_some() {
            facts.told = told;
        }
        let comes_from_upstream = facts.upstream.is_some();
        let Ok(response) = result else { return };
        if comes_from_upstream {
            withhold_internals(response.headers_mut());
        }
        let entry = Self::of(&self.downward, response.version());
        name_us(response.headers_mut(), entry);
        // The version is each connection's own (RFC 9112 §2.3): an old app makes no old client.
        *response.version_mut() = Version::HTTP_11;
    }

    fn of(entries: &[HeaderValue; 3], version: Version) -> HeaderValue {
        let [one_zero, one_one, two] = entries;
        let entry = match version {
            Version::HTTP_2 => two,
            Version::HTTP_10 => one_zero,
            _ => one_one,
        };
        entry.clone()
    }
}

impl ForwardingLayer {
    /// One for each core; those of one program share the same `settings`, by which a request that
    /// comes back on another core is known.
    pub fn new(settings: Arc<ForwardingSettings>) -> Self {
        let name = if settings.name.is_empty() {
            "pillion"
        } else {
            &*settings.name
        };
        let pseudonym: Arc<str> = pseudonym(name, &settings).into();
        Self {
            entries: Arc::new(Entries::new(name, &pseudonym)),
            pseudonym,
            settings,
        }
    }
}

impl<S> Layer<S> for ForwardingLayer {
    type Service = Forwarding<S>;

    fn layer(&self, inner: S) -> Forwarding<S> {
        Forwarding {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`ForwardingLayer`].
#[derive(Clone, Debug)]
pub struct Forwarding<S> {
    inner: S,
    layer: ForwardingLayer,
}

impl<S: Outer> Service<Request> for Forwarding<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> ResponseFuture {
        let told = match self.layer.prepare(&mut request) {
            Ok(Destination::Further(told)) => told,
            Ok(Destination::Here) => return ResponseFuture::ready(Ok(final_answer())),
            Err(error) => return ResponseFuture::ready(Err(error)),
        };
        let mut answer = self.inner.call(request);
        let entries = match answer.as_ready() {
            Some(result) => {
                self.layer.entries.name_us_on(result, told);
                None
            }
            None => Some((self.layer.entries.clone(), told)),
        };
        answer.change(move |result| {
            if let Some((entries, told)) = entries {
                entries.name_us_on(result, told);
            }
        })
    }
}

/// Puts our `entry` after those that are there. A response with that many fields that there is no room
/// for ours is passed on without.
fn name_us(headers: &mut HeaderMap, entry: HeaderValue) {
    if let Some(place) = own_place(headers, &VIA).filter(|place| place.is_empty()) {
        *place = entry;
        return;
    }
    match headers.try_entry(VIA) {
        Ok(Entry::Vacant(place)) => drop(place.try_insert(entry)),
        // That place, wherever it is now.
        Ok(Entry::Occupied(mut place)) if place.get().is_empty() => drop(place.insert(entry)),
        Ok(Entry::Occupied(mut place)) => place.append(entry),
        Err(_) => {}
    }
}

/// How far a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    /// On, with what a trusted peer said.
    Further(Option<Told>),
    /// `Max-Forwards: 0` (RFC 9110 §7.6.2).
    Here,
}

impl ForwardingLayer {
    fn prepare(&self, request: &mut Request) -> Result<Destination> {
        normalise(request)?;
        let version = request.version();
        let found = Found::scan(request.headers());
        if found.framing {
            check_framing(request.headers(), version)?;
        }
        if found.disguised {
            remove(request.headers_mut(), Class::Disguised);
        }
        if found.connection {
            strip_connection(request.headers_mut(), version);
        }
        if found.via && via::names(request.headers(), &self.pseudonym) {
            return Err(Error::client(ErrorKind::ProxyLoopDetected)
                .detail("the request has passed this proxy before"));
        }
        if found.max_forwards && self.is_last(request) {
            return Ok(Destination::Here);
        }
        Ok(Destination::Further(self.complete_facts(request, found)))
    }

    /// Counts `Max-Forwards` down, for `OPTIONS` alone: `TRACE` is refused before, and others have no such field.
    fn is_last(&self, request: &mut Request) -> bool {
        if request.method() != Method::OPTIONS {
            return false;
        }
        let hops = request.headers().get(MAX_FORWARDS);
        let hops = hops.and_then(|hops| hops.to_str().ok()?.trim().parse::<u64>().ok());
        if let Some(left) = hops.and_then(|hops| hops.checked_sub(1)) {
            request
                .headers_mut()
                .insert(MAX_FORWARDS, HeaderValue::from(left));
        }
        hops == Some(0)
    }

    fn complete_facts(&self, request: &mut Request, found: Found) -> Option<Told> {
        let peer = facts::of_request(request).peer;
        let version = request.version();
        let headers = request.headers_mut();
        let mut claim = Claim::default();
        let mut kept = None;
        if found.claims {
            (claim, kept) = self.judge_claims(headers, peer);
        }
        let mut parent = None;
        if found.trace {
            parent = headers
                .get(TRACEPARENT)
                .and_then(|value| traceparent::parse(value.as_bytes()));
            if parent.is_none() {
                // Trace Context §3.2.2.3 and §3.3: without a valid parent there is no state either.
                remove(headers, Class::Trace);
            }
        }
        let facts: &mut RequestFacts = request
            .extensions_mut()
            .get_mut()
            .expect("the listener gives every request its facts");
        let was_told = claim.client.is_some() || kept.is_some();
        facts.client = claim.client.or(facts.client);
        facts.scheme = claim.scheme.unwrap_or(facts.scheme);
        if let Some(id) = kept {
            facts.id = RequestId::Kept(id);
        }
        facts.trace = parent;
        // Whether such fields are believed depends on the peer.
        facts.repeats &= !found.claims;
        facts.via = Some(Entries::of(&self.entries.upward, version));
        was_told.then(|| Told {
            client: facts.client,
            id: facts.id.clone(),
        })
    }

    /// Believes a trusted peer, and removes what anybody else says: the cache key knows nothing of
    /// these fields, so an app that answers by them would poison it.
    fn judge_claims(&self, headers: &mut HeaderMap, peer: Peer) -> (Claim, Option<Arc<str>>) {
        if !is_trusted(&self.settings, peer) {
            remove(headers, Class::Claim);
            return (Claim::default(), None);
        }
        let claim = claim(headers, &self.settings.trusted).unwrap_or_else(|| {
            headers.remove(X_FORWARDED_FOR);
            headers.remove(FORWARDED);
            Claim::default()
        });
        (claim, kept_id(headers))
    }
}

/// Takes away what belongs to the connection. A request to upgrade keeps the two fields that say so.
fn strip_connection(headers: &mut HeaderMap, version: Version) {
    let upgrade = upgrade(headers, version);
    hop_by_hop::strip_request(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

/// The protocols that a client asks to change to. HTTP/2 by way of `Upgrade` is not among them
/// (RFC 9113 §3.1 took that back), and HTTP/1.0 knows no upgrade (RFC 9110 §7.8).
fn upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    let asks = version == Version::HTTP_11
        && list::members(headers, &CONNECTION)
            .any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    if !asks {
        return None;
    }
    let protocols: Vec<&[u8]> = list::members(headers, &UPGRADE)
        .filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
        .collect();
    let protocols = protocols.join(&b", "[..]);
    HeaderValue::try_from(protocols)
        .ok()
        .filter(|protocols| !protocols.is_empty())
}

/// Internals of the app and a trace of one request are not for clients, and never replayed. Looked
/// for in one pass: most answers have none, and three look-ups take longer than ten glances.
fn withhold_internals(headers: &mut HeaderMap) {
    let is_internal = |name: &HeaderName| {
        matches!(
            name.as_str(),
            "server-timing" | "traceparent" | "tracestate"
        )
    };
    if headers.keys().any(is_internal) {
        for name in [SERVER_TIMING, TRACEPARENT, TRACESTATE] {
            headers.remove(name);
        }
    }
}

/// Removes all fields of one class.
fn remove(headers: &mut HeaderMap, class: Class) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| classify(name.as_str()) == class)
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// A trusted peer's name for the request: visible ASCII, at most 128 bytes.
fn kept_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let is_good =
        (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then(|| Arc::from(id))
}

/// RFC 9110 §7.6.2: "if the received value is 0 … the recipient MUST NOT forward the request;
/// instead, the recipient MUST respond as the final recipient."
fn final_answer() -> Response {
    Response::new(Body::empty())
}

/// A name that no other proxy has: another Pillion of the same name may well stand before or behind
/// us. The address of the settings tells instances in one process apart, and is the same on all cores.
fn pseudonym(name: &str, settings: &Arc<ForwardingSettings>) -> String {
    let instance = Arc::as_ptr(settings).addr() as u64;
    let unique = xxh3_64_with_seed(&instance.to_le_bytes(), *PROCESS_SEED);
    format!("{name}-{unique:016x}")
}

/// Random once per process, from the seed that the standard library asks the system for.
static PROCESS_SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("pillion"));

/// Longer names for requests are not kept.
const MAX_ID: usize = 128;
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
