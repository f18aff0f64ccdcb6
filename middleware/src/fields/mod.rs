//! Typed header fields: pure, one file each, fuzzed.

pub mod accept_encoding;
pub mod entity_tag;
pub mod list;
pub mod media_type;
