//! Passing on what is no matter for the cache.

use std::sync::Arc;

use config::cache::CacheSettings;
use http::Method;

use crate::cache::apart::Apart;
use crate::cache::changed::Changed;
use crate::cache::ghost::follow::Passing;
use crate::cache::invalidate::{has_worked, is_unsafe};
use crate::cache::reason::Reason;
use crate::cache::recorder::PassedBy;
use crate::cache::replay::annotate;
use crate::cache::tags;
use crate::cache::{Cache, CacheLayer};
use crate::clock::{Clock, Now};
use crate::facts::{CacheOutcome, CacheStatus, Fwd};
use crate::{Inner, Request, Response, ResponseFuture, Result};

impl<S: Inner + Clone> Cache<S> {
    /// Forwards what is not a matter for the cache, untouched; an unsafe request that works
    /// invalidates what is stored for its URL (RFC 9111 §4.4).
    pub(crate) fn pass(
        &mut self,
        request: Request,
        now: Now,
        fwd: Fwd,
        reason: Reason,
    ) -> ResponseFuture {
        if request.method() == Method::POST && self.layer.settings.is_applied() {
            return self.post(request);
        }
        let noted = self.passed_by(&request, now, reason);
        let attended = Attended::of(&self.layer, &request, now, noted, &mut self.key);
        let settings = &self.layer.settings;
        let strips_tags = settings.tags.strip && !settings.is_observed();
        let reason = (reason != Reason::Method).then_some(reason);
        self.inner.call(request).change(move |result| {
            let attended = attended.map(|attended| attended.watch(result));
            let Ok(response) = result else { return };
            if strips_tags {
                tags::strip(response.headers_mut());
            }
            if let Some(attended) = attended {
                attended.change(response);
            }
            passed(response, fwd, reason);
        })
    }
}

/// What few answers that are passed on need: in a box, since what an answer waits for is moved.
struct Attended {
    noted: Option<PassedBy>,
    followed: Option<(Passing, Clock)>,
    hiding: Option<Arc<CacheSettings>>,
    changed: Option<(Changed, CacheLayer)>,
}

impl Attended {
    fn of(
        layer: &CacheLayer,
        request: &Request,
        now: Now,
        noted: Option<PassedBy>,
        key: &mut Vec<u8>,
    ) -> Option<Box<Self>> {
        let followed = Passing::of(layer, request, now, key);
        let changed = is_unsafe(request.method());
        let settings = &layer.settings;
        let hides_more = settings.targeted.hidden().next().is_some() && !settings.is_observed();
        if followed.is_none() && noted.is_none() && !changed && !hides_more {
            return None;
        }
        Some(Box::new(Self {
            noted,
            followed: followed.map(|passing| (passing, layer.shared.clock().clone())),
            hiding: hides_more.then(|| settings.clone()),
            changed: changed.then(|| (Changed::of(request), layer.clone())),
        }))
    }

    /// What is to be told of the answer before anything is changed in it.
    fn watch(mut self: Box<Self>, result: &mut Result<Response>) -> Box<Self> {
        if let Some(noted) = self.noted.take() {
            noted.ended(result);
        }
        if let Some((passing, clock)) = self.followed.take() {
            passing.ended(result, clock.now());
        }
        self
    }

    fn change(self, response: &mut Response) {
        if let Some(settings) = self.hiding {
            let hidden = Apart::take(response.headers_mut(), None, &settings.targeted);
            drop(hidden);
        }
        if let Some((changed, layer)) = self.changed
            && has_worked(response.status())
        {
            changed.invalidate(response, &layer.settings.invalidate, &layer.shared);
        }
    }
}

/// Says on an answer that it was forwarded, and no more.
pub(crate) fn passed(response: &mut Response, fwd: Fwd, reason: Option<Reason>) {
    let status = CacheStatus {
        outcome: CacheOutcome::Fwd(fwd),
        fwd_status: Some(response.status()),
        stored: false,
        collapsed: false,
        ttl: None,
        reason,
    };
    annotate(response, status);
}
