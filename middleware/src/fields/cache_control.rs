//! `Cache-Control` (RFC 9111 §5.2), as requests and as responses write it.
//!
//! Names are matched in any case, text inside a quoted string is never a directive, and unknown
//! directives are ignored. What cannot be read is read on the safe side: a lifetime that is no
//! number is zero, and the smallest of several counts.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
//! use middleware::fields::cache_control::ResponseDirectives;
//!
//! let mut fields = HeaderMap::new();
//! fields.insert(CACHE_CONTROL, HeaderValue::from_static("Max-Age=60, note=\"no-store\""));
//! let directives = ResponseDirectives::of(&fields);
//! assert_eq!(directives.max_age, Some(std::time::Duration::from_secs(60)));
//! assert!(!directives.no_store);
//! ```

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

/// What a response says (RFC 9111 §5.2.2, RFC 5861, RFC 8246).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`, perhaps for some fields only.
    pub no_cache: Scope,
    /// `private`, perhaps for some fields only.
    pub private: Scope,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
    /// `max-age`; zero if it is there and cannot be read.
    pub max_age: Option<Duration>,
    /// `s-maxage`; zero if it is there and cannot be read.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3)
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4)
    pub stale_if_error: Option<Duration>,
}

/// How far `no-cache` or `private` reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The directive is absent.
    #[default]
    None,
    /// Only these fields (`private="a, b"`).
    Fields(Vec<HeaderName>),
    /// The whole response.
    All,
}

