use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn of(lines: &[&str]) -> Option<NoVarySearch> {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(NO_VARY_SEARCH, HeaderValue::from_str(line).unwrap());
    }
    NoVarySearch::of(&fields)
}

fn said(line: &str) -> NoVarySearch {
    of(&[line]).unwrap_or_else(|| panic!("{line}"))
}

/// The examples of §4.2.1 of the draft, and their kind.
#[test]
fn what_is_not_understood_voids_the_field() {
    for line in [
        "",
        "unknown-key",
        "key-order=\"not a boolean\"",
        "key-order=1",
        "params=\"not a boolean or inner list\"",
        "params=(not-a-string)",
        "params=(\"a\" 1)",
        "params=(\"a\"), except=(\"x\")",
        "params=(), except=()",
        "params=?0, except=(\"x\")",
        "params, except=(not-a-string)",
        "params, except=\"not an inner list\"",
        "params, except=?1",
        "params, except",
        "except=(\"x\")",
        "except=()",
        // One bad member voids the good ones.
        "key-order, params=1",
        "params=(\"a\"), key-order=(\"b\")",
        "params=(\"a\"",
        "params=(\"a\"),",
        "Params=(\"a\")",
        "params = (\"a\")",
        "\u{7f}",
        // Well formed, and the same as none.
        "params=?0",
        "params=()",
        "key-order=?0",
        "key-order=?0, params=?0",
    ] {
        let value = HeaderValue::from_bytes(line.as_bytes());
        if value.is_ok() {
            assert_eq!(of(&[line]), None, "{line}");
        }
    }
    assert_eq!(
        of(&[&format!("params=(\"{}\")", "a".repeat(LONGEST))]),
        None
    );
    let many = "\"a\" ".repeat(MOST + 1);
    assert_eq!(of(&[&format!("params=({})", many.trim())]), None);
}

#[test]
fn unconventional_forms_say_the_same() {
    for (one, other) in [
        ("params", "params=?1"),
        ("key-order", "key-order=?1"),
        ("key-order", "key-order, unknown=1"),
        ("key-order", "key-order;a=1"),
        ("params", "params, except=()"),
        ("params=(\"a\")", "params=(\"a\";b)"),
        ("params=(\"a\")", "params=(\"b\"), params=(\"a\")"),
        (
            "key-order, params, except=(\"x\")",
            "params, key-order, except=(\"x\")",
        ),
        ("params=(\"%C3%A9+x\")", "params=(\"%c3%a9%20x\")"),
    ] {
        assert_eq!(said(one), said(other), "{one} {other}");
    }
    assert_eq!(
        of(&["params", "except=(\"x\")"]),
        of(&["params, except=(\"x\")"])
    );
}

