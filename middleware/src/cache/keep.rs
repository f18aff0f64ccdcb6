//! Storing what came from the upstream, and what follows for those who wait for it or come later.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::SET_COOKIE;

use crate::cache::advice::Head;
use crate::cache::collapse::{Flight, Outcome};
use crate::cache::decide::{Asked, Decision, Found, decide};
use crate::cache::errand::{Errand, Kept, declared_length, tell};
use crate::cache::fill::Fill;
use crate::cache::key::CacheKey;
use crate::cache::reason::Reason;
use crate::cache::replay::annotate;
use crate::cache::storable::{Storing, is_about_one_request};
use crate::cache::store::memory::Lookup;
use crate::cache::stored::StoredResponse;
use crate::cache::versions::Standing;
use crate::clock::Now;
use crate::metrics::Event;
use crate::{Body, Response, Result, facts};

impl Errand {
    /// Stores an answer whose content is here already.
    pub(crate) fn keep_whole(
        mut self,
        answer: Response,
        storing: Storing,
        flight: Option<Flight>,
        now: Now,
    ) -> Response {
        let (mut head, body) = answer.into_parts();
        let content = body.as_whole().cloned();
        let is_whole = content.as_ref().is_some_and(|content| {
            declared_length(&head.headers).is_none_or(|length| length == content.len() as u64)
        });
        let without_cookie = storing.is_cookie_stripped;
        self.find_place(&storing);
        let stored = if is_whole {
            let stored =
                StoredResponse::head(head.status, &head.headers, storing, self.origin(now));
            self.keep(&stored, content.into_iter().collect())
        } else {
            Err(Reason::Incomplete)
        };
        let answer = Head {
            length: body.as_whole().map(|content| content.len() as u64),
            ..Head::new(head.status, &head.headers)
        };
        let kept = stored.as_ref().map(|_| ()).map_err(|reason| *reason);
        self.note(Some(answer), kept, now);
        if without_cookie {
            head.headers.remove(SET_COOKIE);
        }
        let mut answer = Response::from_parts(head, body);
        match stored {
            Ok(stored) => {
                self.write_down(&stored, now);
                self.offer(flight, &stored, now, || Outcome::Stored(stored.clone()));
                let ttl = stored.candidate(now, false).ttl();
                let status = self.status(answer.status(), Ok(()), Some(ttl));
                // Of a part, others may be stored with it, and it is for no coding.
                if self.part.is_none() {
                    *answer.body_mut() = Body::of_stored(&stored.body);
                    facts::of_response(&mut answer).stored = Some(stored);
                }
                annotate(&mut answer, status);
            }
            Err(reason) => {
                self.unshared(reason, answer.status(), flight.as_ref(), now);
                let status = self.status(answer.status(), Err(reason), None);
                annotate(&mut answer, status);
            }
        }
        answer
    }

    /// Stores an answer as its content arrives, and lets others share it meanwhile.
    pub(crate) fn keep_arriving(
        mut self,
        answer: Response,
        storing: Storing,
        declared: Option<u64>,
        flight: Option<Flight>,
        now: Now,
    ) -> Response {
        let (mut head, body) = answer.into_parts();
        let without_cookie = storing.is_cookie_stripped;
        self.find_place(&storing);
        let origin = self.origin(now);
        let stored = Arc::new(StoredResponse::head(
            head.status,
            &head.headers,
            storing,
            origin,
        ));
        let ttl = stored.candidate(now, false).ttl();
        let status = self.status(head.status, Ok(()), Some(ttl));
        let answer = Head {
            length: declared,
            ..Head::new(head.status, &head.headers)
        };
        self.note(Some(answer), Ok(()), now);
        let bounds = self.shared.bounds(self.settings.max_body);
        let tasks = self.shared.tasks().clone();
        let reader = Fill::start(body, declared, stored.clone(), bounds, tasks, |fill| {
            let flight = self.offer(flight, &stored, now, || Outcome::Filling(fill.clone()));
            Box::new(move |content| self.filled(&stored, content, flight))
        });
        if without_cookie {
            head.headers.remove(SET_COOKIE);
        }
        let mut answer = Response::from_parts(head, Body::stream(reader));
        annotate(&mut answer, status);
        answer
    }

