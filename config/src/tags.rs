//! `tags` of `[cache]`: the names that responses are purged by together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// `Surrogate-Key`, `Cache-Tag`, `xkey` and `Cache-Groups` (RFC 9875).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagSettings {
    /// Whether clients get answers without the first three; `Cache-Groups` is for their caches too.
    pub strip: bool,
    /// Tags of one response; with more it is not stored.
    pub count: usize,
    /// Bytes of their names; with more it is not stored.
    pub size: usize,
}

impl Default for TagSettings {
    fn default() -> Self {
        Self {
            strip: true,
            count: 256,
            size: 16 << 10,
        }
    }
}

/// `tags` of `[cache]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenTags {
    /// Whether clients get answers without Surrogate-Key, Cache-Tag and xkey.
    strip: bool,
    /// Tags of one response; with more it is not stored.
    #[schemars(range(min = 1, max = 4096))]
    count: usize,
    /// Bytes of their names; with more it is not stored.
    size: Size,
}

impl Default for WrittenTags {
    fn default() -> Self {
        let TagSettings { strip, count, size } = TagSettings::default();
        Self {
            strip,
            count,
            size: Size(size as u64),
        }
    }
}

impl WrittenTags {
    pub(crate) fn check(&self) -> TagSettings {
        TagSettings {
            strip: self.strip,
            count: self.count,
            size: usize::try_from(self.size.0).unwrap_or(usize::MAX),
        }
    }
}
