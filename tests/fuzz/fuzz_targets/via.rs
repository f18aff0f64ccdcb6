//! `Via`. Laws: whoever adds an entry is found, whatever the others wrote; nobody is found whose name
//! does not stand there.
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
    let mut windows = bytes.windows(NAME.len());
    let stands_there = windows.any(|window| window.eq_ignore_ascii_case(NAME.as_bytes()));
    assert!(stands_there || !via::names(&fields, NAME));
    let entry = via::entry(Version::HTTP_11, NAME).expect("a token");
    fields.append(VIA, entry);
    assert!(via::names(&fields, NAME));
});

const NAME: &str = "me-1";
