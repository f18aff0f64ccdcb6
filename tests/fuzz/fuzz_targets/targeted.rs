//! `CDN-Cache-Control`. Laws: lines mean what one line with all of them means; a word that forbids holds
//! whatever stands before it; lifetimes are bounded; nothing is made of what is no dictionary.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::cache_control::MOST_SECONDS;
use middleware::fields::targeted;
use sfv::{Dictionary, Parser};

fuzz_target!(|lines: (&[u8], &[u8])| {
    let (Ok(one), Ok(two)) = (
        HeaderValue::from_bytes(lines.0),
        HeaderValue::from_bytes(lines.1),
    ) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.append(CDN, one);
    let first = targeted::of(&fields, [CDN]);
    fields.append(CDN, two);
    let both = targeted::of(&fields, [CDN]);

    let joined = [lines.0, b", ", lines.1].concat();
    let mut together = HeaderMap::new();
    if let Ok(line) = HeaderValue::from_bytes(&joined) {
        together.insert(CDN, line);
        assert_eq!(targeted::of(&together, [CDN]), both);
    }
    let is_dictionary = Parser::new(&joined)
        .parse::<Dictionary>()
        .is_ok_and(|said| !said.is_empty());
    assert_eq!(both.is_some(), is_dictionary);

    let most = Duration::from_secs(MOST_SECONDS);
    for said in first.iter().chain(&both) {
        let lifetimes = [said.max_age, said.s_maxage];
        let windows = [said.stale_while_revalidate, said.stale_if_error];
        for seconds in lifetimes.into_iter().chain(windows).flatten() {
            assert!(seconds <= most);
        }
    }
    if both.is_some() {
        fields.append(CDN, HeaderValue::from_static("no-store"));
        assert!(targeted::of(&fields, [CDN]).is_some_and(|said| said.no_store));
    }
});

const CDN: &str = "cdn-cache-control";
