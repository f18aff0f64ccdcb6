//! `[conditional]`: answering 304 and 206 here.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionalSettings {
    /// Off leaves preconditions and ranges to the upstream.
    pub enabled: bool,
    /// Ranges in one request; more are answered with the whole representation (RFC 9110 §14.2).
    pub ranges: usize,
}

impl Default for ConditionalSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            ranges: 16,
        }
    }
}
