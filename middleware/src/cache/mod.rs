//! The shared cache (RFC 9111): asks the rules, carries out what they decide.
//!
//! What may be stored, how long it is fresh and whether it answers a request are pure functions, one
//! file each. This file holds the service: it looks a request up, asks `decide`, and answers,
//! validates, follows another request or forwards. What is done with the upstream's answer is in
//! `errand` and `keep`, how requests share one in `collapse`, `lead`, `follow` and `fill`, where
//! responses lie in `store`.
//!
//! ```
//! use std::sync::Arc;
//! use middleware::cache::{CacheLayer, SharedCache};
//! use middleware::clock::Clock;
//! use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
//! use middleware::metrics::Metrics;
//! use middleware::{Body, ResponseFuture};
//! use tower::{Layer, Service, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let app = service_fn(|_| {
//!     let page = http::Response::builder().header("cache-control", "max-age=60");
//!     ResponseFuture::ready(Ok(page.body(Body::from("hello")).unwrap()))
//! });
//! let (clock, tasks) = (Clock::system(), tokio_util::task::TaskTracker::new());
//! let shared = SharedCache::new(1 << 20, clock.clone(), tasks, &Metrics::new());
//! let mut cache = CacheLayer::new(Arc::default(), shared).layer(app);
//! let request = || {
//!     let from = Peer::Ip("127.0.0.1:5000".parse().unwrap());
//!     http::Request::get("/")
//!         .header("host", "example.com")
//!         .extension(RequestFacts::new(clock.now(), RequestId::Made([0, 7]), from, Scheme::Http))
//!         .body(Body::empty())
//!         .unwrap()
//! };
//! cache.call(request()).await.unwrap();
//! let again = cache.call(request()).await.unwrap();
//! assert_eq!(again.headers()["cache-status"], "pillion; hit; ttl=60");
//! # });
//! ```

mod advice;
mod apart;
mod background;
mod below;
#[doc(hidden)]
pub mod benched;
pub mod bus;
mod changed;
mod collapse;
mod decide;
mod early;
mod errand;
pub mod explain;
mod explain_below;
mod figures;
mod fill;
mod follow;
mod found;
mod freshness;
pub mod ghost;
mod glob;
mod head;
mod hot;
pub mod hottest;
mod invalidate;
pub mod journal;
mod keep;
mod keep_part;
mod key;
mod lead;
mod lease;
mod leasing;
mod ledger;
mod lower;
mod offer;
mod order;
pub(crate) mod outage;
mod papers;
mod parts;
mod pass;
pub mod place;
mod post;
mod prepare;
mod purge;
mod purge_message;
mod query;
pub mod reason;
pub mod record;
mod recorder;
pub mod rejudge;
mod repeat;
mod replay;
mod search;
mod shared;
mod storable;
mod store;
pub mod stored;
mod tags;
mod validate;
mod vary;
mod verdicts;
mod versions;
mod wanted;
mod write_down;

use std::sync::Arc;
use std::task::{Context, Poll};

use config::cache::CacheSettings;
use http::HeaderMap;
use tower::{Layer, Service};

use crate::cache::apart::Apart;
use crate::cache::collapse::Joined;
use crate::cache::decide::{Asked, Candidate, Decision, Found, decide, overrides};
use crate::cache::errand::{Errand, Kept};
use crate::cache::follow::Attempt;
use crate::cache::ghost::GhostRoute;
use crate::cache::ghost::follow::Following;
use crate::cache::invalidate::Sequence;
use crate::cache::journal::Done;
use crate::cache::key::{CacheKey, KeyHash, KeyRules, Target};
use crate::cache::leasing::Leasing;
use crate::cache::outage::InFlight;
use crate::cache::papers::Papers;
use crate::cache::reason::Reason;
use crate::cache::recorder::Recorder;
use crate::cache::replay::{Says, replay_part, replay_with};
use crate::cache::tags::Tags;
use crate::clock::Now;
use crate::facts::{self, CacheOutcome, CacheStatus, Fwd};
use crate::fields::cache_status;
use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

pub use figures::Figures;
pub use freshness::Source;
pub use order::{From, OrderedBy, PurgeListener, PurgeNews};
pub use purge::{MOST_SEGMENTS, MOST_SHOWN, NoPattern, Rehearsal, What};
pub use purge_message::Unreadable;
pub use shared::{Purge, SharedCache};
pub use store::disk::{DiskTier, NotRecorded, Replayed, State as DiskState};
pub use store::redis::{RedisTier, SetupError};
pub use store::tiers::{Level, Read};

/// Answers from the store, or forwards.
#[derive(Clone, Debug)]
pub struct CacheLayer {
    settings: Arc<CacheSettings>,
    rules: Arc<KeyRules>,
    shared: SharedCache,
    /// Where decisions are written down; `None` where nobody can ask for them.
    recorder: Option<Arc<Recorder>>,
    /// Follows what is not stored; `None` where that is off.
    ghost: Option<Arc<GhostRoute>>,
    /// What is under way to the app while the shared tier is away.
    in_flight: Arc<InFlight>,
    /// See [`where_vary_is_settled`](Self::where_vary_is_settled).
    settles_vary: bool,
}

