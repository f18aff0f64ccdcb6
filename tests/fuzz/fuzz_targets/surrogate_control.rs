//! `Surrogate-Control`. Laws: lines mean what one line with all of them means; a word that forbids holds
//! whatever else is said; lifetimes are bounded; what is for others says nothing.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::cache_control::MOST_SECONDS;
use middleware::fields::surrogate_control::{self, SURROGATE_CONTROL};

fuzz_target!(|lines: (&[u8], &[u8])| {
    let (Ok(one), Ok(two)) = (
        HeaderValue::from_bytes(lines.0),
        HeaderValue::from_bytes(lines.1),
    ) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.append(SURROGATE_CONTROL, one);
    fields.append(SURROGATE_CONTROL, two);
    let both = surrogate_control::of(&fields);

    // An open quote reaches to the end of its line, and no further.
    if !lines.0.contains(&b'"') {
        let joined = [lines.0, b", ", lines.1].concat();
        let mut together = HeaderMap::new();
        if let Ok(line) = HeaderValue::from_bytes(&joined) {
            together.insert(SURROGATE_CONTROL, line);
            assert_eq!(surrogate_control::of(&together), both);
        }
    }

    let most = Duration::from_secs(MOST_SECONDS);
    for said in &both {
        for lifetime in [said.max_age, said.stale_while_revalidate, said.stale_if_error] {
            assert!(lifetime.is_none_or(|lifetime| lifetime <= most));
        }
    }
    let foreign = HeaderValue::from_static("no-store;somebody, max-age=1;else");
    fields.append(SURROGATE_CONTROL, foreign);
    assert_eq!(surrogate_control::of(&fields), both);
    fields.append(SURROGATE_CONTROL, HeaderValue::from_static("no-store"));
    assert!(surrogate_control::of(&fields).is_some_and(|said| said.no_store));
});