/// §5 of the draft.
#[test]
fn queries_are_the_same_only_as_far_as_is_said() {
    let rows: &[(&str, &str, &str, bool)] = &[
        ("key-order", "a=1&b=2", "b=2&a=1", true),
        ("key-order", "a=1&a=2", "a=2&a=1", false),
        ("key-order", "a=1&b=2&a=3", "b=2&a=1&a=3", true),
        ("key-order", "a=1&b=2", "a=1", false),
        ("key-order", "a=1&b=2", "a=2&b=1", false),
        ("params=(\"u\")", "a=1&u=2", "a=1", true),
        ("params=(\"u\")", "u&a=1&u=3", "a=1&u=4", true),
        ("params=(\"u\")", "a=1&b=2", "b=2&a=1", false),
        ("params=(\"u\")", "a=1&U=2", "a=1", false),
        ("params=(\"u\")", "a=1&uu=2", "a=1", false),
        ("params=(\"u\")", "u=1", "", true),
        ("params=(\"u\"), key-order", "b&a&u=1", "a&b", true),
        ("params", "a=1", "b=2", true),
        ("params", "", "b=2", true),
        ("params, except=(\"id\")", "id=1&a=2", "b=3&id=1", true),
        ("params, except=(\"id\")", "id=1", "id=2", false),
        ("params, except=(\"id\")", "id=1", "id=1&id=1", false),
        (
            "params, except=(\"id\" \"b\")",
            "id=1&b=2",
            "b=2&id=1",
            false,
        ),
        (
            "params, except=(\"id\" \"b\"), key-order",
            "id=1&b=2",
            "b=2&id=1",
            true,
        ),
        // Forms of writing one list of names and values.
        ("params=(\"u\")", "a=b&&&c", "a=b&c=", true),
        ("params=(\"u\")", "a=%62", "a=b", true),
        ("params=(\"u\")", "%61=b", "a=b", true),
        ("params=(\"u\")", "%75=b", "", true),
        ("params=(\"u\")", "a=x+y", "a=x%20y", true),
        ("params=(\"u\")", "a=x%2By", "a=x+y", false),
        ("params=(\"u\")", "a=1%26b=2", "a=1&b=2", false),
        ("params=(\"u\")", "a%3D1", "a=1", false),
        ("params=(\"u\")", "a=%", "a=%25", true),
        ("params=(\"u\")", "a=%zz", "a=%25zz", true),
        ("params=(\"u\")", "a=b=c", "a=b%3Dc", true),
        ("params=(\"u\")", "=a", "a", false),
        ("params=(\"u\")", "a=A", "a=a", false),
        (
            "params=(\"%C3%A9+%E6%B0%97\")",
            "%C3%A9%20%E6%B0%97=3",
            "",
            true,
        ),
        (
            "params=(\"%C3%A9+%E6%B0%97\")",
            "%C3%A9+%E6%B0%97=4",
            "",
            true,
        ),
        // What is no UTF-8 is told apart, though the draft would not.
        ("params=(\"u\")", "a=%ff", "a=%fe", false),
        ("params=(\"u\")", "a=%ff", "a=%EF%BF%BD", false),
    ];
    for (line, one, other, expected) in rows {
        let said = said(line);
        assert_eq!(
            said.is_same(Some(one), Some(other)),
            *expected,
            "{line} {one} {other}"
        );
        assert_eq!(said.is_same(Some(other), Some(one)), *expected);
    }
    assert!(
        said("key-order").is_same(None, Some("")),
        "no query is an empty one"
    );
}

/// The comparison as §5 words it, step by step.
fn by_the_draft(line: &str, one: &str, other: &str) -> bool {
    let list = |query: &str| -> Vec<(String, String)> {
        let pairs = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (name.to_owned(), value.to_owned())
            });
        pairs.collect()
    };
    let (mut one, mut other) = (list(one), list(other));
    for params in [&mut one, &mut other] {
        if line.contains("params=(\"a\" \"b\")") {
            params.retain(|(name, _)| name != "a" && name != "b");
        } else if line.contains("except=(\"a\")") {
            params.retain(|(name, _)| name == "a");
        } else if line.contains("params") {
            params.clear();
        }
        if line.contains("key-order") {
            params.sort_by(|one, other| one.0.cmp(&other.0));
        }
    }
    one == other
}

proptest! {
    #[test]
    fn equivalence_is_the_drafts(
        line in prop::sample::select(vec![
            "key-order",
            "params",
            "params=(\"a\" \"b\")",
            "params=(\"a\" \"b\"), key-order",
            "params, except=(\"a\")",
            "params, except=(\"a\"), key-order",
        ]),
        one in "[abc=&]{0,12}",
        other in "[abc=&]{0,12}",
    ) {
        prop_assert_eq!(
            said(line).is_same(Some(&one), Some(&other)),
            by_the_draft(line, &one, &other)
        );
    }

    /// Nobody who writes a query can make it look like another list of names and values.
    #[test]
    fn what_is_written_tells_lists_apart(
        one in prop::collection::vec(("[a-c%=& ]{0,3}", "[a-c%=& ]{0,3}"), 0..4),
        other in prop::collection::vec(("[a-c%=& ]{0,3}", "[a-c%=& ]{0,3}"), 0..4),
    ) {
        let query = |list: &[(String, String)]| {
            let escape = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let parts: Vec<_> = list
                .iter()
                .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
                .collect();
            parts.join("&")
        };
        let said = said("params=(\"dropped\")");
        let is_same = said.is_same(Some(&query(&one)), Some(&query(&other)));
        prop_assert_eq!(is_same, one == other);
    }

    #[test]
    fn anything_can_be_read(line in prop::collection::vec(0x20_u8..=0xff, 0..80), query in "\\PC{0,40}") {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            let mut fields = HeaderMap::new();
            fields.insert(NO_VARY_SEARCH, value);
            if let Some(said) = NoVarySearch::of(&fields) {
                prop_assert!(said.is_same(Some(&query), Some(&query)));
            }
        }
    }
}
