//! Validation that no client waits for: of what was served stale (RFC 5861 §3), or will be stale soon.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};

use crate::cache::Cache;
use crate::cache::collapse::Joined;
use crate::cache::decide::Asked;
use crate::cache::errand::Kept;
use crate::cache::key::KeyHash;
use crate::cache::lead::{BACKGROUND, PAUSE, background};
use crate::cache::reason::Reason;
use crate::cache::stored::{StoredResponse, millis};
use crate::cache::validate;
use crate::clock::Now;
use crate::facts::Fwd;
use crate::{Inner, Request};

impl<S: Inner + Clone> Cache<S> {
    /// Starts the one validation of what is about to be served: whether this call did.
    pub(crate) fn validate_in_background(
        &mut self,
        model: &Request,
        hash: KeyHash,
        kept: &Kept,
        now: Now,
        why: (Fwd, Reason),
    ) -> bool {
        let shared = self.layer.shared.clone();
        if !kept.stored.claim_validation(now, BACKGROUND) {
            return false;
        }
        let Ok(permit) = self.layer.background_permit() else {
            kept.stored.put_off_validation(now, PAUSE);
            return false;
        };
        let request = validate::background_request(model, &kept.stored, &self.layer.rules);
        let asked = Asked {
            has_authorization: request.headers().contains_key(AUTHORIZATION),
            has_cookie: request.headers().contains_key(COOKIE),
            ..Asked::default()
        };
        let mut errand = self.errand(&request, asked, hash, now, why, Some(kept.clone()));
        let Joined::Lead(flight) = shared.flights().join(&errand.flight_key(&[])) else {
            // Somebody is fetching it anyway; if that comes to nothing, it is tried again soon.
            kept.stored.put_off_validation(now, PAUSE);
            return false;
        };
        errand.permit = permit;
        shared
            .counts()
            .validated_in_background
            .fetch_add(1, Ordering::Relaxed);
        let stored = kept.stored.clone();
        // What was found below a moment ago is not looked for there again.
        let is_from_below = matches!(kept.chosen_by, Some(Reason::L2 | Reason::Disk));
        if !is_from_below && errand.may_look_below() {
            self.refresh_from_below(request, errand, flight, stored);
            return true;
        }
        let request = errand.prepare(request);
        let answer = self.inner.call(request);
        shared
            .tasks()
            .spawn(background(answer, errand, flight, stored));
        true
    }
}

impl StoredResponse {
    /// Whether the caller is the one who may validate it in the background now; if so, nobody else
    /// is until `pause` has passed.
    pub(crate) fn claim_validation(&self, now: Now, pause: Duration) -> bool {
        let now = millis(self.since(now));
        let next = self.next_validation.load(Ordering::Relaxed);
        next <= now
            && self
                .next_validation
                .compare_exchange(
                    next,
                    now + 1 + millis(pause),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Lets the next background validation start no sooner than `pause` from now.
    pub(crate) fn put_off_validation(&self, now: Now, pause: Duration) {
        let now = millis(self.since(now));
        self.next_validation
            .store(now + millis(pause), Ordering::Relaxed);
    }
}
