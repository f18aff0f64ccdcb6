//! Content that the upstream has coded, for a client that does not take it. Laws: it does not matter in
//! which pieces it comes; it does not grow beyond measure; what we code we decode to the same.
#![no_main]

use bytes::Bytes;
use config::content_coding::ContentCodingSettings;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::content_coding::ContentCodingLayer;
use middleware::metrics::Metrics;
use middleware::{Body, Request, Response, ResponseFuture};
use tower::{Layer, Service, service_fn};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (coding, size, content) = input;
    let coding = ["br", "zstd", "gzip"][usize::from(coding) % 3];
    let size = usize::from(size);
    fuzz::run(async {
        let whole = decoded(coding, fuzz::pieces(content, content.len())).await;
        let pieces = decoded(coding, fuzz::pieces(content, size)).await;
        assert_eq!(whole, pieces);
        let most = (16 << 20).max(content.len() * 256) + (1 << 20);
        assert!(whole.is_none_or(|whole| whole.len() <= most));

        let (fields, coded) = pass("identity", coding, fuzz::pieces(content, size)).await;
        if fields.contains_key(CONTENT_ENCODING) {
            let coded = coded.expect("identity content is coded");
            let back = decoded(coding, Body::from(coded)).await;
            assert_eq!(back.as_deref(), Some(content));
        }
    });
});

async fn decoded(coding: &str, body: Body) -> Option<Bytes> {
    pass(coding, "identity", body).await.1
}

/// An answer with `body` in the coding `from` as a client gets it that takes `accepted` alone.
async fn pass(from: &str, accepted: &str, body: Body) -> (HeaderMap, Option<Bytes>) {
    let value = |text| HeaderValue::from_str(text).expect("a token");
    let mut response = Response::new(body);
    let told = response.headers_mut();
    told.insert(CONTENT_TYPE, value("text/plain"));
    if from != "identity" {
        told.insert(CONTENT_ENCODING, value(from));
    }
    let mut asked = HeaderMap::new();
    asked.insert(HOST, value("example.com"));
    asked.insert(ACCEPT_ENCODING, value(accepted));
    let request = fuzz::request(b"/", asked).expect("a request");

    let settings = ContentCodingSettings {
        min_size: 0,
        ..ContentCodingSettings::default()
    };
    let mut answer = Some(response);
    let upstream = service_fn(move |_: Request| {
        ResponseFuture::ready(Ok(answer.take().expect("one request")))
    });
    let layer = ContentCodingLayer::new(settings, fuzz::cache(), &Metrics::new());
    let response = layer.layer(upstream).call(request).await;
    let (head, body) = response.expect("a seat is free").into_parts();
    (head.headers, fuzz::collect(body).await)
}
