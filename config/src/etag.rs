//! `[etag]`: tags for content that comes without one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::site::Site;
use crate::units::Size;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EtagSettings {
    /// Off leaves answers without a tag as they are.
    pub enabled: bool,
    /// Whether tags are made, or only counted.
    pub mode: Mode,
    /// Longer bodies pass untagged, in bytes.
    pub max_body: usize,
    /// Weak unless `If-Range` matters more than `If-Match` going wrong.
    pub strength: Strength,
    /// A route whose tags gave fewer 304s than this part of 1000 tagged answers stops tagging.
    pub min_useful: f64,
}

/// How strong a made tag is (RFC 9110 §8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// `W/"~…"`
    Weak,
    /// `"~…"`
    Strong,
}

impl Default for EtagSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::Apply,
            max_body: 1 << 20,
            strength: Strength::Weak,
            min_useful: 0.01,
        }
    }
}

/// `[etag]`, and `etag` in a `[[route]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenEtag {
    /// Off leaves answers without a tag as they are.
    enabled: bool,
    /// Whether what is decided is done, or counted only.
    mode: Mode,
    /// Longer bodies pass untagged; up to this an answer is held back until it is whole.
    max_body: Size,
    /// Weak unless `If-Range` matters more than `If-Match` going wrong.
    strength: Strength,
    /// Of 1000 tagged answers, the part that must give a 304, or tagging stops there.
    #[schemars(range(min = 0.0, max = 1.0))]
    min_useful: f64,
}

impl Default for WrittenEtag {
    fn default() -> Self {
        let settings = EtagSettings::default();
        Self {
            enabled: settings.enabled,
            mode: settings.mode,
            max_body: Size(settings.max_body as u64),
            strength: settings.strength,
            min_useful: settings.min_useful,
        }
    }
}

impl WrittenEtag {
    pub(crate) fn check(&self, site: &Site<'_>) -> EtagSettings {
        self.mode.check(self.enabled, site);
        EtagSettings {
            enabled: self.enabled,
            mode: self.mode,
            max_body: self.max_body.in_memory(),
            strength: self.strength,
            min_useful: self.min_useful,
        }
    }
}
