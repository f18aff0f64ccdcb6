//! A quick hash for small tables.

use std::hash::{BuildHasherDefault, Hasher};

/// Hashes the few small keys of these tables quickly. They are capped and none is chosen freely by
/// a peer, so it need not withstand chosen keys.
pub(super) type Mixed = BuildHasherDefault<Mix>;

#[derive(Debug, Default)]
pub(super) struct Mix(u64);

impl Mix {
    fn mix(&mut self, word: u64) {
        // The multiplier of splitmix64; the rotation lets earlier words reach the low bits.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word.cast_unsigned() as u64);
    }
}
