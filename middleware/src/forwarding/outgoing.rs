//! What the upstream is told about a request: written by the leaf, just before it sends, so that a
//! hit never pays for it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::UNIX_EPOCH;

use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::PROCESS_SEED;
use super::scan::{Class, classify};
use crate::facts::{RequestFacts, RequestId, TraceParent, X_REQUEST_ID};
use crate::fields::forwarded;
use crate::fields::traceparent::{self, TRACEPARENT};

/// Writes `Via`, `X-Forwarded-For`, `-Proto` and `-Host`, `X-Request-Id`, `traceparent` and, where a
/// trusted peer began it, `Forwarded` into the fields of a request.
///
/// To be called once for each sending, on fields that passed the forwarding layer, *before* `Host`
/// is rewritten. What fields of these names are still there came from a trusted peer, and are
/// continued; an untrusted peer's were removed by the layer.
pub fn write_outgoing(headers: &mut HeaderMap, facts: &RequestFacts) {
    // Grown once, not field by field; a map that cannot is refused by the upstream.
    headers.try_reserve(OWN_FIELDS).ok();
    let mut told = Told::of(headers);
    let host = told.target.take();
    if let Some(entry) = &facts.via {
        headers.try_append(VIA, entry.clone()).ok();
        set(
            headers,
            TRACEPARENT,
            Some(traceparent::write(&own_span(facts))),
        );
    }
    let peer = facts.peer.address();
    if let Some(peer) = peer {
        let chain = match peer {
            IpAddr::V4(peer) if !told.chain => {
                HeaderValue::from_bytes(Dotted::of(peer).text()).ok()
            }
            peer => joined(headers, &X_FORWARDED_FOR, |mut chain| {
                chain.push_str(&peer.to_string());
                chain
            }),
        };
        set(headers, X_FORWARDED_FOR, chain);
    }
    // Apps read X-Forwarded-*; `Forwarded` is continued where a trusted peer began it.
    let element = told.forwarded.then(|| {
        joined(headers, &FORWARDED, |mut chain| {
            let host = host.as_ref().and_then(|host| host.to_str().ok());
            forwarded::write_element(
                &mut chain,
                peer,
                host.unwrap_or_default(),
                facts.scheme.as_str(),
            );
            chain
        })
    });
    set(headers, FORWARDED, element.flatten());
    let scheme = HeaderValue::from_static(facts.scheme.as_str());
    set(headers, X_FORWARDED_PROTO, Some(scheme));
    if !told.host {
        set(headers, X_FORWARDED_HOST, host);
    }
    set(headers, X_REQUEST_ID, facts.id.value());
}

/// Our own span: a child of the client's, or the beginning of a trace.
///
/// A trace that begins here is sampled: samplers that follow their parent would otherwise drop
/// every trace of an app that was traced before we stood in front of it.
fn own_span(facts: &RequestFacts) -> TraceParent {
    let arrived = facts.received.wall.duration_since(UNIX_EPOCH);
    let arrived = arrived.map_or(0, |since| since.as_nanos() as u64);
    let seed = *PROCESS_SEED ^ arrived;
    let (trace_id, span_id) = match &facts.id {
        // The request's own random bits, so that one number finds the request in logs and in traces.
        RequestId::Made(id) => {
            let bytes = id.map(u64::to_le_bytes);
            (*id, xxh3_64_with_seed(bytes.as_flattened(), seed))
        }
        RequestId::Kept(id) => {
            let [high, low] = [!seed, seed].map(|seed| xxh3_64_with_seed(id.as_bytes(), seed));
            ([high, low], low)
        }
    };
    let [high, low] = trace_id;
    TraceParent {
        trace_id: facts
            .trace
            .map_or([high, low.max(1)], |parent| parent.trace_id),
        span_id: span_id.max(1),
        sampled: facts.trace.is_none_or(|parent| parent.sampled),
    }
}

/// Removes from a trailer section what must not stand in one (RFC 9110 §6.5.1), in either direction:
/// a recipient that merges trailers into the header section would obey what this layer took away or
/// decided, and a cache or a browser what nobody checked.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            classify(name) != Class::Plain || NO_TRAILERS.contains(&name)
        })
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

