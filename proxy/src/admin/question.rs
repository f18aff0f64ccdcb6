//! The request that somebody asks about, made from words.

use std::net::{Ipv4Addr, SocketAddr};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use middleware::clock::Now;
use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
use middleware::{Body, Request};

use super::query;

/// A target URI as a client would ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    pub(crate) path: PathAndQuery,
}

impl Target {
    /// Reads an absolute URL, one without its scheme, or only a path, which is then asked for at
    /// `authority`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn parse(url: &str, authority: &Authority) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| {
            format!("\"{url}\" is no URL ({why}). Write one like http://localhost:8080/page.")
        };
        let written = match url.split_once("://") {
            _ if url.starts_with('/') => format!("http://{authority}{url}"),
            Some(_) => url.to_owned(),
            None => format!("http://{url}"),
        };
        let uri: Uri = written.parse().map_err(|error| wrong(&error))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            other => return Err(wrong(&format!("scheme {}", other.unwrap_or("missing")))),
        };
        let authority = uri.authority().ok_or_else(|| wrong(&"without a host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong(&"with credentials"));
        }
        // Read again as it prints: without the `/` that stands for an empty path, it is not equal to
        // what a client asks for.
        let path = uri.path_and_query().map(ToString::to_string);
        let path = path.as_deref().unwrap_or("/");
        Ok(Self {
            scheme,
            authority: authority.clone(),
            path: path.parse().map_err(|error| wrong(&error))?,
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.scheme.as_str();
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// The request of `?method=&url=&header=`, as it would stand before the router, and its target.
///
/// # Errors
/// What is wrong with the question, for people.
pub(super) fn request(
    asked: Option<&str>,
    authority: &Authority,
    now: Now,
) -> Result<(Request, Target), String> {
    let url = query::value(asked, "url").ok_or("Name the URL to explain: ?url=/page.")?;
    let mut target = Target::parse(&url, authority)?;
    let method = query::value(asked, "method").unwrap_or_else(|| "GET".to_owned());
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(method.as_bytes())
        .map_err(|_| format!("\"{method}\" is no method. Write one like GET."))?;
    *request.uri_mut() = Uri::from(target.path.clone());
    for (_, field) in query::pairs(asked).filter(|(name, _)| name == "header") {
        let (name, value) = read_field(&field)?;
        if name == HOST {
            target.authority = Authority::try_from(value.as_bytes())
                .map_err(|_| format!("\"{field}\" names no host."))?;
        } else {
            let kept = request.headers_mut().try_append(name, value);
            kept.map_err(|_| "There are too many fields.")?;
        }
    }
    if announces_content(request.headers()) {
        *request.body_mut() = Body::from("x");
    }
    let host = HeaderValue::from_str(target.authority.as_str());
    let host = host.map_err(|_| format!("\"{}\" is no host.", target.authority))?;
    request.headers_mut().insert(HOST, host);
    let peer = Peer::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let facts = RequestFacts::new(now, RequestId::Made([0, 0]), peer, target.scheme);
    request.extensions_mut().insert(facts);
    Ok((request, target))
}

/// Whether a request with these fields has content (RFC 9112 §6).
fn announces_content(fields: &HeaderMap) -> bool {
    let length = fields.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    fields.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

fn read_field(field: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = field.split_once(':').and_then(|(name, value)| {
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value.trim()).ok()?))
    });
    parsed.ok_or_else(|| format!("\"{field}\" is no field. Write one like Accept-Encoding: br."))
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use middleware::clock::Clock;
    use proptest::prelude::proptest;

    use super::{Target, request};

    const US: Authority = Authority::from_static("127.0.0.1:8080");

    #[test]
    fn targets() {
        for (url, expected) in [
            ("/page?a=b", Ok("http://127.0.0.1:8080/page?a=b")),
            (
                "http://localhost:8080/page",
                Ok("http://localhost:8080/page"),
            ),
            ("https://example.com", Ok("https://example.com/")),
            ("localhost:8080/page", Ok("http://localhost:8080/page")),
            ("http://localhost?a", Ok("http://localhost/?a")),
            ("localhost#part", Ok("http://localhost/")),
            ("//x", Ok("http://127.0.0.1:8080//x")),
            ("http://localhost/page#part", Ok("http://localhost/page")),
            ("ftp://example.com/", Err(())),
            ("http://me:secret@example.com/", Err(())),
            ("", Err(())),
            ("http://", Err(())),
            ("/pa ge", Err(())),
        ] {
            let found = Target::parse(url, &US).map(|target| target.to_string());
            assert_eq!(found.as_deref().map_err(|_| ()), expected, "{url}");
        }
    }

    #[test]
    fn an_empty_path_is_a_slash() {
        for (url, path) in [
            ("http://a?b", "/?b"),
            ("http://a#b", "/"),
            ("http://a", "/"),
        ] {
            assert_eq!(
                Target::parse(url, &US).unwrap().path.as_str(),
                path,
                "{url}"
            );
        }
    }

    #[test]
    fn a_question_makes_a_request() {
        let asked = "method=HEAD&url=/a%3Fb&header=Accept-Encoding:%20br&header=X:1&header=x:2";
        let (made, _) = request(Some(asked), &US, Clock::system().now()).unwrap();
        assert_eq!(made.method(), "HEAD");
        assert_eq!(made.uri(), "/a?b");
        assert_eq!(made.headers()["host"], "127.0.0.1:8080");
        assert_eq!(made.headers()["accept-encoding"], "br");
        assert_eq!(made.headers().get_all("x").iter().count(), 2);
    }

    #[test]
    fn a_named_host_is_the_host() {
        let asked = "url=/&header=Host:%20example.com";
        let (made, target) = request(Some(asked), &US, Clock::system().now()).unwrap();
        assert_eq!(made.headers().get_all("host").iter().count(), 1);
        assert_eq!(made.headers()["host"], "example.com");
        assert_eq!(target.to_string(), "http://example.com/");
    }

    #[test]
    fn questions_that_are_none() {
        for asked in [
            "",
            "method=GET",
            "url=/&method=A%20B",
            "url=/&header=nocolon",
            "url=/&header=%0a:x",
        ] {
            assert!(
                request(Some(asked), &US, Clock::system().now()).is_err(),
                "{asked}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_question_is_answered(asked in "\\PC*") {
            drop(request(Some(&asked), &US, Clock::system().now()));
        }

        #[test]
        fn a_target_is_what_it_prints(url in "\\PC*|/[a-z/?=&%]*|http://[a-z:0-9.]*/[a-z?]*") {
            if let Ok(target) = Target::parse(&url, &US) {
                proptest::prop_assert_eq!(Target::parse(&target.to_string(), &US), Ok(target));
            }
        }
    }
}
