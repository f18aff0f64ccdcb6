//! `Range` and `Content-Range` in bytes (RFC 9110 §14).
//!
//! ```
//! use middleware::fields::range::{ByteRange, ContentRange, Ranges};
//!
//! let ranges = Ranges::parse(b"bytes=0-4, -3", 16).expect("two ranges");
//! assert_eq!(ranges.iter().collect::<Vec<_>>(), [ByteRange::From(0, 4), ByteRange::Last(3)]);
//! let span = ByteRange::Last(3).within(10).expect("there are ten bytes");
//! assert_eq!(ContentRange::Span(span, Some(10)).to_value(), "bytes 7-9/10");
//! ```

use http::HeaderValue;

use crate::fields::list::{self, Quotes};

/// One range that was asked for (RFC 9110 §14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last position, both included; `u64::MAX` for an open end.
    From(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// `0-4`, `5-` or `-3`; a number that is too long is as good as the largest.
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
        if first.is_empty() {
            return Some(Self::Last(number(last)?));
        }
        let first = number(first)?;
        let last = if last.is_empty() {
            u64::MAX
        } else {
            number(last)?
        };
        (first <= last).then_some(Self::From(first, last))
    }

    /// Which bytes these are of content of this length; `None` if there are none.
    pub fn within(self, length: u64) -> Option<Span> {
        let end = length.checked_sub(1)?;
        let (first, last) = match self {
            Self::From(first, last) => (first, last.min(end)),
            Self::Last(0) => return None,
            Self::Last(count) => (length.saturating_sub(count), end),
        };
        (first <= last).then_some(Span { first, last })
    }
}

/// The ranges of one request, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// The usual case, without an allocation.
    One(ByteRange),
    /// At least two.
    Several(Vec<ByteRange>),
}

impl Ranges {
    /// `None` for another unit, a malformed value or more than `limit` ranges: then the field is
    /// ignored (RFC 9110 §14.2).
    pub fn parse(value: &[u8], limit: usize) -> Option<Self> {
        let (unit, set) = value.split_at_checked(b"bytes=".len())?;
        if !unit.eq_ignore_ascii_case(b"bytes=") {
            return None;
        }
        let mut specs = list::split(set, Quotes::Plain);
        let first = ByteRange::parse(specs.next()?)?;
        let mut ranges = Self::One(first);
        let mut count = 1;
        for spec in specs {
            count += 1;
            if count > limit {
                return None;
            }
            ranges.push(ByteRange::parse(spec)?);
        }
        (count <= limit).then_some(ranges)
    }

    /// In the order asked for.
    pub fn iter(&self) -> impl Iterator<Item = ByteRange> {
        match self {
            Self::One(range) => std::slice::from_ref(range),
            Self::Several(ranges) => ranges,
        }
        .iter()
        .copied()
    }

    fn push(&mut self, range: ByteRange) {
        match self {
            Self::One(first) => *self = Self::Several(vec![*first, range]),
            Self::Several(ranges) => ranges.push(range),
        }
    }
}

/// Bytes that are there: never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position of the first, from 0.
    pub first: u64,
    /// Position of the last, not before the first.
    pub last: u64,
}

impl Span {
    /// How many bytes.
    pub fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether both have a byte in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// `Content-Range` (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// Of a 206: these bytes, and the complete length if it is known.
    Span(Span, Option<u64>),
    /// Of a 416: the complete length.
    Unsatisfied(u64),
}

impl ContentRange {
    /// `None` for another unit and for values that cannot be (RFC 9110 §14.4: the recipient must not
    /// put such a part together with others).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = value.split_at_checked(b"bytes ".len())?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (span, length) = (rest.get(..slash)?, rest.get(slash + 1..)?);
        if span == b"*" {
            return Some(Self::Unsatisfied(exact(length)?));
        }
        let dash = span.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (exact(span.get(..dash)?)?, exact(span.get(dash + 1..)?)?);
        let length = match length {
            b"*" => None,
            digits => Some(exact(digits)?),
        };
        let possible = first <= last && length.is_none_or(|length| last < length);
        possible.then_some(Self::Span(Span { first, last }, length))
    }

    /// As it is sent.
    pub fn to_value(self) -> HeaderValue {
        let text = match self {
            Self::Span(Span { first, last }, Some(length)) => {
                format!("bytes {first}-{last}/{length}")
            }
            Self::Span(Span { first, last }, None) => format!("bytes {first}-{last}/*"),
            Self::Unsatisfied(length) => format!("bytes */{length}"),
        };
        HeaderValue::try_from(text).expect("digits and signs")
    }
}

/// Digits only; `u64::MAX` for what is larger.
fn number(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| char::from(*byte).to_digit(10).map(u64::from);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        Some(number.saturating_mul(10).saturating_add(digit(byte)?))
    })
}

