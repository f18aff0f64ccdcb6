//! `Accept-Encoding` (RFC 9110 §12.5.3) and the codings of `Content-Encoding` that we know.
//!
//! ```
//! use http::HeaderMap;
//! use http::header::{ACCEPT_ENCODING, HeaderValue};
//! use middleware::fields::accept_encoding::Accepts;
//!
//! let mut fields = HeaderMap::new();
//! fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0.5, br, *;q=0"));
//! let accepts = Accepts::of(&fields);
//! assert!(accepts.br > accepts.gzip && accepts.gzip.is_taken());
//! assert!(!accepts.zstd.is_taken() && !accepts.takes_identity());
//! ```

use std::cell::RefCell;

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

use crate::fields::list::{self, Quotes};
use crate::fields::remembered::Remembered;

/// What a client takes, as far as it concerns the codings that we know.
///
/// No field at all is judged like an empty one: RFC 9110 would permit every coding, but what sends
/// no field is as a rule what cannot decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Brotli.
    pub br: Weight,
    /// Zstandard.
    pub zstd: Weight,
    /// gzip, or its old name `x-gzip`.
    pub gzip: Weight,
    /// Content as it is, where the client says something of it: by name, or `*;q=0`.
    pub identity: Option<Weight>,
}

/// A quality value (RFC 9110 §12.4.2) in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Accepts {
    /// What the field lines of a request say. Malformed members are left out; where a coding is named
    /// twice, the first counts.
    pub fn of(fields: &HeaderMap) -> Self {
        Self::of_members(list::members(fields, &ACCEPT_ENCODING))
    }

    /// The same of a field with one line.
    pub fn of_line(line: &HeaderValue) -> Self {
        let read = |line: &[u8]| Self::of_members(list::split(line, Quotes::Escaping));
        LINES.with_borrow_mut(|lines| lines.meaning(line.as_bytes(), read))
    }

    fn of_members<'a>(members: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut named = Named::default();
        for member in members {
            let mut parts = member.split(|byte| *byte == b';').map(list::trim);
            let coding = parts.next().unwrap_or_default();
            if let Some(weight) = Weight::of(parts) {
                named.note(coding, weight);
            }
        }
        named.settled()
    }

    /// Whether content may be sent as it is (RFC 9110 §12.5.3: unless it is ruled out).
    pub fn takes_identity(self) -> bool {
        self.identity.is_none_or(Weight::is_taken)
    }
}

thread_local! {
    static LINES: RefCell<Remembered<Accepts>> = const { RefCell::new(Remembered::new()) };
}

impl Weight {
    /// "Acceptable, and nothing else is more so".
    pub const FULL: Self = Self(1000);

    /// Whether it is more than "not acceptable".
    pub fn is_taken(self) -> bool {
        self.0 > 0
    }

    /// The weight among a member's parameters, full if there is none; `None` if it is malformed.
    fn of<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let weight = parameters.find_map(|parameter| match parameter {
            [b'q' | b'Q', b'=', weight @ ..] => Some(weight),
            _ => None,
        });
        weight.map_or(Some(Self::FULL), Self::parse)
    }

    /// As a number from 0 to 1000.
    pub(crate) fn thousandths(self) -> u16 {
        self.0
    }

    /// More than three digits are more than RFC 9110 permits, but some clients print a float: they
    /// are cut off.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (whole, fraction) = match text {
            [whole] => (whole, &[][..]),
            [whole, b'.', fraction @ ..] => (whole, fraction),
            _ => return None,
        };
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digit = |at: usize| fraction.get(at).map_or(0, |digit| u16::from(digit - b'0'));
        let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
        match whole {
            b'0' => Some(Self(thousandths)),
            b'1' if thousandths == 0 => Some(Self::FULL),
            _ => None,
        }
    }
}

/// The members as they are named, before `*` is spread over the rest.
#[derive(Default)]
struct Named {
    br: Option<Weight>,
    zstd: Option<Weight>,
    gzip: Option<Weight>,
    identity: Option<Weight>,
    any: Option<Weight>,
}

