//! Records of the lower tiers, behind their checksum. Laws: what is read is written and read again as
//! the same; the answer has as much content as it says, nothing that only the owner of a connection
//! says, and takes no more memory than its record accounts for.
#![no_main]

use http::header::{
    CONNECTION, CONTENT_LENGTH, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode};
use http_body::Body as _;
use libfuzzer_sys::fuzz_target;
use middleware::Body;
use middleware::cache::record;
use middleware::clock::{Clock, Now};

fuzz_target!(|input: &[u8]| {
    // Two bytes for the length of the head, the head, the contents.
    let Some((length, rest)) = input.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length));
    let Some((head, contents)) = rest.split_at_checked(length) else {
        return;
    };
    let Some([first, again]) = record::answers(head, contents, now()) else {
        return;
    };
    lawful(&first, input.len());
    assert_eq!(first.status(), again.status());
    let pairs = first.headers().iter().zip(again.headers());
    assert_eq!(first.headers().len(), again.headers().len());
    for (one, other) in pairs {
        assert_eq!(one, other);
        assert_eq!(one.1.is_sensitive(), other.1.is_sensitive());
    }
    let [first, again] = [first, again].map(|answer| fuzz::run(fuzz::collect(answer.into_body())));
    assert!(first.is_some());
    assert_eq!(first, again);
});

fn lawful(answer: &Response<Body>, size: usize) {
    let fields = answer.headers();
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, SET_COOKIE] {
        assert!(!fields.contains_key(&name), "{name}");
    }
    assert!(!answer.status().is_informational());
    assert_ne!(answer.status(), StatusCode::NOT_MODIFIED);
    let length = answer.body().size_hint().exact().expect("content is here");
    assert!(length <= size as u64);
    for said in fields.get_all(CONTENT_LENGTH) {
        assert_eq!(said.as_bytes(), length.to_string().as_bytes());
    }
    if matches!(answer.status().as_u16(), 204 | 205) {
        assert_eq!(length, 0);
    }
}

/// Always the same, so that what is found is found again: in 2100, later than any seed.
fn now() -> Now {
    let wall = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_102_444_800);
    Clock::standing_at(wall).now()
}
