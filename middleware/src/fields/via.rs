//! `Via` (RFC 9110 §7.6.3): who passed a message on.
//!
//! ```
//! use http::{HeaderMap, header::VIA};
//! use middleware::fields::via;
//!
//! let mut fields = HeaderMap::new();
//! fields.insert(VIA, "1.0 fred, 1.1 p.example.net (a, comment)".parse().unwrap());
//! assert!(via::names(&fields, "p.example.net"));
//! assert!(!via::names(&fields, "comment"));
//! ```

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

/// Whether a message passed a recipient that calls itself `received_by`.
pub fn names(fields: &HeaderMap, received_by: &str) -> bool {
    let mut lines = fields.get_all(VIA).iter();
    lines.any(|line| entries(line.as_bytes()).any(|entry| names_one(entry, received_by)))
}

/// Our entry for a message that came by `version`. `None` if `received_by` cannot stand in a field.
pub fn entry(version: Version, received_by: &str) -> Option<HeaderValue> {
    let version = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    };
    // By hand: the formatting machinery takes longer than all else here.
    let mut text = Vec::with_capacity(version.len() + 1 + received_by.len());
    text.extend_from_slice(version.as_bytes());
    text.push(b' ');
    text.extend_from_slice(received_by.as_bytes());
    HeaderValue::try_from(text).ok()
}

/// `received-protocol RWS received-by [ RWS comment ]`; names compare like hosts, without case.
fn names_one(entry: &[u8], received_by: &str) -> bool {
    let mut words = entry
        .split(|byte| matches!(byte, b' ' | b'\t' | b'('))
        .filter(|word| !word.is_empty());
    let by = words.nth(1);
    by.is_some_and(|by| by.eq_ignore_ascii_case(received_by.as_bytes()))
}

/// List members: commas inside comments (which nest, and quote with `\`) do not part them.
fn entries(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut depth = 0_usize;
    let mut quoted = false;
    line.split(move |byte| {
        if quoted {
            quoted = false;
            return false;
        }
        match byte {
            b'\\' if depth > 0 => quoted = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *byte == b','
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(line: &str, name: &str) -> bool {
        let mut fields = HeaderMap::new();
        fields.insert(VIA, HeaderValue::from_str(line).unwrap());
        names(&fields, name)
    }

    #[test]
    fn finds_a_name_among_others() {
        for (line, found) in [
            ("1.1 me", true),
            ("HTTP/1.1 ME", true),
            ("1.0 fred, 2.0 me (Pillion)", true),
            ("1.0 fred (x, 1.1 me), 1.1 other", false),
            ("1.0 fred (\\), 1.1 me), 1.1 other", false),
            ("1.0 fred ((a), 1.1 me), 1.1 other", false),
            ("1.1 me2", false),
            ("me", false),
            ("", false),
            ("1.1 fred (unclosed, 1.1 me", false),
            (",, 1.1\tme", true),
        ] {
            assert_eq!(passed(line, "me"), found, "{line}");
        }
    }

    #[test]
    fn entries_name_the_received_protocol() {
        let text = |version| entry(version, "me").unwrap();
        assert_eq!(text(Version::HTTP_10), "1.0 me");
        assert_eq!(text(Version::HTTP_11), "1.1 me");
        assert_eq!(text(Version::HTTP_2), "2.0 me");
        assert_eq!(entry(Version::HTTP_11, "a\nb"), None);
    }

    proptest! {
        #[test]
        fn our_own_entry_is_found_behind_whatever_stands_before(
            before in "([0-9.]{1,3} [a-z.]{1,9}( \\([a-z ,]{0,9}\\))?, ){0,3}",
        ) {
            let line = format!("{before}1.1 pillion-4f");
            prop_assert!(passed(&line, "pillion-4f"));
        }

        #[test]
        fn nothing_panics(line in any::<Vec<u8>>()) {
            entries(&line).for_each(|entry| { names_one(entry, "me"); });
        }
    }
}
