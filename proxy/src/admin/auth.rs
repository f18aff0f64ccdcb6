//! Who may use the admin listener.
//!
//! Its address keeps strangers out only as far as no browser runs on the same machine: a page of any
//! site can send requests to `localhost`, and with a name of its own that suddenly resolves to
//! 127.0.0.1 (DNS rebinding) it can read the answers too. Hence three rules: a request names us by
//! an address or by `localhost`, it does not come from another site's page, and where a token is
//! set, it carries it.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Rules {
    /// Where it is set, it must be shown, and who shows it is no browser that was led here.
    pub(super) token: Option<Token>,
    /// Browsers cannot connect to a Unix socket; there, permission bits say who may.
    pub(super) socket: Socket,
}

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    /// From anywhere that the address can be reached from.
    Tcp,
    /// From processes that may open the file.
    Unix,
}

/// How much of the rules a resource needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Probes carry no token; what they learn is up or down.
    Probe,
    /// Everything else.
    Operator,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No `Host`, or several.
    NoHost,
    /// A `Host` that is a name other than `localhost`.
    ForeignHost,
    /// A browser sent it on behalf of another site's page.
    CrossSite,
    /// The token is missing or wrong.
    Token,
}

impl Rules {
    /// Whether a request may go on to a resource that needs `access`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn judge(&self, request: &Parts, access: Access) -> Result<(), Refusal> {
        let shown = self.token.as_ref().map(|token| token.is_shown(request));
        if access == Access::Operator && shown == Some(false) {
            return Err(Refusal::Token);
        }
        if self.socket == Socket::Tcp && shown != Some(true) {
            is_for_us(request)?;
        }
        is_not_led_here(request)
    }
}

impl Refusal {
    /// The status that says so.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::ForeignHost | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "The request must carry exactly one Host field.",
            Self::ForeignHost => {
                "The admin listener answers to IP addresses and to localhost only. \
                 Ask by address, or show the admin token."
            }
            Self::CrossSite => "Requests on behalf of other sites' pages are refused.",
            Self::Token => {
                "Show the admin token: Authorization: Bearer and the content of admin.token_file."
            }
        })
    }
}

/// A rebound name is a name: addresses, and the one name that resolvers may not ask about
/// (RFC 6761 §6.3), cannot be made to point here by others.
fn is_for_us(request: &Parts) -> Result<(), Refusal> {
    let host = only(&request.headers, &HOST).ok_or(Refusal::NoHost)?;
    let name = without_port(host);
    let address = name.strip_prefix('[').and_then(|v6| v6.strip_suffix(']'));
    let is_address = address.unwrap_or(name).parse::<IpAddr>().is_ok();
    let lower = name.to_ascii_lowercase();
    if is_address || lower == "localhost" || lower.ends_with(".localhost") {
        Ok(())
    } else {
        Err(Refusal::ForeignHost)
    }
}

/// Browsers say where a request comes from (Fetch Metadata; `Origin` in older ones); other clients
/// say nothing. `same-site` is not enough: every port of `localhost` is the same site.
fn is_not_led_here(request: &Parts) -> Result<(), Refusal> {
    let headers = &request.headers;
    let foreign_origin = headers.contains_key(&ORIGIN) && !is_own_origin(headers);
    let site = headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let foreign_site = !matches!(site, None | Some(b"same-origin" | b"none"));
    let mode = headers.get(&SEC_FETCH_MODE).map(HeaderValue::as_bytes);
    // Somebody followed a link to us: it changes nothing, and the other page cannot read it.
    let followed_link = request.method == Method::GET && mode == Some(b"navigate");
    if foreign_origin || (foreign_site && !followed_link) {
        return Err(Refusal::CrossSite);
    }
    Ok(())
}

