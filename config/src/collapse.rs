//! `collapse` of `[cache]`: requests for the same thing at the same time are forwarded once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::CacheSettings;
use crate::units::Period;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenCollapse {
    /// Off forwards every request by itself.
    pub(crate) enabled: bool,
    /// How long a request waits for the head of another's answer before it goes by itself.
    pub(crate) wait: Period,
}

impl Default for WrittenCollapse {
    fn default() -> Self {
        let settings = CacheSettings::default();
        Self {
            enabled: settings.collapse,
            wait: Period(settings.collapse_wait),
        }
    }
}
