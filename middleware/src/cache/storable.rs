//! What may be stored (RFC 9111 §3), and on which terms it may be reused.

use std::sync::Arc;
use std::time::Duration;

use config::cache::{CacheSettings, Cookies, SetCookie};
use http::header::{CONTENT_RANGE, ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::cache::apart::Apart;
use crate::cache::decide::Asked;
use crate::cache::freshness::{self, Lifetime, Source, Times};
use crate::cache::key::KeyRules;
use crate::cache::reason::Reason;
use crate::cache::tags::Tags;
use crate::cache::vary::{self, Selection};
use crate::fields::cache_control::ResponseDirectives;
use crate::fields::no_vary_search::NoVarySearch;
use crate::fields::stream::is_live_stream;
use crate::fields::{surrogate_control, targeted};

/// How a response is stored that may be stored.
#[derive(Clone, Debug)]
pub(crate) struct Storing {
    pub(crate) terms: Terms,
    pub(crate) selection: Selection,
    /// Fields left out, beyond those that no stored response has.
    pub(crate) without: Vec<HeaderName>,
    /// Whether `Set-Cookie` is taken from everyone, the one who asked included.
    pub(crate) is_cookie_stripped: bool,
    /// What it is purged by, beside its URL.
    pub(crate) tags: Tags,
    /// Which queries it answers beside its own, if it says so.
    pub(crate) search: Option<Arc<NoVarySearch>>,
    /// What it says to us and not to clients.
    pub(crate) apart: Apart,
}

impl Storing {
    /// By these terms, for all requests with its key, with nothing said beside.
    pub(crate) fn plain(terms: Terms) -> Self {
        Self {
            terms,
            selection: Selection::default(),
            without: Vec::new(),
            is_cookie_stripped: false,
            tags: Tags::default(),
            search: None,
            apart: Apart::default(),
        }
    }
}

/// What decides about reuse, read once from the response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) lifetime: Duration,
    pub(crate) source: Source,
    /// Age at the moment of receipt.
    pub(crate) initial_age: Duration,
    /// `no-cache`: validate before every reuse.
    pub(crate) no_cache: bool,
    /// `must-revalidate` or `proxy-revalidate`: never stale.
    pub(crate) must_revalidate: bool,
    /// `s-maxage`, which forbids stale reuse unless its own field allows it.
    pub(crate) s_maxage: bool,
    /// RFC 8246.
    pub(crate) immutable: bool,
    /// The upstream's RFC 5861 windows.
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl Terms {
    /// Fresh for `lifetime` by `max-age`, with nothing said beside.
    pub(crate) fn fresh_for(lifetime: Duration) -> Self {
        Self {
            lifetime,
            source: Source::MaxAge,
            initial_age: Duration::ZERO,
            no_cache: false,
            must_revalidate: false,
            s_maxage: false,
            immutable: false,
            stale_while_revalidate: None,
            stale_if_error: None,
        }
    }
}

/// One request and the head of its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) request: &'a HeaderMap,
    pub(crate) status: StatusCode,
    pub(crate) fields: &'a HeaderMap,
    /// Declared length of the content, if there is one.
    pub(crate) length: Option<u64>,
    /// Whether this is a part of a representation that can be stored as such.
    pub(crate) is_part: bool,
    pub(crate) times: Times,
}

/// Whether and how the response of `exchange` is stored; or the first rule that forbids it.
pub(crate) fn storable(
    exchange: Exchange<'_>,
    settings: &CacheSettings,
    rules: &KeyRules,
) -> Result<Storing, Reason> {
    let Exchange { asked, fields, .. } = exchange;
    may_fill(asked)?;
    let spoken = Spoken::of(exchange.status, fields, settings);
    let directives = &spoken.directives;
    kind_allows(exchange, directives)?;
    spoken.allows()?;
    let names = vary::nominated(fields, settings, rules)?;
    let cookie = set_cookie_allows(fields, settings, directives)?;
    credentials_allow(asked, settings, rules, &spoken)?;
    let (lifetime, source) = spoken.lifetime(exchange, settings, rules)?;
    if exchange
        .length
        .is_some_and(|length| length > settings.max_body)
    {
        return Err(Reason::TooLarge);
    }
    let terms = Terms {
        lifetime,
        source,
        initial_age: freshness::initial_age(fields, exchange.times),
        no_cache: directives.no_cache.is_all(),
        must_revalidate: directives.must_revalidate || directives.proxy_revalidate,
        s_maxage: directives.s_maxage.is_some(),
        immutable: directives.immutable,
        stale_while_revalidate: directives.stale_while_revalidate,
        stale_if_error: directives.stale_if_error,
    };
    if !is_worth_keeping(&terms, fields, settings) {
        return Err(Reason::AlreadyStale);
    }
    let mut without = directives.private.fields().to_vec();
    without.extend_from_slice(directives.no_cache.fields());
    if cookie == Cookie::Stripped {
        without.push(SET_COOKIE);
    }
    Ok(Storing {
        terms,
        selection: Selection::of(names, exchange.request),
        without,
        is_cookie_stripped: cookie == Cookie::Stripped,
        tags: Tags::default(),
        search: match settings.no_vary_search {
            true => NoVarySearch::of(fields).map(Arc::new),
            false => None,
        },
        apart: Apart::default(),
    })
}

