//! Media types (RFC 9110 §8.3.1), and which gain by a coding.
//!
//! ```
//! use http::HeaderMap;
//! use http::header::{CONTENT_TYPE, HeaderValue};
//! use middleware::fields::media_type::MediaType;
//!
//! let mut fields = HeaderMap::new();
//! fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+JSON; charset=utf-8"));
//! assert!(MediaType::of(&fields).is_some_and(MediaType::is_compressible));
//! ```

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::fields::list;

/// A media type without its parameters, borrowed from a field value; any letter case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    main: &'a [u8],
    sub: &'a [u8],
}

impl<'a> MediaType<'a> {
    /// What `Content-Type` says; `None` if there is none, or one that is malformed.
    pub fn of(fields: &'a HeaderMap) -> Option<Self> {
        Self::parse(fields.get(CONTENT_TYPE)?.as_bytes())
    }

    /// A whole value of `Content-Type`; parameters are not looked at.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = list::trim(essence);
        let slash = essence.iter().position(|byte| *byte == b'/')?;
        let (main, sub) = (essence.get(..slash)?, essence.get(slash + 1..)?);
        (is_token(main) && is_token(sub)).then_some(Self { main, sub })
    }

    /// Whether content of this type gets smaller by a coding as a rule: text, and binary formats
    /// without a compression of their own.
    pub fn is_compressible(self) -> bool {
        if self.is_grpc() {
            return false;
        }
        self.is("text", None)
            || self.has_suffix("json")
            || self.has_suffix("xml")
            || COMPRESSIBLE
                .iter()
                .any(|(main, sub)| self.is(main, Some(sub)))
    }

    /// gRPC in any of its forms (`application/grpc+json` is one): it has a compression of its own.
    fn is_grpc(self) -> bool {
        let starts_so = self.sub.get(..4);
        starts_so.is_some_and(|sub| sub.eq_ignore_ascii_case(b"grpc"))
            && self.is("application", None)
    }

    /// What browsers show as a page, with forms and secrets in it.
    pub fn is_html(self) -> bool {
        self.is("text", Some("html")) || self.is("application", Some("xhtml+xml"))
    }

    fn is(self, main: &str, sub: Option<&str>) -> bool {
        self.main.eq_ignore_ascii_case(main.as_bytes())
            && sub.is_none_or(|sub| self.sub.eq_ignore_ascii_case(sub.as_bytes()))
    }

    /// A structured syntax suffix (RFC 6838 §4.2.8).
    fn has_suffix(self, suffix: &str) -> bool {
        let Some(plus) = self.sub.iter().rposition(|byte| *byte == b'+') else {
            return false;
        };
        self.sub
            .get(plus + 1..)
            .is_some_and(|found| found.eq_ignore_ascii_case(suffix.as_bytes()))
    }
}

/// RFC 9110 §5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Beside `text/*`, `+json` and `+xml` (so `image/svg+xml` is in). WOFF, images, audio, video and
/// archives are not: they are compressed already. Office files neither: zip.
const COMPRESSIBLE: [(&str, &str); 23] = [
    ("application", "json"),
    ("application", "javascript"),
    ("application", "xml"),
    ("application", "wasm"),
    ("application", "x-javascript"),
    ("application", "ecmascript"),
    ("application", "graphql"),
    ("application", "jsonl"),
    ("application", "x-jsonlines"),
    ("application", "x-ndjson"),
    ("application", "ndjson"),
    ("application", "rtf"),
    ("application", "sql"),
    ("application", "toml"),
    ("application", "yaml"),
    ("application", "x-yaml"),
    ("application", "vnd.ms-fontobject"),
    ("application", "x-font-ttf"),
    ("application", "x-font-opentype"),
    ("font", "ttf"),
    ("font", "otf"),
    ("font", "collection"),
    ("image", "svg"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn fields(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn what_gains_by_a_coding() {
        let cases = [
            ("text/html", true),
            ("TEXT/HTML; charset=utf-8", true),
            ("text/css;charset=utf-8", true),
            (" text/plain ", true),
            ("text/anything", true),
            ("application/json", true),
            ("application/Problem+Json", true),
            ("application/xml", true),
            ("application/rss+xml", true),
            ("image/svg+xml", true),
            ("application/javascript", true),
            ("application/wasm", true),
            ("font/ttf", true),
            ("font/otf", true),
            ("font/woff2", false),
            ("font/woff", false),
            ("image/png", false),
            ("image/jpeg", false),
            ("video/mp4", false),
            ("audio/mpeg", false),
            ("application/zip", false),
            ("application/gzip", false),
            ("application/pdf", false),
            ("application/octet-stream", false),
            ("application/vnd.ms-excel+zip", false),
            ("application/grpc+json", false),
            ("application/GRPC-web+json", false),
            ("text/grpc", true),
            ("textual/html", false),
            ("text", false),
            ("text/", false),
            ("/html", false),
            ("text/ht ml", false),
            ("", false),
        ];
        for (content_type, expected) in cases {
            let found =
                MediaType::of(&fields(content_type)).is_some_and(MediaType::is_compressible);
            assert_eq!(found, expected, "{content_type}");
        }
        assert_eq!(MediaType::of(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn nothing_that_an_upstream_sends_panics(value: Vec<u8>) {
            if let Some(found) = MediaType::parse(&value) {
                found.is_compressible();
                found.is_html();
            }
        }
    }
}
