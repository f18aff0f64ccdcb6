//! `Content-Type`. Laws: neither letter case nor parameters change what it means; a page is text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::media_type::MediaType;

fuzz_target!(|bytes: &[u8]| {
    let Some(media) = MediaType::parse(bytes) else {
        return;
    };
    let parameters = [bytes, b"; charset=\"x/y\""].concat();
    assert_eq!(MediaType::parse(&parameters), Some(media));
    for other in [bytes.to_ascii_uppercase(), bytes.to_ascii_lowercase()] {
        let other = MediaType::parse(&other).expect("still one");
        assert_eq!(other.is_compressible(), media.is_compressible());
        assert_eq!(other.is_html(), media.is_html());
    }
    assert!(!media.is_html() || media.is_compressible());
});
