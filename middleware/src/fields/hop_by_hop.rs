//! Fields that belong to one connection (RFC 9110 §7.6.1), and so are not passed on.
//!
//! `Connection` lets a sender name further fields to drop. A client may abuse that against those
//! behind us: it names what a trusted proxy before us wrote (`X-Forwarded-For`), what a policy
//! reads (`Authorization`, `Cookie`, `Origin`) or what frames the message (`Content-Length`), and
//! hopes that we take it away. RFC 9110 forbids to name fields that are meant for all recipients, so
//! for those that the standards know as such (and for `X-Forwarded-*`) the naming is ignored; every
//! other named field is dropped, as it must be.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, header};
//! use middleware::fields::hop_by_hop;
//!
//! let mut fields = HeaderMap::new();
//! fields.insert(header::CONNECTION, HeaderValue::from_static("close, x-mine, cookie"));
//! fields.insert("x-mine", HeaderValue::from_static("1"));
//! fields.insert(header::COOKIE, HeaderValue::from_static("session=1"));
//! hop_by_hop::strip(&mut fields);
//! assert_eq!(fields.keys().collect::<Vec<_>>(), [header::COOKIE]);
//! ```

use http::header::{CONNECTION, TE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::list;

/// Removes the fields of the connection, and those that it names, from an answer or a trailer section.
pub fn strip(fields: &mut HeaderMap) {
    Found::among(fields, |_, _| {}).strip(fields);
}

/// Which fields of the connection there are. Few answers have any, so it is one pass over the names: ten
/// look-ups take longer.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// `Connection`
    connection: bool,
    /// Whether that names any.
    names: bool,
    /// Those that are removed whether they are named or not.
    always: bool,
}

impl Found {
    /// What is among `fields`; `see` is shown each line on the way, for whoever looks for others.
    pub fn among(fields: &HeaderMap, mut see: impl FnMut(&str, &HeaderValue)) -> Self {
        let (mut connection, mut names, mut always) = (false, false, false);
        for (name, value) in fields {
            let name = name.as_str();
            see(name, value);
            if name == "connection" {
                connection = true;
                // By far the most usual; what it names is removed anyway.
                names |= !value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            } else {
                always |= is_always(name);
            }
        }
        Self {
            connection,
            names,
            always,
        }
    }

    /// Removes what was found, and what it names.
    pub fn strip(self, fields: &mut HeaderMap) {
        if self.names {
            for name in named(fields) {
                fields.remove(name);
            }
        }
        if self.connection {
            fields.remove(CONNECTION);
        }
        if self.always {
            let found = |name: &&HeaderName| is_always(name.as_str());
            let found: Vec<HeaderName> = fields.keys().filter(found).cloned().collect();
            for name in found {
                fields.remove(name);
            }
        }
    }
}

