//! `[[route]]`: which requests go where, and what is different for them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::{CacheSettings, WrittenCache};
use crate::conditional::{ConditionalSettings, WrittenConditional};
use crate::content_coding::{ContentCodingSettings, WrittenContentCoding};
use crate::etag::{EtagSettings, WrittenEtag};
use crate::nearest::nearest;
use crate::pattern::{Prefix, WrittenPattern};
use crate::site::Site;
use crate::upstream::UpstreamSettings;

/// One route with everything that applies to it.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The pattern as written; names the route in logs, metrics and `explain`. `*` for the default.
    pub name: Arc<str>,
    /// What it matches.
    pub pattern: Pattern,
    /// Key of [`crate::Settings::upstreams`].
    pub upstream: Arc<str>,
    /// Taken off the path's beginning before forwarding, after the cache key is made.
    pub strip_prefix: Option<Arc<str>>,
    /// Rules of the cache here.
    pub cache: Arc<CacheSettings>,
    /// Preconditions and ranges here.
    pub conditional: ConditionalSettings,
    /// Codings here.
    pub content_coding: ContentCodingSettings,
    /// Tags here.
    pub etag: EtagSettings,
}

/// `[METHOD|METHOD ][HOST]/PATH`: `{id}` is one segment, a last `*` the rest, `*.example.com` any host below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// Empty is any.
    pub methods: Vec<String>,
    /// Which hosts; lower case, no port.
    pub host: HostPattern,
    /// Segments between slashes.
    pub segments: Vec<Segment>,
    /// Whether a path may go on after the segments (a last `*`).
    pub open: bool,
}

/// The host part of a [`Pattern`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host.
    #[default]
    Any,
    /// This one.
    Exact(String),
    /// Every host below this one (`*.example.com` holds `example.com`).
    Below(String),
}

/// One segment of a [`Pattern`]'s path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text, unreserved escapes decoded.
    Literal(String),
    /// Any one segment, and its name.
    Any(String),
}

/// One `[[route]]`. The features' tables hold what is different here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRoute {
    /// `[METHOD|METHOD ][HOST]/PATH`: `{id}` is one segment, a last `*` the rest, `*.example.com` any host below it.
    #[serde(rename = "match")]
    pub(crate) pattern: WrittenPattern,
    /// Where requests go: the only upstream, or the one called `app`, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// Taken off the path's beginning before forwarding, after the cache key is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strip_prefix: Option<Prefix>,
    /// Keys of `[cache]` that are different here.
    #[serde(default)]
    cache: WrittenCache,
    /// Keys of `[conditional]` that are different here.
    #[serde(default)]
    conditional: WrittenConditional,
    /// Keys of `[content_coding]` that are different here.
    #[serde(default)]
    content_coding: WrittenContentCoding,
    /// Keys of `[etag]` that are different here.
    #[serde(default)]
    etag: WrittenEtag,
}

/// The tables of a route that are laid over the tables of the same name.
pub(crate) const OVERRIDES: [&str; 4] = ["cache", "conditional", "content_coding", "etag"];

impl WrittenRoute {
    /// The route; `upstream` is what takes the requests where the route does not say.
    pub(crate) fn check(&self, site: &Site<'_>, upstreams: &Upstreams<'_>) -> RouteSettings {
        let pattern = self.pattern.pattern.clone();
        if let Some(prefix) = &self.strip_prefix {
            prefix.check(&pattern, &site.key("strip_prefix"));
        }
        let memory = site.key("cache").key("memory");
        if memory.written().is_some() {
            let help = "write `memory` in [cache]";
            memory.problem("the cache's memory is one for all routes", help);
        }
        let disk = site.key("cache").key("disk");
        if disk.written().is_some() {
            let help = "write it as [cache.disk]";
            disk.problem("what is on disk is one for all routes", help);
        }
        let keys = site.key("cache").key("ghost").key("keys");
        if keys.written().is_some() {
            let help = "write `ghost = { keys = … }` in [cache]";
            keys.problem("the keys that are followed are those of all routes", help);
        }
        let redis = site.key("cache").key("redis");
        if redis.written().is_some() {
            let help = "write it as [cache.redis]";
            redis.problem("what is shared is shared for all routes", help);
        }
        RouteSettings {
            name: self.pattern.text.as_str().into(),
            pattern,
            upstream: upstreams.named(self.upstream.as_deref(), site),
            strip_prefix: self
                .strip_prefix
                .as_ref()
                .map(|prefix| prefix.0.as_str().into()),
            cache: Arc::new(self.cache.check(&site.key("cache"))),
            conditional: self.conditional.check(&site.key("conditional")),
            content_coding: self.content_coding.check(&site.key("content_coding")),
            etag: self.etag.check(&site.key("etag")),
        }
    }
}