/// What the request has to say about storing.
fn may_fill(asked: &Asked) -> Result<(), Reason> {
    if asked.is_head {
        Err(Reason::Head)
    } else if asked.directives.no_store {
        Err(Reason::ClientNoStore)
    } else if asked.is_overriding {
        Err(Reason::Override)
    } else {
        Ok(())
    }
}

/// What status and media type have to say.
fn kind_allows(exchange: Exchange<'_>, directives: &ResponseDirectives) -> Result<(), Reason> {
    let (status, fields) = (exchange.status, exchange.fields);
    let is_partial = status == StatusCode::PARTIAL_CONTENT || fields.contains_key(CONTENT_RANGE);
    if is_partial && !exchange.is_part {
        return Err(Reason::PartialContent);
    }
    if status == StatusCode::NOT_MODIFIED {
        return Err(Reason::NotModified);
    }
    if status.is_informational()
        || is_about_one_request(status)
        || (directives.must_understand && !is_understood(status))
    {
        return Err(Reason::Status);
    }
    // An error that the range may have caused is not for those who ask for the whole; these two are
    // about the target alone.
    let is_of_target = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    let is_error = status.is_client_error() || status.is_server_error();
    if exchange.asked.has_range && is_error && !is_of_target {
        return Err(Reason::PartialContent);
    }
    if is_live_stream(fields) {
        return Err(Reason::LiveStream);
    }
    Ok(())
}

/// Statuses that tell of one request or its connection, so that an answer with one of them is
/// neither for others nor news of the target. RFC 6585 forbids to store 428, 429, 431 and 511, RFC
/// 8470 calls 425 no representation of anything; the others follow from what the client sent beside
/// the URL. An upstream that puts a lifetime on all it says must not thereby lock everybody out.
pub(crate) fn is_about_one_request(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        407 | 408 | 412 | 416 | 417 | 421 | 425 | 428 | 429 | 431 | 511
    )
}

/// Statuses whose rules of caching we follow (RFC 9111 §5.2.2.3).
fn is_understood(status: StatusCode) -> bool {
    freshness::is_heuristically_cacheable(status)
        || matches!(
            status.as_u16(),
            201 | 202 | 205 | 302 | 303 | 307 | 400..=415 | 422 | 426 | 451 | 500 | 502..=505
        )
}

/// The directives that count for us, and where they come from.
struct Spoken {
    directives: ResponseDirectives,
    /// By `CDN-Cache-Control` or another of `cache.targeted`, which then decides alone (RFC 9213 §2.2).
    is_targeted: bool,
    /// By the route's `force_ttl`: the operator's word that all is public.
    forced: Option<Duration>,
}

impl Spoken {
    fn of(status: StatusCode, fields: &HeaderMap, settings: &CacheSettings) -> Self {
        let names = settings.targeted.fields.iter().map(String::as_str);
        let targeted = targeted::of(fields, names).or_else(|| {
            let counts = settings.targeted.surrogate_control;
            counts.then(|| surrogate_control::of(fields)).flatten()
        });
        let is_targeted = targeted.is_some();
        let mut directives = targeted.unwrap_or_else(|| ResponseDirectives::of(fields));
        let forced = settings
            .force_ttl
            .filter(|_| freshness::is_heuristically_cacheable(status));
        if forced.is_some() {
            directives = ResponseDirectives {
                public: directives.public,
                immutable: directives.immutable,
                stale_while_revalidate: directives.stale_while_revalidate,
                stale_if_error: directives.stale_if_error,
                ..ResponseDirectives::default()
            };
        }
        Self {
            directives,
            is_targeted,
            forced,
        }
    }

    fn allows(&self) -> Result<(), Reason> {
        let directives = &self.directives;
        // must-understand with an understood status outranks no-store (RFC 9111 §5.2.2.3).
        if directives.no_store && !directives.must_understand {
            return Err(Reason::NoStore);
        }
        if directives.private.is_all() {
            return Err(Reason::Private);
        }
        Ok(())
    }

