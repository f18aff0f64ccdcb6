//! Asking the tiers below memory, where a request would otherwise be forwarded.
//!
//! What lies there is judged like what lies in memory: by the rules of reuse, by its `Vary`, and by the
//! purges since it was asked for. If it may be used as it is, it goes into memory, for this request and
//! those after it; if it has to be validated first, the upstream is asked about it. In any other case the
//! request goes on as if nothing had been asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use crate::cache::collapse::{Flight, Followers, Outcome};
use crate::cache::decide::{Candidate, Decision, decide};
use crate::cache::errand::{Errand, Kept};
use crate::cache::journal::Done;
use crate::cache::lead::{BACKGROUND, PAUSE, background};
use crate::cache::leasing::Next;
use crate::cache::papers::Papers;
use crate::cache::reason::Reason;
use crate::cache::store::tiers::{Level, Read, Tier, Tiers};
use crate::cache::stored::StoredResponse;
use crate::cache::wanted::Wanted;
use crate::cache::{Cache, answer, hit};
use crate::clock::{Now, timer_now};
use crate::facts::{CacheOutcome, Fwd};
use crate::metrics::Event;
use crate::{Error, ErrorKind, Inner, Request, Response, ResponseFuture, Result};

/// What answers a request, found below memory.
pub(crate) struct FromBelow {
    kept: Kept,
    candidate: Candidate,
    /// Why it is served although it is stale, and whether it is to be validated in the background.
    stale: Option<(Reason, bool)>,
    now: Now,
}

impl Errand {
    /// Whether anything below memory could answer, and nothing says that it would be asked in vain.
    pub(crate) fn may_look_below(&self) -> bool {
        if self.shared.tiers().is_none() {
            return false;
        }
        let directives = &self.asked.directives;
        // "As it is at the upstream now" is what nothing stored can be.
        let is_reload = directives.max_age == Some(Duration::ZERO);
        let wants_upstream = directives.no_store || directives.no_cache || is_reload;
        // Nor does it help where even what is fresh has to be validated.
        let is_distrusted = matches!(self.reason, Reason::NoCache | Reason::HeuristicCredentials);
        !(wants_upstream || is_distrusted || self.is_passed())
    }

    /// Whether answers to requests like this one could not be stored lately: then nothing lies below.
    fn is_passed(&self) -> bool {
        let pass = self
            .pass
            .unwrap_or_else(|| self.pass_key(&self.flight_key(&[])));
        self.shared.flights().is_pass(pass, self.requested)
    }

    /// Asks the tiers in their order. What is found and has to be validated is noted, to be validated.
    pub(crate) async fn look_below(&mut self) -> Option<FromBelow> {
        let tiers = self.shared.tiers()?.clone();
        for tier in tiers.all() {
            let read = self.read(&tiers, tier).await;
            if tier.level == Level::L2 {
                self.leasing.read = Some(read.as_ref().err().copied().unwrap_or(Read::Hit));
            }
            let Ok((kept, now)) = read else {
                continue;
            };
            if !self.is_news(&kept.stored) {
                tiers.note(tier.level, Read::Known);
                continue;
            }
            let Papers { asked, fields, .. } = &mut **self;
            let found = kept.stored.found(kept.is_purged, asked, fields, now);
            let stale = match decide(&self.asked, found, &self.settings, &self.rules) {
                Decision::Serve => None,
                Decision::ServeStale { validate, reason } => Some((reason, validate)),
                Decision::Validate(fwd, reason) | Decision::Forward(fwd, reason) => {
                    tiers.note(tier.level, Read::Validated);
                    (self.fwd, self.reason) = (fwd, reason);
                    self.adopt(kept, now);
                    continue;
                }
                Decision::GatewayTimeout => {
                    tiers.note(tier.level, Read::Validated);
                    continue;
                }
            };
            let Some(kept) = self.promoted(kept, now) else {
                tiers.note(tier.level, Read::Purged);
                continue;
            };
            tiers.note(tier.level, Read::Hit);
            let candidate = kept.candidate(now);
            return Some(FromBelow {
                kept,
                candidate,
                stale,
                now,
            });
        }
        None
    }

