//! `cache.redis.lease`: one of many Pillions fetches what all of them miss.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Off lets each Pillion fetch by itself.
    pub enabled: bool,
    /// How long a request waits for what another Pillion fetches, before it fetches by itself. Three
    /// quarters of `cache.collapse.wait` are the most, so that those who follow it do not give up first.
    pub wait: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            wait: Duration::from_millis(1500),
        }
    }
}

/// `lease` of `[cache.redis]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenLease {
    /// Off lets each Pillion fetch by itself.
    enabled: bool,
    /// How long a request waits for what another Pillion fetches, before it fetches by itself.
    wait: Period,
}

impl Default for WrittenLease {
    fn default() -> Self {
        let settings = LeaseSettings::default();
        Self {
            enabled: settings.enabled,
            wait: Period(settings.wait),
        }
    }
}

impl WrittenLease {
    pub(crate) fn check(&self) -> LeaseSettings {
        LeaseSettings {
            enabled: self.enabled,
            wait: self.wait.0,
        }
    }
}
