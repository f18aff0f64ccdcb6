//! Where records lie: names of 128 bits, made of cache keys and of what chooses a response under one.

use http::{HeaderMap, HeaderName};

pub(crate) use crate::cache::store::tier::RecordKey;
use crate::cache::vary::Selection;

/// What a record is of, in 256 bits that cannot be forged: two records have one digest only if they
/// are of the same key, and chosen by the same values of the same fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl RecordKey {
    /// Where the record of a response lies that has no `Vary`, or else the index of those that have.
    pub(crate) fn plain(key: &[u8]) -> Self {
        Digest::plain(key).name()
    }
}

impl Digest {
    /// Of what is stored under `key` for all requests.
    pub(crate) fn plain(key: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[0]);
        hasher.update(key);
        Self(hasher.finalize().into())
    }

    /// Of what is stored under `key` for the requests of `selection`.
    pub(crate) fn selected(key: &[u8], selection: &Selection) -> Self {
        if selection.is_any() {
            return Self::plain(key);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[1]);
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(&selection.written());
        Self(hasher.finalize().into())
    }

    /// Of what is stored under `key` for requests that have the same of `names` as `request`.
    pub(crate) fn of_request(key: &[u8], names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        Self::selected(key, &Selection::of(names, request))
    }

    pub(crate) fn name(&self) -> RecordKey {
        let first = self.0.first_chunk();
        RecordKey(*first.expect("a digest has 32 bytes"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name().fmt(f)
    }
}
