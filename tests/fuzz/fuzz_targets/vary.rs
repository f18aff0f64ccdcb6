//! `Vary` and the fields that it names. Law: a stored response answers only who sent the same for every
//! field that it varies by, space aside, and for languages letter case, order and the digits of weights.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use config::cache::CacheSettings;
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, HOST, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::cache::CacheLayer;
use middleware::{Body, Request, Response, ResponseFuture};
use tower::{Layer, Service, service_fn};

fuzz_target!(|input: (&[u8], [&[u8]; 2], [&[u8]; 2])| {
    let (vary, languages, others) = input;
    let Ok(vary) = HeaderValue::from_bytes(vary) else {
        return;
    };
    let asked = [0, 1].map(|one| asked(languages[one], others[one]));
    let [Some(first), Some(second)] = asked else {
        return;
    };
    let count = Arc::new(AtomicUsize::new(0));
    let answer = {
        let (count, vary) = (count.clone(), vary.clone());
        move |_: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut response = Response::new(Body::from("content"));
            let fields = response.headers_mut();
            fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            fields.insert(VARY, vary.clone());
            ResponseFuture::ready(Ok(response))
        }
    };
    let settings = Arc::new(CacheSettings::default());
    let mut cache = CacheLayer::new(settings, fuzz::cache()).layer(service_fn(answer));
    fuzz::run(async {
        for fields in [&first, &second] {
            let request = fuzz::request(b"/", fields.clone()).expect("a request");
            let response = cache.call(request).await.expect("an answer");
            fuzz::collect(response.into_body()).await.expect("content");
        }
    });
    if count.load(Ordering::SeqCst) == 1 {
        let text = vary.as_bytes().to_ascii_lowercase();
        for member in text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            assert_ne!(member, b"*");
            if let Ok(name) = HeaderName::from_bytes(member) {
                assert_eq!(plain(&first, &name), plain(&second, &name), "{name}");
            }
        }
    }
});

/// The fields of a request; an empty value stands for a field that is absent.
fn asked(language: &[u8], other: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    fields.insert(HOST, HeaderValue::from_static("example.com"));
    for (name, value) in [
        (ACCEPT_LANGUAGE, language),
        (HeaderName::from_static("a"), other),
    ] {
        if !value.is_empty() {
            fields.insert(name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    Some(fields)
}

/// What is left of a value when all that may be written otherwise is gone.
fn plain(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let value = fields.get(name)?.as_bytes();
    let kept = |value: &[u8]| -> Vec<u8> {
        let kept = value.iter().filter(|byte| !b" \t,".contains(byte));
        kept.copied().collect()
    };
    if *name != ACCEPT_LANGUAGE {
        return Some(kept(value));
    }
    let members = value.split(|byte| *byte == b',').map(|member| {
        let text = String::from_utf8_lossy(&kept(member)).to_ascii_lowercase();
        match text.split_once(";q=").map(|(range, weight)| (range, weight.parse::<f64>())) {
            Some((range, Ok(weight))) if weight == 1.0 => range.to_owned(),
            Some((range, Ok(weight))) => format!("{range};q={weight}"),
            _ => text,
        }
    });
    let mut members: Vec<_> = members.filter(|member| !member.is_empty()).collect();
    members.sort();
    members.dedup();
    Some(members.concat().into_bytes())
}
