//! Choosing among stored responses by `Vary` (RFC 9111 §4.1).

use std::borrow::Cow;

use config::cache::{CacheSettings, Cookies};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_ENCODING, COOKIE, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderName};

use crate::cache::key::KeyRules;
use crate::cache::reason::Reason;
use crate::fields::accept_language::AcceptLanguage;
use crate::fields::list::{self, Quotes};

/// The nominated fields and the values that the request had which a response answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection(Box<[(HeaderName, Value)]>);

/// A field's value in normal form; `None` if the request has no such field.
type Value = Option<Box<[u8]>>;

impl Selection {
    /// What `names` were in `request`.
    pub(crate) fn of(names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        Self(
            names
                .into_iter()
                .map(|name| {
                    let value = normal_value(&name, request).map(|value| value.into());
                    (name, value)
                })
                .collect(),
        )
    }

    /// Whether `request` has the same values; absent matches absent only.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| {
            let asked = normal_value(name, request);
            asked.as_deref() == value.as_deref()
        })
    }

    /// Whether `request` has the same values but for `Accept-Language`, of which `language`, that of the
    /// response, is the first choice: nobody could choose better for it.
    pub(crate) fn matches_by_language(&self, request: &HeaderMap, language: &[u8]) -> bool {
        let is_alike = |(name, value): &(HeaderName, Value)| {
            normal_value(name, request).as_deref() == value.as_deref()
        };
        let differing = |(name, _): &&(HeaderName, Value)| *name == ACCEPT_LANGUAGE;
        let Some(named) = self.0.iter().find(differing) else {
            return false;
        };
        self.0
            .iter()
            .all(|field| std::ptr::eq(field, named) || is_alike(field))
            && AcceptLanguage::of(request).is_some_and(|wanted| {
                let first = wanted.first_choice();
                first.is_some_and(|first| first.eq_ignore_ascii_case(language))
            })
    }

    /// What `request` has for the nominated fields, as bytes that are the same only for requests
    /// that choose alike.
    pub(crate) fn written_for(&self, request: &HeaderMap) -> Vec<u8> {
        let mut written = Vec::new();
        for name in self.names() {
            let value = normal_value(name, request);
            let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
            written.extend_from_slice(&length.to_le_bytes());
            written.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        written
    }

    /// Fields and values, as bytes that are the same only for selections that are.
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut written = Vec::new();
        let mut write = |part: &[u8]| {
            written.extend_from_slice(&(part.len() as u64).to_le_bytes());
            written.extend_from_slice(part);
        };
        for (name, value) in &self.0 {
            write(name.as_str().as_bytes());
            // One byte tells an absent field from an empty one.
            write(match value {
                Some(_) => &[1],
                None => &[],
            });
            write(value.as_deref().unwrap_or_default());
        }
        written
    }

    /// Whether all requests match.
    pub(crate) fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Bytes of memory behind it.
    pub(crate) fn size(&self) -> usize {
        let values = self
            .0
            .iter()
            .map(|(_, value)| value.as_ref().map_or(0, |value| value.len()));
        size_of_val(&*self.0) + values.sum::<usize>()
    }
}

/// The fields that choose this response for a request, as far as the key does not tell them apart.
///
/// `Accept-Encoding` is not among them, since the upstream is asked for identity and codings are
/// negotiated by us; but what came coded nevertheless is only for requests that asked alike.
pub(crate) fn nominated(
    fields: &HeaderMap,
    settings: &CacheSettings,
    rules: &KeyRules,
) -> Result<Vec<HeaderName>, Reason> {
    let mut names: Vec<HeaderName> = Vec::new();
    for member in members(fields) {
        if member == b"*" {
            return Err(Reason::VaryStar);
        }
        let name = HeaderName::from_bytes(member).map_err(|_| Reason::VaryStar)?;
        let is_settled = name == ACCEPT_ENCODING
            || rules.has_header(&name)
            || (name == COOKIE && (settings.cookies == Cookies::Ignore || rules.has_cookies()));
        if is_settled || names.contains(&name) {
            continue;
        }
        if [USER_AGENT, COOKIE, AUTHORIZATION].contains(&name) {
            return Err(Reason::VaryPersonal);
        }
        if names.len() == MOST_NAMES {
            return Err(Reason::VaryTooMany);
        }
        names.push(name);
    }
    if fields.contains_key(CONTENT_ENCODING) {
        names.push(ACCEPT_ENCODING);
    }
    Ok(names)
}

