//! Typed header fields: pure, one file each, fuzzed.

pub mod accept_encoding;
pub mod accept_language;
pub mod cache_control;
pub mod cache_status;
pub(crate) mod decimal;
pub mod entity_tag;
pub mod forwarded;
pub mod hop_by_hop;
pub mod host;
pub mod http_date;
pub mod list;
pub mod media_type;
pub mod no_vary_search;
pub(crate) mod own;
pub mod range;
pub(crate) mod remembered;
pub mod stream;
pub mod surrogate_control;
pub mod tags;
pub mod targeted;
pub mod traceparent;
pub mod via;
