//! What a request asks for beyond its target, and whether a 200 is held back for it
//! (RFC 9110 §13). Pure.

use std::time::{Duration, SystemTime};

use http::header::{DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::fields::entity_tag::{self, EntityTag};
use crate::fields::http_date;

/// The preconditions and the range of a GET or HEAD, kept while the request goes its way.
/// The values are shared with the request, not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// All lines of `If-None-Match`; the first apart, since there is rarely another.
    none_match: Option<(HeaderValue, Vec<HeaderValue>)>,
    modified_since: Option<HeaderValue>,
    range: Option<HeaderValue>,
    if_range: Option<Validator>,
}

/// `If-Range`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Validator {
    Value(HeaderValue),
    /// More than one line: nothing that could hold.
    Malformed,
}

impl Asked {
    /// `None` if there is nothing to judge; costs no allocation then.
    pub(super) fn of(method: &Method, fields: &HeaderMap) -> Option<Self> {
        // QUERY is conditional like GET (RFC 10008).
        if ![Method::GET, Method::HEAD, Method::QUERY].contains(method) {
            return None;
        }
        // One look at all names costs less than asking the map for each of these.
        let concerns_us = |name: &HeaderName| {
            matches!(
                name.as_str(),
                "if-none-match" | "if-modified-since" | "range"
            )
        };
        if !fields.keys().any(concerns_us) {
            return None;
        }
        let none_match = lines(fields, &IF_NONE_MATCH);
        // A recipient must ignore If-Modified-Since if the request contains If-None-Match (§13.1.3),
        // or if it is not one date.
        let modified_since = match none_match {
            Some(_) => None,
            None => only(fields, &IF_MODIFIED_SINCE),
        };
        // Range handling is defined for GET only (§14.2); two lines of it are no range.
        let range = match *method {
            Method::GET => only(fields, &RANGE),
            _ => None,
        };
        let if_range = match range {
            Some(_) if fields.contains_key(IF_RANGE) => {
                Some(only(fields, &IF_RANGE).map_or(Validator::Malformed, Validator::Value))
            }
            _ => None,
        };
        let asked = Self {
            none_match,
            modified_since,
            range,
            if_range,
        };
        let judged =
            asked.none_match.is_some() || asked.modified_since.is_some() || asked.range.is_some();
        judged.then_some(asked)
    }

    /// Whether the 200 with these `fields` is to be answered 304 (§13.2.2, steps 3 and 4).
    pub(super) fn holds_back(&self, fields: &HeaderMap, now: SystemTime) -> bool {
        if let Some((first, more)) = &self.none_match {
            let etag = fields.get(ETAG);
            return std::iter::once(first)
                .chain(more)
                .any(|line| entity_tag::line_holds_back(line, etag));
        }
        let since = self
            .modified_since
            .as_ref()
            .and_then(|since| date(since, now));
        let modified = only(fields, &LAST_MODIFIED).and_then(|modified| date(&modified, now));
        matches!((modified, since), (Some(modified), Some(since)) if modified <= since)
    }

    /// The `Range` to apply to the 200 with these `fields`, if `If-Range` lets it (§13.1.5).
    pub(super) fn range(&self, fields: &HeaderMap, now: SystemTime) -> Option<&HeaderValue> {
        let range = self.range.as_ref()?;
        let unchanged = match &self.if_range {
            None => true,
            Some(Validator::Malformed) => false,
            Some(Validator::Value(validator)) => is_unchanged(validator, fields, now),
        };
        unchanged.then_some(range)
    }
}

/// Whether `If-Range` holds: strong comparison, or the same date where that is a strong validator.
fn is_unchanged(validator: &HeaderValue, fields: &HeaderMap, now: SystemTime) -> bool {
    let etag = fields
        .get(ETAG)
        .and_then(|etag| EntityTag::parse(etag.as_bytes()));
    match (EntityTag::parse(validator.as_bytes()), etag) {
        // The client has a coded copy; a range of it cannot be joined to identity bytes.
        (Some(theirs), _) if theirs.coding().is_some() => false,
        (Some(theirs), Some(current)) => theirs.is_strongly(current),
        (Some(_), None) => false,
        (None, _) => is_same_date(validator, fields, now),
    }
}

/// §13.1.5: exactly the value of `Last-Modified`, which must be at least a second older than the
/// answer (§8.8.2.2), or else it may have changed again within that second.
fn is_same_date(validator: &HeaderValue, fields: &HeaderMap, now: SystemTime) -> bool {
    let field = |name| only(fields, name).and_then(|value| date(&value, now));
    let answered = field(&DATE).unwrap_or(now);
    match (field(&LAST_MODIFIED), date(validator, now)) {
        (Some(modified), Some(asked)) => {
            let strong_from = modified.checked_add(Duration::from_secs(1));
            modified == asked && strong_from.is_some_and(|from| from <= answered)
        }
        _ => false,
    }
}

fn date(value: &HeaderValue, now: SystemTime) -> Option<SystemTime> {
    http_date::parse(value.as_bytes(), now)
}

/// The value of a field that has exactly one line.
fn only(fields: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = fields.get_all(name).into_iter();
    let first = lines.next()?;
    lines.next().is_none().then(|| first.clone())
}

