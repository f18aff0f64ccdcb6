//! The request as the upstream gets it: target, `Host`, framing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body::Body as _;
use middleware::clock::Clock;
use middleware::facts::InterimSink;
use middleware::forwarding::Interims;
use middleware::{Error, ErrorKind, Result};

use super::endpoint::Endpoint;
use super::upload::{Outgoing, Watch};

/// Gives `request` the content and the framing that it is sent with.
///
/// # Errors
/// When its content is not what it declares.
pub(super) fn frame(
    request: middleware::Request,
    clock: &Clock,
) -> Result<(Request<Outgoing>, Option<Watch>)> {
    let (mut head, body) = request.into_parts();
    let (mut body, watch) = Outgoing::new(body, clock);
    let has = Has::of(&head.headers);
    if body.is_end_stream() {
        frame_nothing(&head.method, has.length, &mut head.headers)?;
    } else {
        frame_something(&head.method, &mut head.headers, body.size_hint().exact())?;
    }
    if has.expect && watch.is_none() {
        // The content is here, so nothing is to be waited for.
        head.headers.remove(EXPECT);
    } else if has.expect && expects_continue(&head.headers) {
        body.await_continue();
    }
    if has.cookie {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    Ok((Request::from_parts(head, body), watch))
}

/// Which fields a request has of those that matter here. One look at all names costs less than asking
/// the map for each of these.
#[derive(Default)]
struct Has {
    length: bool,
    expect: bool,
    cookie: bool,
}

impl Has {
    fn of(headers: &HeaderMap) -> Self {
        let mut has = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "content-length" => has.length = true,
                "expect" => has.expect = true,
                "cookie" => has.cookie = true,
                _ => {}
            }
        }
        has
    }
}

/// Listens for interim responses, where any mean something: a `100` lets awaited content go, others
/// are passed on to `client` (HTTP/1.1 alone; nobody hears of them on HTTP/2).
pub(super) fn listen(
    request: &mut Request<Outgoing>,
    ear: &mut Option<Ear>,
    interims: Option<&Interims>,
    client: Option<&InterimSink>,
) {
    let go_on = request.body().continuation();
    if go_on.is_none() && (interims.is_none() || client.is_none()) {
        return;
    }
    let ear = ear.get_or_insert_with(|| Ear::new(interims.cloned()));
    *ear.client() = client.cloned();
    let Some(go_on) = go_on else {
        *request.extensions_mut() = ear.listening.clone();
        return;
    };
    let hears = ear.hears.clone();
    hyper::ext::on_informational(request, move |interim| {
        if interim.status() == StatusCode::CONTINUE {
            go_on();
        } else {
            hears(interim.status(), interim.headers());
        }
    });
}

/// Hears interim responses on one connection, for whichever request is on its way there. What listens
/// travels in a request's extensions, and to make it anew for each takes twice as long as to copy it.
pub(super) struct Ear {
    /// Whom they are passed on to; `None` while nothing is under way.
    client: Arc<Mutex<Option<InterimSink>>>,
    hears: Hears,
    listening: Extensions,
}

type Hears = Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

impl Ear {
    fn new(interims: Option<Interims>) -> Self {
        let client = Arc::<Mutex<Option<InterimSink>>>::default();
        let told = client.clone();
        let hears: Hears = Arc::new(move |status, fields| {
            let client = lock(&told).clone();
            if let Some((interims, client)) = interims.as_ref().zip(client)
                && let Some(head) = interims.head(status, fields)
            {
                client.send(&head);
            }
        });
        let mut request = Request::new(());
        let hears_all = hears.clone();
        hyper::ext::on_informational(&mut request, move |interim| {
            hears_all(interim.status(), interim.headers());
        });
        Self {
            client,
            hears,
            listening: std::mem::take(request.extensions_mut()),
        }
    }