/// All members of all `Vary` lines; empty ones are none (RFC 9110 §5.6.1.2).
fn members(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    fields
        .get_all(VARY)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// A request field's lines as one, without optional space; what languages are wanted, in the one way
/// of writing that. What is quoted is left alone, since a space may mean something there.
fn normal_value<'a>(name: &HeaderName, request: &'a HeaderMap) -> Option<Cow<'a, [u8]>> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?.as_bytes();
    let is_language = *name == ACCEPT_LANGUAGE;
    let is_normal = |byte: &u8| match is_language {
        true => matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'),
        false => !matches!(byte, b' ' | b'\t' | b','),
    };
    if lines.next().is_none() && (first.iter().all(is_normal) || first.contains(&b'"')) {
        return Some(Cow::Borrowed(first));
    }
    if is_language && let Some(said) = AcceptLanguage::of(request) {
        return Some(Cow::Owned(said.normal()));
    }
    let mut joined = Vec::with_capacity(first.len());
    for line in request.get_all(name) {
        for member in list::split(line.as_bytes(), Quotes::Escaping) {
            if !joined.is_empty() {
                joined.push(b',');
            }
            if is_language {
                let compact = member.iter().filter(|byte| !byte.is_ascii_whitespace());
                joined.extend(compact.map(u8::to_ascii_lowercase));
            } else {
                joined.extend_from_slice(member);
            }
        }
    }
    Some(Cow::Owned(joined))
}