fn lines(fields: &HeaderMap, name: &HeaderName) -> Option<(HeaderValue, Vec<HeaderValue>)> {
    let mut lines = fields.get_all(name).into_iter().cloned();
    Some((lines.next()?, lines.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        lines.iter().map(line).collect()
    }

    fn asked(lines: &[(&'static str, &'static str)]) -> Option<Asked> {
        Asked::of(&Method::GET, &fields(lines))
    }

    #[test]
    fn nothing_is_judged_that_is_not_asked() {
        assert_eq!(asked(&[]), None);
        assert_eq!(
            asked(&[("if-match", "\"a\""), ("if-unmodified-since", MODIFIED)]),
            None
        );
        assert_eq!(
            asked(&[("if-range", "\"a\"")]),
            None,
            "without Range it says nothing"
        );
        let all = fields(&[
            ("if-none-match", "*"),
            ("if-modified-since", MODIFIED),
            ("range", "bytes=0-"),
        ]);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(Asked::of(&method, &all), None, "{method}");
        }
        let range = fields(&[("range", "bytes=0-")]);
        assert_eq!(
            Asked::of(&Method::HEAD, &range),
            None,
            "ranges are of GET only"
        );
    }

    #[test]
    fn a_200_is_held_back_by_the_rules_of_section_13() {
        for (request, response, held) in [
            (
                &[("if-none-match", "\"a\"")][..],
                &[("etag", "\"a\"")][..],
                true,
            ),
            (&[("if-none-match", "\"b\"")], &[("etag", "\"a\"")], false),
            (
                &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
                &[("etag", "\"a\"")],
                true,
            ),
            // If-None-Match outranks If-Modified-Since, whether it holds or not.
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", MODIFIED)],
                &[("etag", "\"a\""), ("last-modified", MODIFIED)],
                false,
            ),
            (
                &[("if-none-match", "\"a\""), ("if-modified-since", BEFORE)],
                &[("etag", "\"a\""), ("last-modified", MODIFIED)],
                true,
            ),
            (
                &[("if-none-match", ""), ("if-modified-since", MODIFIED)],
                &[("last-modified", MODIFIED)],
                false,
            ),
            (
                &[("if-modified-since", MODIFIED)],
                &[("last-modified", MODIFIED)],
                true,
            ),
            (
                &[("if-modified-since", AFTER)],
                &[("last-modified", MODIFIED)],
                true,
            ),
            (
                &[("if-modified-since", BEFORE)],
                &[("last-modified", MODIFIED)],
                false,
            ),
            (
                &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")],
                &[("last-modified", MODIFIED)],
                true,
            ),
            (
                &[("if-modified-since", "Sun Nov  6 08:49:37 1994")],
                &[("last-modified", MODIFIED)],
                true,
            ),
            (
                &[("if-modified-since", "yesterday")],
                &[("last-modified", MODIFIED)],
                false,
            ),
            (
                &[("if-modified-since", MODIFIED)],
                &[("last-modified", "yesterday")],
                false,
            ),
            (
                &[("if-modified-since", MODIFIED)],
                &[("etag", "\"a\"")],
                false,
            ),
            // A recipient must ignore a field with more than one member.
            (
                &[
                    ("if-modified-since", MODIFIED),
                    ("if-modified-since", AFTER),
                ],
                &[("last-modified", MODIFIED)],
                false,
            ),
            (&[("range", "bytes=0-")], &[("etag", "\"a\"")], false),
        ] {
            let asked = asked(request);
            assert_eq!(
                asked.is_some_and(|asked| asked.holds_back(&fields(response), now())),
                held,
                "{request:?} {response:?}"
            );
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        const OURS: &str = "\"~00112233445566778899aabbccddeeff\"";
        for (if_range, response, holds) in [
            ("\"a\"", &[("etag", "\"a\"")][..], true),
            ("\"a\"", &[("etag", "\"b\"")], false),
            ("W/\"a\"", &[("etag", "W/\"a\"")], false),
            ("\"a\"", &[("etag", "W/\"a\"")], false),
            ("W/\"a\"", &[("etag", "\"a\"")], false),
            ("\"a\"", &[], false),
            ("a", &[("etag", "a")], false),
            ("\"a~br\"", &[("etag", "\"a\"")], false),
            ("\"a~br\"", &[("etag", "\"a~br\"")], false),
            (OURS, &[("etag", OURS)], true),
            (MODIFIED, &[("last-modified", MODIFIED)], true),
            (
                MODIFIED,
                &[("last-modified", MODIFIED), ("date", AFTER)],
                true,
            ),
            // Not strong: it may have changed again within that second.
            (
                MODIFIED,
                &[("last-modified", MODIFIED), ("date", MODIFIED)],
                false,
            ),
            (AFTER, &[("last-modified", MODIFIED)], false),
            (BEFORE, &[("last-modified", MODIFIED)], false),
            (MODIFIED, &[("etag", "\"a\"")], false),
            ("", &[("etag", "\"a\"")], false),
        ] {
            let asked = asked(&[("range", "bytes=0-1"), ("if-range", if_range)]).expect("a range");
            assert_eq!(
                asked.range(&fields(response), now()).is_some(),
                holds,
                "{if_range} {response:?}"
            );
        }
        let twice = [
            ("range", "bytes=0-1"),
            ("if-range", "\"a\""),
            ("if-range", "\"a\""),
        ];
        let twice = asked(&twice).expect("a range");
        assert_eq!(twice.range(&fields(&[("etag", "\"a\"")]), now()), None);
    }

    #[test]
    fn two_range_fields_are_none() {
        assert_eq!(
            asked(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]),
            None
        );
    }
}
