//! `Host` and `:authority` (RFC 9110 §7.2, RFC 3986 §3.2), read strictly.
//!
//! Stricter than the grammar: a name holds letters, digits, `-`, `.`, `_` and `~` only. Percent
//! escapes and sub-delimiters are legal in a `reg-name` and used by nobody but those who hope that
//! two parsers differ about them.
//!
//! ```
//! use middleware::fields::host::Authority;
//!
//! let written = Authority::parse(b"Example.com:80").unwrap();
//! assert!(written.is_same(&Authority::parse(b"example.com").unwrap(), 80));
//! assert_eq!(Authority::parse(b"user@example.com"), None);
//! ```

use std::net::Ipv6Addr;

/// A host, and a port if one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As written; an IPv6 address without its brackets. ASCII.
    host: &'a [u8],
    port: Option<u16>,
    is_v6: bool,
}

impl<'a> Authority<'a> {
    /// Reads `host [ ":" port ]`; `None` for anything else, an empty host and user information included.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(b"[") {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (host, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
            str::from_utf8(host).ok()?.parse::<Ipv6Addr>().ok()?;
            return Some(Self {
                host,
                port: parse_rest(rest)?,
                is_v6: true,
            });
        }
        // One look at each byte, since every request comes this way.
        let end = text.iter().position(|byte| !is_name_byte(*byte));
        let (host, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        (!host.is_empty()).then_some(Self {
            host,
            port: parse_rest(rest)?,
            is_v6: false,
        })
    }

    /// As written, an IPv6 address without its brackets.
    pub fn host(&self) -> &'a str {
        str::from_utf8(self.host).expect("what makes a host is ASCII")
    }

    /// As written; `None` if none is, or an empty one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both name the same authority for a scheme with this default port (RFC 9110 §4.2.3).
    pub fn is_same(&self, other: &Authority<'_>, default_port: u16) -> bool {
        let same_host = if self.is_v6 && other.is_v6 {
            self.host().parse::<Ipv6Addr>() == other.host().parse::<Ipv6Addr>()
        } else {
            self.is_v6 == other.is_v6 && self.host.eq_ignore_ascii_case(other.host)
        };
        same_host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// What follows the host: nothing, or a port. `Some(None)` for the empty one that RFC 3986 §3.2.3 allows.
fn parse_rest(text: &[u8]) -> Option<Option<u16>> {
    let digits = match text {
        [] | b":" => return Some(None),
        [b':', digits @ ..] if digits.len() <= 5 => digits,
        _ => return None,
    };
    let port = digits.iter().try_fold(0_u32, |port, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        Some(port * 10 + digit)
    });
    u16::try_from(port?).ok().map(Some)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("EXAMPLE.com:8080", "EXAMPLE.com", Some(8080)),
            ("my_app", "my_app", None),
            ("127.0.0.1:3000", "127.0.0.1", Some(3000)),
            ("[::1]", "::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("example.com:", "example.com", None),
        ] {
            let authority = Authority::parse(text.as_bytes()).unwrap();
            assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn a_field_value_that_is_not_a_valid_host_is_refused() {
        // RFC 9112 §3.2: "A server MUST respond with a 400 to any request message that … contains
        // a Host header field with an invalid field value."
        for text in [
            "",
            ":80",
            "user@example.com",
            "user:pass@example.com",
            "example.com, evil.com",
            "example.com evil.com",
            " example.com",
            "example.com/path",
            "example.com?x",
            "example.com#x",
            "example.com\\evil",
            "example.com:65536",
            "example.com:+80",
            "example.com:80:80",
            "example.com:8a",
            "%65xample.com",
            "exämple.com",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "::1",
            "a\0b",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Authority::parse(b"ex\xffample"), None);
    }

    #[test]
    fn same_authority() {
        for (one, two, default_port, same) in [
            ("a.example", "A.EXAMPLE:80", 80, true),
            ("a.example", "a.example:443", 80, false),
            ("a.example:", "a.example:443", 443, true),
            ("[::1]", "[0:0:0:0:0:0:0:1]:80", 80, true),
            ("a.example", "b.example", 80, false),
            ("a.example.", "a.example", 80, false),
        ] {
            let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
            assert_eq!(
                parse(one).is_same(&parse(two), default_port),
                same,
                "{one} {two}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_accepted_is_printable(text in any::<Vec<u8>>()) {
            if Authority::parse(&text).is_some() {
                prop_assert!(text.iter().all(u8::is_ascii_graphic));
                prop_assert!(!text.contains(&b'@') && !text.contains(&b'/') && !text.contains(&b','));
            }
        }

        #[test]
        fn a_written_authority_reads_back(host in "[a-z0-9._-]{1,30}", port in any::<Option<u16>>()) {
            let text = port.map_or(host.clone(), |port| format!("{host}:{port}"));
            let read = Authority::parse(text.as_bytes()).unwrap();
            prop_assert_eq!((read.host(), read.port()), (&*host, port));
        }
    }
}
