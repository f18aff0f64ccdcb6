use proptest::prelude::*;

use super::*;

fn tag(value: &str) -> EntityTag<'_> {
    EntityTag::parse(value.as_bytes()).expect(value)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).expect(text)
}

fn fields(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, text)| (name.clone(), value(text)))
        .collect()
}

/// All lines of a field, as they would be sent.
fn lines(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let text = |line: &HeaderValue| String::from_utf8_lossy(line.as_bytes()).into_owned();
    fields.get_all(name).iter().map(text).collect()
}

const OURS: &str = "W/\"~00112233445566778899aabbccddeeff\"";

#[test]
fn an_entity_tag_is_opaque_quoted_and_may_be_weak() {
    for (text, weak, opaque) in [
        (r#""xyzzy""#, false, "xyzzy"),
        (r#"W/"xyzzy""#, true, "xyzzy"),
        (r#""""#, false, ""),
        (r#""a, b\""#, false, r"a, b\"),
        ("\"gr\u{fc}n\"", false, "gr\u{fc}n"),
    ] {
        let tag = tag(text);
        assert_eq!(
            (tag.is_weak(), tag.opaque()),
            (weak, opaque.as_bytes()),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_an_entity_tag_is_none() {
    for text in [
        "",
        "\"",
        "abc",
        "\"abc",
        "abc\"",
        "\"a\"b\"",
        "w/\"abc\"",
        "W\"abc\"",
        "W/abc",
        "W/",
        "'a'",
        "\"a\" ",
        "W/ \"a\"",
    ] {
        assert_eq!(EntityTag::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn two_entity_tags_compare_as_the_table_of_section_8_8_3_2_says() {
    for (one, other, strong, weak) in [
        (r#"W/"1""#, r#"W/"1""#, false, true),
        (r#"W/"1""#, r#"W/"2""#, false, false),
        (r#"W/"1""#, r#""1""#, false, true),
        (r#""1""#, r#""1""#, true, true),
    ] {
        let (one, other) = (tag(one), tag(other));
        assert_eq!(one.is_strongly(other), strong);
        assert_eq!(other.is_strongly(one), strong);
        assert_eq!(one.is_weakly(other), weak);
        assert_eq!(other.is_weakly(one), weak);
    }
}

#[test]
fn the_marker_goes_on_strong_tags_only() {
    for (before, after) in [
        (r#""abc""#, Some(r#""abc~br""#)),
        (r#""""#, Some(r#""~br""#)),
        (r#"W/"abc""#, Some(r#"W/"abc""#)),
        ("abc", None),
        ("\"abc", None),
    ] {
        let coded = with_coding(&value(before), "br");
        assert_eq!(coded, after.map(value), "{before}");
    }
}

#[test]
fn the_marker_is_known_again_whoever_weakened_the_tag() {
    for (text, coding, opaque) in [
        (r#""abc~br""#, Some("br"), "abc"),
        (r#""abc~zstd""#, Some("zstd"), "abc"),
        (r#"W/"abc~gzip""#, Some("gzip"), "abc"),
        (r#""abc~br~gzip""#, Some("gzip"), "abc~br"),
        (r#""~br""#, Some("br"), ""),
        (r#""abcbr""#, None, "abcbr"),
        (r#""abc~BR""#, None, "abc~BR"),
        (r#""abc~deflate""#, None, "abc~deflate"),
    ] {
        let tag = tag(text);
        assert_eq!(tag.coding(), coding, "{text}");
        assert_eq!(tag.without_coding().opaque(), opaque.as_bytes(), "{text}");
    }
}

#[test]
fn made_by_us_is_what_we_would_have_made() {
    assert_eq!(
        made(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, false),
        value(OURS)
    );
    for (text, ours) in [
        (OURS, true),
        ("\"~00112233445566778899aabbccddeeff\"", true),
        ("\"~00112233445566778899aabbccddeeff~br\"", true),
        ("\"~00112233445566778899AABBCCDDEEFF\"", false),
        ("\"00112233445566778899aabbccddeeff\"", false),
        ("\"~abc\"", false),
        ("\"~\"", false),
        ("\"~br\"", false),
    ] {
        assert_eq!(tag(text).is_made(), ours, "{text}");
    }
}

#[test]
fn if_none_match_holds_back_what_the_client_has() {
    for (request, current, holds) in [
        (&[r#""abc""#][..], Some(r#""abc""#), true),
        (&[r#""abc""#], Some(r#"W/"abc""#), true),
        (&[r#"W/"abc""#], Some(r#""abc""#), true),
        (&[r#""x", W/"y", "abc""#], Some(r#""abc""#), true),
        (&[r#""x""#, r#""abc""#], Some(r#""abc""#), true),
        (&[r#""a,b""#], Some(r#""a,b""#), true),
        (&[r#""a,b""#], Some(r#""b""#), false),
        (&[r#""a\", "b""#], Some(r#""b""#), true),
        (&[r#""abc""#], Some(r#""abd""#), false),
        (&[r#""abc""#], None, false),
        (&["*"], Some(r#""abc""#), true),
        (&["*"], None, true),
        (&[r#""*""#], Some(r#""abc""#), false),
        (&[], Some(r#""abc""#), false),
        (&[""], Some(r#""abc""#), false),
        // Markers, on either side.
        (&[r#""abc~br""#], Some(r#""abc""#), true),
        (&[r#""abc""#], Some(r#""abc~br""#), true),
        (&[r#""abc~gzip""#], Some(r#""abc~br""#), true),
        (&[r#""abd~br""#], Some(r#""abc~br""#), false),
        (&[r#""abc~br""#], Some(r#""abc~br""#), true),
        // An app whose own tags end like that.
        (&[r#""abc~br""#], Some(r#""abc~br~gzip""#), true),
        (&[r#""abc~br~gzip""#], Some(r#""abc~br""#), true),
        // Sloppy clients and apps.
        (&["abc"], Some(r#""abc""#), true),
        (&["x, abc ,y"], Some(r#""abc""#), true),
        (&["abc"], Some("abc"), true),
        (&[r#"w/"abc""#], Some(r#""abc""#), true),
        (&[r#"W"abc""#], Some(r#""abc""#), false),
        (&[r#"W\"abc""#], Some(r#""abc""#), false),
        (&[r#""abc"#], Some(r#""abc""#), false),
        (&["\"gr\u{fc}n\""], Some("\"gr\u{fc}n\""), true),
        (&["\"gr\u{fc}n\""], Some("\"gr\u{fd}n\""), false),
    ] {
        let request: Vec<_> = request.iter().map(|line| (IF_NONE_MATCH, *line)).collect();
        let current = current.map(value);
        assert_eq!(
            none_match_holds_back(&fields(&request), current.as_ref()),
            holds,
            "{request:?} {current:?}"
        );
    }
}

#[test]
fn upstreams_see_if_none_match_without_markers_and_each_tag_once() {
    for (before, after) in [
        (&[r#""abc~br""#][..], &[r#""abc""#][..]),
        (&[r#""abc~br", "abc~gzip", "abc""#], &[r#""abc""#]),
        (&[r#""abc~br""#, r#"W/"x~zstd""#], &[r#""abc", W/"x""#]),
        (&[r#""a~br", *"#], &[r#""a", *"#]),
        (&[r#""a~br", w/"b" ,c,W\"d""#], &[r#""a", w/"b", c, W\"d""#]),
        (&["\"gr\u{fc}n~br\""], &["\"gr\u{fc}n\""]),
        // Nothing of ours: not a byte changes.
        (&[r#""a" ,  "a",w/"b",, c"#], &[r#""a" ,  "a",w/"b",, c"#]),
        (&[OURS, "x"], &[OURS, "x"]),
        (&["abc~br"], &["abc~br"]),
        (&[""], &[""]),
    ] {
        let before: Vec<_> = before.iter().map(|line| (IF_NONE_MATCH, *line)).collect();
        let mut request = fields(&before);
        strip_coding(&mut request);
        assert_eq!(lines(&request, &IF_NONE_MATCH), after, "{before:?}");
    }
}

#[test]
fn upstreams_never_see_a_tag_of_ours_in_if_match() {
    let coded = "\"~00112233445566778899aabbccddeeff~br\"";
    for (before, after) in [
        (r#""abc~br""#.to_owned(), Some(r#""abc""#)),
        (r#""abc""#.to_owned(), Some(r#""abc""#)),
        (r#"W/"abc""#.to_owned(), Some(r#"W/"abc""#)),
        (format!(r#"{OURS}, "abc~br", {coded}"#), Some(r#""abc""#)),
        (OURS.to_owned(), None),
        (coded.to_owned(), None),
        ("*".to_owned(), Some("*")),
        // An app's own, though it looks a little like ours: its protection must hold.
        (r#""~abc""#.to_owned(), Some(r#""~abc""#)),
    ] {
        let mut request = fields(&[(IF_MATCH, &before)]);
        strip_coding(&mut request);
        let seen = lines(&request, &IF_MATCH);
        assert_eq!(seen.first().map(String::as_str), after, "{before}");
    }
}

#[test]
fn a_marked_if_range_asks_for_the_whole() {
    for (condition, kept) in [
        (r#""abc""#, true),
        (r#"W/"abc""#, true),
        ("Sat, 29 Oct 1994 19:43:31 GMT", true),
        (r#""abc~br""#, false),
        (OURS, false),
    ] {
        let mut request = fields(&[(IF_RANGE, condition), (RANGE, "bytes=0-1")]);
        strip_coding(&mut request);
        assert_eq!(request.contains_key(IF_RANGE), kept, "{condition}");
        assert_eq!(request.contains_key(RANGE), kept, "{condition}");
    }
}

proptest! {
    #[test]
    fn coding_and_back_gives_the_tag_again(opaque in "[!#-~]{0,40}", coding in prop::sample::select(&CODINGS[..])) {
        let tag = value(&format!("\"{opaque}\""));
        let coded = with_coding(&tag, coding).expect("a tag");
        let coded = EntityTag::parse(coded.as_bytes()).expect("a tag");
        prop_assert_eq!(coded.coding(), Some(coding));
        prop_assert_eq!(coded.without_coding(), EntityTag::parse(tag.as_bytes()).expect("a tag"));
    }

    #[test]
    fn stripping_twice_or_any_bytes_does_no_harm(bytes in r#"[ ,"*Wa~br/\\]{0,60}"#) {
        let mut once = fields(&[(IF_NONE_MATCH, &bytes)]);
        strip_coding(&mut once);
        prop_assert!(once.len() <= 1);
    }

    #[test]
    fn a_list_of_tags_is_read_back(opaques in prop::collection::vec("[!#-~]{0,9}", 0..9)) {
        let list: Vec<_> = opaques.iter().map(|opaque| format!("\"{opaque}\"")).collect();
        let request = fields(&[(IF_NONE_MATCH, &list.join(", "))]);
        let read: Vec<_> = members(&request, &IF_NONE_MATCH).collect();
        let expected: Vec<_> = list.iter().map(|text| Member::Tag(tag(text))).collect();
        prop_assert_eq!(read, expected);
    }
}
