//! Sealed records: what lies in a store that need not be trusted with bodies, nor with their truth.
//!
//! Each is encrypted and authenticated by AES-256-GCM, with its name and the key epoch as associated
//! data: it can be read only with the key, only as it was written, and only where it was written to.
//! What somebody with the store in hand can still do is to take records away, or to put an older one
//! back in its own place: it is as old as it says, and was invalid after a purge before.
//!
//! AES-GCM must never see one nonce twice under one key, and 96 random bits repeat too soon for many
//! sidecars that share one key for years (2^32 records at most, by NIST SP 800-38D §8.3). So each record
//! has a key of its own, derived by keyed BLAKE3 from the key in the file and 128 random bits that lie
//! in the record, and a nonce of 96 more random bits: 2^96 records could be written before two meet in
//! both with a chance of 2^-32, so there is no bound on uses to be kept. (XChaCha20-Poly1305 is made
//! alike.)
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PILS` |
//! | 1 | format: another one is a miss |
//! | 3 | 0 |
//! | 16 | what the record's key is derived from |
//! | 12 | nonce |
//! | | the record, encrypted |
//! | 16 | tag |

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use bytes::{Bytes, BytesMut};

use crate::cache::record::Unreadable;
use crate::cache::store::tier::RecordKey;

/// Seals and opens records with one key.
#[derive(Clone)]
pub(crate) struct Sealer {
    /// Derives the keys of records.
    key: [u8; 32],
    epoch: u64,
}

/// Why what a key file holds is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadKey {
    /// So many bytes, without white space around them.
    Length(usize),
    /// 64 bytes, not all of them hexadecimal digits.
    Digits,
    /// One byte, over and over: nobody has drawn that.
    Constant,
}

impl std::fmt::Display for BadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(length) => write!(
                f,
                "{length} bytes; a key is 32 random bytes, or 64 hexadecimal digits: \
                 `openssl rand -hex 32`"
            ),
            Self::Digits => f.write_str("64 bytes that are not all hexadecimal digits"),
            Self::Constant => {
                f.write_str("one byte over and over is no key: `openssl rand -hex 32`")
            }
        }
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// With the key that a file has: 32 bytes as they are, or 64 hexadecimal digits with any white
    /// space around them. Records of another key `epoch` are not opened.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn of_file(content: &[u8], epoch: u64) -> Result<Self, BadKey> {
        let key = match <[u8; 32]>::try_from(content) {
            Ok(key) => key,
            Err(_) => digits(content.trim_ascii())?,
        };
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(BadKey::Constant);
        }
        let key = blake3::derive_key("pillion 2026 records in lower tiers, AES-256-GCM", &key);
        Ok(Self { key, epoch })
    }

    /// `record`, as it may lie under `name` where anybody reads and writes.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub(crate) fn seal(&self, name: RecordKey, record: &[u8]) -> Bytes {
        let mut salt = [0; SALT + NONCE];
        rand::fill(&mut salt).expect("the system has random numbers");
        let mut sealed = BytesMut::with_capacity(BEFORE + record.len() + TAG);
        sealed.extend_from_slice(&PRELUDE);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(record);
        let mut content = sealed.split_off(BEFORE);
        let (key, nonce) = self.parts(&salt);
        let tag = key.seal_in_place_separate_tag(nonce, self.about(name), &mut content);
        let tag = tag.expect("a record is shorter than 64 GiB");
        content.extend_from_slice(tag.as_ref());
        sealed.unsplit(content);
        sealed.freeze()
    }

    /// The record that was sealed for `name`. Memory that nobody else holds is not copied.
    ///
    /// # Errors
    /// If it is none of ours; or too short; or not as it was written, by this key, for this place.
    pub(crate) fn open(&self, name: RecordKey, sealed: Bytes) -> Result<Bytes, Unreadable> {
        if !is_sealed(&sealed) {
            return Err(Unreadable::Sealing);
        }
        if sealed.get(..PRELUDE.len()) != Some(&PRELUDE) {
            return Err(Unreadable::Format);
        }
        let salt = sealed.get(PRELUDE.len()..).and_then(<[u8]>::first_chunk);
        let (key, nonce) = self.parts(salt.ok_or(Unreadable::Length)?);
        let mut content = match sealed.try_into_mut() {
            Ok(own) => own,
            Err(shared) => BytesMut::from(&*shared),
        };
        let mut content = content.split_off(BEFORE);
        let opened = key.open_in_place(nonce, self.about(name), &mut content);
        let length = opened.map_err(|_| Unreadable::Forged)?.len();
        content.truncate(length);
        Ok(content.freeze())
    }

    /// The key and nonce that `salt` stands for.
    fn parts(&self, salt: &[u8; SALT + NONCE]) -> (LessSafeKey, Nonce) {
        let (of_key, of_nonce) = salt.split_at(SALT);
        let key = blake3::keyed_hash(&self.key, of_key);
        let key = UnboundKey::new(&AES_256_GCM, key.as_bytes());
        let key = LessSafeKey::new(key.expect("a hash has 32 bytes"));
        let nonce = Nonce::try_assume_unique_for_key(of_nonce);
        (key, nonce.expect("what is left has 12 bytes"))
    }

    /// What a record is bound to.
    fn about(&self, name: RecordKey) -> Aad<[u8; PRELUDE.len() + 16 + 8]> {
        let mut about = [0; PRELUDE.len() + 16 + 8];
        let parts = PRELUDE.iter().chain(&name.0);
        let epoch = self.epoch.to_le_bytes();
        for (place, byte) in about.iter_mut().zip(parts.chain(&epoch)) {
            *place = *byte;
        }
        Aad::from(about)
    }
}

/// Whether that is sealed, by whatever key and in whatever format.
pub(crate) fn is_sealed(record: &[u8]) -> bool {
    record.starts_with(b"PILS")
}

fn digits(text: &[u8]) -> Result<[u8; 32], BadKey> {
    if text.len() != 64 {
        return Err(BadKey::Length(text.len()));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = [0; 32];
    for (place, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let value = match pair {
            [high, low] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let value = value.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        *place = value.ok_or(BadKey::Digits)?;
    }
    Ok(key)
}

const PRELUDE: [u8; 8] = *b"PILS\x01\0\0\0";
const SALT: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Bytes before what is encrypted.
const BEFORE: usize = PRELUDE.len() + SALT + NONCE;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer(byte: u8, epoch: u64) -> Sealer {
        let mut key = [byte; 32];
        key[0] = 1;
        Sealer::of_file(&key, epoch).unwrap()
    }

    const NAME: RecordKey = RecordKey([7; 16]);

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let digits = "00112233445566778899aabbccddeeFF".repeat(2);
        let raw = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        let raw: Vec<u8> = raw.collect();
        let spaced = format!(" {digits}\r\n");
        let keys = [&raw, digits.as_bytes(), spaced.as_bytes()];
        let [one, two, three] = keys.map(|file| Sealer::of_file(file, 0).unwrap().key);
        assert!(one == two && two == three);
        for (file, expected) in [
            (&b""[..], BadKey::Length(0)),
            (b"secret\n", BadKey::Length(6)),
            (&[7; 31], BadKey::Length(31)),
            (&[b'x'; 64], BadKey::Digits),
            (&[b'0'; 64], BadKey::Constant),
            (&[0; 32], BadKey::Constant),
            (&digits.as_bytes()[1..], BadKey::Length(63)),
        ] {
            let found = Sealer::of_file(file, 0).err();
            assert_eq!(found, Some(expected), "{file:?}");
        }
        let message = BadKey::Length(6).to_string();
        assert!(
            message.starts_with("6 bytes; a key is 32 random bytes"),
            "{message}"
        );
        assert!(
            !format!("{:?}", sealer(2, 0)).contains('2'),
            "keys are never printed"
        );
    }

    #[test]
    fn what_was_sealed_opens_there_and_nowhere_else() {
        let own = sealer(2, 3);
        let sealed = own.seal(NAME, b"a record");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"record"));
        assert_eq!(own.open(NAME, sealed.clone()).unwrap(), "a record");
        let other = RecordKey([8; 16]);
        for (sealer, name, case) in [
            (&own, other, "moved to another name"),
            (&sealer(9, 3), NAME, "by another key"),
            (&sealer(2, 4), NAME, "of another epoch"),
        ] {
            let opened = sealer.open(name, sealed.clone());
            assert_eq!(opened, Err(Unreadable::Forged), "{case}");
        }
    }

    #[test]
    fn what_somebody_else_has_planted_is_refused() {
        let own = sealer(2, 0);
        for (planted, expected) in [
            (&b""[..], Unreadable::Sealing),
            (b"PILR\x01 a record in the open", Unreadable::Sealing),
            (b"PILS", Unreadable::Format),
            (
                b"PILS\x02\0\0\0 of a later version, longer than all",
                Unreadable::Format,
            ),
            (b"PILS\x01\0\0\0 too short", Unreadable::Length),
            (
                b"PILS\x01\0\0\0 long enough for salt and nonce, and no tag",
                Unreadable::Forged,
            ),
        ] {
            let opened = own.open(NAME, Bytes::copy_from_slice(planted));
            assert_eq!(opened, Err(expected), "{planted:?}");
        }
        let sealed = own.seal(NAME, b"a record");
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.to_vec();
                flipped[place] ^= 1 << bit;
                assert!(
                    own.open(NAME, flipped.into()).is_err(),
                    "byte {place}, bit {bit}"
                );
            }
        }
        for length in 0..sealed.len() {
            assert!(
                own.open(NAME, sealed.slice(..length)).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn no_two_records_share_key_or_nonce() {
        let own = sealer(2, 0);
        let salts: std::collections::HashSet<_> = (0..1000)
            .map(|_| own.seal(NAME, b"").slice(PRELUDE.len()..BEFORE))
            .collect();
        assert_eq!(salts.len(), 1000);
    }

    proptest! {
        #[test]
        fn opening_undoes_sealing(record in proptest::collection::vec(any::<u8>(), 0..300), epoch: u64) {
            let own = sealer(2, epoch);
            let sealed = own.seal(NAME, &record);
            prop_assert_eq!(sealed.len(), record.len() + BEFORE + TAG);
            // Shared and not shared.
            prop_assert_eq!(&own.open(NAME, sealed.clone()).unwrap()[..], &record[..]);
            prop_assert_eq!(&own.open(NAME, sealed).unwrap()[..], &record[..]);
        }
    }
}