    fn lifetime(
        &self,
        exchange: Exchange<'_>,
        settings: &CacheSettings,
        rules: &KeyRules,
    ) -> Result<Lifetime, Reason> {
        let Exchange { status, fields, .. } = exchange;
        let received = exchange.times.received;
        let is_plain = freshness::is_heuristically_cacheable(status);
        if let Some(forced) = self.forced {
            return Ok((forced, Source::ForceTtl));
        }
        let directives = &self.directives;
        let explicit = freshness::explicit_lifetime(directives, self.is_targeted, fields, received);
        if let Some(explicit) = explicit {
            return Ok(explicit);
        }
        if let Some(ttl) = settings.ttl.filter(|_| is_plain) {
            return Ok((ttl, Source::RouteTtl));
        }
        let heuristic =
            || freshness::heuristic_lifetime(settings, status, directives.public, fields, received);
        let has_credentials = exchange.asked.has_credentials(settings, rules);
        match (!has_credentials).then(heuristic).flatten() {
            Some(heuristic) => Ok(heuristic),
            // `no-cache` without a lifetime is an upstream's word too: store and always validate, as
            // far as RFC 9111 §3 lets this be stored without a lifetime.
            None if directives.no_cache.is_all() && (is_plain || directives.public) => {
                Ok((Duration::ZERO, Source::MaxAge))
            }
            None if !is_plain => Err(Reason::Status),
            None => Err(Reason::NoLifetime),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cookie {
    Kept,
    Stripped,
}

/// What an answer's `Set-Cookie` means.
fn set_cookie_allows(
    fields: &HeaderMap,
    settings: &CacheSettings,
    directives: &ResponseDirectives,
) -> Result<Cookie, Reason> {
    let is_named = |names: &[HeaderName]| names.contains(&SET_COOKIE);
    if !fields.contains_key(SET_COOKIE) {
        return Ok(Cookie::Kept);
    }
    if settings.set_cookie == SetCookie::Strip {
        return Ok(Cookie::Stripped);
    }
    // private="set-cookie" leaves it out of what is stored, by the upstream's own word.
    if is_named(directives.private.fields()) || is_named(directives.no_cache.fields()) {
        return Ok(Cookie::Kept);
    }
    Err(Reason::SetCookie)
}

/// What a request's credentials mean: `Authorization` by RFC 9111 §3.5, `Cookie` likewise but stricter.
fn credentials_allow(
    asked: &Asked,
    settings: &CacheSettings,
    rules: &KeyRules,
    spoken: &Spoken,
) -> Result<(), Reason> {
    let directives = &spoken.directives;
    let is_shared = directives.public || directives.s_maxage.is_some();
    if asked.has_authorization && !is_shared && !directives.must_revalidate {
        return Err(Reason::Authorization);
    }
    let cookies_count =
        asked.has_cookie && settings.cookies == Cookies::Respect && !rules.has_cookies();
    if cookies_count && !is_shared && !spoken.is_targeted && spoken.forced.is_none() {
        return Err(Reason::Cookie);
    }
    Ok(())
}

/// Something that is stale at once and can be neither confirmed nor served stale is dead weight.
fn is_worth_keeping(terms: &Terms, fields: &HeaderMap, settings: &CacheSettings) -> bool {
    let is_fresh = terms.lifetime > terms.initial_age && !terms.no_cache;
    let is_confirmable = fields.contains_key(ETAG) || fields.contains_key(LAST_MODIFIED);
    is_fresh
        || is_confirmable
        || terms.window_while_revalidating(settings) > Duration::ZERO
        || terms.window_on_error(settings, None) > Duration::ZERO
}

impl Terms {
    /// How long after its lifetime the response may be served while it is validated (RFC 5861 §3).
    pub(crate) fn window_while_revalidating(&self, settings: &CacheSettings) -> Duration {
        self.window(self.stale_while_revalidate, settings.stale_while_revalidate)
    }

    /// How long after its lifetime the response may stand in for an error (RFC 5861 §4); `asked` is
    /// the request's own word.
    pub(crate) fn window_on_error(
        &self,
        settings: &CacheSettings,
        asked: Option<Duration>,
    ) -> Duration {
        let operator = settings.stale_if_error.max(asked);
        self.window(self.stale_if_error, operator)
    }

    /// Whether a client's `max-stale` may be followed.
    pub(crate) fn may_be_stale(&self) -> bool {
        !(self.no_cache || self.must_revalidate || self.s_maxage)
    }

    /// The upstream's word first; another's only where nothing forbids it. An explicit prohibition
    /// outranks all; `s-maxage` implies one that its own field can lift (RFC 9111 §5.2.2.10).
    fn window(&self, upstream: Option<Duration>, other: Option<Duration>) -> Duration {
        if self.no_cache || self.must_revalidate {
            return Duration::ZERO;
        }
        let other = other.filter(|_| !self.s_maxage);
        upstream.or(other).unwrap_or_default()
    }
}

impl Asked {
    /// Whether the request has credentials that count on this route.
    pub(crate) fn has_credentials(&self, settings: &CacheSettings, rules: &KeyRules) -> bool {
        let cookies_count = settings.cookies == Cookies::Respect && !rules.has_cookies();
        self.has_authorization || (self.has_cookie && cookies_count)
    }
}

#[cfg(test)]
#[path = "storable_tests.rs"]
mod tests;
