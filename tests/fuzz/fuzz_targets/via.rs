//! `Via`. Law: our own entry is found behind whatever others wrote on lines of their own.
#![no_main]

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use middleware::fields::via;

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.append(VIA, line);
    let ours = via::entry(Version::HTTP_11, "pillion-0123456789abcdef").expect("a token");
    fields.append(VIA, ours);
    assert!(via::names(&fields, "pillion-0123456789abcdef"));
});
