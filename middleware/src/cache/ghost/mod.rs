//! The ghost cache: what a cache would have saved where none is, and how often it would have been wrong.
//!
//! Where the cache is off or observes, and where answers come without a lifetime, nothing is stored;
//! but keys are followed, with hashes of the contents that came for them. The rules are those of the
//! cache itself (`storable`, `decide`), asked about several plans at once: as configured, and with a
//! `ttl` of 1, 5, 30 or 300 seconds. Since every request is forwarded all the same, each copy that a
//! plan would have served is compared with what was fetched in its place.
//!
//! Nothing that client or upstream see is changed, no content is kept, and what is remembered is
//! bounded (`table`). Requests with credentials or for ranges are counted apart; what comes for the
//! former is stored by no plan, unless the app says that it is for all.

mod busy;
mod content;
mod counts;
pub(crate) mod follow;
pub mod observed;
pub mod savings;
mod table;
mod trail;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use config::cache::CacheSettings;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::cache::decide::Asked;
use crate::cache::errand::declared_length;
use crate::cache::freshness::{Source, Times};
use crate::cache::ghost::content::{Followed, Seen};
use crate::cache::ghost::counts::{Counts, Excluded, Outcome};
use crate::cache::ghost::table::{Sight, Table};
use crate::cache::ghost::trail::Trail;
use crate::cache::invalidate::Sequence;
use crate::cache::key::{KeyHash, KeyRules};
use crate::cache::reason::Reason;
use crate::cache::shared::SharedCache;
use crate::cache::storable::{Exchange, Terms, storable};
use crate::cache::vary::{self, Selection};
use crate::clock::Now;
use crate::facts::ResponseFacts;
use crate::metrics::Event;
use crate::{Body, Response};

pub(crate) use counts::Group;

/// What all routes share.
#[derive(Debug)]
pub(crate) struct Ghost {
    table: Table,
    routes: Mutex<Vec<Weak<GhostRoute>>>,
    /// When it was made.
    epoch: Instant,
    /// This process's own, so that nobody can prepare contents that look the same.
    seed: u64,
}

/// One route as it is followed. All cores share it.
#[derive(Debug)]
pub(crate) struct GhostRoute {
    name: Arc<str>,
    ghost: Arc<Ghost>,
    shared: SharedCache,
    /// As configured.
    own: Arc<CacheSettings>,
    /// The same with the longest `ttl` that is tried.
    trial: CacheSettings,
    rules: Arc<KeyRules>,
    counts: Mutex<Counts>,
    since: Duration,
}

/// A request that is followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) group: Group,
    pub(crate) asked: &'a Asked,
    pub(crate) fields: &'a HeaderMap,
    pub(crate) key: KeyHash,
    /// The key by which its URL is purged.
    pub(crate) uri: KeyHash,
    pub(crate) requested: Now,
    pub(crate) born: Sequence,
}

impl Ghost {
    /// Follows at most `keys` keys; takes no memory before it follows one.
    pub(crate) fn new(keys: usize, now: Now, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            table: Table::new(keys),
            routes: Mutex::default(),
            epoch: now.mono,
            seed,
        })
    }

    /// The route of this name and these settings, the same one for all cores; `None` where the ghost
    /// is off.
    pub(crate) fn route(
        self: &Arc<Self>,
        name: &str,
        settings: &Arc<CacheSettings>,
        rules: &Arc<KeyRules>,
        shared: &SharedCache,
    ) -> Option<Arc<GhostRoute>> {
        // A cache that observes knows by the ghost alone what it would have.
        if !(settings.ghost || settings.is_observed()) {
            return None;
        }
        let mut routes = lock(&self.routes);
        routes.retain(|route| route.strong_count() > 0);
        let is_same = |route: &Arc<GhostRoute>| *route.name == *name && route.own == *settings;
        if let Some(route) = routes.iter().filter_map(Weak::upgrade).find(is_same) {
            return Some(route);
        }
        let route = Arc::new(GhostRoute {
            name: Arc::from(name),
            ghost: self.clone(),
            shared: shared.clone(),
            own: settings.clone(),
            trial: CacheSettings {
                ttl: TTLS.last().copied(),
                ..CacheSettings::clone(settings)
            },
            rules: rules.clone(),
            counts: Mutex::default(),
            since: self.time(shared.clock().now().mono),
        });
        routes.push(Arc::downgrade(&route));
        Some(route)
    }

    /// Forgets all variants of the URL that is purged by `key`.
    pub(crate) fn forget(&self, key: KeyHash) {
        self.table.forget(key);
    }

    pub(crate) fn forget_all(&self) {
        self.table.forget_all();
    }

    fn time(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }
}

