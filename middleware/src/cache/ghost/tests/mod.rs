//! The proof: on three mixes, what the ghost predicted is what switching the cache on then gave.

mod mixes;
mod rules;
