//! The fields by which an answer names what it belongs to, so that all of that is purged together:
//! `Surrogate-Key` and `xkey` (separated by white space), `Cache-Tag` (by commas), and `Cache-Groups`
//! (RFC 9875 §2, a list of strings).
//!
//! Names are compared byte by byte, as they came: nothing is folded, trimmed inside or matched by part.
//!
//! ```
//! use middleware::fields::tags::{self, Source};
//!
//! let mut fields = http::HeaderMap::new();
//! fields.insert("surrogate-key", "user:1 list".parse().unwrap());
//! fields.insert("cache-groups", r#""scripts""#.parse().unwrap());
//! let mut found = Vec::new();
//! tags::read(&fields, |source, name| found.push((source, name.to_vec())));
//! assert_eq!(found[1], (Source::SurrogateKey, b"list".to_vec()));
//! assert_eq!(found[2], (Source::CacheGroups, b"scripts".to_vec()));
//! ```

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, List, ListEntry, Parser};

/// What a name was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `Surrogate-Key`.
    SurrogateKey,
    /// `Cache-Tag`.
    CacheTag,
    /// `xkey`.
    Xkey,
    /// `Cache-Groups`, whose names hold within one origin (RFC 9875 §2.1).
    CacheGroups,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SurrogateKey,
        Self::CacheTag,
        Self::Xkey,
        Self::CacheGroups,
    ];

    /// The field.
    pub fn field(self) -> HeaderName {
        match self {
            Self::SurrogateKey => HeaderName::from_static("surrogate-key"),
            Self::CacheTag => HeaderName::from_static("cache-tag"),
            Self::Xkey => HeaderName::from_static("xkey"),
            Self::CacheGroups => CACHE_GROUPS,
        }
    }

    /// Whether the field is meant for every cache on the way, so that it is not ours to take away.
    pub fn is_for_all(self) -> bool {
        self == Self::CacheGroups
    }
}

/// Whether `fields` have any of these fields. One look at all names, of which few answers have one,
/// costs less than asking the map for each.
pub fn are_there(fields: &HeaderMap) -> bool {
    let is_one = |name: &HeaderName| {
        matches!(
            name.as_str(),
            "surrogate-key" | "cache-tag" | "xkey" | "cache-groups"
        )
    };
    fields.keys().any(is_one)
}

/// Calls `found` with every name in `fields`, in the order of [`Source::ALL`]; repeated ones repeatedly.
pub fn read(fields: &HeaderMap, mut found: impl FnMut(Source, &[u8])) {
    if !are_there(fields) {
        return;
    }
    for source in Source::ALL {
        let is_space = |byte: &u8| byte.is_ascii_whitespace();
        let is_comma = |byte: &u8| *byte == b',';
        match source {
            Source::CacheGroups => groups(fields, &CACHE_GROUPS)
                .iter()
                .for_each(|group| found(source, group.as_bytes())),
            Source::CacheTag => split(fields, source, is_comma, &mut found),
            Source::SurrogateKey | Source::Xkey => split(fields, source, is_space, &mut found),
        }
    }
}

/// The groups that an answer to an unsafe request invalidates (RFC 9875 §3).
pub fn invalidated_groups(fields: &HeaderMap) -> Vec<String> {
    groups(fields, &CACHE_GROUP_INVALIDATION)
}

fn split(
    fields: &HeaderMap,
    source: Source,
    is_separator: impl Fn(&u8) -> bool,
    found: &mut impl FnMut(Source, &[u8]),
) {
    for line in fields.get_all(source.field()) {
        line.as_bytes()
            .split(&is_separator)
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .for_each(|name| found(source, name));
    }
}

/// The strings of a list. A parse error voids the field (RFC 9651 §4.2); parameters, and members that
/// are no strings, say nothing.
fn groups(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut lines = fields.get_all(name).iter();
    let Some(first) = lines.next() else {
        return Vec::new();
    };
    let mut joined = first.as_bytes().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    let Ok(list) = Parser::new(&joined).parse::<List>() else {
        return Vec::new();
    };
    let string = |entry| match entry {
        ListEntry::Item(Item {
            bare_item: BareItem::String(text),
            ..
        }) => Some(text.as_str().to_owned()),
        _ => None,
    };
    list.into_iter().filter_map(string).collect()
}