    fn client(&self) -> MutexGuard<'_, Option<InterimSink>> {
        lock(&self.client)
    }

    /// The answer is here: what comes now is for nobody.
    pub(super) fn stop(&self) {
        *self.client() = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins the lines that an HTTP/2 client may split its cookies into: "these MUST be concatenated …
/// before being passed into a non-HTTP/2 context" (RFC 9113 §8.2.3), where some servers read one alone.
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    let lines = [first, second].into_iter().chain(lines);
    let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&lines.join(&b"; "[..]));
    headers.insert(COOKIE, joined.expect("parts of field values make one"));
}

/// A length without content would make the upstream take the next request for it.
fn frame_nothing(method: &Method, has_length: bool, headers: &mut HeaderMap) -> Result<()> {
    if !has_length {
        // RFC 9110 §8.6: a method that gives content a meaning says that there is none.
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        return Ok(());
    }
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    if length.is_none_or(|digits| digits.iter().all(|digit| *digit == b'0')) {
        return Ok(());
    }
    Err(Error::client(ErrorKind::HttpRequestError)
        .detail("the request declares content that it does not have"))
}

/// Content is framed by the length that was declared for it, or else, in chunks.
fn frame_something(method: &Method, headers: &mut HeaderMap, known: Option<u64>) -> Result<()> {
    headers.remove(TRANSFER_ENCODING);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        if known.is_none() && matches!(*method, Method::GET | Method::HEAD) {
            // Else hyper sends these methods without the content.
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(TRANSFER_ENCODING, chunked);
        }
        return Ok(());
    };
    let digits = length
        .to_str()
        .ok()
        .filter(|length| !length.starts_with('+'));
    let declared: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    let agreed = declared.is_some_and(|declared| known.is_none_or(|known| known == declared));
    if agreed && lengths.next().is_none() {
        Ok(())
    } else {
        Err(Error::client(ErrorKind::HttpRequestError)
            .detail("the request's content is not of the length that it declares"))
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Takes `prefix` off the path, where it ends at a segment's boundary. Escapes of unreserved
/// characters are the same as these (RFC 3986 §6.2.2.2); what follows keeps its bytes.
pub(super) fn strip_prefix(uri: &mut Uri, prefix: &str) -> Result<()> {
    let Some(rest) = after_prefix(uri.path(), prefix) else {
        return Ok(());
    };
    let mut target = String::with_capacity(uri.path().len());
    if !rest.starts_with('/') {
        target.push('/');
    }
    target.push_str(rest);
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let target = PathAndQuery::try_from(target).map_err(|_| unusable())?;
    *uri = Uri::from(target);
    Ok(())
}

fn after_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = path;
    for wanted in prefix.trim_end_matches('/').bytes() {
        let (found, after) = first_byte(rest)?;
        if found != wanted {
            return None;
        }
        rest = after;
    }
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The first byte of a path, an escape of an unreserved character decoded, and what follows.
fn first_byte(path: &str) -> Option<(u8, &str)> {
    let first = *path.as_bytes().first()?;
    if first == b'%'
        && let Some((escape, after)) = path.split_at_checked(3)
        && let Some(digits) = escape.get(1..)
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && let Ok(byte) = u8::from_str_radix(digits, 16)
        && (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    {
        return Some((byte, after));
    }
    Some((first, path.get(1..)?))
}

/// Gives the target the form that HTTP/1.1 sends to an origin (RFC 9112 §3.2.1).
pub(super) fn for_http1(request: &mut Request<Outgoing>) -> Result<()> {
    let Some(authority) = request.uri().authority() else {
        return Ok(());
    };
    // Only after an attempt by HTTP/2.
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| unusable())?;
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    request.headers_mut().insert(HOST, host);
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}

/// Puts what HTTP/2 wants into pseudo-header fields (RFC 9113 §8.3.1).
pub(super) fn for_http2(request: &mut Request<Outgoing>, endpoint: &Endpoint) -> Result<()> {
    if request.uri().authority().is_some() {
        return Ok(());
    }
    let authority = match request.headers_mut().remove(HOST) {
        Some(host) if !host.is_empty() => {
            Authority::try_from(host.as_bytes()).map_err(|_| unusable())?
        }
        _ => endpoint.authority.clone(),
    };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(match endpoint.connector.is_tls() {
        true => Scheme::HTTPS,
        false => Scheme::HTTP,
    });
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| unusable())?;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for field in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        headers.remove(field);
    }
    // We relay trailers, and gRPC servers insist on hearing so.
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // No word of `100 Continue` is heard on HTTP/2, so it is not awaited.
    request.body().go_on();
    Ok(())
}

