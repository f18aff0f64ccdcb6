use std::net::IpAddr;
use std::sync::Mutex;

use config::forwarding::Network;
use http::request::Builder;
use tower::service_fn;

use super::*;
use crate::clock::Clock;
use crate::facts::{self, Peer, Scheme};

/// What the layer below saw, and what came back.
struct Passed {
    request: Option<http::request::Parts>,
    response: Result<Response>,
}

impl Passed {
    fn fields(&self) -> &HeaderMap {
        &self.request.as_ref().expect("it was forwarded").headers
    }

    fn facts(&self) -> &RequestFacts {
        let request = self.request.as_ref().expect("it was forwarded");
        request.extensions.get().expect("facts travel along")
    }

    /// What the upstream would see.
    fn outgoing(&self) -> HeaderMap {
        let mut headers = self.fields().clone();
        write_outgoing(&mut headers, self.facts());
        headers
    }
}

fn pass(settings: ForwardingSettings, request: Builder) -> Passed {
    pass_layer(&ForwardingLayer::new(Arc::new(settings)), request)
}

fn pass_layer(layer: &ForwardingLayer, request: Builder) -> Passed {
    let seen = Arc::new(Mutex::new(None));
    let inside = seen.clone();
    let mut service = layer.layer(service_fn(move |request: Request| {
        *inside.lock().unwrap() = Some(request.into_parts().0);
        ResponseFuture::ready(Ok(Response::new(Body::empty())))
    }));
    let future = service.call(request.body(Body::empty()).unwrap());
    let Ok(response) = future.try_ready() else {
        panic!("the layer never waits");
    };
    let request = seen.lock().unwrap().take();
    Passed { request, response }
}

fn get(target: &str) -> Builder {
    from("192.0.2.9", target)
}

fn from(peer: &str, target: &str) -> Builder {
    let peer = format!("{peer}:5000").parse().unwrap();
    http::Request::get(target)
        .header("host", "example.com")
        .extension(RequestFacts::new(
            Clock::system().now(),
            RequestId::Made([0, 0xabc]),
            Peer::Ip(peer),
            Scheme::Http,
        ))
}

