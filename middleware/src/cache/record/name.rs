//! What a record is of, and so where it lies: both are made of the cache key, and of what chooses a
//! response under it.

use http::{HeaderMap, HeaderName};

use crate::cache::store::tier::RecordKey;
use crate::cache::vary::Selection;

/// 256 bits that cannot be forged: two records have one digest only if they are of the same key, and
/// chosen by the same values of the same fields. The same in all processes, unlike a
/// [`KeyHash`](crate::cache::key::KeyHash).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl Digest {
    /// Of what is stored under `key` for all requests.
    pub(crate) fn plain(key: &[u8]) -> Self {
        Self(blake3::hash(key).into())
    }

    /// Of what is stored under `key` for the requests of `selection`.
    pub(crate) fn selected(key: &[u8], selection: &Selection) -> Self {
        if selection.is_any() {
            return Self::plain(key);
        }
        let mut hasher = blake3::Hasher::new();
        // A key begins with its kind, of which there are few.
        hasher.update(&[u8::MAX]);
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(&selection.written());
        Self(hasher.finalize().into())
    }

    /// Of what is stored under `key` for requests that have the same of `names` as `request`.
    pub(crate) fn of_request(key: &[u8], names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        Self::selected(key, &Selection::of(names, request))
    }

    /// Where such a record lies.
    pub(crate) fn name(&self) -> RecordKey {
        let first = self.0.first_chunk();
        RecordKey(*first.expect("a digest has 32 bytes"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}…", self.name())
    }
}