/// RFC 9875 §2.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// RFC 9875 §3.
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn names(lines: &[(&str, &str)]) -> Vec<String> {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::from_str(value).unwrap());
        }
        let mut found = Vec::new();
        read(&fields, |_, name| {
            found.push(String::from_utf8(name.to_vec()).unwrap());
        });
        found
    }

    #[test]
    fn each_field_has_its_separator() {
        for (lines, expected) in [
            (
                &[("surrogate-key", "a b\tc  a,b")][..],
                &["a", "b", "c", "a,b"][..],
            ),
            (&[("xkey", " a b "), ("xkey", "c")], &["a", "b", "c"]),
            (&[("cache-tag", "a, b c ,,d")], &["a", "b c", "d"]),
            (&[("cache-tag", "A,a")], &["A", "a"]),
            (&[("cache-tag", ""), ("surrogate-key", " ")], &[]),
            (&[("cache-tag", "z"), ("surrogate-key", "a")], &["a", "z"]),
        ] {
            assert_eq!(names(lines), expected, "{lines:?}");
        }
    }

    /// RFC 9875 §2: "a List of Strings".
    #[test]
    fn groups_are_a_list_of_strings() {
        for (lines, expected) in [
            (&[("cache-groups", r#""a", "b c""#)][..], &["a", "b c"][..]),
            (&[("cache-groups", r#""a";x=1"#)], &["a"]),
            (
                &[("cache-groups", r#""a""#), ("cache-groups", r#""b""#)],
                &["a", "b"],
            ),
            (&[("cache-groups", r#""a\"b""#)], &["a\"b"]),
            (&[("cache-groups", r#""a", b, 1, ("c")"#)], &["a"]),
            (&[("cache-groups", r#""a","#)], &[]),
            (&[("cache-groups", r#""a" "b""#)], &[]),
            (&[("cache-groups", "")], &[]),
        ] {
            assert_eq!(names(lines), expected, "{lines:?}");
        }
    }

    /// RFC 9875 §2: "MUST support at least 32 groups in a field value, with up to at least 32 characters".
    #[test]
    fn thirty_two_groups_of_thirty_two_characters_are_read() {
        let groups: Vec<String> = (0..32).map(|number| format!("{number:032}")).collect();
        let quoted: Vec<String> = groups.iter().map(|group| format!("{group:?}")).collect();
        assert_eq!(names(&[("cache-groups", &quoted.join(", "))]), groups);
    }

    proptest! {
        #[test]
        fn names_come_back_as_they_went_in(all in prop::collection::vec("[!-+\\--~]{1,9}", 0..9)) {
            for (field, separator) in [("surrogate-key", " "), ("xkey", "  "), ("cache-tag", " , ")] {
                prop_assert_eq!(&names(&[(field, &all.join(separator))]), &all);
            }
        }

        #[test]
        fn lines_mean_what_one_line_with_all_of_them_means(
            one in prop::collection::vec(prop_oneof![0x20_u8..=0xff, prop::sample::select(&b"\", \t\\();=a"[..])], 0..20),
            two in prop::collection::vec(prop_oneof![0x20_u8..=0xff, prop::sample::select(&b"\", \t\\();=a"[..])], 0..20),
        ) {
            for source in Source::ALL {
                let between: &[u8] = match source {
                    Source::CacheTag | Source::CacheGroups => b", ",
                    Source::SurrogateKey | Source::Xkey => b" ",
                };
                let read = |lines: &[&[u8]]| {
                    let mut fields = HeaderMap::new();
                    for line in lines {
                        fields.append(source.field(), HeaderValue::from_bytes(line).ok()?);
                    }
                    let mut names = Vec::new();
                    read(&fields, |_, name| names.push(name.to_vec()));
                    Some(names)
                };
                let joined = [&one, between, &two].concat();
                if let (Some(both), Some(together)) = (read(&[&one, &two]), read(&[&joined])) {
                    prop_assert_eq!(both, together);
                }
            }
        }

        #[test]
        fn anything_can_be_read(line in prop::collection::vec(0x20_u8..=0xff, 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let mut fields = HeaderMap::new();
                for source in Source::ALL {
                    fields.insert(source.field(), value.clone());
                }
                read(&fields, |_, name| assert!(name.len() <= line.len()));
            }
        }
    }
}
