//! While Redis is away: what one sidecar has is all that stands before the app (`cache.on_outage`).
//!
//! `bypass` forwards what is missed, as if there were no Redis. `serve_stale` answers with what is
//! stored here beyond its lifetime, for as long as the operator says, unless the upstream forbids that
//! (`must-revalidate`, `no-cache`, `s-maxage`) or a purge does. `shed` lets no more than so many
//! requests be under way to the app at once; others get a stale response if any window allows one,
//! or else 503 with `Retry-After`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use config::cache::CacheSettings;
use config::outage::OnOutage;

use crate::cache::collapse::{Failure, Flight, Outcome};
use crate::cache::decide::{Asked, Decision, Found};
use crate::cache::errand::{Errand, tell};
use crate::cache::reason::Reason;
use crate::cache::{CacheLayer, SharedCache};
use crate::facts::CacheStatus;
use crate::metrics::Event;
use crate::{Error, ErrorKind, Response, Result};

/// Whether Redis is away, and what is under way to which upstream meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Written by whoever watches Redis; read where a request would be forwarded.
    is_away: AtomicBool,
    /// By the upstream's name; one that a reload has taken away vanishes with its last route.
    towards: Mutex<HashMap<Box<str>, Weak<InFlight>>>,
}

/// Requests under way to one upstream that began while Redis was away.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicUsize);

/// One of them; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<InFlight>);

/// A request that must not be forwarded now.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Outage {
    /// Redis has gone away, or come back.
    fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// What is under way to the upstream of this name.
    pub(crate) fn towards(&self, upstream: &str) -> Arc<InFlight> {
        let mut towards = self.towards.lock().unwrap_or_else(PoisonError::into_inner);
        towards.retain(|_, in_flight| in_flight.strong_count() > 0);
        let known = towards.get(upstream).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let in_flight = Arc::default();
            towards.insert(upstream.into(), Arc::downgrade(&in_flight));
            in_flight
        })
    }

    /// What becomes of `decision` while Redis is away. A hit passes by without a look.
    pub(crate) fn changes(
        &self,
        decision: Decision,
        found: Found,
        asked: &Asked,
        settings: &CacheSettings,
    ) -> Decision {
        // Only what is stale, for no other reason than its age, stands to be used.
        let (Decision::Validate(_, Reason::Stale), Found::Stored(candidate)) = (decision, found)
        else {
            return decision;
        };
        if settings.on_outage != OnOutage::ServeStale || asked.part.is_some() || !self.is_away() {
            return decision;
        }
        let is_within = candidate.staleness() <= settings.outage.stale;
        if !(is_within && candidate.terms.may_be_stale() && !candidate.is_marked()) {
            return decision;
        }
        Decision::ServeStale {
            validate: true,
            reason: Reason::Outage,
        }
    }
}

impl SharedCache {
    /// Redis has gone away, or come back: `cache.on_outage` applies, or no longer does.
    pub fn tell_outage(&self, is_away: bool) {
        self.outage().set_away(is_away);
    }
}

impl InFlight {
    /// One more, unless there are `most`.
    fn enter(self: &Arc<Self>, most: usize) -> Result<Permit, TooMany> {
        let one_more = |count| (count < most).then_some(count + 1);
        let entered = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.map(|_| Permit(self.clone())).map_err(|_| TooMany)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CacheLayer {
    /// What a request needs to be forwarded now: nothing, mostly.
    pub(crate) fn permit(&self, errand: &Errand) -> Result<Option<Permit>, TooMany> {
        if self.settings.on_outage != OnOutage::Shed || errand.permit.is_some() {
            return Ok(None);
        }
        self.limited()
    }

    /// The same for a validation that no client waits for, which begins only where there is room.
    pub(crate) fn background_permit(&self) -> Result<Option<Permit>, TooMany> {
        match self.settings.on_outage {
            OnOutage::Bypass => Ok(None),
            OnOutage::ServeStale | OnOutage::Shed => self.limited(),
        }
    }

    fn limited(&self) -> Result<Option<Permit>, TooMany> {
        if !self.shared.outage().is_away() {
            return Ok(None);
        }
        let permit = self.in_flight.enter(self.settings.outage.concurrency)?;
        self.shared.metrics().count(Event::OutageLimited);
        Ok(Some(permit))
    }
}

impl Errand {
    /// Answers in place of the app, which has enough to do.
    pub(crate) fn shed(self, _: TooMany, flight: Option<Flight>) -> Result<Response> {
        let now = self.shared.clock().now();
        let kind = ErrorKind::ConnectionLimitReached;
        tell(flight.as_ref(), || Outcome::Failed(Failure::Error(kind)));
        if let Some(stale) = self.stand_in(None, now) {
            self.shared.metrics().count(Event::OutageStale);
            return Ok(stale);
        }
        self.shared.metrics().count(Event::OutageShed);
        self.note(None, Err(Reason::Shed), now);
        let mut error = Error::upstream(kind)
            .detail("the app is given no more requests at once while the shared cache is away");
        error.facts_mut().cache = Some(CacheStatus {
            fwd_status: None,
            ..self.status(kind.status(), Err(Reason::Shed), None)
        });
        Err(error)
    }
}

#[cfg(test)]
#[path = "outage_tests.rs"]
mod tests;
