//! Typed header fields: pure, one file each, fuzzed.

pub mod cache_control;
pub mod cache_status;
pub mod stream;
pub mod targeted;
