//! Why something was or was not stored or reused: one closed set for header, log, metric and `explain`.

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The cache is switched off for this route.
    Disabled,
}
