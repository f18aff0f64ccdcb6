//! `Connection` and what it names. Laws: it goes; what frames the message and says who asks stays;
//! what it names without being for all recipients goes.
#![no_main]

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::{hop_by_hop, list};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.insert(CONNECTION, value);
    let own = HeaderName::from_static("x-own");
    let named =
        list::members(&fields, &CONNECTION).any(|member| member.eq_ignore_ascii_case(b"x-own"));
    for name in [AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, own.clone()] {
        fields.insert(name, HeaderValue::from_static("1"));
    }
    hop_by_hop::strip_request(&mut fields);
    assert!(!fields.contains_key(CONNECTION));
    assert_eq!(fields.contains_key(own), !named);
    for name in [AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST] {
        assert!(fields.contains_key(name));
    }
});