impl GhostRoute {
    /// The part of the route that `path` is counted in.
    pub(crate) fn group(&self, path: &str) -> Group {
        lock(&self.counts).group(path, &*self.name == DEFAULT_ROUTE)
    }

    /// Follows the answer to a request. What the cache would have done with it, where it observes.
    pub(crate) fn answered(
        self: &Arc<Self>,
        asking: Asking<'_>,
        answer: &mut Response,
        now: Now,
    ) -> Option<Event> {
        let trail = self.trail(asking, Some(answer), now);
        let would = self.own.is_observed().then(|| trail.would());
        if asking.asked.is_head {
            return would;
        }
        let seed = trail.is_sampled().then_some(self.ghost.seed);
        if answer.body().is_stream() {
            let declared = declared_length(answer.headers());
            let body = std::mem::take(answer.body_mut());
            let followed = Followed::new(body, declared, seed, Box::new(trail));
            *answer.body_mut() = Body::stream(followed);
        } else {
            trail.end(Seen::whole(answer.body(), seed));
        }
        would
    }

    /// The request got no answer.
    pub(crate) fn failed(self: &Arc<Self>, asking: Asking<'_>, now: Now) -> Option<Event> {
        let trail = self.trail(asking, None, now);
        let would = self.own.is_observed().then(|| trail.would());
        if !asking.asked.is_head {
            trail.end(Seen::default());
        }
        would
    }

    fn trail(self: &Arc<Self>, asking: Asking<'_>, answer: Option<&Response>, now: Now) -> Trail {
        let asked = asking.asked;
        let (terms, refused) = match answer {
            Some(answer) => self.terms(asking, answer, now),
            None => ([None; PLANS], Some(Reason::UpstreamFailed)),
        };
        let excluded = if asked.has_range {
            Some(Excluded::Range)
        } else {
            let has_credentials = asked.has_credentials(&self.own, &self.rules);
            has_credentials.then_some(Excluded::Credentials)
        };
        if let Some(reason) = refused.filter(|_| excluded.is_none() && !asked.is_head) {
            lock(&self.counts).totals(asking.group).refuse(reason);
        }
        let facts = answer.and_then(|answer| answer.extensions().get::<ResponseFacts>());
        let took = facts.and_then(|facts| facts.upstream);
        Trail {
            route: self.clone(),
            group: asking.group,
            asked: *asked,
            key: self.key(asking, answer),
            uri: asking.uri,
            born: asking.born,
            requested: self.ghost.time(asking.requested.mono),
            received: self.ghost.time(now.mono),
            took: took.map_or(Duration::ZERO, |timing| timing.first_byte),
            status: answer.map(Response::status),
            terms,
            sight: answer.map_or_else(Sight::default, |answer| self.sight(answer.headers())),
            excluded,
        }
    }

