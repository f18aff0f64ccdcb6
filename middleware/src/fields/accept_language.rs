//! `Accept-Language` (RFC 9110 §12.5.4) in a form that is the same for all who want the same.
//!
//! Letter case, spaces, the order of the members and how a weight is written say nothing. What is
//! malformed has no such form: it is only the same as itself.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
//! use middleware::fields::accept_language::AcceptLanguage;
//!
//! let of = |line| {
//!     let mut fields = HeaderMap::new();
//!     fields.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(line));
//!     AcceptLanguage::of(&fields).expect("well formed")
//! };
//! assert_eq!(of("en;q=0.50, DE").normal(), b"de,en;q=0.5");
//! assert_eq!(of("en;q=0.50, DE").first_choice(), Some(&b"de"[..]));
//! assert_eq!(of("en, de").first_choice(), None);
//! ```

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use crate::fields::accept_encoding::Weight;
use crate::fields::list;

/// The language ranges of a request: the preferred ones first, those of one weight by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptLanguage(Vec<(Weight, Box<[u8]>)>);

impl AcceptLanguage {
    /// What all lines of the field say together; `None` if there is none, if one member is malformed,
    /// or if there are more than anybody speaks.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut ranges = Vec::new();
        for member in list::members(fields, &ACCEPT_LANGUAGE) {
            if ranges.len() == MOST {
                return None;
            }
            ranges.push(range(member)?);
        }
        // By weight downwards, then by name.
        ranges.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.cmp(other)));
        ranges.dedup();
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// The one way of writing it: lower case, no spaces, weights without needless digits.
    pub fn normal(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (weight, range) in &self.0 {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(range);
            if *weight != Weight::FULL {
                let digits = format!(";q=0.{:03}", weight.thousandths());
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                text.extend_from_slice(digits.as_bytes());
            }
        }
        text
    }

    /// The one language that is preferred to all others; `None` if there are several, or any will do.
    pub fn first_choice(&self) -> Option<&[u8]> {
        let (weight, first) = self.0.first()?;
        let is_alone = self.0.get(1).is_none_or(|(next, _)| next < weight);
        (is_alone && weight.is_taken() && !first.contains(&b'*')).then_some(first)
    }
}

/// One member: a range and perhaps its weight, nothing else.
fn range(member: &[u8]) -> Option<(Weight, Box<[u8]>)> {
    let mut parts = member.split(|byte| *byte == b';').map(list::trim);
    let range = parts.next()?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-*".contains(byte);
    if range.is_empty() || !range.iter().all(is_part) {
        return None;
    }
    let weight = match (parts.next(), parts.next()) {
        (None, _) => Weight::FULL,
        // One digit, a point and three more are all that a weight may have.
        (Some([b'q' | b'Q', b'=', weight @ ..]), None) if weight.len() <= 5 => {
            Weight::parse(weight)?
        }
        _ => return None,
    };
    Some((weight, range.to_ascii_lowercase().into()))
}

/// Browsers send up to a dozen.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str]) -> Option<AcceptLanguage> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(ACCEPT_LANGUAGE, HeaderValue::from_str(line).unwrap());
        }
        AcceptLanguage::of(&fields)
    }

    fn normal(lines: &[&str]) -> Option<String> {
        Some(String::from_utf8(of(lines)?.normal()).unwrap())
    }

    /// "Note that some recipients treat the order in which language tags are listed as an indication of
    /// descending priority … However, this behavior cannot be relied upon" (RFC 9110 §12.5.4).
    #[test]
    fn case_space_order_and_the_form_of_weights_say_nothing() {
        for (lines, expected) in [
            (&["de"][..], "de"),
            (&["DE-at"], "de-at"),
            (&["de, en"], "de,en"),
            (&["en,de"], "de,en"),
            (&["en", "de"], "de,en"),
            (&["en ; q=1.0,\tde"], "de,en"),
            (&["en;q=0.8, de;q=0.80, fr"], "fr,de;q=0.8,en;q=0.8"),
            (&["*;q=0, de;q=0.001"], "de;q=0.001,*;q=0"),
            (&["de, de"], "de"),
            (&[", de,"], "de"),
        ] {
            assert_eq!(normal(lines).as_deref(), Some(expected), "{lines:?}");
        }
        let wanted = [
            normal(&["de;q=0.5"]),
            normal(&["de"]),
            normal(&["de;q=0"]),
            normal(&["de-at"]),
        ];
        for (place, one) in wanted.iter().enumerate() {
            assert!(wanted.iter().skip(place + 1).all(|other| other != one));
        }
    }

    #[test]
    fn what_is_malformed_has_no_normal_form() {
        for line in [
            "",
            "de;",
            "de;q",
            "de;q=2",
            "de;q=0.5555",
            "de;q=x",
            "de;q=0.5;q=1",
            "de;level=1",
            "d e",
            "de;q =1",
            "\"de\"",
            "de_AT",
        ] {
            assert_eq!(of(&[line]), None, "{line}");
            assert_eq!(of(&["en", line]), of(&["en"]).filter(|_| line.is_empty()));
        }
        assert_eq!(of(&[&"de,".repeat(MOST + 1)]), None);
    }

    #[test]
    fn a_first_choice_is_one_language_before_all_others() {
        for (line, expected) in [
            ("de", Some("de")),
            ("de-AT, de;q=0.9, *;q=0.1", Some("de-at")),
            ("en;q=0.5, de;q=0.6", Some("de")),
            ("de, en", None),
            ("*", None),
            ("*, de;q=0.9", None),
            ("de;q=0", None),
            ("de, de;q=0.5", Some("de")),
        ] {
            let of = of(&[line]).unwrap();
            assert_eq!(of.first_choice(), expected.map(str::as_bytes), "{line}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_says_the_same(line in "[ a-cA-C,;=q01.*-]{0,30}") {
            if let Some(said) = of(&[&line]) {
                let normal = String::from_utf8(said.normal()).unwrap();
                prop_assert_eq!(of(&[&normal]).unwrap(), said);
            }
        }

        #[test]
        fn order_does_not_matter(mut members in prop::collection::vec("[a-c]{1,2}(;q=0\\.[1-9])?", 1..6)) {
            let one = normal(&[&members.join(",")]);
            members.reverse();
            prop_assert_eq!(normal(&[&members.join(" , ")]), one);
        }
    }
}
