use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn place(path: &str) -> Place<'_> {
    Place {
        scheme: Scheme::Http,
        authority: b"example.com",
        path,
        query: None,
        is_whole: true,
    }
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        fields.append(name, HeaderValue::from_str(value).unwrap());
    }
    fields
}

fn read(hasher: &NameHasher, lines: &[(&str, &str)], before: Option<&Tags>) -> Vec<NameHash> {
    let settings = TagSettings::default();
    let tags = Tags::read(&fields(lines), before, place("/"), hasher, &settings);
    tags.unwrap().hashes().collect()
}

#[test]
fn a_tag_is_one_whoever_names_it_and_once() {
    let hasher = NameHasher::new();
    let tags = read(
        &hasher,
        &[("surrogate-key", "a b a"), ("cache-tag", "c")],
        None,
    );
    let expected = [hasher.tag(b"a"), hasher.tag(b"b"), hasher.tag(b"c")];
    assert_eq!(tags.len(), 3);
    assert!(expected.iter().all(|tag| tags.contains(tag)));
    assert!(read(&hasher, &[], None).is_empty());
    // Byte by byte.
    let upper = read(&hasher, &[("cache-tag", "A")], None);
    assert_eq!(upper, [hasher.tag(b"A")]);
    assert_ne!(upper, [hasher.tag(b"a")]);
}

/// RFC 9875 §2.1: "They both share the same URI origin".
#[test]
fn a_group_is_of_one_origin_and_no_tag() {
    let hasher = NameHasher::new();
    let group = hasher.group(Scheme::Http, b"Example.com", b"a");
    assert_eq!(read(&hasher, &[("cache-groups", "\"a\"")], None), [group]);
    assert_ne!(group, hasher.tag(b"a"));
    assert_ne!(group, hasher.group(Scheme::Https, b"example.com", b"a"));
    assert_ne!(group, hasher.group(Scheme::Http, b"example.com:8080", b"a"));
    assert_ne!(group, hasher.group(Scheme::Http, b"example.com", b"A"));
}

#[test]
fn a_304_replaces_the_fields_that_it_has() {
    let hasher = NameHasher::new();
    let settings = TagSettings::default();
    let first = fields(&[("surrogate-key", "a"), ("cache-tag", "b")]);
    let first = Tags::read(&first, None, place("/"), &hasher, &settings).unwrap();
    let (a, b, c) = (hasher.tag(b"a"), hasher.tag(b"b"), hasher.tag(b"c"));
    for (lines, expected) in [
        (&[][..], &[a, b][..]),
        (&[("cache-tag", "c")], &[a, c]),
        (&[("surrogate-key", "")], &[b]),
    ] {
        let mut found = read(&hasher, lines, Some(&first));
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{lines:?}");
    }
}

#[test]
fn more_than_allowed_is_refused_whole() {
    let hasher = NameHasher::new();
    let settings = TagSettings {
        count: 3,
        size: 6,
        ..TagSettings::default()
    };
    for (value, expected) in [
        ("a b c", true),
        ("a b c d", false),
        ("aa bb cc", true),
        ("aa bb ccc", false),
    ] {
        let tags = Tags::read(
            &fields(&[("xkey", value)]),
            None,
            place("/"),
            &hasher,
            &settings,
        );
        assert_eq!(tags.is_ok(), expected, "{value}");
    }
}

#[test]
fn a_path_lies_under_its_first_four_segments_on_its_host_and_on_all() {
    let hasher = NameHasher::new();
    let under = |path: &str, host: Option<&[u8]>, prefix: &str| {
        hasher
            .prefixes(place(path))
            .contains(&hasher.prefix(host, prefix))
    };
    for (path, prefix, expected) in [
        ("/api/users", "/api/users", true),
        ("/api/users", "/api/users/", true),
        ("/api/users/", "/api/users", true),
        ("/api/users/7/posts/9/x", "/api/users/7/posts", true),
        ("/api/users/7", "/", true),
        ("/", "/", true),
        ("/api/users2", "/api/users", false),
        ("/api", "/api/users", false),
        ("/API/users", "/api/users", false),
        ("/x/../api/users/7", "/api/users", true),
        ("/%61pi/users", "/api/users", true),
        ("//api//users", "/api/users", true),
        ("/a%2fb", "/a%2Fb", true),
        ("/a%2fb", "/a/b", false),
    ] {
        assert_eq!(under(path, None, prefix), expected, "{path} {prefix}");
        let host = Some(&b"EXAMPLE.com"[..]);
        assert_eq!(under(path, host, prefix), expected, "{path} {prefix}");
        assert!(!under(path, Some(b"example.org"), prefix));
    }
    // What is too deep to be told apart is cut, so that more is purged rather than less.
    assert!(under("/a/b/c/d/f", None, "/a/b/c/d/e"));
}

proptest! {
    #[test]
    fn parts_cannot_be_shifted(one in "[ab]{0,3}", two in "[ab]{0,3}", three in "[ab]{0,3}") {
        let hasher = NameHasher::new();
        let hash = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            hasher.hash(Kind::Prefix, &parts)
        };
        let joined = format!("{one}{two}");
        prop_assert_ne!(hash(&[&one, &two, &three]), hash(&[&joined, &three]));
    }

    #[test]
    fn any_path_lies_under_each_of_its_beginnings(segments in prop::collection::vec("[a-c%.2]{1,4}", 0..6)) {
        let hasher = NameHasher::new();
        let path = format!("/{}", segments.join("/"));
        let all = hasher.prefixes(place(&path));
        prop_assert!(all.contains(&hasher.prefix(None, &path)));
        prop_assert!(all.contains(&hasher.prefix(None, "/")));
        prop_assert!(all.len() <= 2 * (DEEPEST + 1));
    }
}
