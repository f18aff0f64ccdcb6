use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn response(lines: &[&[u8]]) -> ResponseDirectives {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(CACHE_CONTROL, HeaderValue::from_bytes(line).unwrap());
    }
    ResponseDirectives::of(&fields)
}

fn request(lines: &[&str]) -> RequestDirectives {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        fields.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    RequestDirectives::of(&fields)
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn directive_names_are_case_insensitive() {
    let said = response(&[b"No-Store, PRIVATE, Max-AGE=5"]);
    assert!(said.no_store && said.private.is_all());
    assert_eq!(said.max_age, seconds(5));
}

#[test]
fn a_byte_outside_ascii_hides_nothing() {
    assert!(response(&[b"no-store, x=\"\xc3\xa9\""]).no_store);
    assert!(response(&[b"\xff, no-store"]).no_store);
}

#[test]
fn text_inside_a_quoted_string_is_never_a_directive() {
    for line in [
        &b"x=\"no-store\""[..],
        b"\"no-store\"",
        b"x=\", no-store, \"",
        b"x=\"\\\", no-store\"",
        b"x=\"no-store",
        b"x=a\", no-store\"",
    ] {
        assert!(!response(&[line]).no_store, "{}", line.escape_ascii());
    }
    assert!(response(&[b"x=\"\\\\\", no-store"]).no_store);
}

#[test]
fn lifetimes_are_digits_or_zero() {
    for (value, expected) in [
        ("max-age=60", 60),
        ("max-age=0060", 60),
        ("max-age=\"60\"", 60),
        ("max-age=2147483648", MOST_SECONDS),
        ("max-age=99999999999", MOST_SECONDS),
        ("max-age=99999999999999999999999999", MOST_SECONDS),
        ("max-age='60'", 0),
        ("max-age=-60", 0),
        ("max-age=+60", 0),
        ("max-age=6.0", 0),
        ("max-age=60s", 0),
        ("max-age=6 0", 0),
        ("max-age = 60", 0),
        ("max-age= 60", 0),
        ("max-age =60", 0),
        ("max-age=", 0),
        ("max-age", 0),
        ("max-age=\"60\"0", 0),
        ("max-age=60, max-age=30", 30),
        ("max-age=30, max-age=60", 30),
        ("max-age=30, max-age=x", 0),
    ] {
        assert_eq!(
            response(&[value.as_bytes()]).max_age,
            seconds(expected),
            "{value}"
        );
    }
}

#[test]
fn several_lines_are_one_list() {
    let said = response(&[b"max-age=60", b"s-maxage=5, public"]);
    assert_eq!(
        (said.max_age, said.s_maxage, said.public),
        (seconds(60), seconds(5), true)
    );
}

#[test]
fn empty_members_are_skipped() {
    assert_eq!(response(&[b", ,max-age=1,, public,"]).max_age, seconds(1));
}

#[test]
fn private_and_no_cache_may_name_fields() {
    let names =
        |list: &[&str]| Scope::Fields(list.iter().map(|name| name.parse().unwrap()).collect());
    for (line, expected) in [
        ("private=\"set-cookie\"", names(&["set-cookie"])),
        ("private=\"A , b\"", names(&["a", "b"])),
        ("private=\"a\", private=\"b\"", names(&["a", "b"])),
        ("private=\"a\", private", Scope::All),
        ("private, private=\"a\"", Scope::All),
        ("private=\"\"", Scope::All),
        ("private=\"a b\"", Scope::All),
        ("private=a", Scope::All),
        ("private =\"a\"", Scope::All),
        ("public", Scope::None),
    ] {
        assert_eq!(response(&[line.as_bytes()]).private, expected, "{line}");
        let no_cache = line.replace("private", "no-cache");
        assert_eq!(
            response(&[no_cache.as_bytes()]).no_cache,
            expected,
            "{no_cache}"
        );
    }
}

#[test]
fn pragma_counts_only_without_cache_control() {
    assert!(request(&["pragma: no-cache"]).no_cache);
    assert!(request(&["pragma: x, No-Cache"]).no_cache);
    assert!(!request(&["pragma: no-cache", "cache-control: max-age=5"]).no_cache);
}

#[test]
fn max_stale_may_come_without_argument() {
    assert_eq!(
        request(&["cache-control: max-stale"]).max_stale,
        Some(Duration::MAX)
    );
    assert_eq!(
        request(&["cache-control: max-stale=5"]).max_stale,
        seconds(5)
    );
    assert_eq!(
        request(&["cache-control: max-stale=x"]).max_stale,
        seconds(0)
    );
    assert_eq!(request(&["cache-control: min-fresh=x"]).min_fresh, None);
}

#[test]
fn request_directives_are_read() {
    let asked = request(&["cache-control: no-store, only-if-cached, max-age=0, min-fresh=9"]);
    assert!(asked.no_store && asked.only_if_cached && !asked.no_cache);
    assert_eq!((asked.max_age, asked.min_fresh), (seconds(0), seconds(9)));
}

proptest! {
    #[test]
    fn anything_can_be_read(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        for directive in Directives::of(&line) {
            prop_assert!(!directive.name.contains(&b','));
        }
    }

    #[test]
    fn no_store_is_found_beside_any_token(before in "[a-z=0-9 ]{0,20}", after in "[a-z=0-9 \"]{0,20}") {
        let line = format!("{before}, no-store ,{after}");
        prop_assert!(response(&[line.as_bytes()]).no_store);
    }

    #[test]
    fn any_number_reads_back_capped(number in any::<u64>()) {
        prop_assert_eq!(
            delta_seconds(number.to_string().as_bytes()),
            Some(Duration::from_secs(number.min(MOST_SECONDS)))
        );
    }
}
