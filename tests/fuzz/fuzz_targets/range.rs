//! `Range` and `Content-Range`. Laws: a span lies within the content; what was read is written so that
//! it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::range::{ContentRange, Ranges};

fuzz_target!(|input: (u64, &[u8])| {
    let (length, bytes) = input;
    if let Some(ranges) = Ranges::parse(bytes, 16) {
        assert!((1..=16).contains(&ranges.iter().count()));
        for span in ranges.iter().filter_map(|range| range.within(length)) {
            assert!(span.first <= span.last && span.last < length);
            let value = ContentRange::Span(span, Some(length));
            let again = ContentRange::parse(value.to_value().as_bytes());
            assert!(again == Some(value) || length == u64::MAX);
        }
    }
    if let Some(value) = ContentRange::parse(bytes) {
        assert_eq!(
            ContentRange::parse(value.to_value().as_bytes()),
            Some(value)
        );
    }
});
