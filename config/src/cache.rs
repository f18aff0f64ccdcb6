//! `[cache]`: what may be stored, and when it may be used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::collapse::WrittenCollapse;
use crate::disk::WrittenDisk;
use crate::ghost::WrittenGhost;
use crate::invalidate::InvalidateRule;
use crate::mode::Mode;
use crate::names::{CookieName, FieldName, ParameterName};
use crate::outage::{DEFAULT_WEIGHT, OnOutage, OutageSettings, WrittenEarlyRefresh, WrittenOutage};
use crate::redis::{RedisSettings, WrittenRedis};
use crate::site::Site;
use crate::tags::{TagSettings, WrittenTags};
use crate::targeted::{TargetedSettings, WrittenTargeted};
use crate::units::{Period, PeriodOrNone, Size, SizeOrZero};

/// The rules of one route's cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSettings {
    /// Off forwards everything and stores nothing.
    pub enabled: bool,
    /// Whether what is decided is done, or counted only.
    pub mode: Mode,
    /// Longer bodies are not stored, in bytes.
    pub max_body: u64,
    /// Freshness where the upstream gives `Last-Modified` only (RFC 9111 §4.2.2).
    pub heuristic: Heuristic,
    /// What makes two requests the same.
    pub key: KeySettings,
    /// What a request's `Cookie` means for storing.
    pub cookies: Cookies,
    /// What an answer's `Set-Cookie` means for storing.
    pub set_cookie: SetCookie,
    /// Freshness lifetime where the upstream says nothing; `None` invents none.
    pub ttl: Option<Duration>,
    /// Freshness lifetime whatever the upstream says; needs `i_know_responses_are_public`.
    pub force_ttl: Option<Duration>,
    /// RFC 5861 §3 window where the upstream gives none.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4 window where the upstream gives none.
    pub stale_if_error: Option<Duration>,
    /// How early what is fresh and asked for is validated: about so many times what a fetch takes; 0 is never.
    pub early_refresh: f64,
    /// What is done while Redis is away.
    pub on_outage: OnOutage,
    /// The bounds of that.
    pub outage: OutageSettings,
    /// How long a collapsed request waits for the other's head before it goes by itself.
    pub collapse_wait: Duration,
    /// Whether requests for the same thing are forwarded once.
    pub collapse: bool,
    /// Stored responses for one key, told apart by `Vary`.
    pub variants: usize,
    /// Whether clients' `Cache-Control` may make the cache forward.
    pub client_directives: ClientDirectives,
    /// A `Range` request on a miss fetches the whole representation if it is known to be at most this, in bytes.
    pub range_fill_max: u64,
    /// Whether parts of a representation (206) are stored.
    pub partial: bool,
    /// The answer to a QUERY with longer content is not stored, in bytes; 0 stores none.
    pub query_max_body: u64,
    /// What is done with a client's condition where nothing is stored.
    pub preconditions: Preconditions,
    /// Whether the upstream is asked about the stored variants where none is for the request.
    pub offer_variants: bool,
    /// Whether `No-Vary-Search` widens reuse.
    pub no_vary_search: bool,
    /// What responses are purged by together.
    pub tags: TagSettings,
    /// Whether `Cache-Status` tells the cache key.
    pub status_key: bool,
    /// Fields that speak to caches like this one.
    pub targeted: TargetedSettings,
    /// What unsafe requests make invalid beside their URL: all of `[[invalidate]]`.
    pub invalidate: Arc<[InvalidateRule]>,
    /// Whether answers that are not stored here are followed, to tell what storing them would save.
    pub ghost: bool,
}

impl CacheSettings {
    /// Whether requests are answered from what is stored, and anything is stored.
    pub fn is_applied(&self) -> bool {
        self.enabled && self.mode == Mode::Apply
    }

    /// Whether what would be done is counted, and nothing is.
    pub fn is_observed(&self) -> bool {
        self.enabled && self.mode == Mode::Observe
    }
}

/// See [`CacheSettings::heuristic`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heuristic {
    /// Off never reuses without explicit freshness.
    pub enabled: bool,
    /// Of the time since `Last-Modified`.
    pub fraction: f64,
    /// Upper bound.
    pub max: Duration,
}

