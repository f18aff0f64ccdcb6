//! Typed header fields: pure, one file each, fuzzed.

pub mod entity_tag;
pub mod forwarded;
pub mod host;
pub mod list;
pub mod traceparent;
pub mod via;
