//! `[[invalidate]]`: what requests that change something make invalid, beside their own URL.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pattern::WrittenPattern;
use crate::route::{Pattern, Segment};
use crate::site::Site;
use crate::units::{Fault, Text, text_form};

/// One rule: if a request of `pattern` is answered with `status`, these are purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidateRule {
    /// Requests with an unsafe method.
    pub pattern: Pattern,
    /// Answers that say that it worked.
    pub status: Statuses,
    /// Tags that are purged.
    pub tags: Vec<Template>,
    /// Paths whose beginning is purged, on all hosts.
    pub prefixes: Vec<Template>,
    /// Whether what is purged is kept, and validated before its next use.
    pub soft: bool,
}

/// A set of statuses from 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<Status>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// All that begin with this digit.
    Class(u16),
    One(u16),
}

impl Statuses {
    /// Whether `status` is one of them.
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|known| match known {
            Status::Class(class) => status / 100 == *class,
            Status::One(one) => status == *one,
        })
    }
}

/// Text with placeholders: `user:{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(String),
}

impl Template {
    /// The text with `value` in place of each placeholder.
    pub fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Placeholder(name) => value(name),
        });
        pieces.collect()
    }

    fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Placeholder(name) => Some(name.as_str()),
        })
    }
}

/// One `[[invalidate]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenInvalidate {
    /// `[METHOD|METHOD ][HOST]/PATH`, as in a route; without methods, every one that may change something.
    #[serde(rename = "match")]
    pattern: WrittenPattern,
    /// Which answers say that it worked: classes and codes, with `|` between them.
    #[serde(default)]
    status: WrittenStatuses,
    /// Tags to purge; `{id}` is what stands in that place of the path.
    #[serde(default)]
    tags: Vec<WrittenTag>,
    /// Beginnings of paths to purge, at most 4 segments each, on all hosts.
    #[serde(default)]
    prefix: Vec<WrittenPrefix>,
    /// Keep what is purged, and validate it before its next use.
    #[serde(default)]
    soft: bool,
}

impl WrittenInvalidate {
    pub(crate) fn check(&self, site: &Site<'_>) -> InvalidateRule {
        let pattern = &self.pattern.pattern;
        let is_safe = |method: &&String| SAFE.contains(&method.as_str());
        if let Some(method) = pattern.methods.iter().find(is_safe) {
            let help =
                "write POST, PUT, PATCH or DELETE, or no method for all that may change something";
            let message = format!("{method} changes nothing, so it makes nothing invalid");
            site.key("match").problem(message, help);
        }
        if self.tags.is_empty() && self.prefix.is_empty() {
            let help = "write `tags = [\"…\"]` or `prefix = [\"/…\"]`; the request's own URL needs no rule";
            site.problem("this rule makes nothing invalid", help);
        }
        let tags = self.tags.iter().map(|tag| &tag.0.template);
        for (index, template) in tags.enumerate() {
            check_placeholders(template, pattern, &site.key("tags").index(index));
        }
        let prefixes = self.prefix.iter().map(|prefix| &prefix.0.template);
        for (index, template) in prefixes.enumerate() {
            check_placeholders(template, pattern, &site.key("prefix").index(index));
        }
        InvalidateRule {
            pattern: pattern.clone(),
            status: self.status.0.clone(),
            tags: self.tags.iter().map(|tag| tag.0.template.clone()).collect(),
            prefixes: self
                .prefix
                .iter()
                .map(|prefix| prefix.0.template.clone())
                .collect(),
            soft: self.soft,
        }
    }
}

fn check_placeholders(template: &Template, pattern: &Pattern, site: &Site<'_>) {
    let known: Vec<&str> = pattern
        .segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Any(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
        .collect();
    for name in template.placeholders() {
        if !known.contains(&name) {
            let help = match known.as_slice() {
                [] => "give a segment of `match` that name: \"/users/{id}\"".to_owned(),
                known => format!("`match` has {{{}}}", known.join("}, {")),
            };
            site.problem(format!("`match` has no placeholder {{{name}}}"), help);
        }
    }
}

/// A template as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    text: String,
    template: Template,
}

/// A tag with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenTag(Written);

/// The beginning of a path with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenPrefix(Written);

/// Classes and codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenStatuses(Statuses);

text_form!(WrittenTag, WrittenPrefix, WrittenStatuses);

impl Default for WrittenStatuses {
    /// What RFC 9111 §4.4 calls a non-error status; forms often answer with 303.
    fn default() -> Self {
        Self(Statuses(vec![Status::Class(2), Status::Class(3)]))
    }
}

impl fmt::Display for WrittenTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Display for WrittenPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Display for WrittenStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, status) in self.0.0.iter().enumerate() {
            let bar = if index == 0 { "" } else { "|" };
            match status {
                Status::Class(class) => write!(f, "{bar}{class}xx")?,
                Status::One(one) => write!(f, "{bar}{one}")?,
            }
        }
        Ok(())
    }
}

