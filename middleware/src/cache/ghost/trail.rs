//! One request as the ghost follows it: from the head of its answer to the end of its content, where
//! it is told which plans would have answered it from what they would have stored.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::cache::decide::{Asked, Decision, Found, decide};
use crate::cache::ghost::content::Seen;
use crate::cache::ghost::counts::{Excluded, Group, Outcome};
use crate::cache::ghost::table::{Fill, Likeness, Record, Shard, Sight};
use crate::cache::ghost::{AS_CONFIGURED, GhostRoute, PLANS};
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::storable::Terms;
use crate::metrics::Event;

/// See the module. Times since the ghost was made.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) route: Arc<GhostRoute>,
    pub(super) group: Group,
    pub(super) asked: Asked,
    /// Of URI and nominated fields; its last half is that of `uri`.
    pub(super) key: KeyHash,
    /// By which the URL is purged.
    pub(super) uri: KeyHash,
    pub(super) born: Sequence,
    pub(super) requested: Duration,
    pub(super) received: Duration,
    /// What the upstream took until the head.
    pub(super) took: Duration,
    /// `None` where it gave no answer.
    pub(super) status: Option<StatusCode>,
    /// On which terms each plan would store the answer.
    pub(super) terms: [Option<Terms>; PLANS],
    /// What is known of the content by its head.
    pub(super) sight: Sight,
    /// Whether it is counted apart. What is stored may answer a request with credentials, but what comes
    /// for it is stored only by the app's word that it is for all.
    pub(super) excluded: Option<Excluded>,
}

impl Trail {
    /// Whether the content need be hashed.
    pub(super) fn is_sampled(&self) -> bool {
        let shard = self.route.ghost.table.shard(self.key);
        shard.is_followed(self.key)
    }

    /// What the cache would have done as configured.
    pub(super) fn would(&self) -> Event {
        let shard = self.route.ghost.table.shard(self.key);
        if !shard.is_followed(self.key) {
            return Event::ObservedUnknown;
        }
        let judged = self.judge(shard.record(self.key));
        match judged[AS_CONFIGURED] {
            Some((Decision::Serve, _)) => Event::ObservedHit,
            Some((Decision::ServeStale { .. }, _)) => Event::ObservedStale,
            Some((Decision::Validate(..), _)) => Event::ObservedValidate,
            _ if self.terms[AS_CONFIGURED].is_some() => Event::ObservedStore,
            _ => Event::ObservedPass,
        }
    }

    /// The answer is over.
    pub(super) fn end(self, seen: Seen) {
        let sight = Sight {
            hash: match self.status {
                Some(status) if seen.hash != 0 && seen.is_whole && !self.is_confirmation() => {
                    seen.hash ^ mixed(status)
                }
                _ => 0,
            },
            length: u32::try_from(seen.bytes).unwrap_or(u32::MAX),
            ..self.sight
        };
        let mut shard = self.route.ghost.table.shard(self.key);
        shard.note(self.key);
        let weight = shard.weight(self.key);
        let outcomes = shard
            .is_followed(self.key)
            .then(|| self.pass_through(&mut shard, sight, seen));
        drop(shard);
        let outcomes = outcomes.zip(weight);
        self.route.count(&self, seen.bytes, outcomes);
    }

    /// Tells what each plan would have done, and stores what it would have stored.
    fn pass_through(&self, shard: &mut Shard, sight: Sight, seen: Seen) -> [Outcome; PLANS] {
        let known = shard.record(self.key);
        let judged = self.judge(known);
        let mut record = known.cloned().unwrap_or_default();
        let mut is_changed = false;
        let outcomes = std::array::from_fn(|plan| {
            let (served, is_background) = match judged.get(plan).copied().flatten() {
                Some((Decision::Serve, fill)) => (Some(fill), false),
                Some((Decision::ServeStale { validate, .. }, fill)) => (Some(fill), validate),
                _ => (None, false),
            };
            let is_fetched = served.is_none() || is_background;
            if is_fetched && let Some(fill) = self.fill(plan, &record, sight, seen) {
                record.fills[plan] = Some(fill);
                is_changed = true;
            }
            Outcome {
                is_served: served.is_some(),
                is_fetched,
                likeness: served.map_or(Likeness::Unknown, |fill| self.compare(fill, sight)),
            }
        });
        if self.is_confirmation() && !record.has_confirmed && self.may_fill() {
            record.has_confirmed = true;
            is_changed = true;
        }
        if is_changed {
            shard.put(self.key, record, self.received);
        }
        outcomes
    }

    /// What each plan has stored, and what the rules say of it: at the request's arrival, or when it
    /// came meanwhile, if this request would have waited for it.
    fn judge(&self, record: Option<&Record>) -> [Option<(Decision, Fill)>; PLANS] {
        std::array::from_fn(|plan| {
            let fill = (*record?.fills.get(plan)?)?;
            let came = fill.received();
            let is_collapsed = came > self.requested;
            let settings = &self.route.own;
            if is_collapsed
                && (came > self.received || !settings.collapse || !self.asked.may_follow())
            {
                return None;
            }
            let found = Found::Stored(fill.candidate(came.max(self.requested)));
            let decision = decide(&self.asked, found, settings, &self.route.rules);
            Some((decision, fill))
        })
    }

    /// What a plan would store of this answer.
    fn fill(&self, plan: usize, record: &Record, sight: Sight, seen: Seen) -> Option<Fill> {
        let terms = self.terms.get(plan)?.as_ref().filter(|_| self.may_fill())?;
        let known = *record.fills.get(plan)?;
        if known.is_some_and(|known| known.received() > self.received) {
            return None;
        }
        let sight = match (self.is_confirmation(), known) {
            (false, _) if seen.is_whole && seen.bytes <= self.route.own.max_body => sight,
            (true, Some(known)) => Sight {
                // It is about the client's copy, which is what would be stored only if its tag is.
                hash: match sight.tag != 0 && sight.tag == known.sight.tag {
                    true => known.sight.hash,
                    false => 0,
                },
                length: known.sight.length,
                ..sight
            },
            // The cache fetches the whole when it sees the second of them.
            (true, None) if record.has_confirmed => sight,
            _ => return None,
        };
        let window = terms.window_while_revalidating(&self.route.own);
        Some(Fill::new(self.received, terms, window, sight))
    }

    fn is_confirmation(&self) -> bool {
        self.status == Some(StatusCode::NOT_MODIFIED)
    }

    /// Whether the URL is as it was when the upstream was asked.
    fn may_fill(&self) -> bool {
        let shared = &self.route.shared;
        self.excluded != Some(Excluded::Credentials)
            && !shared.purges().has_since(self.born, self.uri)
    }

    /// A failure is no content that a copy could be compared with.
    fn compare(&self, copy: Fill, fetched: Sight) -> Likeness {
        match self.status {
            Some(status) if !status.is_server_error() => copy.sight.compare(fetched),
            _ => Likeness::Unknown,
        }
    }
}

/// The same content under another status is another answer.
fn mixed(status: StatusCode) -> u64 {
    u64::from(status.as_u16()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