/// See [`CacheSettings::key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Whether query parameters are sorted by name (stable) before they are compared.
    pub sort_query: bool,
    /// Query parameters left out; a last `*` stands for any ending.
    pub drop: Vec<String>,
    /// Request fields that are part of the key, lower case.
    pub headers: Vec<String>,
    /// Cookies that are part of the key.
    pub cookies: Vec<String>,
}

/// See [`CacheSettings::cookies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cookies {
    /// An answer to a request with cookies is stored only with `public`, `s-maxage` or targeted control.
    Respect,
    /// Cookies have no say.
    Ignore,
}

/// See [`CacheSettings::set_cookie`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetCookie {
    /// Such an answer is not stored.
    Skip,
    /// Stored without it, and sent to all without it.
    Strip,
}

/// See [`CacheSettings::client_directives`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientDirectives {
    /// RFC 9111 §5.2.1.
    Respect,
    /// Visitors cannot bust the cache.
    Ignore,
}

/// See [`CacheSettings::preconditions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preconditions {
    /// It goes upstream as it is; a 304 to it is for that client alone.
    Forward,
    /// The whole is fetched and stored, and the condition is judged here.
    Fetch,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::Apply,
            max_body: 8 << 20,
            heuristic: Heuristic {
                enabled: true,
                fraction: 0.1,
                max: Duration::from_secs(3600),
            },
            key: KeySettings::default(),
            cookies: Cookies::Respect,
            set_cookie: SetCookie::Skip,
            ttl: None,
            force_ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            early_refresh: DEFAULT_WEIGHT,
            on_outage: OnOutage::Bypass,
            outage: OutageSettings::default(),
            collapse_wait: Duration::from_secs(2),
            collapse: true,
            variants: 16,
            client_directives: ClientDirectives::Respect,
            range_fill_max: 1 << 20,
            partial: true,
            query_max_body: 64 << 10,
            preconditions: Preconditions::Forward,
            offer_variants: true,
            no_vary_search: true,
            tags: TagSettings::default(),
            status_key: false,
            targeted: TargetedSettings::default(),
            invalidate: Arc::default(),
            ghost: false,
        }
    }
}