impl Named {
    fn note(&mut self, coding: &[u8], weight: Weight) {
        let slot = match coding {
            b"*" => &mut self.any,
            _ if coding.eq_ignore_ascii_case(b"gzip") => &mut self.gzip,
            _ if coding.eq_ignore_ascii_case(b"br") => &mut self.br,
            _ if coding.eq_ignore_ascii_case(b"zstd") => &mut self.zstd,
            _ if coding.eq_ignore_ascii_case(b"x-gzip") => &mut self.gzip,
            _ if coding.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            _ => return,
        };
        slot.get_or_insert(weight);
    }

    fn settled(self) -> Accepts {
        let or_any = |named: Option<Weight>| named.or(self.any).unwrap_or_default();
        Accepts {
            br: or_any(self.br),
            zstd: or_any(self.zstd),
            gzip: or_any(self.gzip),
            // `*` rules identity out with weight 0 only; it never makes it preferred.
            identity: self.identity.or(self.any.filter(|any| !any.is_taken())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(lines: &[&str]) -> Accepts {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        Accepts::of(&fields)
    }

    #[test]
    fn codings_and_their_weights() {
        /// br, zstd, gzip, identity in thousandths.
        type Expected = (u16, u16, u16, Option<u16>);
        let cases: [(&[&str], Expected); 22] = [
            (&[], (0, 0, 0, None)),
            (&[""], (0, 0, 0, None)),
            (&["gzip"], (0, 0, 1000, None)),
            (&["GZip, BR"], (1000, 0, 1000, None)),
            (&["gzip, deflate, br, zstd"], (1000, 1000, 1000, None)),
            (&["gzip", "br"], (1000, 0, 1000, None)),
            (&["x-gzip;q=0.7"], (0, 0, 700, None)),
            (&["gzip ; q=0.5"], (0, 0, 500, None)),
            (&["gzip;Q=0.25"], (0, 0, 250, None)),
            (&["gzip;level=9;q=0.125"], (0, 0, 125, None)),
            (&["br;q=1.000, zstd;q=1."], (1000, 1000, 0, None)),
            (&["br;q=0"], (0, 0, 0, None)),
            (&["br;q=0.3333333"], (333, 0, 0, None)),
            (&["br;q=1.5, zstd;q=2, gzip;q=x"], (0, 0, 0, None)),
            (&["br;q=-1, zstd;q=, gzip;q=0.1e3"], (0, 0, 0, None)),
            (&["*"], (1000, 1000, 1000, None)),
            (&["*;q=0.5, gzip;q=0"], (500, 500, 0, None)),
            (&["identity;q=0"], (0, 0, 0, Some(0))),
            (&["dcb, *;q=0"], (0, 0, 0, Some(0))),
            (&["*;q=0, identity"], (0, 0, 0, Some(1000))),
            (&["gzip;q=0.5, identity"], (0, 0, 500, Some(1000))),
            (&["gzip;q=0, gzip"], (0, 0, 0, None)),
        ];
        for (lines, (br, zstd, gzip, identity)) in cases {
            let expected = Accepts {
                br: Weight(br),
                zstd: Weight(zstd),
                gzip: Weight(gzip),
                identity: identity.map(Weight),
            };
            assert_eq!(accepts(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn identity_is_acceptable_unless_it_is_ruled_out() {
        for (line, taken) in [
            ("", true),
            ("gzip", true),
            ("*;q=0.1", true),
            ("identity;q=0", false),
            ("*;q=0", false),
            ("identity;q=0.1, *;q=0", true),
        ] {
            assert_eq!(accepts(&[line]).takes_identity(), taken, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_panics_or_weighs_more_than_full(line: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let mut fields = HeaderMap::new();
                fields.insert(ACCEPT_ENCODING, value);
                let accepts = Accepts::of(&fields);
                prop_assert!([accepts.br, accepts.zstd, accepts.gzip].iter().all(|weight| *weight <= Weight::FULL));
            }
        }

        #[test]
        fn weights_keep_their_order(a in 0..=1000u16, b in 0..=1000u16) {
            let text = |weight: u16| format!("{}.{:03}", weight / 1000, weight % 1000);
            let accepts = accepts(&[&format!("br;q={}, gzip;q={}", text(a), text(b))]);
            prop_assert_eq!(accepts.br.cmp(&accepts.gzip), a.cmp(&b));
        }
    }
}
