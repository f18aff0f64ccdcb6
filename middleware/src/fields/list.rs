//! Comma-separated lists in field values (RFC 9110 §5.6.1), over several field lines.
//!
//! ```
//! use http::{HeaderMap, HeaderName, HeaderValue};
//! use middleware::fields::list;
//!
//! let mut fields = HeaderMap::new();
//! let vary = HeaderName::from_static("vary");
//! fields.append(&vary, HeaderValue::from_static("accept, , origin"));
//! fields.append(&vary, HeaderValue::from_static("cookie"));
//! let members: Vec<_> = list::members(&fields, &vary).collect();
//! assert_eq!(members, [&b"accept"[..], b"origin", b"cookie"]);
//! ```

use http::{HeaderMap, HeaderName};

/// The members of the list that all lines of the field `name` make together, optional whitespace
/// removed and empty members left out. A comma within a quoted string separates nothing.
pub fn members<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    fields
        .get_all(name)
        .into_iter()
        .flat_map(|line| split(line.as_bytes(), Quotes::Escaping))
}

/// What a backslash means between double quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// It escapes the next byte: a quoted string (RFC 9110 §5.6.4).
    Escaping,
    /// Nothing: an entity tag (RFC 9110 §8.8.3).
    Plain,
}

/// The members of one line. A quote that is never closed reaches to the end of the line.
pub fn split(line: &[u8], quotes: Quotes) -> Members<'_> {
    Members { rest: line, quotes }
}

/// Iterator of [`split`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a [u8],
    quotes: Quotes,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = member_end(self.rest, self.quotes);
            let (member, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let member = trim(member);
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Without optional whitespace (space and tab, RFC 9110 §5.6.3) at both ends.
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the first comma outside of quotes is, or the end.
fn member_end(line: &[u8], quotes: Quotes) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && quotes == Quotes::Escaping => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_split_at_commas_outside_of_quotes() {
        let cases: [(&str, Quotes, &[&str]); 9] = [
            ("", Quotes::Escaping, &[]),
            (" , ,\t", Quotes::Escaping, &[]),
            ("a", Quotes::Escaping, &["a"]),
            (" a\t, b,,c ", Quotes::Escaping, &["a", "b", "c"]),
            (r#"a="1,2", b"#, Quotes::Escaping, &[r#"a="1,2""#, "b"]),
            (r#"a="\",", b"#, Quotes::Escaping, &[r#"a="\",""#, "b"]),
            (r#"a="open, b"#, Quotes::Escaping, &[r#"a="open, b"#]),
            (r#""a\", "b""#, Quotes::Plain, &[r#""a\""#, r#""b""#]),
            (r#""a\", "b""#, Quotes::Escaping, &[r#""a\", "b""#]),
        ];
        for (line, quotes, expected) in cases {
            let found: Vec<_> = split(line.as_bytes(), quotes).collect();
            let expected: Vec<_> = expected.iter().map(|member| member.as_bytes()).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn members_are_never_empty_and_never_padded(line: Vec<u8>) {
            for quotes in [Quotes::Escaping, Quotes::Plain] {
                for member in split(&line, quotes) {
                    prop_assert!(!member.is_empty());
                    prop_assert_eq!(trim(member), member);
                }
            }
        }

        #[test]
        fn plain_members_come_back_as_they_went_in(members in prop::collection::vec("[a-z]{1,5}", 0..9)) {
            let line = members.join(" ,\t");
            let found: Vec<_> = split(line.as_bytes(), Quotes::Escaping).collect();
            let expected: Vec<_> = members.iter().map(|member| member.as_bytes()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
