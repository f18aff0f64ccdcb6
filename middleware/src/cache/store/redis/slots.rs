//! Which part of a cluster a key is in (Redis Cluster specification, "Key distribution model").

/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16384;

/// The slot of `key`: CRC16 of what stands in its first pair of braces, or of all of it.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key)) % SLOTS
}

/// What decides about the slot: a hash tag that is not empty, or all.
fn tag_of(key: &[u8]) -> &[u8] {
    let position = |bytes: &[u8], wanted| bytes.iter().position(|byte| *byte == wanted);
    let tag = position(key, b'{')
        .and_then(|open| key.get(open + 1..))
        .and_then(|rest| rest.get(..position(rest, b'}')?));
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// CRC16-XMODEM, as the specification's appendix A has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let crc = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(crc, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_specification_s() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` says.
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"somekey"), 11058);
    }

    #[test]
    fn hash_tags_keep_keys_together() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        for whole in [&b"foo{}{bar}"[..], b"foo{bar", b"}foo{"] {
            assert_eq!(slot_of(whole), crc16(whole) % SLOTS);
        }
    }
}
