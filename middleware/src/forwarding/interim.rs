//! Interim responses (RFC 9110 §15.2) as a client's HTTP/1.1 connection is sent them.

use config::forwarding::ForwardingSettings;
use http::header::{CONTENT_LENGTH, HeaderName, TRAILER, VIA};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::withhold_internals;
use crate::fields::{hop_by_hop, via};

/// How interim responses are passed on: "A proxy MUST forward 1xx responses unless the proxy itself
/// requested the generation of the 1xx response" (RFC 9110 §15.2).
#[derive(Clone, Debug)]
pub struct Interims {
    via: HeaderValue,
}

impl Interims {
    /// `None` where they are not passed on.
    pub fn new(settings: &ForwardingSettings) -> Option<Self> {
        settings.interim.then(|| Self {
            via: via::entry(Version::HTTP_11, &settings.name)
                .unwrap_or_else(|| HeaderValue::from_static("1.1 pillion")),
        })
    }

    /// The head that the client gets, its empty line included: every field but those of the
    /// connection and of content, and our `Via`. `None` for what is not passed on: a `100` answers our
    /// own expectation, a `101` is the tunnel's, and one that is longer than `LONGEST`.
    pub fn head(&self, status: StatusCode, fields: &HeaderMap) -> Option<Vec<u8>> {
        if !matches!(status.as_u16(), 102..=199) {
            return None;
        }
        let mut fields = fields.clone();
        hop_by_hop::strip(&mut fields);
        withhold_internals(&mut fields);
        for name in OF_CONTENT {
            fields.remove(name);
        }
        fields.try_append(VIA, self.via.clone()).ok();
        let mut head = b"HTTP/1.1 ".to_vec();
        head.extend_from_slice(status.as_str().as_bytes());
        head.push(b' ');
        // By the number: what the upstream wrote behind it means nothing (RFC 9112 §4).
        head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        head.extend_from_slice(b"\r\n");
        for (name, value) in fields.iter().filter(|(_, value)| is_one_line(value)) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
            if head.len() > LONGEST {
                return None;
            }
        }
        head.extend_from_slice(b"\r\n");
        Some(head)
    }
}

/// Whether a value is one by the grammar (RFC 9110 §5.5). The HTTP library has seen to it; but these
/// bytes go past it, and a line break among them would be a whole answer of somebody's choice.
fn is_one_line(value: &HeaderValue) -> bool {
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    value.as_bytes().iter().all(is_text)
}

/// An interim response has no content (RFC 9110 §15.2), and a length would be taken for the next one's.
const OF_CONTENT: [HeaderName; 2] = [CONTENT_LENGTH, TRAILER];
/// Bytes of one head. `Link` fields of a whole page fit.
const LONGEST: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&'static str, &'static str)]) -> Option<String> {
        let interims = Interims::new(&ForwardingSettings::default()).unwrap();
        let fields = fields.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        let head = interims.head(StatusCode::from_u16(status).unwrap(), &map)?;
        Some(String::from_utf8(head).unwrap())
    }

    #[test]
    fn a_proxy_must_forward_1xx_responses() {
        for (status, expected) in [
            (100, None),
            (101, None),
            (
                102,
                Some("HTTP/1.1 102 Processing\r\nvia: 1.1 pillion\r\n\r\n"),
            ),
            (
                103,
                Some("HTTP/1.1 103 Early Hints\r\nvia: 1.1 pillion\r\n\r\n"),
            ),
            (199, Some("HTTP/1.1 199 \r\nvia: 1.1 pillion\r\n\r\n")),
            (200, None),
            (304, None),
        ] {
            assert_eq!(head(status, &[]).as_deref(), expected, "{status}");
        }
    }

    #[test]
    fn fields_are_passed_on_but_for_those_of_the_connection_and_of_content() {
        let fields = [
            ("link", "</a.css>; rel=preload"),
            ("link", "</b.js>; rel=preload"),
            ("x-unknown", "kept"),
            ("connection", "x-mine, close"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("trailer", "x-checksum"),
            ("upgrade", "websocket"),
            ("server-timing", "db;dur=5"),
            ("via", "1.0 app"),
        ];
        let head = head(103, &fields).unwrap();
        let mut lines: Vec<_> = head.trim_end().lines().skip(1).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "link: </a.css>; rel=preload",
                "link: </b.js>; rel=preload",
                "via: 1.0 app",
                "via: 1.1 pillion",
                "x-unknown: kept",
            ]
        );
    }

    #[test]
    fn no_field_can_end_its_line() {
        for value in [&b"a\r\nb: c"[..], b"a\nb", b"a\rb", b"a\0b", b"a\x7fb"] {
            // Safe constructors refuse these; the rule does not rest on that.
            assert!(HeaderValue::from_bytes(value).is_err(), "{value:?}");
        }
        assert!(is_one_line(&HeaderValue::from_bytes(b"\ta \xff").unwrap()));
    }

    #[test]
    fn a_head_is_bounded() {
        let long = |length| -> &'static str { "x".repeat(length).leak() };
        assert_eq!(head(103, &[("link", long(LONGEST))]), None);
        assert!(head(103, &[("link", long(LONGEST / 2))]).is_some());
    }

    #[test]
    fn they_can_be_switched_off() {
        let settings = ForwardingSettings {
            interim: false,
            ..ForwardingSettings::default()
        };
        assert!(Interims::new(&settings).is_none());
    }
}