    /// What `tier` has for this request, as far as it was not purged.
    async fn read(&self, tiers: &Tiers, tier: &Tier) -> Result<(Kept, Now), Read> {
        let wanted = Wanted {
            shared: &self.shared,
            key: &self.key.bytes,
            hash: self.key.hash,
            fields: &self.fields,
        };
        wanted.read(tiers, tier).await
    }

    /// Whether it came later than what memory has.
    fn is_news(&self, stored: &StoredResponse) -> bool {
        let known = self.stored.as_ref().map(|kept| &kept.stored);
        known.is_none_or(|known| {
            let is_later = stored.received().wall > known.received().wall;
            is_later || known.parts().is_some()
        })
    }

    /// Makes `kept` what the upstream is asked about. What no purge has marked goes into memory; what one
    /// has does not, since memory would take it for younger than the purge.
    fn adopt(&mut self, kept: Kept, now: Now) {
        let kept = match kept.is_purged {
            true => Some(kept),
            false => self.promoted(kept, now),
        };
        if kept.is_some() {
            self.stored = kept;
            self.variants = None;
        }
    }

    /// Puts what was found into memory, where its place is. `None` if it was purged meanwhile.
    fn promoted(&mut self, kept: Kept, now: Now) -> Option<Kept> {
        if kept.is_purged {
            return Some(kept);
        }
        let stored = &kept.stored;
        self.born = stored.born;
        self.place = None;
        if self.is_purged() || !self.stands(stored) {
            return None;
        }
        if stored.length() > self.shared.bounds(self.settings.max_body).most {
            return Some(kept);
        }
        let store = self.shared.store();
        let (key, anchor) = (&self.key, self.purged_together());
        let replaced = self.stored.as_ref().map(|kept| &kept.stored);
        store.put(key, anchor, stored, replaced, self.settings.variants);
        self.settle_put(stored).ok()?;
        if kept.chosen_by == Some(Reason::L2) {
            self.note_below(stored, now);
        }
        Some(Kept {
            is_below: false,
            ..kept
        })
    }
}

impl Errand {
    /// What answers `only-if-cached` where nothing does.
    fn not_cached(&self) -> Result<Response> {
        self.record(Done::GatewayTimeout, None, self.requested);
        Err(Error::client(ErrorKind::OnlyIfCached)
            .detail("nothing usable is stored, and the request says only-if-cached"))
    }
}

impl<S: Inner + Clone> Cache<S> {
    /// Leads, where the tiers below memory are asked first.
    pub(crate) fn lead_below(
        &self,
        request: Request,
        mut errand: Errand,
        flight: Flight,
    ) -> ResponseFuture {
        let mut this = self.clone();
        let (followers, tasks) = (flight.followers(), errand.shared.tasks().clone());
        let leading = ResponseFuture::boxed(async move {
            let begun = timer_now();
            loop {
                if let Some(found) = errand.look_below().await {
                    errand.has_found();
                    return this.answer_below(request, errand, found, Some(flight));
                }
                // Boxed, as all that few requests come to: what most carry along is short then.
                match Box::pin(errand.turn()).await {
                    Next::Look => {}
                    Next::Fetch => {
                        if begun.elapsed() > PROMPT {
                            // Who follows has waited for as long, and not for this fetch.
                            flight.tell(Outcome::Pending);
                        }
                        return this.lead_upstream(request, errand, flight).await;
                    }
                    Next::Release => {
                        flight.tell(Outcome::Alone);
                        drop(flight);
                        return this.unlimited(request, errand).await;
                    }
                }
            }
        });
        ResponseFuture::boxed(HandedOver {
            leading: Some(leading),
            followers,
            tasks,
        })
    }

    /// The same for a request that nobody follows.
    pub(crate) fn alone_below(&self, request: Request, mut errand: Errand) -> ResponseFuture {
        let mut this = self.clone();
        ResponseFuture::boxed(async move {
            match errand.look_below().await {
                Some(found) => this.answer_below(request, errand, found, None),
                None => this.alone_upstream(request, errand).await,
            }
        })
    }

    /// Answers a request that must not be forwarded (RFC 9111 §5.2.1.7), and that nothing in memory can
    /// answer.
    pub(crate) fn only_if_cached(&self, request: Request, mut errand: Errand) -> ResponseFuture {
        if !errand.may_look_below() {
            return ResponseFuture::ready(errand.not_cached());
        }
        let mut this = self.clone();
        ResponseFuture::boxed(async move {
            match errand.look_below().await {
                Some(found) => this.answer_below(request, errand, found, None),
                None => errand.not_cached(),
            }
        })
    }