/// As [`strip`], for a request: what is left of `TE` is `trailers`, if the client takes them and we
/// pass them on (RFC 9110 §10.1.4; gRPC insists). Whoever keeps an upgrade reads `Upgrade` before.
pub fn strip_request(fields: &mut HeaderMap) {
    let trailers = takes_trailers(fields);
    strip(fields);
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether `TE` has the member `trailers`.
pub fn takes_trailers(fields: &HeaderMap) -> bool {
    list::members(fields, &TE).any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// What `Connection` names and may name.
fn named(fields: &HeaderMap) -> Vec<HeaderName> {
    list::members(fields, &CONNECTION)
        // The usual one is removed anyway, and to make a name of it takes an allocation.
        .filter(|member| !member.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|member| HeaderName::from_bytes(member).ok())
        .filter(|name| fields.contains_key(name) && !is_for_all_recipients(name))
        .collect()
}

fn is_for_all_recipients(name: &HeaderName) -> bool {
    let name = name.as_str();
    END_TO_END.contains(&name)
        || END_TO_END_FAMILIES
            .iter()
            .any(|family| name.starts_with(family))
}

/// The fields of a connection, named or not. `Transfer-Encoding` frames the message on one
/// connection only; each side frames its own.
fn is_always(name: &str) -> bool {
    matches!(
        name,
        "keep-alive"
            | "proxy-connection"
            | "proxy-authentication-info"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Fields that naming does not remove: framing and target, who asks, what is asked, what a cache or
/// a browser decides by.
const END_TO_END: [&str; 66] = [
    // Framing and target.
    "content-length",
    "expect",
    "host",
    "max-forwards",
    "trailer",
    // Who asks, and through whom.
    "authorization",
    "cf-connecting-ip",
    "client-ip",
    "cookie",
    "fastly-client-ip",
    "forwarded",
    "from",
    "front-end-https",
    "origin",
    "referer",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "user-agent",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-csrf-token",
    "x-http-method-override",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-rewrite-url",
    "x-xsrf-token",
    // What is asked.
    "accept",
    "accept-encoding",
    "accept-language",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
    // What a cache decides by.
    "age",
    "cache-control",
    "cdn-cache-control",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
    // What a browser decides by.
    "clear-site-data",
    "content-disposition",
    "content-security-policy",
    "content-security-policy-report-only",
    "permissions-policy",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
];
/// Likewise all that begin so.
const END_TO_END_FAMILIES: [&str; 4] = ["access-control-", "cross-origin-", "sec-", "x-forwarded-"];

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, SET_COOKIE};

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn fields_of_a_connection_are_removed() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authentication-info",
            "http2-settings",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "transfer-encoding",
            "upgrade",
        ] {
            let name = HeaderName::from_static(name);
            let mut fields = HeaderMap::new();
            fields.append(&name, HeaderValue::from_static("x"));
            fields.append(&name, HeaderValue::from_static("y"));
            strip(&mut fields);
            assert!(fields.is_empty(), "{name}");
        }
    }

    #[test]
    fn fields_that_connection_names_are_removed_in_any_case_and_on_any_line() {
        let mut fields = fields(&[
            ("connection", "close, X-One"),
            ("connection", ",, x-two ,\tx-absent"),
            ("x-one", "1"),
            ("x-one", "2"),
            ("x-two", "3"),
            ("x-three", "4"),
        ]);
        strip(&mut fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["x-three"]);
    }

    #[test]
    fn naming_a_field_that_is_for_all_recipients_does_not_remove_it() {
        for name in END_TO_END
            .into_iter()
            .chain(["x-forwarded-for", "sec-fetch-site"])
        {
            let mut fields = fields(&[(name, "x")]);
            fields.insert(CONNECTION, HeaderValue::from_static(name));
            strip_request(&mut fields);
            assert!(fields.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_client_cannot_make_us_drop_framing_credentials_or_host() {
        let mut fields = fields(&[
            (
                "connection",
                "Host, CONTENT-LENGTH, authorization, cookie, set-cookie",
            ),
            ("host", "example.com"),
            ("content-length", "5"),
            ("authorization", "Basic x"),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
        ]);
        strip_request(&mut fields);
        for name in [HOST, CONTENT_LENGTH, AUTHORIZATION, COOKIE, SET_COOKIE] {
            assert!(fields.contains_key(&name), "{name}");
        }
        assert!(!fields.contains_key(CONNECTION));
    }

    #[test]
    fn malformed_options_name_nothing() {
        let mut fields = fields(&[("connection", "\"x-one\", x one, @"), ("x-one", "1")]);
        strip(&mut fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["x-one"]);
    }

    #[test]
    fn a_request_keeps_trailers_of_te_and_nothing_else() {
        for (te, kept) in [
            ("trailers", Some("trailers")),
            ("gzip;q=0.5, Trailers", Some("trailers")),
            ("gzip, deflate", None),
            ("", None),
        ] {
            let mut request = fields(&[("te", te), ("connection", "te")]);
            strip_request(&mut request);
            assert_eq!(
                request.get(TE).map(HeaderValue::as_bytes),
                kept.map(str::as_bytes),
                "{te}"
            );
            assert!(!request.contains_key(CONNECTION));
        }
    }
}
