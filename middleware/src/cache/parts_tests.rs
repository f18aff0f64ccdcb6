use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_static(name);
        fields.append(name, HeaderValue::from_static(value));
    }
    fields
}

fn span(first: u64, last: u64) -> Span {
    Span { first, last }
}

fn parts(complete: u64, spans: &[(u64, u64)]) -> Parts {
    let spans = spans.iter().map(|(first, last)| span(*first, *last));
    Parts {
        complete,
        spans: spans.collect(),
    }
}

#[test]
fn a_206_whose_content_range_disagrees_with_its_body_is_rejected() {
    let part = |lines: &[_], declared| Parts::of(&map(lines), declared).is_some();
    for (range, declared, expected) in [
        ("bytes 0-4/10", Some(5), true),
        ("bytes 0-4/10", None, true),
        ("bytes 0-4/10", Some(4), false),
        ("bytes 0-4/10", Some(10), false),
        ("bytes 0-4/*", Some(5), false),
        ("bytes 4-0/10", None, false),
        ("bytes 0-10/10", None, false),
        ("bytes */10", None, false),
        ("items 0-4/10", Some(5), false),
        (
            "bytes 0-18446744073709551615/18446744073709551616",
            None,
            false,
        ),
        (
            "bytes 0-18446744073709551613/18446744073709551614",
            None,
            true,
        ),
    ] {
        assert_eq!(
            part(&[("content-range", range)], declared),
            expected,
            "{range} {declared:?}"
        );
    }
    let range = ("content-range", "bytes 0-4/10");
    assert!(!part(&[], None), "without Content-Range");
    assert!(!part(&[range, range], None), "two lines");
    assert!(part(&[range, ("content-encoding", "identity")], None));
    assert!(
        !part(&[range, ("content-encoding", "gzip")], None),
        "of coded content"
    );
    assert!(!part(
        &[range, ("content-type", "Multipart/Byteranges; boundary=x")],
        None
    ));
}

#[test]
fn a_range_wholly_within_the_incomplete_response_is_answered() {
    let stored = parts(100, &[(10, 19), (40, 99)]);
    for (range, expected) in [
        ("bytes=10-19", Some(span(10, 19))),
        ("bytes=12-15", Some(span(12, 15))),
        ("bytes=40-", Some(span(40, 99))),
        ("bytes=90-1000", Some(span(90, 99))),
        ("bytes=-60", Some(span(40, 99))),
        ("bytes=-61", None),
        ("bytes=9-12", None),
        ("bytes=15-20", None),
        ("bytes=15-45", None),
        ("bytes=0-", None),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=10-11,13-14", None),
        ("items=10-11", None),
        ("bytes=11-10", None),
    ] {
        let request = map(&[("range", range)]);
        assert_eq!(
            stored.wanted(&request, &HeaderMap::new()),
            expected,
            "{range}"
        );
    }
    assert_eq!(
        stored.wanted(&map(&[]), &HeaderMap::new()),
        None,
        "the whole"
    );
    let two = map(&[("range", "bytes=10-11"), ("range", "bytes=10-11")]);
    assert_eq!(stored.wanted(&two, &HeaderMap::new()), None, "two lines");
}

#[test]
fn preconditions_beside_a_range_are_the_upstreams_but_for_a_strong_if_range_that_holds() {
    let stored = parts(100, &[(10, 19)]);
    for (tag, name, value, expected) in [
        ("\"a\"", "if-range", "\"a\"", true),
        ("\"a\"", "if-range", "\"b\"", false),
        ("\"a\"", "if-range", "W/\"a\"", false),
        ("W/\"a\"", "if-range", "W/\"a\"", false),
        ("W/\"a\"", "if-range", "\"a\"", false),
        ("\"a\"", "if-range", "Thu, 01 Jan 2015 00:00:00 GMT", false),
        ("\"a\"", "if-range", "\"a\", \"a\"", false),
        ("\"a\"", "if-none-match", "\"b\"", false),
        (
            "\"a\"",
            "if-modified-since",
            "Thu, 01 Jan 2015 00:00:00 GMT",
            false,
        ),
    ] {
        let request = map(&[("range", "bytes=10-11"), (name, value)]);
        let wanted = stored.wanted(&request, &map(&[("etag", tag)]));
        assert_eq!(wanted.is_some(), expected, "{tag} {name}: {value}");
    }
}

