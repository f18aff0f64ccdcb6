//! Typed header fields: pure, one file each, fuzzed.
