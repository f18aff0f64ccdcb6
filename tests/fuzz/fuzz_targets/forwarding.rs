//! What the forwarding layer lets through. Laws: below it a request has one `Host` that we can read, a
//! target in origin form, and nothing that is of the client's connection; claims of strangers are gone.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use config::forwarding::ForwardingSettings;
use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use middleware::fields::host::Authority;
use middleware::forwarding::ForwardingLayer;
use middleware::{Body, Request, Response, ResponseFuture};
use tower::{Layer, Service, service_fn};

fuzz_target!(|input: (&[u8], Option<&[u8]>, Vec<(u8, &[u8])>)| {
    let (target, host, others) = input;
    let mut fields = HeaderMap::new();
    let others = others.iter().map(|(name, value)| {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        (name, *value)
    });
    for (name, value) in host.map(|host| ("host", host)).into_iter().chain(others) {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        fields.append(HeaderName::from_static(name), value);
    }
    let Some(request) = fuzz::request(target, fields) else {
        return;
    };
    let seen = Arc::new(Mutex::new(None));
    let inside = seen.clone();
    let mut service = LAYER.layer(service_fn(move |request: Request| {
        *inside.lock().expect("one thread") = Some(request.into_parts().0);
        ResponseFuture::ready(Ok(Response::new(Body::empty())))
    }));
    drop(service.call(request));
    let Some(passed) = seen.lock().expect("one thread").take() else {
        return;
    };
    let mut hosts = passed.headers.get_all(HOST).iter();
    let host = hosts.next().expect("a host");
    assert!(hosts.next().is_none());
    assert!(Authority::parse(host.as_bytes()).is_some());
    assert!(passed.uri.scheme().is_none() && passed.uri.authority().is_none());
    assert!(passed.uri.path().starts_with('/') || passed.method == Method::OPTIONS);
    let upgrades = passed.headers.contains_key(UPGRADE);
    assert!(upgrades || !passed.headers.contains_key(CONNECTION));
    for name in [TRANSFER_ENCODING, TE] {
        let value = passed.headers.get(&name);
        assert!(
            value.is_none_or(|value| value == "trailers" || value == "chunked"),
            "{name}"
        );
    }
    for name in [
        "x-forwarded-for",
        "x_forwarded_for",
        "forwarded",
        "x-real-ip",
        "keep-alive",
    ] {
        assert!(!passed.headers.contains_key(name), "{name}");
    }
});

static LAYER: LazyLock<ForwardingLayer> =
    LazyLock::new(|| ForwardingLayer::new(Arc::new(ForwardingSettings::default())));

const NAMES: [&str; 14] = [
    "host",
    "connection",
    "upgrade",
    "te",
    "transfer-encoding",
    "content-length",
    "keep-alive",
    "forwarded",
    "x-forwarded-for",
    "x_forwarded_for",
    "x-real-ip",
    "via",
    "traceparent",
    "x-request-id",
];
