//! What a cache that observes would do with a request: for `explain`.

use config::cache::CacheSettings;
use serde::Serialize;

use crate::Request;
use crate::cache::decide::{Asked, Decision, Found, decide};
use crate::cache::ghost::AS_CONFIGURED;
use crate::cache::key::KeyRules;
use crate::cache::reason::Reason;
use crate::cache::shared::SharedCache;
use crate::facts;

/// What would be done, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// `hit`, `stale`, `validate`, `forward`, or `unknown`.
    pub would: &'static str,
    /// The rule that says so, as in `Cache-Status` and metrics.
    pub rule: Option<&'static str>,
    /// The same in a sentence.
    pub sentence: String,
}

impl SharedCache {
    /// What the cache would do with `request` on a route with `settings`, if it did more than observe;
    /// `None` where it does, or is off.
    pub fn observed(&self, request: &Request, settings: &CacheSettings) -> Option<Observation> {
        if !settings.is_observed() {
            return None;
        }
        let rules = KeyRules::of(settings);
        let asked = match Asked::of_any(request, settings) {
            Ok(asked) => asked,
            Err((_, reason)) => return Some(Observation::of("forward", Some(reason))),
        };
        let mut bytes = Vec::new();
        rules.write_key(request, &mut bytes);
        let hash = self.hasher().hash(&bytes);
        let key = super::in_url(hash, self.purged_by(&rules, request, hash).url);
        let ghost = self.ghost();
        let now = ghost.time(facts::of_request(request).received.mono);
        let shard = ghost.table.shard(key);
        if !shard.is_followed(key) {
            return Some(Observation::unknown(
                "Not all keys are followed, and this one is not.",
            ));
        }
        let fill = shard
            .record(key)
            .and_then(|record| record.fills[AS_CONFIGURED]);
        if fill.is_none() && shard.has_variants(key) {
            return Some(Observation::unknown(
                "What would be stored varies by request fields.",
            ));
        }
        let found = fill.map_or(Found::Nothing, |fill| Found::Stored(fill.candidate(now)));
        let (would, reason) = match decide(&asked, found, settings, &rules) {
            Decision::Serve => ("hit", None),
            Decision::ServeStale { reason, .. } => ("stale", Some(reason)),
            Decision::Validate(_, reason) => ("validate", Some(reason)),
            Decision::Forward(_, reason) => ("forward", Some(reason)),
            Decision::GatewayTimeout => ("gateway-timeout", Some(Reason::OnlyIfCached)),
        };
        Some(Observation::of(would, reason))
    }
}

impl Observation {
    fn of(would: &'static str, reason: Option<Reason>) -> Self {
        let done = match would {
            "hit" => "The cache observes. It would answer from what it would have stored.",
            "stale" => "The cache observes. It would answer with what is stale.",
            "validate" => "The cache observes. It would validate what it would have stored.",
            _ => "The cache observes. It would forward this as well.",
        };
        let because = reason.map_or(String::new(), |reason| format!(" {}", reason.sentence()));
        Self {
            would,
            rule: reason.map(Reason::name),
            sentence: format!("{done}{because}"),
        }
    }

    fn unknown(why: &str) -> Self {
        Self {
            would: "unknown",
            rule: None,
            sentence: format!("The cache observes. What it would do is not known: {why}"),
        }
    }
}
