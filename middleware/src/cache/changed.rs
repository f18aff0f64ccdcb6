//! What an unsafe request that worked has changed, and so makes invalid: its URL and those that its
//! answer names (RFC 9111 §4.4), groups (RFC 9875 §2.2.1, §3), and what the operator's rules say.

use config::invalidate::{InvalidateRule, Template};
use http::{Method, Uri};

use crate::cache::invalidate::{also_changed, resolve};
use crate::cache::key::Target;
use crate::cache::shared::{Purge, SharedCache};
use crate::facts::Scheme;
use crate::fields::tags::invalidated_groups;
use crate::pattern::Wanted;
use crate::{Request, Response};

/// An unsafe request on its way: what is needed of it when its answer comes.
pub(crate) struct Changed {
    method: Method,
    scheme: Scheme,
    authority: Vec<u8>,
    uri: Uri,
}

impl Changed {
    pub(crate) fn of(request: &Request) -> Self {
        let target = Target::of(request);
        Self {
            method: request.method().clone(),
            scheme: target.scheme,
            authority: target.authority.to_vec(),
            uri: request.uri().clone(),
        }
    }

    /// Makes invalid what the request has changed, now that `response` says that it worked: how many
    /// purges the log counts for that.
    pub(crate) fn invalidate(
        &self,
        response: &Response,
        rules: &[InvalidateRule],
        shared: &SharedCache,
    ) -> usize {
        let target = self.target(&self.uri);
        let mut purges = shared.invalidate_target(target);
        for other in also_changed(target, response.headers()) {
            if let Ok(uri) = other.parse() {
                purges += shared.invalidate_target(self.target(&uri));
            }
        }
        let groups = invalidated_groups(response.headers());
        if !groups.is_empty() {
            purges += shared.purge_groups(self.scheme, &self.authority, &groups, Purge::Hard);
        }
        if !rules.is_empty() {
            purges += self.follow(rules, response, shared);
        }
        purges
    }

    /// Whether `reference`, relative to it, is the same URL.
    pub(crate) fn is_same(&self, reference: &str) -> bool {
        let own = self.uri.path_and_query().map_or("/", |own| own.as_str());
        resolve(self.target(&self.uri), reference).as_deref() == Some(own)
    }

    /// What the operator's rules say of this request.
    fn follow(&self, rules: &[InvalidateRule], response: &Response, shared: &SharedCache) -> usize {
        let mut purges = 0;
        let host = std::str::from_utf8(&self.authority).unwrap_or_default();
        let wanted = Wanted::new(self.method.as_str(), host, self.uri.path());
        let status = response.status().as_u16();
        let matching = rules
            .iter()
            .filter(|rule| rule.status.holds(status) && wanted.matches(&rule.pattern));
        for rule in matching {
            let captured = wanted.captured(&rule.pattern);
            let purge = if rule.soft { Purge::Soft } else { Purge::Hard };
            let spelled = |templates: &[Template], decode: fn(&str) -> String| -> Vec<String> {
                let mut names: Vec<String> = templates
                    .iter()
                    .flat_map(|template| spellings(template, &captured, decode))
                    .collect();
                names.sort_unstable();
                names.dedup();
                names
            };
            purges += shared.purge_tags(&spelled(&rule.tags, decoded), purge);
            let prefixes = spelled(&rule.prefixes, decoded_in_path);
            purges += shared.purge_prefixes(None, &prefixes, purge);
        }
        purges
    }

    fn target<'a>(&'a self, uri: &'a Uri) -> Target<'a> {
        Target::new(self.scheme, &self.authority, uri)
    }
}

/// What a template says with the placeholders filled in: as the path has them and, where that is
/// different, as an app has decoded them; it may tag by either.
fn spellings(
    template: &Template,
    captured: &[(&str, &str)],
    decode: fn(&str) -> String,
) -> impl Iterator<Item = String> {
    let value = |name: &str| {
        let found = captured.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| *value)
    };
    let raw = template.fill(|name| value(name).to_owned());
    let decoded = template.fill(|name| decode(value(name)));
    let other = (decoded != raw).then_some(decoded);
    std::iter::once(raw).chain(other)
}

/// Without escapes (RFC 3986 §2.1), as far as that is text.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = match after {
            [high, low, after @ ..] if byte == b'%' => hex(*high, *low).map(|plain| (plain, after)),
            _ => None,
        };
        let (plain, after) = escape.unwrap_or((byte, after));
        bytes.push(plain);
        rest = after;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| segment.to_owned())
}

/// The same for a path, where it is one segment still: else whoever asks would choose what is purged,
/// `%2F..%2F..` all there is.
fn decoded_in_path(segment: &str) -> String {
    let plain = decoded(segment);
    let is_segment = !(plain.contains(['/', '%']) || matches!(plain.as_str(), "." | ".."));
    if is_segment {
        plain
    } else {
        segment.to_owned()
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
