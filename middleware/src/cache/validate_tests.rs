use super::*;

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(*name, HeaderValue::from_static(value));
    }
    fields
}

#[test]
fn fields_of_a_304_replace_stored_ones_and_those_it_omits_stay() {
    let stored = fields(&[
        ("cache-control", "max-age=1"),
        ("x-kept", "1"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("content-type", "text/plain"),
        ("content-length", "9"),
        ("age", "0"),
        ("cache-status", "pillion"),
        ("date", "Thu, 01 Jan 2015 00:00:00 GMT"),
    ]);
    let not_modified = fields(&[
        ("cache-control", "max-age=2"),
        ("x-twice", "3"),
        ("etag", "\"b\""),
        ("expires", "0"),
        ("content-location", "/b"),
        ("content-security-policy", "default-src 'none'"),
        ("content-type", "text/html"),
        ("content-length", "0"),
        ("content-encoding", "br"),
        ("content-range", "bytes */9"),
    ]);
    let expected = fields(&[
        ("cache-control", "max-age=2"),
        ("x-kept", "1"),
        ("x-twice", "3"),
        ("content-type", "text/plain"),
        ("content-length", "9"),
        ("etag", "\"b\""),
        ("expires", "0"),
        ("content-location", "/b"),
        ("content-security-policy", "default-src 'none'"),
    ]);
    assert_eq!(merged(&stored, &not_modified), expected);
}

#[test]
fn a_304_that_names_other_content_is_not_about_what_is_stored() {
    for (kept, named, expected) in [
        (Some("\"a\""), Some("\"a\""), true),
        (Some("\"a\""), Some("W/\"a\""), true),
        (Some("W/\"a\""), Some("\"a\""), true),
        (Some("\"a\""), Some("\"b\""), false),
        (Some("W/\"a\""), Some("W/\"b\""), false),
        (Some("\"a\""), None, true),
        (None, Some("\"b\""), true),
        (Some("unquoted"), Some("\"b\""), true),
    ] {
        let of = |tag: Option<&'static str>| {
            let lines: Vec<_> = tag.into_iter().map(|tag| ("etag", tag)).collect();
            fields(&lines)
        };
        assert_eq!(
            is_about(&of(kept), &of(named)),
            expected,
            "{kept:?} {named:?}"
        );
    }
}

#[test]
fn a_304_may_weaken_a_tag_and_never_strengthens_it() {
    for (kept, named, expected) in [
        ("\"a\"", "W/\"a\"", "W/\"a\""),
        ("W/\"a\"", "\"a\"", "W/\"a\""),
        ("\"a\"", "\"a\"", "\"a\""),
    ] {
        let merged = merged(&fields(&[("etag", kept)]), &fields(&[("etag", named)]));
        assert_eq!(merged["etag"], expected, "{kept} {named}");
    }
}

#[test]
fn stored_validators_go_verbatim() {
    for tag in ["\"a\"", "W/\"a\"", "unquoted", "w/\"a\"", "W\\\"a\""] {
        let stored = stored(&[("etag", tag)]);
        let mut request = fields(&[("if-none-match", "\"mine\""), ("if-modified-since", "x")]);
        assert!(ask_about(&mut request, &stored));
        assert_eq!(request, fields(&[("if-none-match", tag)]));
    }
    let mut request = fields(&[("if-none-match", "\"mine\"")]);
    assert!(!ask_about(&mut request, &stored(&[])));
    assert!(
        request.is_empty(),
        "what is stored is to be replaced by a whole response"
    );
}

fn stored(lines: &[(&'static str, &'static str)]) -> StoredResponse {
    let now = crate::clock::Clock::system().now();
    StoredResponse::fixed(
        http::StatusCode::OK,
        fields(lines),
        bytes::Bytes::new(),
        now,
    )
}