fn unusable() -> Error {
    Error::client(ErrorKind::HttpRequestError).detail("the request's target cannot be forwarded")
}

#[cfg(test)]
mod tests {
    use middleware::Body;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_is_taken_off_at_a_segments_boundary_only() {
        for (target, prefix, expected) in [
            ("/api/users?q=1", "/api", "/users?q=1"),
            ("/api/users", "/api/", "/users"),
            ("/api", "/api", "/"),
            ("/api?q", "/api", "/?q"),
            ("/api/", "/api", "/"),
            ("/apiary", "/api", "/apiary"),
            ("/other/api", "/api", "/other/api"),
            ("/%61pi/%2e%2E/x", "/api", "/%2e%2E/x"),
            ("/api%2Fx", "/api", "/api%2Fx"),
            ("/api//x", "/api", "//x"),
            ("/a%", "/api", "/a%"),
            ("/x", "/", "/x"),
            ("*", "/api", "*"),
        ] {
            let mut uri: Uri = target.parse().unwrap();
            strip_prefix(&mut uri, prefix).unwrap();
            assert_eq!(uri.to_string(), expected, "{target} without {prefix}");
        }
    }

    proptest! {
        #[test]
        fn what_follows_a_prefix_keeps_its_bytes(rest in "(/[a-zA-Z0-9%._~!$&'()*+,;=:@-]{0,8}){1,4}") {
            let mut uri: Uri = format!("/api{rest}").parse().unwrap();
            strip_prefix(&mut uri, "/api").unwrap();
            prop_assert_eq!(uri.to_string(), rest);
        }
    }

    #[test]
    fn content_is_framed_by_its_one_declared_length_or_refused() {
        for (lengths, known, expected) in [
            (&[][..], None, true),
            (&["5"], Some(5), true),
            (&["5"], None, true),
            (&["5"], Some(6), false),
            (&["5", "5"], Some(5), false),
            (&["5, 5"], Some(5), false),
            (&["+5"], None, false),
            (&["0x5"], None, false),
            (&["-5"], None, false),
            (&["99999999999999999999"], None, false),
        ] {
            let mut headers = HeaderMap::new();
            for length in lengths {
                headers.append(CONTENT_LENGTH, length.parse().unwrap());
            }
            let framed = frame_something(&Method::POST, &mut headers, known);
            assert_eq!(framed.is_ok(), expected, "{lengths:?} {known:?}");
        }
    }

    #[test]
    fn declared_content_that_is_not_there_is_refused() {
        for (method, length, expected) in [
            ("GET", None, Some(None)),
            ("POST", None, Some(Some("0"))),
            ("POST", Some("0"), Some(Some("0"))),
            ("POST", Some("5"), None),
            ("GET", Some("5"), None),
        ] {
            let mut request = middleware::Request::new(Body::empty());
            *request.method_mut() = method.parse().unwrap();
            if let Some(length) = length {
                request
                    .headers_mut()
                    .insert(CONTENT_LENGTH, length.parse().unwrap());
            }
            let framed = frame(request, &Clock::system());
            let sent = framed.ok().map(|(request, _)| {
                let length = request.headers().get(CONTENT_LENGTH);
                length.map(|length| length.to_str().unwrap().to_owned())
            });
            assert_eq!(
                sent.as_ref().map(Option::as_deref),
                expected,
                "{method} {length:?}"
            );
        }
    }
}