    /// The end of a fill.
    fn filled(
        self,
        head: &StoredResponse,
        content: Result<Vec<Bytes>, Reason>,
        flight: Option<Flight>,
    ) {
        let stored = content.and_then(|content| self.keep(head, content));
        match stored {
            Ok(stored) => {
                self.write_down(&stored, self.shared.clock().now());
                tell(flight.as_ref(), || Outcome::Stored(stored));
            }
            Err(reason) => {
                let now = self.shared.clock().now();
                let fields = head.fields.map();
                let answer = Head::new(head.status, &fields);
                self.note(Some(answer), Err(reason), now);
                self.unshared(reason, head.status, flight.as_ref(), now);
            }
        }
    }

    /// Lets others share what is stored, if it answers a request without being validated first; if
    /// not, waiting for it would be in vain, now and next time. Gives the flight back if it goes on.
    pub(crate) fn offer(
        &self,
        flight: Option<Flight>,
        stored: &StoredResponse,
        now: Now,
        outcome: impl FnOnce() -> Outcome,
    ) -> Option<Flight> {
        let outcome = self.offered(stored, now, outcome);
        let is_shareable = !matches!(outcome, Outcome::Alone);
        tell(flight.as_ref(), || outcome);
        flight.filter(|_| is_shareable)
    }

    /// What others are told of what is stored: `outcome`, or that each is alone.
    pub(crate) fn offered(
        &self,
        stored: &StoredResponse,
        now: Now,
        outcome: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let found = Found::Stored(stored.candidate(now, false));
        let decision = decide(&Asked::default(), found, &self.settings, &self.rules);
        let is_shareable = matches!(decision, Decision::Serve | Decision::ServeStale { .. });
        if let Some(pass) = self.pass {
            if is_shareable {
                self.shared.flights().clear_pass(pass);
            } else {
                self.shared.flights().mark_pass(pass, now);
                self.release_all();
            }
        }
        match is_shareable {
            true => outcome(),
            false => Outcome::Alone,
        }
    }

    /// Stores `head` with `content`.
    fn keep(
        &self,
        head: &StoredResponse,
        content: Vec<Bytes>,
    ) -> Result<Arc<StoredResponse>, Reason> {
        let length: u64 = content.iter().map(|piece| piece.len() as u64).sum();
        if length > self.shared.bounds(self.settings.max_body).most {
            return Err(Reason::TooLarge);
        }
        if let Some(part) = &self.part {
            return self.keep_part(head, part, content);
        }
        let stored = Arc::new(head.with_body(content));
        let replaced = self.stored.as_ref().map(|kept| &kept.stored);
        self.put(&stored, replaced)?;
        Ok(stored)
    }

    /// Stores, unless the URL was purged since the upstream was asked.
    pub(crate) fn put(
        &self,
        stored: &Arc<StoredResponse>,
        replaced: Option<&Arc<StoredResponse>>,
    ) -> Result<(), Reason> {
        if self.is_purged() || !self.stands(stored) {
            return Err(Reason::Purged);
        }
        let store = self.shared.store();
        let (key, anchor) = (self.place_key(), self.purged_together());
        store.put(key, anchor, stored, replaced, self.settings.variants);
        self.settle_put(stored)?;
        self.shared.metrics().count(Event::CacheStored);
        Ok(())
    }

    /// Stores what a validation made of `old`, unless the URL was purged since the upstream was asked,
    /// or something else has taken its place: that is newer than what was confirmed.
    pub(crate) fn freshen(
        &self,
        freshened: &Arc<StoredResponse>,
        old: &Kept,
    ) -> Result<(), Reason> {
        if old.is_below {
            return match self.is_overtaken() {
                true => Err(Reason::Overtaken),
                false => self.put(freshened, None),
            };
        }
        let old = &old.stored;
        if self.is_purged() || !self.stands(freshened) {
            return Err(Reason::Purged);
        }
        let (key, anchor) = (self.place_key(), self.purged_together());
        let (store, most) = (self.shared.store(), self.settings.variants);
        if old.key != key.hash {
            // What it says of queries is another thing now.
            return match store.remove_one(old) {
                true => self.put(freshened, None),
                false => Err(Reason::Overtaken),
            };
        }
        if !store.freshen(key, anchor, freshened, old, most) {
            return Err(Reason::Overtaken);
        }
        self.settle_put(freshened)?;
        self.shared.metrics().count(Event::CacheStored);
        Ok(())
    }

