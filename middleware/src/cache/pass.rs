//! Passing on what is no matter for the cache.

use http::Method;

use crate::cache::Cache;
use crate::cache::apart::Apart;
use crate::cache::changed::Changed;
use crate::cache::ghost::follow::Passing;
use crate::cache::invalidate::{has_worked, is_unsafe};
use crate::cache::reason::Reason;
use crate::cache::recorder::PassedBy;
use crate::cache::replay::annotate;
use crate::cache::tags;
use crate::clock::Now;
use crate::facts::{CacheOutcome, CacheStatus, Fwd};
use crate::{Inner, Request, Response, ResponseFuture};

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
        let followed = Passing::of(&self.layer, &request, now, &mut self.key);
        let followed = followed.map(|passing| (passing, self.layer.shared.clock().clone()));
        let changed = is_unsafe(request.method()).then(|| Changed::of(&request));
        let noted = PassedBy::of(&self.layer, &request, reason);
        let layer = changed.is_some().then(|| self.layer.clone());
        let changed = changed.zip(layer);
        let settings = &self.layer.settings;
        let strips_tags = settings.tags.strip && !settings.is_observed();
        let hides_more = settings.targeted.hidden().next().is_some() && !settings.is_observed();
        let hiding = hides_more.then(|| settings.clone());
        self.inner.call(request).change(move |result| {
            if let Some(noted) = noted {
                noted.ended(result);
            }
            if let Some((passing, clock)) = followed {
                passing.ended(result, clock.now());
            }
            let Ok(response) = result else { return };
            if strips_tags {
                tags::strip(response.headers_mut());
            }
            if let Some(settings) = hiding {
                drop(Apart::take(
                    response.headers_mut(),
                    None,
                    &settings.targeted,
                ));
            }
            if let Some((changed, layer)) = changed
                && has_worked(response.status())
            {
                changed.invalidate(response, &layer.settings.invalidate, &layer.shared);
            }
            passed(response, fwd, (reason != Reason::Method).then_some(reason));
        })
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
