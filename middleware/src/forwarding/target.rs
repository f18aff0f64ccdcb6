//! What a request asks for, and where it ends: refused where two parsers could disagree
//! (RFC 9112 §3.2, §6), brought into one form otherwise.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::facts::Scheme;
use crate::fields::host::Authority;
use crate::fields::list;
use crate::{Error, ErrorKind, Request, Result};

/// Leaves `request` with a target in origin-form (or `*`) and exactly one `Host`.
///
/// # Errors
/// A client's, where the target or the host are missing, malformed, or contradict each other.
pub(super) fn normalise(request: &mut Request) -> Result<()> {
    check_path(request)?;
    let version = request.version();
    let mut lines = request.headers().get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(refused("more than one Host field"));
    }
    // HTTP/1.0 knows no Host, and an empty one says the same.
    let line = line.filter(|line| version > Version::HTTP_10 || !line.is_empty());
    let host = line
        .map(|line| {
            // An error is an allocation: it is made where there is one.
            Authority::parse(line.as_bytes()).ok_or_else(|| refused("the Host field is malformed"))
        })
        .transpose()?;
    if host.is_none() && version == Version::HTTP_11 {
        return Err(refused("the Host field is missing"));
    }
    if let Some(written) = request.uri().authority() {
        let scheme = scheme_of(request.uri())?;
        let target = Authority::parse(written.as_str().as_bytes())
            .ok_or_else(|| refused("the target's authority is malformed"))?;
        if host.is_some_and(|host| !host.is_same(&target, scheme.default_port())) {
            return Err(refused("the Host field and the target's authority differ"));
        }
        // RFC 9112 §3.2.2: a proxy replaces what `Host` said by what the target says.
        let known = line.is_some_and(|line| line.as_bytes() == written.as_str().as_bytes());
        if !known {
            let value = HeaderValue::from_str(written.as_str())
                .map_err(|_| refused("the target's authority is malformed"))?;
            request.headers_mut().insert(HOST, value);
        }
        *request.uri_mut() = origin_form(request.uri())?;
    } else if host.is_none() {
        if version != Version::HTTP_10 {
            return Err(refused("the target has no authority"));
        }
        // RFC 9112 §3.2: a `Host` with an empty value says that the authority is not known.
        let empty = HeaderValue::from_static("");
        request.headers_mut().insert(HOST, empty);
    }
    Ok(())
}

/// Refuses lengths that could be read in two ways (RFC 9112 §6.3). hyper has dealt with most: it
/// refuses differing lengths and drops a length beside chunks.
///
/// # Errors
/// A client's.
pub(super) fn check_framing(headers: &HeaderMap, version: Version) -> Result<()> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(refused("more than one Content-Length"));
    }
    let is_number = |value: &HeaderValue| {
        let digits = value.as_bytes();
        !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit)
    };
    if length.is_some_and(|length| !is_number(length)) {
        return Err(refused("the Content-Length is malformed"));
    }
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    if length.is_some() {
        return Err(refused("Content-Length beside Transfer-Encoding"));
    }
    if version != Version::HTTP_11 {
        return Err(refused("Transfer-Encoding before HTTP/1.1 or after it"));
    }
    // Another transfer coding would be relayed without being named, since the field is of this
    // connection only.
    let mut codings = list::members(headers, &TRANSFER_ENCODING);
    let chunked = codings
        .next()
        .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err(refused("only the transfer coding chunked is understood"));
    }
    Ok(())
}

/// A refusal after which the connection is closed.
pub(super) fn refused(detail: &'static str) -> Error {
    Error::client(ErrorKind::HttpRequestError).detail(detail)
}

fn check_path(request: &Request) -> Result<()> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("", PathAndQuery::as_str);
    // RFC 3986 §2: a URI is ASCII; the parser below us takes more.
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused(
            "the target has bytes that are not allowed in a URI",
        ));
    }
    match request.uri().path() {
        "*" if request.method() == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        _ => Err(refused("the target is neither a path nor a URI")),
    }
}

fn scheme_of(uri: &Uri) -> Result<Scheme> {
    match uri.scheme_str() {
        Some("http") => Ok(Scheme::Http),
        Some("https") => Ok(Scheme::Https),
        Some(_) => Err(refused("only http and https are forwarded")),
        // The authority-form belongs to CONNECT, which does not come this far.
        None => Err(refused("the target is neither a path nor a URI")),
    }
}

fn origin_form(uri: &Uri) -> Result<Uri> {
    let target = match uri.path_and_query() {
        None => PathAndQuery::from_static("/"),
        // `http://example.com?q` has an empty path, which is `/` (RFC 9110 §4.2.3).
        Some(target) if target.as_str().starts_with('?') => {
            PathAndQuery::try_from(format!("/{}", target.as_str()))
                .map_err(|_| refused("the target is neither a path nor a URI"))?
        }
        Some(target) => target.clone(),
    };
    Ok(Uri::from(target))
}

#[cfg(test)]
mod tests {
    use http::request::Builder;

    use super::*;
    use crate::Body;

