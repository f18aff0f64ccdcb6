//! Which part of a 200 answers a `Range`, and that part as a message (RFC 9110 §14, §15.3.7). Pure.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use crate::Body;
use crate::fields::range::{ContentRange, Ranges, Span};

/// What a `Range` means for one representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// The field is ignored.
    Whole,
    /// One part.
    One(Span),
    /// Several, none overlapping another, in the order asked for.
    Several(Vec<Span>),
    /// None of what is asked for is there.
    Unsatisfiable,
}

/// Chooses by the value of `Range`, of which at most `limit` are taken.
///
/// Overlapping ranges are answered with the whole (§14.2 allows to ignore them; they are how one
/// request is made to cost a multiple of the content), and so is any range of nothing: some clients
/// ask for `0-` always, and a 416 for an empty file helps nobody.
pub(super) fn select(range: &HeaderValue, length: u64, limit: usize) -> Selected {
    let Some(ranges) = Ranges::parse(range.as_bytes(), limit) else {
        return Selected::Whole;
    };
    if length == 0 {
        return Selected::Whole;
    }
    if let Ranges::One(range) = ranges {
        return range
            .within(length)
            .map_or(Selected::Unsatisfiable, Selected::One);
    }
    let spans: Vec<_> = ranges
        .iter()
        .filter_map(|range| range.within(length))
        .collect();
    match *spans {
        [] => Selected::Unsatisfiable,
        [only] => Selected::One(only),
        _ if any_overlap(&spans) => Selected::Whole,
        _ => Selected::Several(spans),
    }
}

/// Whether ranges may be cut from a 200 with these fields: bytes as the client would count them.
pub(super) fn is_divisible(fields: &HeaderMap) -> bool {
    let identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    fields.get_all(CONTENT_ENCODING).iter().all(identity) && !fields.contains_key(CONTENT_RANGE)
}

/// A `multipart/byteranges` body (§14.6) and its `Content-Type`; the parts are shared with `whole`, not
/// copied. `None` for a stream, which can be read in one order only.
pub(super) fn multipart(
    spans: &[Span],
    length: u64,
    fields: &HeaderMap,
    whole: &Body,
) -> Option<(HeaderValue, Vec<Bytes>)> {
    let boundary = boundary();
    let mut pieces = Vec::new();
    for span in spans {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(media_type) = fields.get(CONTENT_TYPE) {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(media_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Content-Range: ");
        head.extend_from_slice(
            ContentRange::Span(*span, Some(length))
                .to_value()
                .as_bytes(),
        );
        head.extend_from_slice(b"\r\n\r\n");
        pieces.push(Bytes::from(head));
        pieces.extend(whole.pieces(span.first, span.length())?);
    }
    pieces.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    let media_type = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"))
        .expect("hexadecimal digits");
    Some((media_type, pieces))
}

fn any_overlap(spans: &[Span]) -> bool {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable_by_key(|span| span.first);
    sorted
        .windows(2)
        .any(|pair| matches!(pair, [one, other] if one.overlaps(*other)))
}

/// Not to be guessed, or whoever writes the content could make parts of their own.
fn boundary() -> String {
    let secret = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", secret(), secret())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose(range: &'static str, length: u64) -> Selected {
        select(&HeaderValue::from_static(range), length, 4)
    }

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    #[test]
    fn what_is_asked_for_is_selected() {
        for (range, length, expected) in [
            ("bytes=0-4", 10, Selected::One(span(0, 4))),
            ("bytes=0-", 10, Selected::One(span(0, 9))),
            ("bytes=-3", 10, Selected::One(span(7, 9))),
            ("bytes=10-", 10, Selected::Unsatisfiable),
            ("bytes=-0", 10, Selected::Unsatisfiable),
            ("bytes=10-,-0", 10, Selected::Unsatisfiable),
            (
                "bytes=8-9,0-1",
                10,
                Selected::Several(vec![span(8, 9), span(0, 1)]),
            ),
            (
                "bytes=0-1,2-3",
                10,
                Selected::Several(vec![span(0, 1), span(2, 3)]),
            ),
            ("bytes=0-1,99-", 10, Selected::One(span(0, 1))),
            // Overlapping, however it is written.
            ("bytes=0-5,5-9", 10, Selected::Whole),
            ("bytes=5-9,0-5", 10, Selected::Whole),
            ("bytes=0-,0-", 10, Selected::Whole),
            ("bytes=0-0,-10", 10, Selected::Whole),
            // More than the limit of this test.
            (
                "bytes=0-0,2-2,4-4,6-6",
                10,
                Selected::Several(vec![span(0, 0), span(2, 2), span(4, 4), span(6, 6)]),
            ),
            ("bytes=0-0,2-2,4-4,6-6,8-8", 10, Selected::Whole),
            ("bytes=0-", 0, Selected::Whole),
            ("items=0-1", 10, Selected::Whole),
            ("bytes=4-0", 10, Selected::Whole),
        ] {
            assert_eq!(choose(range, length), expected, "{range} of {length}");
        }
    }

    #[test]
    fn only_identity_bytes_that_are_whole_are_divided() {
        for (name, value, divisible) in [
            ("content-type", "text/plain", true),
            ("content-encoding", "identity", true),
            ("content-encoding", "br", false),
            ("content-encoding", "identity, gzip", false),
            ("content-range", "bytes 0-1/2", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_divisible(&fields), divisible, "{name}: {value}");
        }
    }

    #[test]
    fn parts_are_written_as_section_14_6_shows() {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let spans = [span(0, 1), span(8, 9)];
        let whole = Body::from("0123456789");
        let (media_type, pieces) = multipart(&spans, 10, &fields, &whole).expect("in memory");
        let media_type = media_type.to_str().expect("ASCII");
        let boundary = media_type
            .strip_prefix("multipart/byteranges; boundary=")
            .expect("a boundary");
        let expected = format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(pieces.concat(), expected.as_bytes());
    }

    #[test]
    fn a_boundary_is_not_used_twice() {
        assert_ne!(boundary(), boundary());
    }

    proptest! {
        #[test]
        fn parts_never_weigh_more_than_the_whole(set in "[0-9]{0,2}-[0-9]{0,2}(,[0-9]{0,2}-[0-9]{0,2}){0,9}", length in 0..120_u64) {
            let range = HeaderValue::try_from(format!("bytes={set}")).expect("ASCII");
            let weight = match select(&range, length, 16) {
                Selected::Whole | Selected::Unsatisfiable => 0,
                Selected::One(span) => span.length(),
                Selected::Several(spans) => spans.iter().map(|span| span.length()).sum(),
            };
            prop_assert!(weight <= length);
        }
    }
}
