//! Typed header fields: pure, one file each, fuzzed.

pub mod forwarded;
pub mod host;
pub mod traceparent;
pub mod via;