/// Which upstreams there are.
pub(crate) struct Upstreams<'a> {
    /// By name.
    pub(crate) all: &'a BTreeMap<Arc<str>, Arc<UpstreamSettings>>,
    /// Whether one may be missing only because of a problem that was reported.
    pub(crate) is_unclear: bool,
}

impl Upstreams<'_> {
    /// The only one, or the one called `app`.
    pub(crate) fn default(&self) -> Option<Arc<str>> {
        match self.all.len() {
            1 => self.all.keys().next().cloned(),
            _ => self.all.get_key_value("app").map(|(name, _)| name.clone()),
        }
    }

    fn named(&self, name: Option<&str>, site: &Site<'_>) -> Arc<str> {
        let known = match name {
            Some(name) => self.all.get_key_value(name).map(|(name, _)| name.clone()),
            None => self.default(),
        };
        if known.is_none() && !self.is_unclear && !self.all.is_empty() {
            self.refuse(name, site);
        }
        known.unwrap_or_else(|| "".into())
    }

    fn refuse(&self, name: Option<&str>, site: &Site<'_>) {
        let names: Vec<&str> = self.all.keys().map(|name| &**name).collect();
        let Some(name) = name else {
            let help = format!("write `upstream = …`, one of {}", names.join(", "));
            return site.problem(
                "there are several upstreams, and none is called `app`",
                help,
            );
        };
        let help = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("upstreams are {}", names.join(", ")),
        };
        site.key("upstream")
            .problem(format!("there is no upstream {name:?}"), help);
    }
}

/// Most specific first: host, then path, then method.
pub(crate) fn by_specificity(left: &Pattern, right: &Pattern) -> Ordering {
    let host = |pattern: &Pattern| match &pattern.host {
        HostPattern::Exact(_) => (0, 0),
        // The longer the domain, the fewer hosts are below it.
        HostPattern::Below(domain) => (1, usize::MAX - domain.len()),
        HostPattern::Any => (2, 0),
    };
    let path = |pattern: &Pattern| -> Vec<u8> {
        let segment = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Any(_) => 1,
        };
        // A path that ends is narrower than one that goes on, an open one wider than either.
        let end = if pattern.open { 2 } else { 0 };
        pattern.segments.iter().map(segment).chain([end]).collect()
    };
    // `GET` takes `HEAD` along, so a route for `HEAD` alone is narrower.
    let methods = |pattern: &Pattern| match pattern.methods.len() {
        0 => usize::MAX,
        count => count,
    };
    host(left)
        .cmp(&host(right))
        .then_with(|| path(left).cmp(&path(right)))
        .then_with(|| methods(left).cmp(&methods(right)))
}

/// Whether the same request could go to either, and nothing says to which.
pub(crate) fn collide(left: &Pattern, right: &Pattern) -> bool {
    let same_segment = |(left, right): (&Segment, &Segment)| match (left, right) {
        (Segment::Literal(left), Segment::Literal(right)) => left == right,
        (Segment::Any(_), Segment::Any(_)) => true,
        _ => false,
    };
    let same_path = left.open == right.open
        && left.segments.len() == right.segments.len()
        && left.segments.iter().zip(&right.segments).all(same_segment);
    let all_in = |few: &Pattern, many: &Pattern| {
        few.methods
            .iter()
            .all(|method| many.methods.contains(method))
    };
    let overlap = match (left.methods.is_empty(), right.methods.is_empty()) {
        (true, true) => true,
        (true, false) | (false, true) => false,
        _ => {
            let shared = left
                .methods
                .iter()
                .any(|method| right.methods.contains(method));
            let narrower = all_in(left, right) != all_in(right, left);
            shared && !narrower
        }
    };
    left.host == right.host && same_path && overlap
}
