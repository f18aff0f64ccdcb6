//! Targeted cache control (RFC 9213): `CDN-Cache-Control` and its like, dictionaries of structured fields.
//!
//! ```
//! use middleware::fields::targeted;
//!
//! let mut fields = http::HeaderMap::new();
//! let names = ["pillion-cache-control", "cdn-cache-control"];
//! assert_eq!(targeted::of(&fields, names), None);
//! fields.insert("cdn-cache-control", "max-age=60".parse().unwrap());
//! let said = targeted::of(&fields, names).unwrap();
//! assert_eq!(said.max_age, Some(std::time::Duration::from_secs(60)));
//! ```

use std::time::Duration;

use http::HeaderMap;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::cache_control::{MOST_SECONDS, ResponseDirectives, Scope};

/// What `fields` say to caches like this one alone, by the first of the fields `names` (lower case)
/// that says something. Where there is such a word it replaces `Cache-Control` and `Expires` (RFC 9213
/// §2.2); an empty or malformed field says nothing.
pub fn of<'a>(
    fields: &HeaderMap,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<ResponseDirectives> {
    // To compare all names costs less than to ask the map for one that it has no number for.
    let is_there = |wanted: &&str| fields.keys().any(|name| name.as_str() == *wanted);
    let mut names = names.into_iter().filter(is_there);
    names.find_map(|name| said_by(fields, name))
}

fn said_by(fields: &HeaderMap, name: &str) -> Option<ResponseDirectives> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next()?;
    let mut joined = first.as_bytes().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    let said: Dictionary = Parser::new(&joined).parse().ok()?;
    (!said.is_empty()).then(|| directives(&said))
}

fn directives(said: &Dictionary) -> ResponseDirectives {
    let member = |name: &str| said.get(name);
    let flag = |name: &str| member(name).is_some_and(is_true);
    let seconds = |name: &str| member(name).and_then(seconds);
    // These two forbid, so whatever is said of them beyond "not" is taken as the whole directive.
    let scope = |name: &str| match member(name) {
        None => Scope::None,
        Some(entry) if is_false(entry) => Scope::None,
        Some(_) => Scope::All,
    };
    ResponseDirectives {
        no_store: !matches!(scope("no-store"), Scope::None),
        no_cache: scope("no-cache"),
        private: scope("private"),
        public: flag("public"),
        must_revalidate: flag("must-revalidate"),
        proxy_revalidate: flag("proxy-revalidate"),
        must_understand: flag("must-understand"),
        immutable: flag("immutable"),
        max_age: seconds("max-age"),
        s_maxage: seconds("s-maxage"),
        stale_while_revalidate: seconds("stale-while-revalidate"),
        stale_if_error: seconds("stale-if-error"),
    }
}

fn boolean(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(Item {
            bare_item: BareItem::Boolean(value),
            ..
        }) => Some(*value),
        _ => None,
    }
}

fn is_true(entry: &ListEntry) -> bool {
    boolean(entry) == Some(true)
}

fn is_false(entry: &ListEntry) -> bool {
    boolean(entry) == Some(false)
}

/// A member of another type is unusable (RFC 9213 §2.1), as if it were not there.
fn seconds(entry: &ListEntry) -> Option<Duration> {
    match entry {
        ListEntry::Item(Item {
            bare_item: BareItem::Integer(value),
            ..
        }) => {
            let seconds = u64::try_from(i64::from(*value)).unwrap_or(0);
            Some(Duration::from_secs(seconds.min(MOST_SECONDS)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn said(lines: &[&[u8]]) -> Option<ResponseDirectives> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(CDN, HeaderValue::from_bytes(line).unwrap());
        }
        of(&fields, [CDN])
    }

    /// RFC 9213 §2.2: the first of the list "with a valid, non-empty value".
    #[test]
    fn the_first_field_that_says_something_decides() {
        for (first, second, expected) in [
            ("max-age=1", "max-age=2", Some(1)),
            ("", "max-age=2", Some(2)),
            ("max-age=1,", "max-age=2", Some(2)),
            ("no-store", "max-age=2", None),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(CDN, second.parse().unwrap());
            fields.insert("own-cache-control", first.parse().unwrap());
            let said = of(&fields, ["own-cache-control", CDN]).unwrap();
            assert_eq!(said.max_age, expected.map(Duration::from_secs), "{first}");
        }
        assert_eq!(of(&HeaderMap::new(), [CDN]), None);
    }

    const CDN: &str = "cdn-cache-control";

    #[test]
    fn a_valid_field_decides() {
        let directives = said(&[b"max-age=60, must-revalidate"]).unwrap();
        assert_eq!(directives.max_age, Some(Duration::from_secs(60)));
        assert!(directives.must_revalidate && !directives.no_store);
        assert!(said(&[b"no-store"]).unwrap().no_store);
        assert!(said(&[b"max-age=1", b"private"]).unwrap().private.is_all());
    }

    #[test]
    fn a_parse_error_voids_the_whole_field() {
        for line in [
            &b"Max-Age=60"[..],
            b"max-age = 60",
            b"max-age=60,",
            b"max-age=60 no-store",
            b"\xff",
            b"",
            b"  ",
        ] {
            assert_eq!(said(&[line]), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_member_of_the_wrong_type_is_unusable() {
        for line in [
            &b"max-age=\"60\""[..],
            b"max-age=6.0",
            b"max-age",
            b"max-age=(60)",
        ] {
            assert_eq!(
                said(&[line]).unwrap().max_age,
                None,
                "{}",
                line.escape_ascii()
            );
        }
        assert!(!said(&[b"public=1"]).unwrap().public);
    }

    #[test]
    fn what_forbids_is_taken_widely() {
        assert!(said(&[b"private=\"a\""]).unwrap().private.is_all());
        assert!(said(&[b"no-store=1"]).unwrap().no_store);
        assert!(!said(&[b"no-store=?0"]).unwrap().no_store);
    }

    #[test]
    fn negative_lifetimes_are_zero_and_large_ones_saturate() {
        assert_eq!(
            said(&[b"max-age=-5"]).unwrap().max_age,
            Some(Duration::ZERO)
        );
        assert_eq!(
            said(&[b"max-age=999999999999999"]).unwrap().max_age,
            Some(Duration::from_secs(MOST_SECONDS))
        );
    }

    proptest! {
        #[test]
        fn anything_can_be_read(line in proptest::collection::vec(0x20_u8..=0xff, 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let mut fields = HeaderMap::new();
                fields.insert(CDN, value);
                let _said = of(&fields, [CDN]);
            }
        }
    }
}
