//! `mode`: whether a feature acts, or only tells what it would do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;

/// What a feature that is on does with its decisions; one that is off makes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are carried out.
    #[default]
    Apply,
    /// They are counted, and client and upstream see what they would see with the feature off.
    Observe,
}

impl Mode {
    /// Whether decisions are carried out.
    pub fn is_apply(self) -> bool {
        self == Self::Apply
    }

    /// A mode of a feature that is off says nothing.
    pub(crate) fn check(self, enabled: bool, site: &Site<'_>) {
        if self == Self::Observe && !enabled && site.key("mode").is_written() {
            site.key("mode").warning(
                "nothing is observed where `enabled` is false",
                "write `enabled = true`: with this mode nothing is changed all the same",
            );
        }
    }
}
