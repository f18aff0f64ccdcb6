//! How old a response is and how long it is fresh (RFC 9111 §4.2): arithmetic that cannot overflow.

use std::time::{Duration, SystemTime};

use config::cache::CacheSettings;
use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::fields::cache_control::{MOST_SECONDS, ResponseDirectives, delta_seconds};
use crate::fields::http_date;

/// When a response was asked for and when its head arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
}

/// What gave a response its freshness lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The route's `force_ttl`.
    ForceTtl,
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// A field of `cache.targeted` (RFC 9213), or `Surrogate-Control`.
    Targeted,
    /// `Expires`.
    Expires,
    /// The route's `ttl`.
    RouteTtl,
    /// A part of the time since `Last-Modified` (RFC 9111 §4.2.2).
    Heuristic,
}

impl Source {
    /// As JSON shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForceTtl => "force-ttl",
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Targeted => "targeted",
            Self::Expires => "expires",
            Self::RouteTtl => "route-ttl",
            Self::Heuristic => "heuristic",
        }
    }
}

/// A freshness lifetime and what gave it.
pub(crate) type Lifetime = (Duration, Source);

/// The explicit freshness lifetime (RFC 9111 §4.2.1), if there is one: `s-maxage`, then `max-age`,
/// then `Expires`. Where `targeted`, its directives alone decide.
pub(crate) fn explicit_lifetime(
    directives: &ResponseDirectives,
    targeted: bool,
    fields: &HeaderMap,
    received: SystemTime,
) -> Option<Lifetime> {
    let source = |otherwise| {
        if targeted {
            Source::Targeted
        } else {
            otherwise
        }
    };
    if let Some(lifetime) = directives.s_maxage {
        return Some((lifetime, source(Source::SMaxage)));
    }
    if let Some(lifetime) = directives.max_age {
        return Some((lifetime, source(Source::MaxAge)));
    }
    if targeted || !fields.contains_key(EXPIRES) {
        return None;
    }
    // Expires − Date, even where Date is wrong; an Expires that cannot be read is in the past.
    let lifetime = only_date(fields, &EXPIRES, received).map_or(Duration::ZERO, |expires| {
        let from = only_date(fields, &DATE, received).unwrap_or(received);
        capped(expires.duration_since(from).unwrap_or_default())
    });
    Some((lifetime, Source::Expires))
}

/// The heuristic freshness lifetime (RFC 9111 §4.2.2) of a response without an explicit one.
pub(crate) fn heuristic_lifetime(
    settings: &CacheSettings,
    status: StatusCode,
    public: bool,
    fields: &HeaderMap,
    received: SystemTime,
) -> Option<Lifetime> {
    let heuristic = settings.heuristic;
    if !heuristic.enabled || !(public || is_heuristically_cacheable(status)) {
        return None;
    }
    let modified = only_date(fields, &LAST_MODIFIED, received)?;
    let date = only_date(fields, &DATE, received).unwrap_or(received);
    let unchanged = capped(date.duration_since(modified).unwrap_or_default());
    let fraction = heuristic.fraction.clamp(0.0, 1.0);
    let lifetime = unchanged.mul_f64(fraction).min(heuristic.max);
    (lifetime >= Duration::from_secs(1)).then_some((lifetime, Source::Heuristic))
}

/// Statuses that may be reused without an explicit lifetime (RFC 9110 §15.1, as far as we store them).
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The corrected initial age (RFC 9111 §4.2.3).
pub(crate) fn initial_age(fields: &HeaderMap, times: Times) -> Duration {
    let apparent = only_date(fields, &DATE, times.received)
        .and_then(|date| times.received.duration_since(date).ok())
        .unwrap_or_default();
    let delay = times
        .received
        .duration_since(times.requested)
        .unwrap_or_default();
    capped(apparent.max(received_age(fields).saturating_add(delay)))
}

/// The `Age` that came with a response: the first value of a list or of several lines; what is not
/// digits is ignored (RFC 9111 §5.1), what is too large is as old as can be.
pub(crate) fn received_age(fields: &HeaderMap) -> Duration {
    fields
        .get(AGE)
        .and_then(|line| line.as_bytes().split(|byte| *byte == b',').next())
        .and_then(|first| delta_seconds(first.trim_ascii()))
        .unwrap_or_default()
}

/// The date in a field that has exactly one line; several lines are no date.
fn only_date(fields: &HeaderMap, name: &HeaderName, now: SystemTime) -> Option<SystemTime> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next()?;
    match lines.next() {
        None => http_date::parse(first.as_bytes(), now),
        Some(_) => None,
    }
}

fn capped(duration: Duration) -> Duration {
    duration.min(Duration::from_secs(MOST_SECONDS))
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
