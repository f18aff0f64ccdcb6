//! Media types (RFC 9110 §8.3.1): which gain by a coding, and which are streams.
//!
//! ```
//! use http::HeaderMap;
//! use http::header::{CONTENT_TYPE, HeaderValue};
//! use middleware::fields::media_type::{self, MediaType};
//!
//! let mut fields = HeaderMap::new();
//! fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+JSON; charset=utf-8"));
//! assert!(MediaType::of(&fields).is_some_and(MediaType::is_compressible));
//! assert!(!media_type::is_stream(&fields));
//! ```

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::fields::list;

/// A media type without its parameters, borrowed from a field value; any letter case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    main: &'a [u8],
    sub: &'a [u8],
}

/// Whether a response is a stream by its own word (semantics: the named kinds): an event stream or
/// its like, gRPC, or whatever asks not to be buffered.
pub fn is_stream(fields: &HeaderMap) -> bool {
    let unbuffered = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"no");
    fields.get(X_ACCEL_BUFFERING).is_some_and(unbuffered)
        || MediaType::of(fields).is_some_and(MediaType::is_stream)
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
        self.is("text", None)
            || self.has_suffix("json")
            || self.has_suffix("xml")
            || COMPRESSIBLE
                .iter()
                .any(|(main, sub)| self.is(main, Some(sub)))
    }

    /// Whether content of this type is sent bit by bit, each bit of use by itself.
    pub fn is_stream(self) -> bool {
        self.is_grpc() || STREAMS.iter().any(|(main, sub)| self.is(main, Some(sub)))
    }

    /// gRPC in any of its forms; it has a compression of its own.
    pub fn is_grpc(self) -> bool {
        let starts = self
            .sub
            .get(..4)
            .is_some_and(|sub| sub.eq_ignore_ascii_case(b"grpc"));
        starts && self.is("application", None)
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

const STREAMS: [(&str, &str); 6] = [
    ("text", "event-stream"),
    ("multipart", "x-mixed-replace"),
    ("application", "x-ndjson"),
    ("application", "ndjson"),
    ("application", "jsonl"),
    ("application", "x-jsonlines"),
];

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_is_a_stream_by_its_own_word() {
        let cases = [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("multipart/x-mixed-replace;boundary=x", true),
            ("application/x-ndjson", true),
            ("application/jsonl", true),
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web-text", true),
            ("application/json", false),
            ("text/html", false),
        ];
        for (content_type, expected) in cases {
            assert_eq!(is_stream(&fields(content_type)), expected, "{content_type}");
        }
        let mut unbuffered = fields("text/html");
        unbuffered.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("No"));
        assert!(is_stream(&unbuffered));
        unbuffered.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("yes"));
        assert!(!is_stream(&unbuffered));
    }

    proptest! {
        #[test]
        fn nothing_that_an_upstream_sends_panics(value: Vec<u8>) {
            if let Some(found) = MediaType::parse(&value) {
                found.is_compressible();
                found.is_stream();
            }
        }
    }
}
