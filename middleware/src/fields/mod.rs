//! Typed header fields: pure, one file each, fuzzed.

pub mod entity_tag;
pub mod hop_by_hop;
pub mod http_date;
pub mod list;
pub mod range;
pub mod stream;
