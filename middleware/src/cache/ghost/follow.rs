//! How requests come to the ghost: those that pass a cache which is off or observes, and those whose
//! answer a cache that is on could not store for want of a lifetime.

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::cache::CacheLayer;
use crate::cache::decide::{Asked, overrides};
use crate::cache::errand::Errand;
use crate::cache::ghost::{Asking, GhostRoute, Group};
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::reason::Reason;
use crate::clock::Now;
use crate::{Request, Response, Result, facts};

/// The route, and the part of it that a request is counted in.
#[derive(Debug)]
pub(crate) struct Following {
    route: Arc<GhostRoute>,
    group: Group,
}

impl Following {
    pub(crate) fn of(route: &Arc<GhostRoute>, request: &Request) -> Self {
        Self {
            group: route.group(request.uri().path()),
            route: route.clone(),
        }
    }
}

/// A request that passes a cache which stores nothing.
#[derive(Debug)]
pub(crate) struct Passing {
    following: Following,
    asked: Asked,
    fields: HeaderMap,
    key: KeyHash,
    uri: KeyHash,
    requested: Now,
    born: Sequence,
}

impl Passing {
    /// `None` where there is nothing to follow. `key` is where the key is written.
    pub(crate) fn of(
        layer: &CacheLayer,
        request: &Request,
        requested: Now,
        key: &mut Vec<u8>,
    ) -> Option<Self> {
        let route = layer.ghost.as_ref()?;
        let is_followed = match *request.method() {
            Method::GET => !layer.settings.is_applied(),
            // Nothing comes for it that could be stored.
            Method::HEAD => layer.settings.is_observed(),
            _ => false,
        };
        if !is_followed {
            return None;
        }
        let (rules, shared) = (&layer.rules, &layer.shared);
        let mut asked = Asked::of_any(request, &layer.settings).ok()?;
        asked.is_overriding = overrides(request.headers(), rules);
        rules.write_key(request, key);
        let hash = shared.hasher().hash(key);
        Some(Self {
            following: Following::of(route, request),
            asked,
            fields: request.headers().clone(),
            key: hash,
            uri: shared.purged_by(rules, request, hash).url,
            requested,
            born: shared.purges().now(),
        })
    }

    /// Follows what came of it, and tells what the cache would have done, if it observes.
    pub(crate) fn ended(self, result: &mut Result<Response>, now: Now) {
        let asking = Asking {
            group: self.following.group,
            asked: &self.asked,
            fields: &self.fields,
            key: self.key,
            uri: self.uri,
            requested: self.requested,
            born: self.born,
        };
        let route = &self.following.route;
        match result {
            Ok(answer) => {
                if let Some(would) = route.answered(asking, answer, now) {
                    facts::of_response(answer).observed.cache = Some(would);
                }
            }
            Err(error) => {
                if let Some(would) = route.failed(asking, now) {
                    error.facts_mut().observed.cache = Some(would);
                }
            }
        }
    }
}

impl Errand {
    /// Follows an answer that is not stored since nothing says how long it is fresh.
    pub(crate) fn haunt(&self, reason: Reason, answer: &mut Response, now: Now) {
        let Some(following) = &self.ghost else { return };
        if reason != Reason::NoLifetime || self.asked.is_head {
            return;
        }
        let asking = Asking {
            group: following.group,
            asked: &self.asked,
            fields: &self.fields,
            key: self.key.hash,
            uri: self.purged_by.url,
            requested: self.requested,
            born: self.born,
        };
        following.route.answered(asking, answer, now);
    }
}
