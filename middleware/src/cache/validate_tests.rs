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
