//! What a cache that is shared with other sidecars does beside sharing: early refresh, and what is
//! done while Redis is away.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// `cache.on_outage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// What is missed is forwarded, as if there were no Redis.
    Bypass,
    /// What is stored here is used beyond its lifetime, unless the upstream forbids that.
    ServeStale,
    /// No more than so many requests are under way to the upstream; others get 503 with Retry-After.
    Shed,
}

/// See [`crate::cache::CacheSettings::outage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutageSettings {
    /// Requests under way to one upstream that the cache forwards while Redis is away: all of them
    /// with `shed`, validations in the background with `serve_stale`.
    pub concurrency: usize,
    /// How long beyond its lifetime a stored response is used with `serve_stale`.
    pub stale: Duration,
}

impl Default for OutageSettings {
    fn default() -> Self {
        Self {
            concurrency: 64,
            stale: Duration::from_secs(600),
        }
    }
}

/// `outage` of `[cache]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenOutage {
    /// Requests under way to one upstream at once: all with "shed", those in the background with "serve_stale".
    #[schemars(range(min = 1, max = 1_000_000))]
    concurrency: usize,
    /// How long beyond its lifetime a stored response is used with "serve_stale".
    stale: Period,
}

impl Default for WrittenOutage {
    fn default() -> Self {
        let settings = OutageSettings::default();
        Self {
            concurrency: settings.concurrency,
            stale: Period(settings.stale),
        }
    }
}

impl WrittenOutage {
    pub(crate) fn check(&self) -> OutageSettings {
        OutageSettings {
            concurrency: self.concurrency,
            stale: self.stale.0,
        }
    }
}

/// `early_refresh` of `[cache]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenEarlyRefresh {
    /// Off validates only what is stale.
    enabled: bool,
    /// More begins earlier: about so many times what a fetch takes before the end.
    #[schemars(range(min = 0.1, max = 10.0))]
    weight: f64,
}

impl Default for WrittenEarlyRefresh {
    fn default() -> Self {
        Self {
            enabled: true,
            weight: DEFAULT_WEIGHT,
        }
    }
}

impl WrittenEarlyRefresh {
    /// The weight; 0 where it is off.
    pub(crate) fn check(&self) -> f64 {
        if self.enabled { self.weight } else { 0.0 }
    }
}

/// What is proven to be best where fetch times vary little.
pub(crate) const DEFAULT_WEIGHT: f64 = 1.0;