/// Nobody's content depends on so many fields; a hostile upstream's `Vary` may.
pub(crate) const MOST_NAMES: usize = 16;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        fields
    }

    fn names(lines: &[&str]) -> Result<Vec<HeaderName>, Reason> {
        let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
        let settings = CacheSettings::default();
        nominated(&fields(&lines), &settings, &KeyRules::of(&settings))
    }

    #[test]
    fn a_star_anywhere_never_matches() {
        for lines in [&["*"][..], &["a, *"], &[", *"], &["", "*"], &["a", " * "]] {
            assert_eq!(names(lines), Err(Reason::VaryStar), "{lines:?}");
        }
        assert_eq!(names(&["no name"]), Err(Reason::VaryStar));
    }

    #[test]
    fn names_are_gathered_once_and_codings_left_out() {
        assert_eq!(
            names(&["Accept, accept-encoding", "ACCEPT,x-a"]).unwrap(),
            ["accept", "x-a"]
        );
        assert_eq!(names(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn what_tells_everyone_apart_is_refused() {
        for name in ["User-Agent", "Cookie", "accept, authorization"] {
            assert_eq!(names(&[name]), Err(Reason::VaryPersonal), "{name}");
        }
        let mut settings = CacheSettings::default();
        settings.key.headers = vec!["user-agent".into()];
        settings.cookies = Cookies::Ignore;
        let rules = KeyRules::of(&settings);
        let vary = fields(&[("vary", "user-agent, cookie")]);
        assert_eq!(nominated(&vary, &settings, &rules).unwrap(), [""; 0]);
    }

    #[test]
    fn thousands_of_members_cost_their_own_response_only() {
        let many: String = (0..10_000).map(|index| format!("x-{index},")).collect();
        assert_eq!(names(&[&many]), Err(Reason::VaryTooMany));
        let same = "accept,".repeat(10_000);
        assert_eq!(names(&[&same]).unwrap(), ["accept"]);
    }

    #[test]
    fn coded_content_is_for_those_who_asked_alike() {
        let settings = CacheSettings::default();
        let coded = fields(&[("content-encoding", "br"), ("vary", "accept-encoding")]);
        assert_eq!(
            nominated(&coded, &settings, &KeyRules::of(&settings)).unwrap(),
            ["accept-encoding"]
        );
    }

    #[test]
    fn every_nominated_field_must_match() {
        let stored = fields(&[("accept-language", "de"), ("x-b", "1, 2")]);
        let selection = Selection::of(
            vec![
                ACCEPT_LANGUAGE,
                HeaderName::from_static("x-b"),
                HeaderName::from_static("x-c"),
            ],
            &stored,
        );
        for (request, expected) in [
            (vec![("accept-language", "de"), ("x-b", "1, 2")], true),
            (vec![("x-b", "1,2"), ("accept-language", "DE ")], true),
            (vec![("x-b", "1,2"), ("accept-language", "de;q=1")], true),
            (vec![("x-b", "1,2"), ("accept-language", "de;q=0.9")], false),
            (
                vec![("x-b", "1"), ("x-b", "2"), ("accept-language", "de")],
                true,
            ),
            (vec![("accept-language", "de"), ("x-b", "2, 1")], false),
            (vec![("accept-language", "fr"), ("x-b", "1, 2")], false),
            (vec![("accept-language", "de")], false),
            (
                vec![("accept-language", "de"), ("x-b", "1, 2"), ("x-c", "")],
                false,
            ),
            (
                vec![("accept-language", "de"), ("x-b", "1, 2"), ("x-d", "9")],
                true,
            ),
            (vec![("accept-language", "de"), ("x-b", "\"1, 2\"")], false),
        ] {
            assert_eq!(
                selection.matches(&fields(&request)),
                expected,
                "{request:?}"
            );
        }
        assert!(Selection::default().matches(&stored));
        let quoted = fields(&[("x-b", "1"), ("x-b", "\"2, 3\"")]);
        let selection = Selection::of(vec![HeaderName::from_static("x-b")], &quoted);
        assert!(selection.matches(&quoted));
        let other = fields(&[("x-b", "1"), ("x-b", "\"2,3\"")]);
        assert!(
            !selection.matches(&other),
            "spaces within quotes may mean something"
        );
    }

    #[test]
    fn the_language_of_the_response_may_stand_for_the_wish() {
        let names = vec![ACCEPT_LANGUAGE, HeaderName::from_static("x-b")];
        let stored = fields(&[("accept-language", "fr, de;q=0.5"), ("x-b", "1")]);
        let selection = Selection::of(names, &stored);
        for (request, expected) in [
            (vec![("accept-language", "de"), ("x-b", "1")], true),
            (
                vec![("accept-language", "DE, fr;q=0.9"), ("x-b", "1")],
                true,
            ),
            (vec![("accept-language", "de, fr"), ("x-b", "1")], false),
            (
                vec![("accept-language", "de-AT, de;q=0.9"), ("x-b", "1")],
                false,
            ),
            (vec![("accept-language", "de"), ("x-b", "2")], false),
            (vec![("accept-language", "de")], false),
            (vec![("x-b", "1")], false),
        ] {
            let found = selection.matches_by_language(&fields(&request), b"De");
            assert_eq!(found, expected, "{request:?}");
        }
        let other = Selection::of(vec![HeaderName::from_static("x-b")], &stored);
        assert!(!other.matches_by_language(&stored, b"fr"));
    }

    proptest! {
        #[test]
        fn a_request_matches_its_own_selection(values in proptest::collection::vec("[ -~]{0,20}", 0..4)) {
            let lines: Vec<_> = values.iter().map(|value| ("x-a", &**value)).collect();
            let request = fields(&lines);
            let selection = Selection::of(vec![HeaderName::from_static("x-a")], &request);
            prop_assert!(selection.matches(&request));
        }
    }
}