    /// Whether memory has something that came after the upstream was asked.
    fn is_overtaken(&self) -> bool {
        let key = self.place_key();
        let lookup = self.shared.lookup(key.hash, &key.bytes, &self.fields);
        matches!(lookup, Lookup::Stored { stored, chosen_by: None, .. }
            if stored.received().mono > self.requested.mono)
    }

    /// The key by which what is stored is purged together with others of its URL.
    pub(crate) fn purged_together(&self) -> Option<&CacheKey> {
        let place = self.place.as_ref();
        let purged_by = place.map_or(&self.purged_by, |place| &place.purged_by);
        purged_by.anchor.as_ref()
    }

    /// Takes what was stored back if a purge has come between.
    pub(crate) fn settle_put(&self, stored: &Arc<StoredResponse>) -> Result<(), Reason> {
        if self.is_purged() {
            let gone = self.purged_together().unwrap_or(self.place_key());
            self.shared.store().remove(gone.hash);
            return Err(Reason::Purged);
        }
        if !self.stands(stored) {
            self.shared.store().remove_one(stored);
            return Err(Reason::Purged);
        }
        Ok(())
    }

    /// Whether the URL was purged since the upstream was asked.
    pub(crate) fn is_purged(&self) -> bool {
        let purges = self.shared.purges();
        purges.has_since(self.born, self.purged_by.url) || self.is_place_purged()
    }

    /// Whether `stored` was asked for after all purges of what it belongs to.
    pub(crate) fn stands(&self, stored: &StoredResponse) -> bool {
        let versions = self.shared.versions();
        versions.standing(stored, &self.key.bytes) == Standing::Valid
    }

    /// Whether `shared` was asked for before the URL was purged, or what it belongs to, and this
    /// request came after.
    pub(crate) fn is_older_than_purge(&self, shared: &StoredResponse) -> bool {
        let purges = self.shared.purges();
        // What answers other queries too may have been purged by one of those.
        purges.has_since(shared.born, self.purged_by.url)
            || shared.is_wide && purges.now() != shared.born
            || !self.stands(shared)
    }

    /// What follows for others from an answer that is not stored.
    pub(crate) fn unshared(
        &self,
        reason: Reason,
        status: StatusCode,
        flight: Option<&Flight>,
        now: Now,
    ) {
        let says_nothing_about_others = matches!(
            reason,
            Reason::NotModified
                | Reason::OtherTag
                | Reason::Cookie
                | Reason::Purged
                | Reason::Overtaken
                | Reason::Incomplete
        );
        // A 429 to one client is no news of what the others asked for.
        let is_news = !is_about_one_request(status);
        if let Some(pass) = self.pass.filter(|_| is_lasting(reason) && is_news) {
            self.shared.flights().mark_pass(pass, now);
            self.release_all();
        }
        tell(flight, || {
            if says_nothing_about_others {
                Outcome::Again
            } else {
                Outcome::Alone
            }
        });
        if let Some(kept) = &self.stored
            && condemns(reason)
            && is_news
            && !status.is_server_error()
            && !kept.candidate(now).is_fresh()
        {
            // The upstream has another answer now, which may not be stored; the old one, stale, is
            // not to come back in any window.
            self.shared.store().remove_one(&kept.stored);
            self.forget_below();
        }
    }
}

/// Whether the next answer to a request like this one will not be stored either.
pub(crate) fn is_lasting(reason: Reason) -> bool {
    condemns(reason) || matches!(reason, Reason::Cookie | Reason::Authorization)
}

/// Whether a reason lies in the response itself.
fn condemns(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoStore
            | Reason::Private
            | Reason::SetCookie
            | Reason::VaryStar
            | Reason::VaryPersonal
            | Reason::VaryTooMany
            | Reason::NoLifetime
            | Reason::AlreadyStale
            | Reason::Status
            | Reason::TooLarge
            | Reason::TooManyTags
            | Reason::LiveStream
    )
}