fn trusting(network: &str, prefix: u8) -> ForwardingSettings {
    ForwardingSettings {
        trusted: vec![Network {
            address: network.parse().unwrap(),
            prefix,
        }],
        ..ForwardingSettings::default()
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn claims_of_untrusted_peers_are_replaced() {
    let request = get("/")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-prefix", "/evil")
        .header("forwarded", "for=1.2.3.4")
        .header("x-real-ip", "1.2.3.4")
        .header("x-original-url", "/admin")
        .header("x_forwarded_for", "1.2.3.4")
        .header("x-request-id", "mine");
    let passed = pass(ForwardingSettings::default(), request);
    assert_eq!(passed.fields().len(), 1, "{:?}", passed.fields());
    assert_eq!(passed.facts().client, ip("192.0.2.9"));
    let outgoing = passed.outgoing();
    assert_eq!(outgoing["x-forwarded-for"], "192.0.2.9");
    assert_eq!(outgoing["x-forwarded-host"], "example.com");
    assert_eq!(outgoing["x-forwarded-proto"], "http");
    assert_eq!(outgoing.get("forwarded"), None);
    assert_eq!(outgoing["x-request-id"], "00000000000000000000000000000abc");
}

#[test]
fn a_trusted_chain_is_continued() {
    let request = from("10.0.0.2", "/")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.example")
        .header("x-request-id", "outer-1");
    let passed = pass(trusting("10.0.0.0", 8), request);
    assert_eq!(passed.facts().client, ip("203.0.113.7"));
    assert_eq!(passed.facts().scheme, Scheme::Https);
    assert_eq!(passed.facts().id.to_string(), "outer-1");
    let outgoing = passed.outgoing();
    assert_eq!(outgoing["x-forwarded-for"], "203.0.113.7, 10.0.0.2");
    assert_eq!(outgoing["x-forwarded-host"], "shop.example");
    assert_eq!(outgoing["x-forwarded-proto"], "https");
    assert_eq!(outgoing["x-request-id"], "outer-1");
}

#[test]
fn a_request_id_that_is_not_fit_for_logs_is_not_kept() {
    for id in ["", "a b", "caf\u{e9}", &"x".repeat(129)] {
        let request = from("10.0.0.2", "/").header("x-request-id", id);
        let passed = pass(trusting("10.0.0.0", 8), request);
        assert_eq!(passed.facts().id, RequestId::Made([0, 0xabc]), "{id}");
        let outgoing = passed.outgoing();
        assert_eq!(outgoing["x-request-id"], "00000000000000000000000000000abc");
    }
}

#[test]
fn peers_on_a_unix_socket_are_believed_only_if_configured() {
    for (trust_unix, client) in [(true, ip("203.0.113.7")), (false, None)] {
        let settings = ForwardingSettings {
            trust_unix,
            ..ForwardingSettings::default()
        };
        let mut request = get("/").header("x-forwarded-for", "203.0.113.7");
        request.extensions_mut().unwrap().insert(RequestFacts::new(
            Clock::system().now(),
            RequestId::Made([0, 1]),
            Peer::Unix,
            Scheme::Http,
        ));
        let passed = pass(settings, request);
        assert_eq!(passed.facts().client, client);
        let outgoing = passed.outgoing();
        let chain = outgoing.get("x-forwarded-for");
        assert_eq!(chain.is_some(), trust_unix);
    }
}

#[test]
fn fields_of_the_connection_stay_behind() {
    let request = get("/")
        .header("connection", "close, x-mine")
        .header("x-mine", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers, deflate")
        .header("proxy-authorization", "Basic x")
        .header("proxy", "http://evil.example")
        .header("accept", "*/*");
    let passed = pass(ForwardingSettings::default(), request);
    let mut names: Vec<_> = passed.fields().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "te"]);
    assert_eq!(passed.fields()["te"], "trailers");
}

#[test]
fn a_request_to_upgrade_keeps_its_two_fields() {
    for (upgrade, version, kept) in [
        ("websocket", Version::HTTP_11, Some("websocket")),
        ("h2c, websocket", Version::HTTP_11, Some("websocket")),
        ("h2c", Version::HTTP_11, None),
        ("websocket", Version::HTTP_10, None),
    ] {
        let request = get("/")
            .version(version)
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", upgrade)
            .header("http2-settings", "x");
        let passed = pass(ForwardingSettings::default(), request);
        let field = |name| {
            passed
                .fields()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(field("upgrade"), kept);
        assert_eq!(field("connection"), kept.map(|_| "upgrade"));
        assert_eq!(field("http2-settings"), None);
    }
}

#[test]
fn a_request_that_was_here_before_is_refused() {
    let layer = ForwardingLayer::new(Arc::default());
    let first = pass_layer(&layer, get("/"));
    let via = first.outgoing()["via"].clone();
    let again = pass_layer(&layer, get("/").header("via", &via));
    let error = again.response.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProxyLoopDetected);
    assert!(again.request.is_none());
    // Another core of the same program knows it too, another program of the same name does not.
    let other_core = ForwardingLayer::new(layer.settings.clone());
    assert!(
        pass_layer(&other_core, get("/").header("via", &via))
            .response
            .is_err()
    );
    let other_program = ForwardingLayer::new(Arc::default());
    let passed = pass_layer(&other_program, get("/").header("via", &via));
    let vias = passed.outgoing().get_all("via").iter().count();
    assert_eq!(vias, 2, "Via is added to, not replaced");
}

#[test]
fn max_forwards_counts_down_for_options_alone() {
    let options = |hops: &str| get("/").method("OPTIONS").header("max-forwards", hops);
    let passed = pass(ForwardingSettings::default(), options("3"));
    assert_eq!(passed.fields()["max-forwards"], "2");
    let last = pass(ForwardingSettings::default(), options("0"));
    assert!(last.request.is_none());
    assert_eq!(last.response.unwrap().status(), 200);
    let unread = pass(ForwardingSettings::default(), options("-1"));
    assert_eq!(unread.fields()["max-forwards"], "-1");
    let get = pass(
        ForwardingSettings::default(),
        get("/").header("max-forwards", "0"),
    );
    assert_eq!(get.fields()["max-forwards"], "0");
}

#[test]
fn a_trace_is_continued_or_begun() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = get("/")
        .header("traceparent", parent)
        .header("tracestate", "a=b");
    let passed = pass(ForwardingSettings::default(), request);
    let outgoing = passed.outgoing();
    let trace = traceparent::parse(outgoing["traceparent"].as_bytes()).unwrap();
    assert_eq!(
        trace.trace_id,
        [0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736]
    );
    assert_ne!(
        trace.span_id, 0x00f0_67aa_0ba9_02b7,
        "we are a span of our own"
    );
    assert!(!trace.sampled);
    assert_eq!(passed.outgoing()["traceparent"], outgoing["traceparent"]);
    assert_eq!(outgoing["tracestate"], "a=b");

    let request = get("/")
        .header("traceparent", "00-zz")
        .header("tracestate", "a=b");
    let passed = pass(ForwardingSettings::default(), request);
    let outgoing = passed.outgoing();
    let trace = traceparent::parse(outgoing["traceparent"].as_bytes()).unwrap();
    assert_eq!(trace.trace_id, [0, 0xabc], "the request's own name");
    assert!(!passed.fields().contains_key("tracestate"));
}

#[test]
fn answers_name_us_in_via() {
    let passed = pass(ForwardingSettings::default(), get("/"));
    assert_eq!(passed.response.unwrap().headers()["via"], "1.1 pillion");
    let named = ForwardingSettings {
        name: String::from("edge"),
        ..ForwardingSettings::default()
    };
    let passed = pass(named, get("/"));
    assert_eq!(
        passed.response.as_ref().unwrap().headers()["via"],
        "1.1 edge"
    );
    let outgoing = passed.outgoing();
    assert!(outgoing["via"].to_str().unwrap().starts_with("1.1 edge-"));
}

#[test]
fn malformed_requests_go_no_further() {
    let request = get("/")
        .header("content-length", "1")
        .header("content-length", "1");
    let passed = pass(ForwardingSettings::default(), request);
    assert_eq!(
        passed.response.unwrap_err().kind(),
        ErrorKind::HttpRequestError
    );
    assert!(passed.request.is_none());
}

#[test]
fn facts_of_a_request_are_found_below() {
    let mut request = get("/").body(Body::empty()).unwrap();
    let layer = ForwardingLayer::new(Arc::default());
    assert_eq!(
        layer.prepare(&mut request).unwrap(),
        Destination::Further(None)
    );
    assert!(facts::of_request(&request).via.is_some());
}