impl Text for WrittenTag {
    const FORMAT: &'static str = "tag-with-placeholders";
    const MEANING: &'static str = "a tag";
    const EXAMPLES: &'static [&'static str] = &["user:{id}", "users"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let help =
            "write it as the app does in Surrogate-Key or Cache-Tag; tags are compared whole";
        if text.trim() != text || text.is_empty() || text.contains(char::is_control) {
            return Err(Fault::new("is no tag", help));
        }
        if text.contains('*') {
            return Err(Fault::new("has a `*`, and tags are compared whole", help));
        }
        template(text).map(Self)
    }
}

impl Text for WrittenPrefix {
    const FORMAT: &'static str = "prefix-with-placeholders";
    const MEANING: &'static str = "the beginning of a path";
    const EXAMPLES: &'static [&'static str] = &["/api/users", "/api/users/{id}"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write whole segments after a slash: \"/api/users\" has all paths below it";
        let stray = |c: char| c.is_control() || " *?#".contains(c);
        if !text.starts_with('/') || text.contains(stray) {
            return Err(Fault::new("is not the beginning of a path", help));
        }
        let segments = text.split('/').filter(|segment| !segment.is_empty());
        if segments.count() > MOST_SEGMENTS {
            let reason = format!("has more than {MOST_SEGMENTS} segments");
            return Err(Fault::new(
                reason,
                "longer ones are not told apart; use a tag",
            ));
        }
        template(text).map(Self)
    }
}

impl Text for WrittenStatuses {
    const FORMAT: &'static str = "successful-statuses";
    const MEANING: &'static str = "statuses of success";
    const EXAMPLES: &'static [&'static str] = &["2xx|3xx", "2xx", "201|204"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let status = |text: &str| match text {
            "2xx" => Some(Status::Class(2)),
            "3xx" => Some(Status::Class(3)),
            code => match code.parse() {
                Ok(code @ 200..=399) if text.len() == 3 => Some(Status::One(code)),
                _ => None,
            },
        };
        let statuses: Option<Vec<Status>> = text.split('|').map(status).collect();
        statuses.map(|all| Self(Statuses(all))).ok_or_else(|| {
            let help = "write 2xx, 3xx or codes between 200 and 399, with `|` between them";
            Fault::new("names no statuses of success", help)
        })
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!("it is text: write \"{number}\""))
    }
}

fn template(text: &str) -> Result<Written, Fault> {
    let fault = || {
        let help = "write a placeholder of `match` in braces: {id}";
        Fault::new("has a brace that is no placeholder", help)
    };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(fault)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) || before.contains('}') {
            return Err(fault());
        }
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Placeholder(name.to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(fault());
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(Written {
        text: text.to_owned(),
        template: Template(pieces),
    })
}

/// Methods that change nothing (RFC 9110 §9.2.1, RFC 10008).
const SAFE: [&str; 5] = ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"];
/// Of a prefix.
const MOST_SEGMENTS: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Option<String> {
        let tag = WrittenTag::parse(text).ok()?;
        Some(tag.0.template.fill(|name| format!("<{name}>")))
    }

    #[test]
    fn templates_are_filled() {
        for (text, expected) in [
            ("users", Some("users")),
            ("user:{id}", Some("user:<id>")),
            ("{a}{b}-c", Some("<a><b>-c")),
            ("", None),
            (" a", None),
            ("a*", None),
            ("{", None),
            ("}", None),
            ("{}", None),
            ("{a b}", None),
            ("a}{b}", None),
            ("{a", None),
        ] {
            assert_eq!(filled(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn prefixes_are_whole_segments_and_no_more_than_four() {
        for (text, expected) in [
            ("/", true),
            ("/api/users", true),
            ("/a/b/c/d", true),
            ("/a/b/c/d/", true),
            ("/a/{id}", true),
            ("/a/b/c/d/e", false),
            ("api", false),
            ("", false),
            ("/a*", false),
            ("/a?b", false),
        ] {
            assert_eq!(WrittenPrefix::parse(text).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn statuses_are_classes_and_codes_of_success() {
        let holds = |text: &str, status| WrittenStatuses::parse(text).unwrap().0.holds(status);
        assert!(holds("2xx", 204) && !holds("2xx", 303) && !holds("2xx", 404));
        assert!(holds("201|3xx", 201) && holds("201|3xx", 303) && !holds("201|3xx", 200));
        for wrong in [
            "", "4xx", "5xx", "404", "2XX", "2xx|", "2xx,3xx", "0201", "+20",
        ] {
            assert!(WrittenStatuses::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "[a-z{}:/*|2-4x]{0,12}") {
            if let Ok(tag) = WrittenTag::parse(&text) {
                prop_assert_eq!(tag.to_string(), text.clone());
            }
            if let Ok(statuses) = WrittenStatuses::parse(&text) {
                prop_assert_eq!(WrittenStatuses::parse(&statuses.to_string()), Ok(statuses));
            }
            if let Ok(prefix) = WrittenPrefix::parse(&text) {
                prop_assert_eq!(prefix.to_string(), text);
            }
        }
    }
}
