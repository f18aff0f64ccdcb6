use http::HeaderValue;
use http::header::{AGE, DATE};

use super::*;
use crate::clock::Clock;
use crate::content_coding::Coding;
use crate::fields::cache_status::CACHE_STATUS;

fn stored(lines: &[(&'static str, &'static str)], content: &'static str) -> StoredResponse {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(*name, HeaderValue::from_static(value));
    }
    StoredResponse::fixed(
        StatusCode::OK,
        fields,
        content.into(),
        Clock::system().now(),
    )
}

#[test]
fn nothing_stored_is_a_slice_of_what_came() {
    let buffer = Bytes::from(vec![b'a'; 400 << 10]);
    let mut fields = HeaderMap::new();
    let value = HeaderValue::from_maybe_shared(buffer.slice(0..5)).unwrap();
    fields.insert("x-a", value);
    let now = Clock::system().now();
    let kept = StoredResponse::fixed(StatusCode::OK, fields, buffer.slice(5..10), now);
    let within = |bytes: &[u8]| buffer.as_ptr_range().contains(&bytes.as_ptr());
    assert!(kept.fields.lines().all(|line| !within(line.value)));
    assert!(kept.body.iter().all(|segment| !within(segment)));
    assert_eq!(kept.fields.get("x-a").unwrap(), "aaaaa");
    assert_eq!(&*kept.body[0], b"aaaaa");
}

#[test]
fn age_and_cache_status_have_their_places_and_the_length_is_known() {
    let kept = stored(&[("age", "77")], "content");
    assert_eq!(kept.fields.get(AGE).unwrap(), "0");
    assert_eq!(kept.fields.get(CACHE_STATUS).unwrap(), "pillion");
    assert_eq!(kept.fields.get(CONTENT_LENGTH).unwrap(), "7");
    assert!(kept.fields.contains_key(DATE));
    let upstream = stored(&[("cache-status", "origin; hit")], "");
    assert_eq!(upstream.fields.get(CACHE_STATUS).unwrap(), "origin; hit");
}

#[test]
fn long_content_is_kept_in_pieces_and_loses_nothing() {
    let pieces: Vec<Bytes> = (0..40_u8)
        .map(|byte| Bytes::from(vec![byte; 77_777]))
        .collect();
    let body = own_body(pieces.clone());
    assert_eq!(body.len(), (40 * 77_777_usize).div_ceil(SEGMENT));
    assert!(body.iter().all(|segment| segment.len() <= SEGMENT));
    assert_eq!(body.concat(), pieces.concat());
    assert_eq!(own_body(Vec::new()).len(), 0);
    assert_eq!(
        own_body(vec![Bytes::new(), "a".into(), "b".into()]).len(),
        1
    );
}

#[test]
fn a_clock_set_back_makes_nothing_younger() {
    let clock = Clock::adjustable();
    let start = clock.now();
    let kept = StoredResponse::fixed(StatusCode::OK, HeaderMap::new(), Bytes::new(), start);
    clock.advance(Duration::from_secs(10));
    let mut later = clock.now();
    later.wall = start.wall - Duration::from_secs(1000);
    assert_eq!(kept.age(later).as_secs(), 10);
    later.wall = start.wall + Duration::from_secs(1000);
    assert_eq!(kept.age(later).as_secs(), 1000, "it slept");
}

#[test]
fn one_caller_at_a_time_may_validate() {
    let clock = Clock::adjustable();
    let kept = StoredResponse::fixed(StatusCode::OK, HeaderMap::new(), Bytes::new(), clock.now());
    let pause = Duration::from_secs(30);
    assert!(kept.claim_validation(clock.now(), pause));
    assert!(!kept.claim_validation(clock.now(), pause));
    clock.advance(Duration::from_secs(31));
    assert!(kept.claim_validation(clock.now(), pause));
    kept.put_off_validation(clock.now(), Duration::from_secs(1));
    assert!(!kept.claim_validation(clock.now(), pause));
    clock.advance(Duration::from_secs(1));
    assert!(kept.claim_validation(clock.now(), pause));
}

#[test]
fn weight_counts_every_byte_of_fields_and_content() {
    let small = stored(&[("x-a", "1")], "").weight();
    let large = stored(&[("x-a", "12345678901234567890")], "0123456789").weight();
    assert!(large >= small + 29, "{small} {large}");
    assert!(small > size_of::<StoredResponse>());
}

fn origin(place: Option<Place>) -> Origin {
    Origin {
        key: 0,
        born: Sequence::default(),
        place,
        took: 0.0,
        received: Clock::system().now(),
        is_authorized: false,
    }
}

#[test]
fn what_the_short_forms_have_no_room_for_is_kept_as_it_is() {
    let head = |terms, place| {
        let fields = HeaderMap::new();
        StoredResponse::head(
            StatusCode::OK,
            &fields,
            Storing::plain(terms),
            origin(place),
        )
    };
    let plain = stored(&[], "").terms();
    let (ages, most) = (Duration::from_secs(1 << 40), u64::from(u32::MAX));
    let window = |window| Terms {
        stale_while_revalidate: Some(window),
        ..plain
    };
    for terms in [
        plain,
        Terms {
            lifetime: ages,
            ..plain
        },
        Terms {
            initial_age: ages,
            ..plain
        },
        Terms {
            stale_if_error: Some(ages),
            ..plain
        },
        window(Duration::ZERO),
        window(Duration::from_millis(1500)),
        window(Duration::from_secs(most - 1)),
        window(Duration::from_secs(most)),
    ] {
        assert_eq!(head(terms, None).terms(), terms);
    }
    let seven = Place::of_number(7);
    for (place, kept) in [
        (None, None),
        (Some(Place::FIRST), Some(Place::FIRST)),
        (Some(seven), Some(seven)),
        (Some(Place::LAST), None),
    ] {
        assert_eq!(head(plain, place).place(), kept);
    }
}

#[test]
fn copies_that_are_made_later_are_of_what_a_validation_made_too() {
    let old = stored(&[("etag", "\"a\"")], "content");
    let confirmed = |tag| {
        let mut fields = HeaderMap::new();
        fields.insert(ETAG, HeaderValue::from_static(tag));
        old.freshened(&fields, Storing::plain(old.terms()), origin(None))
    };
    let (same, other) = (confirmed("\"a\""), confirmed("\"b\""));
    assert!(old.shares_copies(&same) && same.shares_copies(&old));
    assert!(!old.shares_copies(&other) && !other.shares_copies(&same));
    assert!(old.add_coded(Coding::Br, Bytes::from_static(b"coded")));
    assert_eq!(same.coded(Coding::Br), Some(&Bytes::from_static(b"coded")));
    assert_eq!(other.coded(Coding::Br), None);
}
