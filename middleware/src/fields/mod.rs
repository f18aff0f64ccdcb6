//! Typed header fields: pure, one file each, fuzzed.

pub mod entity_tag;
pub mod list;