    /// On which terms each plan would store `answer`, or why none would.
    fn terms(
        &self,
        asking: Asking<'_>,
        answer: &Response,
        now: Now,
    ) -> ([Option<Terms>; PLANS], Option<Reason>) {
        let exchange = Exchange {
            asked: asking.asked,
            request: asking.fields,
            // A 304 has the fields by which the 200 would be judged (RFC 9110 §15.4.5).
            status: match answer.status() {
                StatusCode::NOT_MODIFIED => StatusCode::OK,
                status => status,
            },
            fields: answer.headers(),
            length: declared_length(answer.headers()).or(answer.body().size_hint().exact()),
            is_part: false,
            times: Times {
                requested: asking.requested.wall,
                received: now.wall,
            },
        };
        let own = storable(exchange, &self.own, &self.rules).map(|storing| storing.terms);
        let is_open = |source| matches!(source, Source::RouteTtl | Source::Heuristic);
        let tried = match own {
            Ok(terms) if !is_open(terms.source) => Ok(terms),
            _ => storable(exchange, &self.trial, &self.rules).map(|storing| storing.terms),
        };
        let refused = tried.as_ref().err().copied();
        let plans = std::array::from_fn(|plan| match plan.checked_sub(1) {
            None => own.ok(),
            Some(index) => tried.ok().map(|terms| Terms {
                lifetime: match (terms.source, TTLS.get(index)) {
                    (Source::RouteTtl, Some(ttl)) => *ttl,
                    _ => terms.lifetime,
                },
                ..terms
            }),
        });
        (plans, refused)
    }

    /// The key of the variant, with the last half of the URL's.
    fn key(&self, asking: Asking<'_>, answer: Option<&Response>) -> KeyHash {
        let nominated = |answer: &Response| {
            let names = vary::nominated(answer.headers(), &self.own, &self.rules).ok()?;
            // With the cache on, the upstream is asked for identity content alone.
            let names: Vec<_> = names
                .into_iter()
                .filter(|name| *name != ACCEPT_ENCODING)
                .collect();
            (!names.is_empty()).then_some(names)
        };
        let key = match answer.and_then(nominated) {
            None => asking.key,
            Some(names) => {
                let mut bytes = asking.key.to_le_bytes().to_vec();
                let selection = Selection::of(names, asking.fields);
                bytes.extend(selection.written_for(asking.fields));
                xxh3_128_with_seed(&bytes, self.ghost.seed)
            }
        };
        in_url(key, asking.uri)
    }

    fn sight(&self, fields: &HeaderMap) -> Sight {
        // Never 0, which says that there is none.
        let hashed = |value: &[u8]| xxh3_64_with_seed(value, self.ghost.seed) as u32 | 1;
        let tag = fields.get(ETAG).map(|tag| tag.as_bytes());
        Sight {
            tag: tag.map_or(0, |tag| hashed(tag.strip_prefix(b"W/").unwrap_or(tag))),
            coding: fields
                .get(CONTENT_ENCODING)
                .map_or(0, |coding| hashed(coding.as_bytes())),
            ..Sight::default()
        }
    }

    /// Counts a request that is over, and what the plans would have done with it.
    fn count(&self, trail: &Trail, bytes: u64, outcomes: Option<([Outcome; PLANS], f64)>) {
        let mut counts = lock(&self.counts);
        let totals = counts.totals(trail.group);
        match trail.excluded {
            Some(why) => totals.exclude(why),
            None => {
                totals.requests += 1;
                totals.bytes += bytes;
                totals.upstream += trail.took;
            }
        }
        let Some((outcomes, weight)) = outcomes else {
            return;
        };
        for (plan, outcome) in totals.plans.iter_mut().zip(outcomes) {
            match trail.excluded {
                None => plan.count(outcome, weight, bytes, trail.took),
                Some(Excluded::Credentials) => plan.count_shared(outcome, weight),
                Some(Excluded::Range) => {}
            }
        }
    }
}

/// The key by which a variant is followed: its last half is that of the URL, for which all variants are
/// forgotten together.
fn in_url(key: KeyHash, uri: KeyHash) -> KeyHash {
    (key >> 64 << 64) | (uri & u128::from(u64::MAX))
}

/// Counts stay counts after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lifetimes that are tried.
pub(crate) const TTLS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
];
/// As configured, and with each of [`TTLS`].
const PLANS: usize = TTLS.len() + 1;
/// The plan of this index.
const AS_CONFIGURED: usize = 0;
/// What the configuration calls the route that takes what no other takes.
const DEFAULT_ROUTE: &str = "*";

#[cfg(test)]
mod tests;