fn is_own_origin(headers: &HeaderMap) -> bool {
    let (Some(origin), Some(host)) = (only(headers, &ORIGIN), only(headers, &HOST)) else {
        return false;
    };
    origin
        .split_once("://")
        .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

/// The value of a field that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// What operators show. Never printed.
pub(super) struct Token(Vec<u8>);

impl Token {
    /// Reads it from a file, surrounding white space aside.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold one line of printable ASCII.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let content = std::fs::read(path)?;
        let token = content.trim_ascii();
        let is_printable = |byte: &u8| *byte == b' ' || byte.is_ascii_graphic();
        if token.is_empty() || !token.iter().all(is_printable) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it must hold one line of printable ASCII characters",
            ));
        }
        Ok(Self(token.to_vec()))
    }

    fn is_shown(&self, request: &Parts) -> bool {
        only(&request.headers, &AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .is_some_and(|(_, shown)| same(shown.trim().as_bytes(), &self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Equality whose time does not tell how many bytes were right.
fn same(shown: &[u8], token: &[u8]) -> bool {
    let difference = shown
        .iter()
        .zip(token)
        .fold(0, |seen, (left, right)| black_box(seen | (left ^ right)));
    shown.len() == token.len() && difference == 0
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

#[cfg(test)]
mod tests {
    use super::{Access, Refusal, Rules, Socket, Token, same};

    fn parts(method: &str, fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::builder().method(method).uri("/purge");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn judge(token: Option<&str>, method: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let rules = Rules {
            token: token.map(|token| Token(token.as_bytes().to_vec())),
            socket: Socket::Tcp,
        };
        rules.judge(&parts(method, fields), Access::Operator)
    }

    #[test]
    fn only_addresses_and_localhost_name_us() {
        for (host, expected) in [
            ("127.0.0.1:9900", Ok(())),
            ("127.0.0.1", Ok(())),
            ("[::1]:9900", Ok(())),
            ("[::1]", Ok(())),
            ("localhost:9900", Ok(())),
            ("LocalHost", Ok(())),
            ("admin.localhost:9900", Ok(())),
            ("10.1.2.3:9900", Ok(())),
            ("rebound.example:9900", Err(Refusal::ForeignHost)),
            ("localhost.example", Err(Refusal::ForeignHost)),
            ("127.0.0.1.example:9900", Err(Refusal::ForeignHost)),
            ("notlocalhost", Err(Refusal::ForeignHost)),
            ("", Err(Refusal::ForeignHost)),
            ("[::1", Err(Refusal::ForeignHost)),
        ] {
            assert_eq!(judge(None, "GET", &[("host", host)]), expected, "{host}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        assert_eq!(judge(None, "GET", &[]), Err(Refusal::NoHost));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(judge(None, "GET", &two), Err(Refusal::NoHost));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        const HOST: (&str, &str) = ("host", "localhost:9900");
        for (method, field, expected) in [
            ("POST", ("origin", "http://localhost:9900"), Ok(())),
            (
                "POST",
                ("origin", "http://localhost:3000"),
                Err(Refusal::CrossSite),
            ),
            (
                "POST",
                ("origin", "https://site.example"),
                Err(Refusal::CrossSite),
            ),
            ("POST", ("origin", "null"), Err(Refusal::CrossSite)),
            (
                "GET",
                ("origin", "https://site.example"),
                Err(Refusal::CrossSite),
            ),
            ("POST", ("sec-fetch-site", "same-origin"), Ok(())),
            ("GET", ("sec-fetch-site", "none"), Ok(())),
            (
                "POST",
                ("sec-fetch-site", "same-site"),
                Err(Refusal::CrossSite),
            ),
            (
                "POST",
                ("sec-fetch-site", "cross-site"),
                Err(Refusal::CrossSite),
            ),
            (
                "GET",
                ("sec-fetch-site", "cross-site"),
                Err(Refusal::CrossSite),
            ),
        ] {
            let judged = judge(None, method, &[HOST, field]);
            assert_eq!(judged, expected, "{method} {field:?}");
        }
    }

    #[test]
    fn links_to_us_may_be_followed_but_forms_may_not_be_sent() {
        let fields = [
            ("host", "localhost:9900"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(judge(None, "GET", &fields), Ok(()));
        assert_eq!(judge(None, "POST", &fields), Err(Refusal::CrossSite));
    }

    #[test]
    fn the_token_is_shown_where_it_is_set() {
        const HOST: (&str, &str) = ("host", "localhost");
        let shown = |value| judge(Some("s3cret"), "GET", &[HOST, ("authorization", value)]);
        assert_eq!(shown("Bearer s3cret"), Ok(()));
        assert_eq!(shown("bearer s3cret"), Ok(()));
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
            "s3cret",
            "Bearer ",
        ] {
            assert_eq!(shown(wrong), Err(Refusal::Token), "{wrong}");
        }
        assert_eq!(judge(Some("s3cret"), "GET", &[HOST]), Err(Refusal::Token));
    }

    #[test]
    fn who_shows_the_token_may_use_any_name() {
        let fields = [
            ("host", "pillion.internal:9900"),
            ("authorization", "Bearer s3cret"),
        ];
        assert_eq!(judge(Some("s3cret"), "GET", &fields), Ok(()));
    }

    #[test]
    fn probes_need_no_token() {
        let rules = Rules {
            token: Some(Token(b"s3cret".to_vec())),
            socket: Socket::Tcp,
        };
        let probe = |host| rules.judge(&parts("GET", &[("host", host)]), Access::Probe);
        assert_eq!(probe("10.0.0.1:9900"), Ok(()));
        assert_eq!(probe("rebound.example"), Err(Refusal::ForeignHost));
    }

    #[test]
    fn a_unix_socket_needs_no_host() {
        let rules = Rules {
            token: None,
            socket: Socket::Unix,
        };
        let request = parts("POST", &[]);
        assert_eq!(rules.judge(&request, Access::Operator), Ok(()));
    }

    #[test]
    fn equality_is_equality() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"ab", b"abc"));
        assert!(!same(b"", b"abc"));
    }
}
