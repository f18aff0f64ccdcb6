//! Patterns of URLs, for purges by pattern: `example.com/shop/*?page=*`.

use crate::cache::key::Place;

/// A pattern of the whole of a URL without its scheme; `*` is any text, all else is itself. One that
/// begins with a slash is for every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    has_host: bool,
    /// What stands between the stars; at least one.
    pieces: Vec<String>,
}

impl Glob {
    /// `None` if the text cannot be the pattern of a URL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let is_possible =
            text.len() <= LONGEST && !text.chars().any(|c| c.is_control() || c == ' ');
        if text.is_empty() || !is_possible {
            return None;
        }
        let has_host = !text.starts_with('/');
        // Hosts are compared in lower case; what follows a star may be of the path.
        let end = text.find(['/', '*']).unwrap_or(text.len());
        let (host, path) = text.split_at_checked(end)?;
        let text = format!("{}{path}", host.to_ascii_lowercase());
        Some(Self {
            has_host,
            pieces: text.split('*').map(str::to_owned).collect(),
        })
    }

    /// Whether the URL at `place` is one of these. Where its query cannot be told: whether it could be.
    pub(crate) fn matches(&self, place: Place<'_>) -> bool {
        let mut url = String::new();
        if self.has_host {
            url.push_str(&String::from_utf8_lossy(place.authority));
        }
        url.push_str(place.path);
        if let Some(query) = place.query {
            url.push('?');
            url.push_str(query);
        }
        if place.is_whole {
            return self.matches_text(&url);
        }
        let is_without = self.matches_text(&url);
        url.push('?');
        is_without || self.may_go_on_from(&url)
    }

    /// Whether some text that begins with `text` is one of these. A star takes whatever is left of it.
    fn may_go_on_from(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        first.starts_with(text) || (!rest.is_empty() && text.starts_with(first.as_str()))
    }

    /// Each piece where it is found first: with stars alone between them, no later place could do
    /// better, so nothing is tried twice.
    fn matches_text(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return first == text;
        };
        let inner = text.strip_prefix(first.as_str());
        let Some(mut left) = inner.and_then(|inner| inner.strip_suffix(last.as_str())) else {
            return false;
        };
        for piece in middle {
            match left.split_once(piece.as_str()) {
                Some((_, after)) => left = after,
                None => return false,
            }
        }
        true
    }
}

/// Of a pattern, in bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facts::Scheme;

    fn matches(pattern: &str, host: &str, path: &str, query: Option<&str>) -> bool {
        let place = Place {
            scheme: Scheme::Http,
            authority: host.as_bytes(),
            path,
            query,
            is_whole: query != Some("?"),
        };
        let query = query.filter(|_| place.is_whole);
        let place = Place { query, ..place };
        Glob::parse(pattern).unwrap().matches(place)
    }

    #[test]
    fn patterns_are_of_the_whole_url() {
        for (pattern, expected) in [
            ("/shop/1", false),
            ("/shop/1?a=b", true),
            ("/shop/*", true),
            ("/shop*", true),
            ("/sho", false),
            ("*", true),
            ("/*a=*", true),
            ("/*a=", false),
            ("*?a=b", true),
            ("*p/*1*b", true),
            ("a.test/shop/*", true),
            ("http://A.test/shop/*", true),
            ("*.test/shop/*", true),
            ("A*/shop/1?a=b", true),
            ("*/Shop/1?a=b", false),
            ("b.test/*", false),
            ("a.test", false),
            ("/Shop/*", false),
            ("/shop/1?a=b*b", false),
            ("/shop/[0-9]?a=b", false),
        ] {
            let found = matches(pattern, "a.test", "/shop/1", Some("a=b"));
            assert_eq!(found, expected, "{pattern}");
        }
        for wrong in ["", "/a b", "/\n", &"x".repeat(LONGEST + 1)] {
            assert_eq!(Glob::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_query_that_cannot_be_told_may_be_any() {
        for (pattern, expected) in [
            ("/shop", true),
            ("/shop?a=b", true),
            ("/shop?*", true),
            ("/sh*", true),
            ("*page=1", true),
            ("/shopping", false),
            ("/shop/*", false),
            ("/sho", false),
            ("b.test/*", false),
        ] {
            assert_eq!(
                matches(pattern, "a.test", "/shop", Some("?")),
                expected,
                "{pattern}"
            );
        }
    }

    /// The rule as it is said: some text for each star.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| slowly(rest, &text[skipped..])),
            Some((byte, rest)) => text.first() == Some(byte) && slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn the_first_place_is_good_enough(pattern in "/[ab*]{0,9}", path in "/[ab]{0,9}") {
            let expected = slowly(pattern.as_bytes(), path.as_bytes());
            prop_assert_eq!(matches(&pattern, "x", &path, None), expected);
        }
    }
}
