//! What to do with a request, given what is stored (RFC 9111 §4): one pure function.

use std::time::Duration;

use config::cache::{CacheSettings, ClientDirectives};
use http::{HeaderMap, HeaderName, Method};
use http_body::Body as _;

use crate::Request;
use crate::cache::freshness::Source;
use crate::cache::key::KeyRules;
use crate::cache::reason::Reason;
use crate::cache::storable::Terms;
use crate::facts::Fwd;
use crate::fields::cache_control::RequestDirectives;
use crate::fields::range::Span;

/// What a request asks of the cache.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// None of them where the route ignores them.
    pub(crate) directives: RequestDirectives,
    pub(crate) is_head: bool,
    pub(crate) has_cookie: bool,
    pub(crate) has_authorization: bool,
    pub(crate) has_range: bool,
    /// Whether a field that is not part of the key may replace method or target (see [`overrides`]).
    /// Found out only on the way to the upstream: what is stored is safe to serve.
    pub(crate) is_overriding: bool,
    /// What is meant of a stored response that has parts only, if it has that.
    pub(crate) part: Option<Span>,
}

impl Asked {
    /// What `request` asks, or why it is not a matter for the cache.
    pub(crate) fn of(request: &Request, settings: &CacheSettings) -> Result<Self, (Fwd, Reason)> {
        if !settings.is_applied() {
            return Err((Fwd::Bypass, Reason::Disabled));
        }
        Self::of_any(request, settings)
    }

    /// What `request` asks, or would ask if the cache were on.
    pub(crate) fn of_any(
        request: &Request,
        settings: &CacheSettings,
    ) -> Result<Self, (Fwd, Reason)> {
        let is_head = request.method() == Method::HEAD;
        let is_query = request.method() == Method::QUERY && settings.query_max_body > 0;
        if is_query {
            // Only content that is all here can be part of the key.
            let length = request
                .body()
                .as_whole()
                .map(|content| content.len() as u64);
            if length.is_none_or(|length| length > settings.query_max_body) {
                return Err((Fwd::Bypass, Reason::QueryContent));
            }
        } else if !is_head && request.method() != Method::GET {
            return Err((Fwd::Method, Reason::Method));
        } else if !request.body().is_end_stream() {
            return Err((Fwd::Bypass, Reason::RequestBody));
        }
        let has = Has::of(request.headers());
        if has.upgrade && has.connection {
            return Err((Fwd::Bypass, Reason::Upgrade));
        }
        if has.precondition {
            return Err((Fwd::Bypass, Reason::Precondition));
        }
        Ok(Self {
            is_head,
            ..Self::by(&has, request, settings)
        })
    }

    /// What the fields of `request` ask, whatever its method.
    pub(crate) fn by_fields(request: &Request, settings: &CacheSettings) -> Self {
        Self::by(&Has::of(request.headers()), request, settings)
    }

    fn by(has: &Has, request: &Request, settings: &CacheSettings) -> Self {
        let speaks = settings.client_directives == ClientDirectives::Respect && has.directives;
        Self {
            directives: if speaks {
                RequestDirectives::of(request.headers())
            } else {
                RequestDirectives::default()
            },
            is_head: false,
            has_cookie: has.cookie,
            has_authorization: has.authorization,
            has_range: has.range,
            is_overriding: false,
            part: None,
        }
    }

    /// Whether this request may wait for the answer to another one: not where it wants an answer
    /// that is newer than what is under way.
    pub(crate) fn may_follow(&self) -> bool {
        let directives = &self.directives;
        let wants_new = directives.no_store || directives.no_cache || directives.max_age.is_some();
        !(self.is_overriding || self.has_range || wants_new)
    }

    /// Whether others may wait for the answer to this request.
    pub(crate) fn may_lead(&self) -> bool {
        self.may_follow() && !self.is_head
    }
}

