//! `cache.ghost`: following what is not stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ghost` in `[cache]`, and in the `cache` of a `[[route]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenGhost {
    /// Off follows nothing.
    pub(crate) enabled: bool,
    /// Keys that are followed, all routes together, some 500 bytes each; of more, a part; in `[cache]` only.
    #[schemars(range(min = 64, max = 1_000_000))]
    pub(crate) keys: usize,
}

impl Default for WrittenGhost {
    fn default() -> Self {
        Self {
            // About a quarter of what a request costs that only passes through.
            enabled: false,
            keys: DEFAULT_KEYS,
        }
    }
}

/// A site of some thousand pages is followed whole; beyond, a part tells of all.
const DEFAULT_KEYS: usize = 8192;
