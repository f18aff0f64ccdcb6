//! `Accept-Language`. Laws: the normal form is its own normal form and says the same; lines mean what
//! one line with all of them means, in any order; a first choice is a member of what was sent.
#![no_main]

use http::header::ACCEPT_LANGUAGE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::accept_language::AcceptLanguage;

fuzz_target!(|lines: (&[u8], &[u8])| {
    let of = |lines: &[&[u8]]| {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(ACCEPT_LANGUAGE, HeaderValue::from_bytes(line).ok()?);
        }
        AcceptLanguage::of(&fields)
    };
    let Some(said) = of(&[lines.0, lines.1]) else {
        return;
    };
    assert_eq!(of(&[&said.normal()]).as_ref(), Some(&said));
    assert_eq!(of(&[lines.1, lines.0]).as_ref(), Some(&said));
    assert_eq!(of(&[&[lines.0, lines.1].join(&b","[..])]).as_ref(), Some(&said));
    if let Some(first) = said.first_choice() {
        let all = [lines.0, lines.1].concat().to_ascii_lowercase();
        assert!(all.windows(first.len()).any(|part| part == first));
        assert!(!first.contains(&b'*'));
    }
});