/// Digits only; `None` for what no length can be.
fn exact(digits: &[u8]) -> Option<u64> {
    number(digits).filter(|number| *number < u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_section_14_1_2_shows() {
        use ByteRange::{From, Last};
        for (value, expected) in [
            ("bytes=0-499", &[From(0, 499)][..]),
            ("bytes=9500-", &[From(9500, u64::MAX)]),
            ("bytes=-500", &[Last(500)]),
            ("bytes=0-0,-1", &[From(0, 0), Last(1)]),
            (
                "bytes= 0-999, 4500-5499, -1000",
                &[From(0, 999), From(4500, 5499), Last(1000)],
            ),
            ("bytes=,0-0,", &[From(0, 0)]),
            ("BYTES=0-0", &[From(0, 0)]),
            ("bytes=007-010", &[From(7, 10)]),
            ("bytes=0-99999999999999999999999", &[From(0, u64::MAX)]),
            ("bytes=-99999999999999999999999", &[Last(u64::MAX)]),
        ] {
            let ranges = Ranges::parse(value.as_bytes(), 16).expect(value);
            assert_eq!(ranges.iter().collect::<Vec<_>>(), expected, "{value}");
        }
    }

    #[test]
    fn a_malformed_or_unknown_range_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=1",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=0-1x",
            "bytes=0 - 1",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=0-1;2-3",
            "bytes =0-1",
            "items=0-1",
            "bytes=0-1, x",
            "bytes:0-1",
            "0-1",
        ] {
            assert_eq!(Ranges::parse(value.as_bytes(), 16), None, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_are_ignored() {
        assert!(Ranges::parse(b"bytes=0-0,2-2", 2).is_some());
        assert_eq!(Ranges::parse(b"bytes=0-0,2-2,4-4", 2), None);
        assert_eq!(Ranges::parse(b"bytes=0-0", 0), None);
    }

    #[test]
    fn a_range_is_satisfiable_if_it_names_a_byte() {
        let range = |value: &str| {
            let ranges = Ranges::parse(value.as_bytes(), 1).expect(value);
            ranges.iter().next().expect("one")
        };
        for (value, length, expected) in [
            ("bytes=0-4", 10, Some((0, 4))),
            ("bytes=5-", 10, Some((5, 9))),
            ("bytes=9-9", 10, Some((9, 9))),
            ("bytes=0-99", 10, Some((0, 9))),
            ("bytes=-3", 10, Some((7, 9))),
            ("bytes=-99", 10, Some((0, 9))),
            ("bytes=10-", 10, None),
            ("bytes=10-20", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=-1", 0, None),
            ("bytes=18446744073709551615-", u64::MAX, None),
        ] {
            let span = range(value).within(length);
            assert_eq!(
                span.map(|span| (span.first, span.last)),
                expected,
                "{value} of {length}"
            );
        }
    }

    #[test]
    fn content_range_is_read_and_written() {
        for (text, value) in [
            (
                "bytes 0-4/10",
                ContentRange::Span(Span { first: 0, last: 4 }, Some(10)),
            ),
            (
                "bytes 9-9/10",
                ContentRange::Span(Span { first: 9, last: 9 }, Some(10)),
            ),
            (
                "bytes 0-4/*",
                ContentRange::Span(Span { first: 0, last: 4 }, None),
            ),
            ("bytes */10", ContentRange::Unsatisfied(10)),
        ] {
            assert_eq!(ContentRange::parse(text.as_bytes()), Some(value), "{text}");
            assert_eq!(value.to_value(), text);
        }
    }

    #[test]
    fn a_content_range_that_cannot_be_is_invalid() {
        for text in [
            "",
            "bytes",
            "bytes 0-4",
            "bytes 4-0/10",
            "bytes 0-10/10",
            "bytes */*",
            "bytes -4/10",
            "bytes 0-/10",
            "bytes 0-4/",
            "bytes=0-4/10",
            "items 0-4/10",
            "bytes 0-4/10 ",
            "bytes 0-99999999999999999999/*",
        ] {
            assert_eq!(ContentRange::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_span_is_inside_and_as_long_as_it_says(first: u64, last: u64, count: u64, length: u64) {
            for range in [ByteRange::From(first, last), ByteRange::Last(count)] {
                if let Some(span) = range.within(length) {
                    prop_assert!(span.first <= span.last && span.last < length);
                    prop_assert_eq!(span.length(), span.last - span.first + 1);
                }
            }
        }

        #[test]
        fn a_content_range_is_read_back(first in 0..1_u64 << 50, more in 0..1_u64 << 50, rest in 1..1_u64 << 50) {
            let span = Span { first, last: first + more };
            for value in [ContentRange::Span(span, Some(first + more + rest)), ContentRange::Span(span, None)] {
                prop_assert_eq!(ContentRange::parse(value.to_value().as_bytes()), Some(value));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, set in "[0-9, -]{0,40}") {
            Ranges::parse(&bytes, 16);
            Ranges::parse(format!("bytes={set}").as_bytes(), 16);
            ContentRange::parse(&bytes);
        }
    }
}
