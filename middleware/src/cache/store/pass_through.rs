//! A hasher for keys that are hashes.

use std::hash::{BuildHasher, Hasher};

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PassThrough(u64);

impl BuildHasher for PassThrough {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for PassThrough {
    fn write(&mut self, bytes: &[u8]) {
        // Never used for `u128`; right for any other key nevertheless.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is a hash too"
        )]
        let low = hash as u64;
        self.0 = low;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