/// Which fields a request has of those that matter here. One look at all names costs less than asking
/// the map for each of these.
#[derive(Default)]
struct Has {
    upgrade: bool,
    connection: bool,
    /// One that is the upstream's to judge.
    precondition: bool,
    /// `Cache-Control` or `Pragma`.
    directives: bool,
    cookie: bool,
    authorization: bool,
    range: bool,
}

impl Has {
    fn of(fields: &HeaderMap) -> Self {
        let mut has = Self::default();
        for name in fields.keys() {
            match name.as_str() {
                "upgrade" => has.upgrade = true,
                "connection" => has.connection = true,
                "if-match" | "if-unmodified-since" => has.precondition = true,
                "cache-control" | "pragma" => has.directives = true,
                "cookie" => has.cookie = true,
                "authorization" => has.authorization = true,
                "range" => has.range = true,
                _ => {}
            }
        }
        has
    }
}

/// Whether `fields` have one by which common frameworks replace the method or the target, and which
/// is not part of the key: an answer to such a request would be stored under a wrong key (cache
/// poisoning through unkeyed inputs).
pub(crate) fn overrides(fields: &HeaderMap, rules: &KeyRules) -> bool {
    overriding(fields, rules).is_some()
}

/// The field that does what [`overrides`] asks about.
pub(crate) fn overriding<'a>(fields: &'a HeaderMap, rules: &KeyRules) -> Option<&'a HeaderName> {
    const NAMES: [&str; 7] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-prefix",
        "x-host",
    ];
    fields
        .keys()
        .filter(|name| name.as_str().starts_with("x-"))
        .find(|name| NAMES.contains(&name.as_str()) && !rules.has_header(name))
}

/// What was found for a request's key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Nothing,
    /// Stored responses, none for the request's values of the nominated fields.
    OtherVariant,
    /// Parts of the representation, and not what is asked for.
    OtherParts,
    Stored(Candidate),
}

/// A stored response that the request selects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) terms: Terms,
    /// The current age (RFC 9111 §4.2.3).
    pub(crate) age: Duration,
    /// Whether a soft purge marked it stale.
    pub(crate) is_purged: bool,
    /// Whether the answer to a HEAD told of other content (RFC 9111 §4.3.5).
    pub(crate) is_outdated: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Answer from what is stored: it is fresh.
    Serve,
    /// Answer from what is stored although it is stale.
    ServeStale {
        validate: bool,
        reason: Reason,
    },
    /// Ask the upstream whether what is stored still holds.
    Validate(Fwd, Reason),
    Forward(Fwd, Reason),
    /// `only-if-cached` (RFC 9111 §5.2.1.7).
    GatewayTimeout,
}

/// The rules of reuse, in their order.
pub(crate) fn decide(
    asked: &Asked,
    found: Found,
    settings: &CacheSettings,
    rules: &KeyRules,
) -> Decision {
    let decision = match found {
        Found::Nothing => Decision::Forward(Fwd::UriMiss, Reason::NothingStored),
        Found::OtherVariant => Decision::Forward(Fwd::VaryMiss, Reason::VaryMismatch),
        Found::Stored(_) | Found::OtherParts if asked.directives.no_store => {
            Decision::Forward(Fwd::Request, Reason::ClientNoStore)
        }
        Found::OtherParts => Decision::Forward(Fwd::Partial, Reason::OtherParts),
        Found::Stored(candidate) => reuse(asked, candidate, settings, rules),
    };
    match decision {
        Decision::Validate(..) | Decision::Forward(..) if asked.directives.only_if_cached => {
            Decision::GatewayTimeout
        }
        decision => decision,
    }
}