    fn get(target: &str) -> Builder {
        http::Request::get(target)
    }

    fn normalised(builder: Builder) -> Result<(String, String)> {
        let mut request = builder.body(Body::empty()).unwrap();
        normalise(&mut request)?;
        let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
        assert_eq!(hosts.len(), 1, "exactly one Host");
        assert!(request.uri().authority().is_none() && request.uri().scheme().is_none());
        let host = hosts[0].to_str().unwrap().to_owned();
        Ok((request.uri().to_string(), host))
    }

    #[test]
    fn the_target_becomes_origin_form_with_one_host() {
        for (builder, target, host) in [
            (get("/a?b").header(HOST, "h"), "/a?b", "h"),
            (get("http://h/a").header(HOST, "h"), "/a", "h"),
            (get("http://h:80/a").header(HOST, "H"), "/a", "h:80"),
            (get("https://h/a").header(HOST, "h:443"), "/a", "h"),
            (get("http://h").header(HOST, "h"), "/", "h"),
            (get("http://h?q").header(HOST, "h"), "/?q", "h"),
            (get("http://h/a#f").header(HOST, "h"), "/a", "h"),
            (get("/%7Euser/../x").header(HOST, "h"), "/%7Euser/../x", "h"),
            (
                get("https://h:8443/a").version(Version::HTTP_2),
                "/a",
                "h:8443",
            ),
            (
                get("https://h/").version(Version::HTTP_2).header(HOST, "h"),
                "/",
                "h",
            ),
            (get("/a").version(Version::HTTP_10), "/a", ""),
            (
                get("/a").version(Version::HTTP_10).header(HOST, ""),
                "/a",
                "",
            ),
            (get("http://h/a").version(Version::HTTP_10), "/a", "h"),
            (get("*").method("OPTIONS").header(HOST, "h"), "*", "h"),
        ] {
            let expected = (target.to_owned(), host.to_owned());
            assert_eq!(normalised(builder).unwrap(), expected);
        }
    }

    #[test]
    fn requests_that_parsers_could_disagree_about_are_refused() {
        for (builder, why) in [
            (get("/"), "the Host field is missing"),
            (get("http://h/"), "the Host field is missing"),
            (get("/").header(HOST, ""), "the Host field is malformed"),
            (
                get("/").header(HOST, "a").header(HOST, "a"),
                "more than one Host field",
            ),
            (get("/").header(HOST, "a, b"), "the Host field is malformed"),
            (get("/").header(HOST, "u@a"), "the Host field is malformed"),
            (
                get("http://a/").header(HOST, "b"),
                "the Host field and the target's authority differ",
            ),
            (
                get("http://a:8080/").header(HOST, "a"),
                "the Host field and the target's authority differ",
            ),
            (
                get("https://a/").header(HOST, "a:80"),
                "the Host field and the target's authority differ",
            ),
            (
                get("https://a/").version(Version::HTTP_2).header(HOST, "b"),
                "the Host field and the target's authority differ",
            ),
            (
                get("http://u:p@a/").header(HOST, "a"),
                "the target's authority is malformed",
            ),
            (
                get("/").version(Version::HTTP_2),
                "the target has no authority",
            ),
            (
                get("ftp://a/").header(HOST, "a"),
                "only http and https are forwarded",
            ),
            (
                get("a:80").header(HOST, "a:80"),
                "the target is neither a path nor a URI",
            ),
            (
                get("*").header(HOST, "a"),
                "the target is neither a path nor a URI",
            ),
            (
                get("/caf\u{e9}").header(HOST, "a"),
                "the target has bytes that are not allowed in a URI",
            ),
        ] {
            let error = normalised(builder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HttpRequestError);
            assert_eq!(error.public_detail(), Some(why));
        }
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_refused() {
        let cl = CONTENT_LENGTH;
        let te = TRANSFER_ENCODING;
        for (fields, version, good) in [
            (vec![(&cl, "5")], Version::HTTP_11, true),
            (vec![(&cl, "5"), (&cl, "5")], Version::HTTP_11, false),
            (vec![(&cl, "5, 5")], Version::HTTP_11, false),
            (vec![(&cl, "+5")], Version::HTTP_11, false),
            (vec![(&cl, "")], Version::HTTP_11, false),
            (vec![(&cl, "99999999999999999999")], Version::HTTP_11, false),
            (vec![(&te, "chunked")], Version::HTTP_11, true),
            (vec![(&te, "Chunked")], Version::HTTP_11, true),
            (vec![(&te, "gzip, chunked")], Version::HTTP_11, false),
            (
                vec![(&te, "chunked"), (&te, "chunked")],
                Version::HTTP_11,
                false,
            ),
            (vec![(&te, "identity")], Version::HTTP_11, false),
            (vec![(&te, "")], Version::HTTP_11, false),
            (vec![(&te, "chunked"), (&cl, "5")], Version::HTTP_11, false),
            (vec![(&te, "chunked")], Version::HTTP_10, false),
            (vec![(&te, "chunked")], Version::HTTP_2, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(check_framing(&headers, version).is_ok(), good, "{fields:?}");
        }
    }
}