#[test]
fn parts_are_of_one_representation_if_they_share_a_strong_validator() {
    for (stored, new, expected) in [
        (Some("\"a\""), Some("\"a\""), true),
        (Some("\"a\""), Some("\"b\""), false),
        (Some("W/\"a\""), Some("W/\"a\""), false),
        (Some("\"a\""), Some("W/\"a\""), false),
        (Some("W/\"a\""), Some("\"a\""), false),
        (Some("\"a\""), None, false),
        (None, None, false),
        (Some("a"), Some("a"), false),
    ] {
        let fields = |tag: Option<&'static str>| {
            let tag: Vec<_> = tag.map(|tag| ("etag", tag)).into_iter().collect();
            map(&[
                &tag[..],
                &[("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT")],
            ]
            .concat())
        };
        assert_eq!(
            are_of_one(&fields(stored), &fields(new)),
            expected,
            "{stored:?} {new:?}"
        );
    }
}

fn content(span: Span) -> Arc<[Bytes]> {
    let bytes: Vec<u8> = (span.first..=span.last).map(byte).collect();
    bytes.chunks(3).map(Bytes::copy_from_slice).collect()
}

fn byte(place: u64) -> u8 {
    (place % 251) as u8
}

fn own(pieces: Vec<Bytes>) -> Vec<Bytes> {
    vec![Bytes::from(pieces.concat())]
}

#[test]
fn parts_of_another_length_or_in_too_many_places_are_not_joined() {
    let (stored, new) = (parts(100, &[(0, 9)]), parts(101, &[(20, 29)]));
    let joined = stored.joined(&content(span(0, 9)), &new, &content(span(20, 29)), own);
    assert_eq!(joined, None);
    let mut all = (parts(1000, &[(0, 0)]), content(span(0, 0)));
    for place in 1..=MOST as u64 {
        let new = span(2 * place, 2 * place);
        let part = parts(1000, &[(new.first, new.last)]);
        let joined = all.0.joined(&all.1, &part, &content(new), own);
        assert_eq!(joined.is_some(), place < MOST as u64, "{place}");
        if let Some((parts, pieces)) = joined {
            all = (parts, pieces.into());
        }
    }
}

#[test]
fn many_small_pieces_become_few() {
    let mut all = (parts(1000, &[(0, 0)]), content(span(0, 0)));
    for place in 1..1000 {
        let new = span(place, place);
        let joined = all
            .0
            .joined(&all.1, &parts(1000, &[(place, place)]), &content(new), own);
        let (parts, pieces) = joined.unwrap();
        assert!(pieces.len() <= PIECES, "{}", pieces.len());
        all = (parts, pieces.into());
    }
    assert!(all.0.is_whole());
    assert_eq!(all.1.concat(), content(span(0, 999)).concat());
}

proptest! {
    /// Whatever comes in whatever order: what is said to be here is here, byte for byte, and it is
    /// what came.
    #[test]
    fn what_is_joined_is_what_came(
        arrivals in prop::collection::vec((0_u64..60, 0_u64..20), 1..12),
        asked in (0_u64..60, 0_u64..60),
    ) {
        let end = |first: u64, more: u64| (first + more).min(59);
        let mut here = [false; 60];
        let mut all: Option<(Parts, Arc<[Bytes]>)> = None;
        for (first, more) in arrivals {
            let new = span(first, end(first, more));
            let part = parts(60, &[(new.first, new.last)]);
            all = Some(match all {
                None => (part, content(new)),
                Some((parts, old)) => {
                    let (parts, pieces) = parts.joined(&old, &part, &content(new), own).unwrap();
                    (parts, pieces.into())
                }
            });
            for place in new.first..=new.last {
                here[usize::try_from(place).unwrap()] = true;
            }
        }
        let (parts, bytes) = all.unwrap();
        let count = here.iter().filter(|here| **here).count() as u64;
        prop_assert_eq!(parts.length(), count);
        prop_assert_eq!(bytes.concat().len() as u64, count);
        prop_assert_eq!(parts.is_whole(), count == 60);
        for pair in parts.spans.windows(2) {
            prop_assert!(pair[0].last + 1 < pair[1].first);
        }
        let asked = span(asked.0, end(asked.0, asked.1));
        let all_here = (asked.first..=asked.last).all(|place| here[usize::try_from(place).unwrap()]);
        let cut = parts.cut(&bytes, asked);
        prop_assert_eq!(cut.is_some(), all_here);
        if let Some(body) = cut {
            let pieces = body.pieces(0, u64::MAX).unwrap().concat();
            prop_assert_eq!(pieces, content(asked).concat());
        }
    }
}