/// What a trusted peer has said already, and `Host`. Looked for in one pass: most requests have nothing
/// else of it.
#[derive(Default)]
struct Told {
    /// `Host`
    target: Option<HeaderValue>,
    /// `X-Forwarded-For`
    chain: bool,
    /// `X-Forwarded-Host`
    host: bool,
    /// `Forwarded`
    forwarded: bool,
}

impl Told {
    fn of(headers: &HeaderMap) -> Self {
        let mut told = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" => told.target = told.target.or_else(|| Some(value.clone())),
                "x-forwarded-for" => told.chain = true,
                "x-forwarded-host" => told.host = true,
                "forwarded" => told.forwarded = true,
                _ => {}
            }
        }
        told
    }
}

/// The members of all lines of `name`, ready for one more, which `extend` adds.
fn joined(
    headers: &HeaderMap,
    name: &HeaderName,
    extend: impl FnOnce(String) -> String,
) -> Option<HeaderValue> {
    let mut chain = String::with_capacity(64);
    for line in headers.get_all(name) {
        // Only what is readable was believed, and only that is passed on.
        if let Ok(line) = line.to_str()
            && !line.is_empty()
        {
            chain.push_str(line);
            chain.push_str(", ");
        }
    }
    // A copy of the right size is one allocation; a string with room to spare would need another
    // beside its own to be shared.
    HeaderValue::from_str(&extend(chain)).ok()
}

/// An IPv4 address as it is displayed. By hand, since the formatting machinery takes ten times as long.
#[derive(Default)]
struct Dotted {
    text: [u8; 15],
    length: usize,
}

impl Dotted {
    fn of(address: Ipv4Addr) -> Self {
        let mut dotted = Self::default();
        for (place, octet) in address.octets().into_iter().enumerate() {
            if place > 0 {
                dotted.push(b'.');
            }
            if octet >= 100 {
                dotted.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                dotted.push(b'0' + octet / 10 % 10);
            }
            dotted.push(b'0' + octet % 10);
        }
        dotted
    }

    fn push(&mut self, byte: u8) {
        self.text[self.length] = byte;
        self.length += 1;
    }

    fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// Replaces all lines of `name`. A map that is full keeps what it has: it is over every limit, and
/// the upstream refuses it.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.try_insert(name, value).ok();
    }
}

/// How many fields are written at most.
const OWN_FIELDS: usize = 7;
/// Beside framing, routing, and what is said of the client: authentication, control, and what the
/// content is (RFC 9110 §6.5.1); caching, and what a browser keeps.
const NO_TRAILERS: [&str; 26] = [
    "age",
    "authorization",
    "cache-control",
    "cdn-cache-control",
    "content-disposition",
    "content-encoding",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "if-match",
    "if-none-match",
    "if-range",
    "location",
    "origin",
    "range",
    "set-cookie",
    "status",
    "strict-transport-security",
    "trailer",
    "vary",
    "www-authenticate",
];
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        let octets = [0, 1, 9, 10, 11, 99, 100, 101, 109, 110, 200, 255];
        for octet in octets {
            let address = Ipv4Addr::from([octet, 255 - octet, 7, octet]);
            let dotted = Dotted::of(address);
            assert_eq!(str::from_utf8(dotted.text()).unwrap(), address.to_string());
        }
    }

    #[test]
    fn trailers_decide_nothing() {
        // RFC 9110 §6.5.1: "a sender MUST NOT generate a trailer field unless the sender knows the
        // corresponding header field name's definition permits sending it as a trailer".
        let mut trailers = HeaderMap::new();
        let names = NO_TRAILERS.into_iter().chain([
            "connection",
            "content-length",
            "host",
            "proxy-authorization",
            "te",
            "transfer-encoding",
            "upgrade",
            "via",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-request-id",
        ]);
        for name in names.chain(["grpc-status", "grpc-message", "x-checksum", "digest"]) {
            trailers.append(name, HeaderValue::from_static("1"));
            trailers.append(name, HeaderValue::from_static("2"));
        }
        strip_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            ["digest", "grpc-message", "grpc-status", "x-checksum"]
        );
    }
}
