//! The PROXY protocol's header. Laws: a header is recognised at its last byte and not before, so that
//! it does not matter in which pieces it comes; what follows it changes nothing; what cannot become
//! one never does; there is an end to waiting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::server::proxy_protocol::parse;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let mut early = (0..bytes.len().min(600)).map(|length| parse(&bytes[..length]));
    match whole {
        Ok(Some((_, length))) => {
            assert!(length <= bytes.len());
            assert_eq!(parse(&bytes[..length]), whole);
            assert_eq!(parse(&[bytes, b"GET / HTTP/1.1\r\n"].concat()), whole);
            let mut before = early.take(length);
            assert!(before.all(|read| read == Ok(None)));
        }
        Ok(None) => {
            assert!(bytes.len() < (8 << 10) + 16);
            assert!(early.all(|read| read == Ok(None)));
        }
        Err(_) => {
            assert_eq!(parse(&[bytes, b"\r\n"].concat()), whole);
            assert!(early.all(|read| !matches!(read, Ok(Some(_)))));
        }
    }
});
