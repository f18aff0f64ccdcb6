//! `[etag]`: tags for content that comes without one.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EtagSettings {
    /// Off leaves answers without a tag as they are.
    pub enabled: bool,
    /// Longer bodies pass untagged, in bytes.
    pub max_body: usize,
    /// Weak unless `If-Range` matters more than `If-Match` going wrong.
    pub strength: Strength,
    /// A route whose tags gave fewer 304s than this part of 1000 tagged answers stops tagging.
    pub min_useful: f64,
}

/// How strong a made tag is (RFC 9110 §8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            max_body: 1 << 20,
            strength: Strength::Weak,
            min_useful: 0.01,
        }
    }
}