fn reuse(
    asked: &Asked,
    candidate: Candidate,
    settings: &CacheSettings,
    rules: &KeyRules,
) -> Decision {
    let Candidate { terms, age, .. } = candidate;
    let directives = &asked.directives;
    if directives.no_cache {
        return Decision::Validate(Fwd::Request, Reason::ClientNoCache);
    }
    if terms.source == Source::Heuristic && asked.has_credentials(settings, rules) {
        return Decision::Validate(Fwd::Miss, Reason::HeuristicCredentials);
    }
    if terms.no_cache {
        return Decision::Validate(Fwd::Stale, Reason::NoCache);
    }
    let is_fresh = candidate.is_fresh();
    // A reload (max-age=0) does not make an immutable response worth asking for (RFC 8246 §2).
    let is_reload = directives.max_age == Some(Duration::ZERO);
    if directives.max_age.is_some_and(|most| age > most)
        && !(is_reload && terms.immutable && is_fresh)
    {
        return Decision::Validate(Fwd::Request, Reason::ClientMaxAge);
    }
    // Not by what remains: what is stale has less than min-fresh=0 asks for.
    let is_too_short = |least| terms.lifetime < age.saturating_add(least);
    if directives.min_fresh.is_some_and(is_too_short) {
        return Decision::Validate(Fwd::Request, Reason::ClientMinFresh);
    }
    if is_fresh {
        return Decision::Serve;
    }
    reuse_stale(asked, candidate, settings)
}

fn reuse_stale(asked: &Asked, candidate: Candidate, settings: &CacheSettings) -> Decision {
    let terms = candidate.terms;
    let staleness = candidate.staleness();
    if candidate.is_outdated {
        // There is other content now, not only perhaps: no window is for that.
        return Decision::Validate(Fwd::Stale, Reason::HeadDiffers);
    }
    // A part is not refreshed in the background, which would fetch the whole: it is validated.
    if asked.part.is_none() && within(staleness, terms.window_while_revalidating(settings)) {
        return Decision::ServeStale {
            validate: true,
            reason: Reason::StaleWhileRevalidate,
        };
    }
    let accepted = asked.directives.max_stale.unwrap_or_default();
    if terms.may_be_stale() && !candidate.is_marked() && within(staleness, accepted) {
        return Decision::ServeStale {
            validate: false,
            reason: Reason::ClientMaxStale,
        };
    }
    Decision::Validate(
        Fwd::Stale,
        if candidate.is_purged {
            Reason::SoftPurged
        } else {
            Reason::Stale
        },
    )
}

/// Whether a stored response may stand in for an upstream's failure (RFC 5861 §4): within a window
/// that the upstream, the operator or the client opened, and not where the client wants news.
pub(crate) fn may_stand_in(
    asked: &Asked,
    candidate: Candidate,
    settings: &CacheSettings,
    rules: &KeyRules,
) -> bool {
    let Candidate { terms, .. } = candidate;
    let directives = &asked.directives;
    let is_heuristic = terms.source == Source::Heuristic;
    if directives.no_cache || is_heuristic && asked.has_credentials(settings, rules) {
        return false;
    }
    let window = terms.window_on_error(settings, directives.stale_if_error);
    within(candidate.staleness(), window)
}

/// An empty window holds nothing, not even what has just become stale.
fn within(staleness: Duration, window: Duration) -> bool {
    window > Duration::ZERO && staleness <= window
}

impl Candidate {
    /// Fresh while the lifetime is longer than the age (RFC 9111 §4.2).
    pub(crate) fn is_fresh(&self) -> bool {
        self.terms.lifetime > self.age && !self.is_marked()
    }

    /// Whether it is stale before its time.
    pub(crate) fn is_marked(&self) -> bool {
        self.is_purged || self.is_outdated
    }

    /// Time since it became stale; since when a soft purge marked it is not recorded, so: now.
    pub(crate) fn staleness(&self) -> Duration {
        self.age.saturating_sub(self.terms.lifetime)
    }

    /// Time for which it is still fresh by its age.
    pub(crate) fn left(&self) -> Duration {
        self.terms.lifetime.saturating_sub(self.age)
    }

    /// Remaining freshness in seconds, negative once stale (RFC 9211 §2.5).
    pub(crate) fn ttl(&self) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let ttl = seconds(self.terms.lifetime).saturating_sub(seconds(self.age));
        if self.is_marked() { ttl.min(0) } else { ttl }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