impl CacheLayer {
    /// One route's rules over the cache that all share.
    pub fn new(settings: Arc<CacheSettings>, shared: SharedCache) -> Self {
        Self {
            rules: shared.rules(&settings),
            settings,
            in_flight: shared.outage().towards(""),
            settles_vary: false,
            shared,
            recorder: None,
            ghost: None,
        }
    }

    /// Tells the upstream's name: `cache.outage.concurrency` is for all routes to it.
    #[must_use]
    pub fn towards(self, upstream: &str) -> Self {
        let in_flight = self.shared.outage().towards(upstream);
        Self { in_flight, ..self }
    }

    /// Tells whether the layer above says itself, of all that it gets, whether it varies by content
    /// coding: then an answer may come to it with its line already, and facts that tell so.
    #[must_use]
    pub fn where_vary_is_settled(self, settles_vary: bool) -> Self {
        Self {
            settles_vary,
            ..self
        }
    }

    /// Tells the route's name, under which what is not stored is followed, if the settings say so.
    #[must_use]
    pub fn on_route(self, name: &str) -> Self {
        let (settings, rules) = (&self.settings, &self.rules);
        let ghost = self.shared.ghost();
        let ghost = ghost.route(name, settings, rules, &self.shared);
        Self { ghost, ..self }
    }
}

/// See [`CacheLayer`].
#[derive(Debug)]
pub struct Cache<S> {
    inner: S,
    /// Behind one reference count, since every request that waits takes a clone along.
    layer: Arc<CacheLayer>,
    /// Where keys are written, so that a hit allocates none.
    key: Vec<u8>,
}

impl<S: Clone> Clone for Cache<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
            // A place to write in; what stands there is the request's that wrote it last.
            key: Vec::new(),
        }
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache {
            inner,
            layer: Arc::new(self.clone()),
            key: Vec::new(),
        }
    }
}

impl<S: Inner + Clone> Service<Request> for Cache<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let now = facts::of_request(&request).received;
        if self.layer.settings.status_key && Asked::of(&request, &self.layer.settings).is_ok() {
            let key = self
                .layer
                .rules
                .print(Target::of(&request), request.headers());
            let key = key.join("; ");
            let answer = self.serve(request, now, Attempt::default());
            return answer.change(move |result| {
                if let Ok(response) = result {
                    cache_status::add_key(response.headers_mut(), &key);
                }
            });
        }
        self.serve(request, now, Attempt::default())
    }
}

impl<S: Inner + Clone> Cache<S> {
    fn serve(&mut self, mut request: Request, now: Now, attempt: Attempt) -> ResponseFuture {
        let settles_vary = self.layer.settles_vary;
        let settings = &self.layer.settings;
        let mut asked = match Asked::of(&request, settings) {
            Ok(asked) => asked,
            Err((_, Reason::QueryContent)) if request.body().is_stream() => {
                return self.query(request, now);
            }
            Err((fwd, reason)) => return self.pass(request, now, fwd, reason),
        };
        let (rules, shared) = (&self.layer.rules, &self.layer.shared);
        rules.write_key(&request, &mut self.key);
        let hash = shared.hasher().hash(&self.key);
        let lookup = shared.find(settings, hash, &self.key, request.headers());
        let found = lookup.found(&mut asked, request.headers(), now);
        let decision = decide(&asked, found, settings, rules);
        let decision = shared.outage().changes(decision, found, &asked, settings);
        let (kept, variants) = lookup.into_parts();
        match (decision, kept, found) {
            (Decision::Serve, Some(kept), Found::Stored(candidate)) => {
                kept.stored.note_use();
                self.write_hit(&request, hash, &kept, Done::Hit, now);
                let early = self.refresh_early(&request, hash, &kept, candidate, &asked);
                let repeat = match early {
                    None => self.repeat(&request, hash, &kept, candidate, &asked),
                    Some(_) => None,
                };
                let status = hit(candidate, CacheOutcome::Hit, early.or(kept.chosen_by));
                let mut answer =
                    answer(kept, candidate, &asked, status, &mut request, settles_vary);
                if repeat.is_some()
                    && let Some(Ok(response)) = answer.as_ready()
                {
                    facts::of_response(response).repeat = repeat;
                }
                answer
            }
            (Decision::ServeStale { validate, reason }, Some(kept), Found::Stored(candidate)) => {
                kept.stored.note_use();
                self.write_hit(&request, hash, &kept, Done::Stale(reason), now);
                if validate {
                    let why = (Fwd::Stale, reason);
                    self.validate_in_background(&request, hash, &kept, now, why);
                }
                let status = hit(candidate, CacheOutcome::HitStale, Some(reason));
                answer(kept, candidate, &asked, status, &mut request, settles_vary)
            }
            (decision, kept, _) => {
                let why = match decision {
                    Decision::Validate(fwd, reason) | Decision::Forward(fwd, reason) => {
                        Some((fwd, reason))
                    }
                    Decision::GatewayTimeout => None,
                    Decision::Serve | Decision::ServeStale { .. } => {
                        unreachable!("only what is stored is served")
                    }
                };
                let only_if_cached = (Fwd::Miss, Reason::OnlyIfCached);
                let is_forwarded = why.is_some();
                let why = why.unwrap_or(only_if_cached);
                let mut errand = self.errand(&request, asked, hash, now, why, kept);
                errand.asking = self.asking(&request, hash, now);
                errand.is_other_variant = variants.is_some();
                errand.variants = variants;
                match is_forwarded {
                    true => self.forward(request, errand, attempt),
                    false => self.only_if_cached(request, errand),
                }
            }
        }
    }

