//! `[conditional]`: answering 304 and 206 here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::site::Site;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionalSettings {
    /// Off leaves preconditions and ranges to the upstream.
    pub enabled: bool,
    /// Whether 304 and 206 are given, or only counted.
    pub mode: Mode,
    /// Ranges in one request; more are answered with the whole representation (RFC 9110 §14.2).
    pub ranges: usize,
}

impl Default for ConditionalSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::Apply,
            ranges: 16,
        }
    }
}

/// `[conditional]`, and `conditional` in a `[[route]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenConditional {
    /// Off leaves preconditions and ranges to the upstream.
    enabled: bool,
    /// Whether what is decided is done, or counted only.
    mode: Mode,
    /// Ranges in one request; more are answered with the whole (RFC 9110 §14.2).
    #[schemars(range(min = 1, max = 1000))]
    ranges: usize,
}

impl Default for WrittenConditional {
    fn default() -> Self {
        let ConditionalSettings {
            enabled,
            mode,
            ranges,
        } = ConditionalSettings::default();
        Self {
            enabled,
            mode,
            ranges,
        }
    }
}

impl WrittenConditional {
    pub(crate) fn check(&self, site: &Site<'_>) -> ConditionalSettings {
        self.mode.check(self.enabled, site);
        ConditionalSettings {
            enabled: self.enabled,
            mode: self.mode,
            ranges: self.ranges,
        }
    }
}