    /// Looks below memory for what another sidecar has validated meanwhile, and asks the upstream about
    /// `old` if there is nothing.
    pub(crate) fn refresh_from_below(
        &self,
        request: Request,
        mut errand: Errand,
        flight: Flight,
        old: Arc<StoredResponse>,
    ) {
        let (mut this, shared) = (self.clone(), errand.shared.clone());
        shared.tasks().spawn(async move {
            match errand.look_below().await {
                Some(found) if found.stale.is_none() && !found.kept.is_below => {
                    let (stored, detail) = (&found.kept.stored, found.kept.chosen_by);
                    let outcome = || Outcome::Found(stored.clone(), detail);
                    drop(errand.offer(Some(flight), stored, found.now, outcome));
                    errand.shared.metrics().count(Event::BackgroundValidated);
                    return;
                }
                Some(found) => errand.stored = Some(found.kept),
                None => {}
            }
            if !errand.may_validate().await {
                // Another sidecar is at it; a moment later its answer lies below.
                old.put_off_validation(errand.shared.clock().now(), PAUSE);
                return;
            }
            let request = errand.prepare(request);
            let answer = this.inner.call(request);
            background(answer, errand, flight, old).await;
        });
    }

    /// Answers with what was found, and lets those who follow have it too.
    fn answer_below(
        &mut self,
        mut request: Request,
        mut errand: Errand,
        found: FromBelow,
        flight: Option<Flight>,
    ) -> Result<Response> {
        let FromBelow {
            kept,
            candidate,
            stale,
            now,
        } = found;
        let stored = &kept.stored;
        let detail = kept.chosen_by;
        if kept.is_purged {
            // Others would take it for valid.
            drop(flight);
        } else {
            let outcome = || match errand.leasing.has_waited() {
                true => Outcome::Stored(stored.clone()),
                false => Outcome::Found(stored.clone(), detail),
            };
            let outcome = errand.offered(stored, now, outcome);
            if let Some(flight) = flight {
                flight.end(outcome);
            }
        }
        let (outcome, detail, done) = match stale {
            None => (CacheOutcome::Hit, detail, Done::Hit),
            Some((reason, _)) => (CacheOutcome::HitStale, Some(reason), Done::Stale(reason)),
        };
        if stale.is_some_and(|(_, validate)| validate) {
            let why = (Fwd::Stale, Reason::Stale);
            self.key.clear();
            self.key.extend_from_slice(&errand.key.bytes);
            self.validate_in_background(&request, errand.key.hash, &kept, now, why);
        }
        let (status, done) = match stale {
            // What another sidecar has just fetched, for this one too.
            None if errand.leasing.has_waited() => {
                (errand.collapsed_by(candidate, detail), Done::Collapsed)
            }
            _ => (hit(candidate, outcome, detail), done),
        };
        errand.stored = Some(kept.clone());
        errand.record(done, None, now);
        let settles_vary = self.layer.settles_vary;
        let asked = &errand.asked;
        let answer = answer(kept, candidate, asked, status, &mut request, settles_vary);
        answer
            .try_ready()
            .unwrap_or_else(|_| unreachable!("what is stored is there at once"))
    }
}

/// A request that others follow from before it is forwarded. If its own client goes away while others
/// wait, a task goes on with it.
struct HandedOver {
    leading: Option<ResponseFuture>,
    followers: Followers,
    tasks: tokio_util::task::TaskTracker,
}

impl Future for HandedOver {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let leading = self.leading.as_mut();
        let leading = leading.expect("a future is not polled after it is done");
        let polled = Pin::new(leading).poll(cx);
        if polled.is_ready() {
            self.leading = None;
        }
        polled
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        if let Some(leading) = self.leading.take()
            && self.followers.are_there()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.tasks
                .spawn(async move { drop(timeout(BACKGROUND, leading).await) });
        }
    }
}

/// What asking below may take before those who follow are told that the fetch begins only now.
const PROMPT: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "below_tests.rs"]
mod tests;
