//! `Accept-Encoding`. Laws: codings that we do not know change nothing; the first word about a coding
//! counts; members mean the same on lines of their own.
#![no_main]

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::accept_encoding::{Accepts, Weight};
use middleware::fields::list::{self, Quotes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.append(ACCEPT_ENCODING, line.clone());
    let accepts = Accepts::of(&fields);
    assert_eq!(accepts, Accepts::of_line(&line));
    for weight in [accepts.br, accepts.zstd, accepts.gzip] {
        assert!(weight <= Weight::FULL);
    }

    fields.append(ACCEPT_ENCODING, HeaderValue::from_static("compress, x;q=2"));
    assert_eq!(Accepts::of(&fields), accepts);

    let mut apart = HeaderMap::new();
    for member in list::split(bytes, Quotes::Escaping) {
        let member = HeaderValue::from_bytes(member).expect("a part of a value is one");
        apart.append(ACCEPT_ENCODING, member);
    }
    assert_eq!(Accepts::of(&apart), accepts);

    let first = "br;q=0.5, zstd;q=0, gzip";
    let mut told = HeaderMap::new();
    told.append(ACCEPT_ENCODING, HeaderValue::from_static(first));
    let plain = Accepts::of(&told);
    told.append(ACCEPT_ENCODING, line);
    let told = Accepts::of(&told);
    assert_eq!(
        (told.br, told.zstd, told.gzip),
        (plain.br, plain.zstd, plain.gzip)
    );
});