/// What a request asks (RFC 9111 §5.2.1, RFC 5861 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 §5.4).
    pub no_cache: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`; zero if it is there and cannot be read.
    pub max_age: Option<Duration>,
    /// `min-fresh`
    pub min_fresh: Option<Duration>,
    /// `max-stale`; [`Duration::MAX`] without an argument.
    pub max_stale: Option<Duration>,
    /// `stale-if-error`
    pub stale_if_error: Option<Duration>,
}

/// Delta-seconds saturate here (RFC 9111 §1.2.2).
pub const MOST_SECONDS: u64 = 1 << 31;

impl ResponseDirectives {
    /// What all `Cache-Control` lines of `fields` say together.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut said = Self::default();
        for line in fields.get_all(CACHE_CONTROL) {
            for directive in Directives::of(line.as_bytes()) {
                said.note(directive);
            }
        }
        said
    }

    fn note(&mut self, directive: Directive<'_>) {
        let Directive { name, argument } = directive;
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache.widen(argument);
        } else if is("private") {
            self.private.widen(argument);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("immutable") {
            self.immutable = true;
        } else if is("max-age") {
            lower(&mut self.max_age, argument);
        } else if is("s-maxage") {
            lower(&mut self.s_maxage, argument);
        } else if is("stale-while-revalidate") {
            lower(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            lower(&mut self.stale_if_error, argument);
        }
    }
}

impl RequestDirectives {
    /// What a request's `Cache-Control` asks, or its `Pragma` where there is none.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut asked = Self::default();
        if !fields.contains_key(CACHE_CONTROL) {
            asked.no_cache = fields.get_all(PRAGMA).iter().any(|line| {
                Directives::of(line.as_bytes())
                    .any(|directive| directive.name.eq_ignore_ascii_case(b"no-cache"))
            });
            return asked;
        }
        for line in fields.get_all(CACHE_CONTROL) {
            for directive in Directives::of(line.as_bytes()) {
                asked.note(directive);
            }
        }
        asked
    }

    fn note(&mut self, directive: Directive<'_>) {
        let Directive { name, argument } = directive;
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            lower(&mut self.max_age, argument);
        } else if is("min-fresh") {
            // The most demanding of several; one that cannot be read demands nothing.
            self.min_fresh = self.min_fresh.max(argument.seconds());
        } else if is("max-stale") {
            if argument == Argument::None {
                self.max_stale = self.max_stale.or(Some(Duration::MAX));
            } else {
                lower(&mut self.max_stale, argument);
            }
        } else if is("stale-if-error") {
            lower(&mut self.stale_if_error, argument);
        }
    }
}

impl Scope {
    /// Whether the whole response is meant.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// The fields meant, where only some are.
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::None | Self::All => &[],
        }
    }

    /// Adds one more occurrence. Only a well-formed list of names narrows the directive: what is
    /// not understood means the whole response.
    fn widen(&mut self, argument: Argument<'_>) {
        let names = match argument {
            Argument::Quoted(list) => list
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
                .filter(|name| !name.is_empty())
                .map(|name| HeaderName::from_bytes(name).ok())
                .collect::<Option<Vec<_>>>(),
            Argument::None | Argument::Token(_) | Argument::Malformed => None,
        };
        match (&mut *self, names) {
            (_, None) => *self = Self::All,
            (_, Some(names)) if names.is_empty() => *self = Self::All,
            (Self::All, _) => {}
            (Self::None, Some(names)) => *self = Self::Fields(names),
            (Self::Fields(seen), Some(names)) => seen.extend(names),
        }
    }
}

/// Keeps the smaller of what was seen and this one; what is no number is zero.
fn lower(seen: &mut Option<Duration>, argument: Argument<'_>) {
    let this = argument.seconds().unwrap_or(Duration::ZERO);
    *seen = Some(seen.map_or(this, |seen| seen.min(this)));
}

/// One member of a `Cache-Control` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Directive<'a> {
    name: &'a [u8],
    argument: Argument<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// Without its quotes.
    Quoted(&'a [u8]),
    /// Space around `=`, or something after a quoted string.
    Malformed,
}

impl Argument<'_> {
    fn seconds(self) -> Option<Duration> {
        match self {
            Self::Token(digits) | Self::Quoted(digits) => delta_seconds(digits),
            Self::None | Self::Malformed => None,
        }
    }
}

/// Delta-seconds (RFC 9111 §1.2.2): digits and nothing else, saturating.
pub fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() {
        return None;
    }
    let mut seconds = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        seconds = (seconds * 10 + u64::from(digit - b'0')).min(MOST_SECONDS);
    }
    Some(Duration::from_secs(seconds))
}

/// The directives of one line.
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Directives<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// Takes bytes off the front up to the first that `ends`, which stays.
    fn take_until(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| ends(*byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) -> bool {
        !self
            .take_until(|byte| !matches!(byte, b' ' | b'\t'))
            .is_empty()
    }

    /// The inside of the quoted string that starts here; without its end quote, the rest of the line.
    fn take_quoted(&mut self) -> &'a [u8] {
        let inside = self.rest.get(1..).unwrap_or_default();
        let mut escaped = false;
        let end = inside.iter().position(|byte| {
            let is_end = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            is_end
        });
        match end {
            Some(end) => {
                self.rest = inside.get(end + 1..).unwrap_or_default();
                inside.get(..end).unwrap_or_default()
            }
            None => {
                self.rest = &[];
                inside
            }
        }
    }

    /// Skips to the comma that ends this member, over quoted strings.
    fn skip_member(&mut self) {
        loop {
            self.take_until(|byte| matches!(byte, b',' | b'"'));
            if self.rest.first() != Some(&b'"') {
                return;
            }
            self.take_quoted();
        }
    }

    fn argument(&mut self, space_before: bool) -> Argument<'a> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        let spaced = self.skip_space() || space_before;
        let argument = if self.rest.first() == Some(&b'"') {
            let inside = self.take_quoted();
            self.skip_space();
            match self.rest.first() {
                None | Some(b',') => Argument::Quoted(inside),
                Some(_) => Argument::Malformed,
            }
        } else {
            Argument::Token(
                self.take_until(|byte| matches!(byte, b',' | b'"'))
                    .trim_ascii_end(),
            )
        };
        self.skip_member();
        if spaced {
            Argument::Malformed
        } else {
            argument
        }
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        loop {
            self.take_until(|byte| !matches!(byte, b' ' | b'\t' | b','));
            if self.rest.is_empty() {
                return None;
            }
            let name = self.take_until(|byte| matches!(byte, b'=' | b',' | b'"'));
            let trimmed = name.trim_ascii_end();
            match self.rest.first() {
                Some(b'"') => {
                    self.skip_member();
                    if !trimmed.is_empty() {
                        return Some(Directive {
                            name: trimmed,
                            argument: Argument::Malformed,
                        });
                    }
                }
                Some(b'=') => {
                    let argument = self.argument(trimmed.len() != name.len());
                    return Some(Directive {
                        name: trimmed,
                        argument,
                    });
                }
                _ => {
                    return Some(Directive {
                        name: trimmed,
                        argument: Argument::None,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "cache_control_tests.rs"]
mod tests;