/// `[cache]`, and `cache` in a `[[route]]`, where a key that is not written is the table's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenCache {
    /// Off forwards everything and stores nothing.
    enabled: bool,
    /// Whether what is decided is done, or counted only.
    mode: Mode,
    /// Longer bodies are not stored.
    max_body: Size,
    /// Freshness lifetime where the upstream says nothing, or "none".
    ttl: PeriodOrNone,
    /// Freshness lifetime whatever the upstream says, `private` and `no-store` included.
    force_ttl: PeriodOrNone,
    /// Must be true beside `force_ttl`: everybody gets what one client got.
    i_know_responses_are_public: bool,
    /// How long a stale response is used while a new one is fetched, where the upstream names no time (RFC 5861 §3).
    stale_while_revalidate: PeriodOrNone,
    /// How long a stale response is used where the upstream fails, where it names no time (RFC 5861 §4).
    stale_if_error: PeriodOrNone,
    /// Validates in the background what is asked for and about to be stale.
    early_refresh: WrittenEarlyRefresh,
    /// What is done while Redis is away.
    on_outage: OnOutage,
    /// The bounds of that.
    outage: WrittenOutage,
    /// What a request's `Cookie` means for storing.
    cookies: Cookies,
    /// What an answer's `Set-Cookie` means for storing.
    set_cookie: SetCookie,
    /// Whether clients' `Cache-Control` may make the cache forward.
    client_directives: ClientDirectives,
    /// Stored responses for one key, told apart by `Vary`.
    #[schemars(range(min = 1, max = 1000))]
    variants: usize,
    /// A `Range` request on a miss fetches the whole if it is known to be at most this.
    range_fill_max: SizeOrZero,
    /// Whether parts of a representation (206) are stored, answer ranges within them, and are put together.
    partial: bool,
    /// The answer to a QUERY with longer content is not stored; "0B" stores none (RFC 10008).
    query_max_body: SizeOrZero,
    /// What is done with a client's condition where nothing is stored.
    preconditions: Preconditions,
    /// Whether the upstream is asked about the stored variants where none is for the request (RFC 9111 §4.1).
    offer_variants: bool,
    /// Whether the upstream's `No-Vary-Search` widens reuse: queries that it says to be equal are.
    no_vary_search: bool,
    /// Freshness where the upstream gives `Last-Modified` only (RFC 9111 §4.2.2).
    heuristic: WrittenHeuristic,
    /// What makes two requests the same.
    key: WrittenKey,
    /// Requests for the same thing at the same time are forwarded once.
    collapse: WrittenCollapse,
    /// Names that responses are purged by together.
    tags: WrittenTags,
    /// Whether `Cache-Status` tells the cache key.
    status_key: bool,
    /// Fields that speak to caches like this one alone (RFC 9213).
    targeted: WrittenTargeted,
    /// What the cache may use, all routes together; in `[cache]` only.
    memory: WrittenMemory,
    /// Keeps on disk what memory has no room for, all routes together; in `[cache]` only.
    pub(crate) disk: WrittenDisk,
    /// Follows what is not stored, to tell what storing it would save.
    ghost: WrittenGhost,
    /// What is shared with other Pillions; in `[cache]` only.
    redis: WrittenRedis,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenHeuristic {
    /// Off never reuses without explicit freshness.
    enabled: bool,
    /// Of the time since `Last-Modified`.
    #[schemars(range(min = 0.0, max = 1.0))]
    fraction: f64,
    /// Upper bound.
    max: Period,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenKey {
    /// Whether the order of query parameters matters.
    query: WrittenQuery,
    /// Query parameters left out; a last `*` stands for any ending.
    drop: Vec<ParameterName>,
    /// Request fields that are part of the key.
    headers: Vec<FieldName>,
    /// Cookies that are part of the key; the others have no say then.
    cookies: Vec<CookieName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WrittenQuery {
    /// As the client wrote it.
    Raw,
    /// Sorted by name first, equal names as they came.
    Sort,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenMemory {
    /// Keys, fields, bodies and what it costs to keep them.
    size: Size,
}

impl Default for WrittenCache {
    fn default() -> Self {
        let settings = CacheSettings::default();
        Self {
            enabled: settings.enabled,
            mode: settings.mode,
            max_body: Size(settings.max_body),
            ttl: PeriodOrNone(settings.ttl),
            force_ttl: PeriodOrNone(settings.force_ttl),
            i_know_responses_are_public: false,
            stale_while_revalidate: PeriodOrNone(settings.stale_while_revalidate),
            stale_if_error: PeriodOrNone(settings.stale_if_error),
            early_refresh: WrittenEarlyRefresh::default(),
            on_outage: settings.on_outage,
            outage: WrittenOutage::default(),
            cookies: settings.cookies,
            set_cookie: settings.set_cookie,
            client_directives: settings.client_directives,
            variants: settings.variants,
            range_fill_max: SizeOrZero(settings.range_fill_max),
            partial: settings.partial,
            query_max_body: SizeOrZero(settings.query_max_body),
            preconditions: settings.preconditions,
            offer_variants: settings.offer_variants,
            no_vary_search: settings.no_vary_search,
            heuristic: WrittenHeuristic::default(),
            key: WrittenKey::default(),
            collapse: WrittenCollapse::default(),
            tags: WrittenTags::default(),
            status_key: settings.status_key,
            targeted: WrittenTargeted::default(),
            memory: WrittenMemory::default(),
            disk: WrittenDisk::default(),
            ghost: WrittenGhost::default(),
            redis: WrittenRedis::default(),
        }
    }
}

impl Default for WrittenHeuristic {
    fn default() -> Self {
        let heuristic = CacheSettings::default().heuristic;
        Self {
            enabled: heuristic.enabled,
            fraction: heuristic.fraction,
            max: Period(heuristic.max),
        }
    }
}

impl Default for WrittenKey {
    fn default() -> Self {
        let key = KeySettings::default();
        Self {
            query: if key.sort_query {
                WrittenQuery::Sort
            } else {
                WrittenQuery::Raw
            },
            drop: key.drop.into_iter().map(ParameterName).collect(),
            headers: key.headers.into_iter().map(FieldName).collect(),
            cookies: key.cookies.into_iter().map(CookieName).collect(),
        }
    }
}

impl Default for WrittenMemory {
    fn default() -> Self {
        Self {
            size: Size(DEFAULT_MEMORY),
        }
    }
}

impl WrittenCache {
    /// What the whole cache may use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.size.0
    }

    /// Keys that are followed, all routes together.
    pub(crate) fn ghost_keys(&self) -> usize {
        self.ghost.keys
    }

    /// What is shared with other Pillions.
    pub(crate) fn redis(&self, site: &Site<'_>) -> Option<RedisSettings> {
        self.redis.check(&site.key("redis"))
    }

    /// The rules; `site` is the table that problems belong to, whose keys may be another's.
    pub(crate) fn check(&self, site: &Site<'_>) -> CacheSettings {
        self.check_sharing(site);
        self.mode.check(self.enabled, site);
        if site.key("max_body").is_written() && self.max_body.0 > self.memory() {
            site.key("max_body").warning(
                format!(
                    "longer bodies than the whole cache ({}) are never kept",
                    self.memory.size
                ),
                "raise `cache.memory.size`, or lower this",
            );
        }
        CacheSettings {
            enabled: self.enabled,
            mode: self.mode,
            max_body: self.max_body.0,
            heuristic: Heuristic {
                enabled: self.heuristic.enabled,
                fraction: self.heuristic.fraction,
                max: self.heuristic.max.0,
            },
            key: KeySettings {
                sort_query: self.key.query == WrittenQuery::Sort,
                drop: texts(&self.key.drop),
                headers: texts(&self.key.headers),
                cookies: texts(&self.key.cookies),
            },
            cookies: self.cookies,
            set_cookie: self.set_cookie,
            ttl: self.ttl.0,
            // A route that takes back the word takes back what it was given for.
            force_ttl: self
                .force_ttl
                .0
                .filter(|_| self.i_know_responses_are_public),
            stale_while_revalidate: self.stale_while_revalidate.0,
            stale_if_error: self.stale_if_error.0,
            early_refresh: self.early_refresh.check(),
            on_outage: self.on_outage,
            outage: self.outage.check(),
            collapse_wait: self.collapse.wait.0,
            collapse: self.collapse.enabled,
            variants: self.variants,
            client_directives: self.client_directives,
            range_fill_max: self.range_fill_max.0,
            partial: self.partial,
            query_max_body: self.query_max_body.0,
            preconditions: self.preconditions,
            offer_variants: self.offer_variants,
            no_vary_search: self.no_vary_search,
            tags: self.tags.check(),
            status_key: self.status_key,
            targeted: self.targeted.check(&site.key("targeted")),
            // One list for all routes, added where that is checked.
            invalidate: Arc::default(),
            ghost: self.ghost.enabled,
        }
    }

    /// What makes one client's answer everybody's is spelled out, where it is written.
    fn check_sharing(&self, site: &Site<'_>) {
        let force_ttl = site.key("force_ttl");
        if let (true, Some(_)) = (force_ttl.is_written(), self.force_ttl.0) {
            if site.key("i_know_responses_are_public").is_true() {
                let message = format!("every answer is everybody's for {}", self.force_ttl);
                let help =
                    "`private`, `no-store` and cookies have no say here: be sure of every path";
                force_ttl.warning(message, help);
            } else {
                force_ttl.problem(
                    "shares every answer with everybody, whatever the upstream says",
                    "write `i_know_responses_are_public = true` beside it, or use `ttl`",
                );
            }
        }
        if site.key("cookies").is_written() && self.cookies == Cookies::Ignore {
            site.key("cookies").warning(
                "an answer to one user's cookies is stored for all",
                "be sure that no page here differs by user; `key.cookies` names those that matter",
            );
        }
        if site.key("set_cookie").is_written() && self.set_cookie == SetCookie::Strip {
            site.key("set_cookie").warning(
                "no client gets the cookies that the upstream sets with a storable answer",
                "be sure that none of them is a login",
            );
        }
    }
}

fn texts<T: fmt::Display>(list: &[T]) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}

/// 64 MiB: some ten thousand pages; a sidecar should not outweigh its app.
const DEFAULT_MEMORY: u64 = 64 << 20;
