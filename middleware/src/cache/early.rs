//! Early refresh: what is about to be stale and is asked for is validated before it is, by one of
//! those who ask, chosen by lot.
//!
//! The nearer the end and the longer a fetch takes, the likelier: with `u` drawn evenly from (0, 1],
//! one begins where `fetch time × weight × −ln u` is at least the time that is left (XFetch: Vattani,
//! Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015). So what
//! is asked for all the time is hardly ever stale when it is asked for, sidecars that know nothing of
//! each other rarely begin at once, and what is rarely asked for is validated no more often than
//! before. Unlike theirs, ours has a bound: only the last [`PART`] of a lifetime is drawn for, so a
//! slow upstream with short lifetimes is asked by a third more often at most.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::StatusCode;

use crate::cache::Cache;
use crate::cache::collapse::{Failure, Flight, Outcome};
use crate::cache::decide::{Asked, Candidate};
use crate::cache::errand::{Errand, Kept, tell};
use crate::cache::key::KeyHash;
use crate::cache::reason::Reason;
use crate::cache::replay::annotate;
use crate::cache::stored::StoredResponse;
use crate::clock::Now;
use crate::facts::{self, Fwd};
use crate::metrics::Event;
use crate::{Inner, Request, Response};

/// What a fetch took, in seconds.
pub(crate) fn took(requested: Now, received: Now) -> f32 {
    let took = received.mono.saturating_duration_since(requested.mono);
    took.as_secs_f32()
}

/// Whether a fetch that takes `took` seconds is begun while a response is fresh for another `left`, where
/// `drawn` is from (0, 1].
fn is_due(left: Duration, took: f32, weight: f64, drawn: f64) -> bool {
    f64::from(took) * weight * -drawn.ln() >= left.as_secs_f64()
}

impl StoredResponse {
    /// Whether it is worth drawing lots; nearly always not, so it costs a comparison.
    fn is_near_end(&self, candidate: Candidate, weight: f64) -> bool {
        let left = candidate.left();
        left.as_secs_f64() < self.span_of_lots(weight)
            && left < candidate.terms.lifetime / PART
            // Fresh for as long as it said, and no sooner asked about (RFC 8246 §2).
            && !candidate.terms.immutable
    }

    /// Seconds before the end from which on lots are worth drawing.
    fn span_of_lots(&self, weight: f64) -> f64 {
        f64::from(self.took) * weight * SPAN
    }

    /// Time for which it is fresh and no lot is drawn; `None` if there is none.
    pub(crate) fn left_before_lots(&self, candidate: Candidate, weight: f64) -> Option<Duration> {
        let left = candidate.left();
        let lots = match candidate.terms.immutable {
            true => Duration::ZERO,
            false => Duration::try_from_secs_f64(self.span_of_lots(weight))
                .unwrap_or(Duration::MAX)
                .min(candidate.terms.lifetime / PART),
        };
        left.checked_sub(lots).filter(|left| !left.is_zero())
    }
}

impl<S: Inner + Clone> Cache<S> {
    /// Validates in the background what is served fresh, if the lot says so.
    pub(crate) fn refresh_early(
        &mut self,
        request: &Request,
        hash: KeyHash,
        kept: &Kept,
        candidate: Candidate,
        asked: &Asked,
    ) -> Option<Reason> {
        let weight = self.layer.settings.early_refresh;
        if !kept.stored.is_near_end(candidate, weight) {
            return None;
        }
        // A part is validated with the whole, and who wants no forwarding causes none.
        let may = asked.part.is_none() && kept.is_whole() && !asked.directives.only_if_cached;
        if !may || !is_due(candidate.left(), kept.stored.took, weight, draw()) {
            return None;
        }
        let now = facts::of_request(request).received;
        let why = (Fwd::Stale, Reason::EarlyRefresh);
        let has_begun = self.validate_in_background(request, hash, kept, now, why);
        has_begun.then(|| {
            self.layer.shared.metrics().count(Event::EarlyRefresh);
            Reason::EarlyRefresh
        })
    }
}

impl Errand {
    /// Whether this asks about what is still fresh, before its time.
    pub(crate) fn is_early(&self, now: Now) -> bool {
        let is_fresh = |kept: &Kept| kept.candidate(now).is_fresh();
        self.reason == Reason::EarlyRefresh && self.stored.as_ref().is_some_and(is_fresh)
    }

    /// A failure that came before its time: what is stored stays, whatever lifetime the failure has.
    pub(crate) fn kept_fresh(self, mut answer: Response, flight: Option<Flight>) -> Response {
        let status: StatusCode = answer.status();
        tell(flight.as_ref(), || Outcome::Failed(Failure::Status(status)));
        let status = self.status(status, Err(Reason::UpstreamFailed), None);
        annotate(&mut answer, status);
        answer
    }
}

/// From (0, 1], evenly: the standard library's keyed hash with a new key at each call.
fn draw() -> f64 {
    let bits = RandomState::new().hash_one(()) >> 32;
    let drawn = u32::try_from(bits).expect("32 bits are left");
    (f64::from(drawn) + 1.0) / (f64::from(u32::MAX) + 1.0)
}

/// Beyond this many fetch times before the end nothing is drawn: fewer than one in 20 000 would win.
const SPAN: f64 = 10.0;
/// Of the lifetime, at its end, in which lots are drawn.
const PART: u32 = 4;

#[cfg(test)]
#[path = "early_tests.rs"]
mod tests;
