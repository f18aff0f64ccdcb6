//! `[[route]]`: which requests go where, and what is different for them.

use std::sync::Arc;

use crate::cache::CacheSettings;
use crate::conditional::ConditionalSettings;
use crate::content_coding::ContentCodingSettings;
use crate::etag::EtagSettings;

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
