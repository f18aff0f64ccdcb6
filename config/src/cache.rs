//! `[cache]`: what may be stored, and when it may be used.

use std::time::Duration;

/// The rules of one route's cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSettings {
    /// Off forwards everything and stores nothing.
    pub enabled: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookies {
    /// An answer to a request with cookies is stored only with `public`, `s-maxage` or targeted control.
    Respect,
    /// Cookies have no say.
    Ignore,
}

/// See [`CacheSettings::set_cookie`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetCookie {
    /// Such an answer is not stored.
    Skip,
    /// Stored without it, and sent to all without it.
    Strip,
}

/// See [`CacheSettings::client_directives`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDirectives {
    /// RFC 9111 §5.2.1.
    Respect,
    /// Visitors cannot bust the cache.
    Ignore,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            enabled: true,
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
            collapse_wait: Duration::from_secs(2),
            collapse: true,
            variants: 16,
            client_directives: ClientDirectives::Respect,
            range_fill_max: 1 << 20,
        }
    }
}