    fn errand(
        &self,
        request: &Request,
        mut asked: Asked,
        hash: KeyHash,
        requested: Now,
        (fwd, reason): (Fwd, Reason),
        stored: Option<Kept>,
    ) -> Errand {
        let CacheLayer {
            settings,
            rules,
            shared,
            recorder: _,
            ghost,
            in_flight: _,
            settles_vary: _,
        } = &*self.layer;
        asked.is_overriding = overrides(request.headers(), rules);
        Errand::from(Papers {
            key: CacheKey {
                hash,
                bytes: self.key.as_slice().into(),
            },
            purged_by: shared.purged_by(rules, request, hash),
            fields: request.headers().clone(),
            shared: shared.clone(),
            settings: settings.clone(),
            rules: rules.clone(),
            asked,
            requested,
            asked_again: None,
            born: Sequence::default(),
            born_at: None,
            fwd,
            reason,
            stored,
            validates: false,
            part: None,
            variants: None,
            place: None,
            pass: None,
            asking: None,
            is_other_variant: false,
            too_many_tags: HeaderMap::new(),
            permit: None,
            leasing: Leasing::default(),
            ghost: ghost.as_ref().map(|ghost| Following::of(ghost, request)),
            tags: Ok(Tags::default()),
            apart: Apart::default(),
        })
    }

    /// Follows a request for the same thing, leads others, or goes alone.
    fn forward(
        &mut self,
        request: Request,
        mut errand: Errand,
        attempt: Attempt,
    ) -> ResponseFuture {
        if !errand.settings.collapse || !errand.asked.may_follow() || attempt.count >= ATTEMPTS {
            return self.alone(request, errand);
        }
        let flights = errand.shared.flights();
        let key = errand.flight_key(&attempt.salt);
        let pass = errand.pass_key(&key);
        if flights.is_pass(pass, errand.requested) {
            errand.pass = Some(pass);
            // It was so before, whatever is away now: what is not shared is nobody's stampede.
            return self.unlimited(request, errand);
        }
        let joined = if errand.asked.may_lead() {
            flights.join(&key)
        } else {
            flights.follow(&key).map_or(Joined::Alone, Joined::Follow)
        };
        errand.pass = Some(pass);
        errand.leasing.salt.clone_from(&attempt.salt);
        match joined {
            Joined::Lead(flight) => {
                errand.leasing.salt = attempt.salt;
                self.lead(request, errand, flight)
            }
            Joined::Follow(outcome) => self.follow(request, errand, outcome, attempt),
            Joined::Alone => self.alone(request, errand),
        }
    }
}

fn hit(candidate: Candidate, outcome: CacheOutcome, reason: Option<Reason>) -> CacheStatus {
    CacheStatus {
        outcome,
        fwd_status: None,
        stored: false,
        collapsed: false,
        ttl: Some(candidate.ttl()),
        reason,
    }
}

/// Answers from what is stored. The answer gets the map that the facts of the `request` came in.
fn answer(
    kept: Kept,
    candidate: Candidate,
    asked: &Asked,
    status: CacheStatus,
    request: &mut Request,
    settles_vary: bool,
) -> ResponseFuture {
    if let (Some(parts), Some(span)) = (kept.stored.parts(), asked.part) {
        let part = replay_part(&kept.stored, parts, span, candidate.age, status);
        return ResponseFuture::ready(Ok(part));
    }
    let facts = std::mem::take(request.extensions_mut());
    let says_vary = settles_vary && kept.stored.reading().may_vary();
    let fields = hot::fields(&kept.stored, candidate.age, &status, says_vary);
    let says = Says { status, says_vary };
    let response = replay_with(kept.stored, asked.is_head, says, fields, facts);
    ResponseFuture::ready(Ok(response))
}

/// How often a request tries to share another's answer before it goes by itself.
const ATTEMPTS: u8 = 2;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
