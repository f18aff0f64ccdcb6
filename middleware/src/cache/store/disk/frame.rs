//! What the file of records is made of: pages, frames, and the table at the end of a full segment.
//!
//! The head of each frame is checked by a sum that goes on from the frame before, begun with the
//! segment's turn: what an earlier turn left behind is never taken for a part of this one.
//! Content has a sum of its own, begun with the key, so that it is never taken for another's.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Everything begins at a multiple of this.
pub(super) const PAGE: u64 = 4096;
/// The length of a frame's head.
pub(super) const HEAD: usize = 48;
/// The length of one row of a table.
pub(super) const ROW: usize = 24;
/// The length of what ends a full segment.
pub(super) const TRAILER: usize = 24;

/// What a record is called in the file.
pub(super) type Key = u128;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its key has its content from now on.
    Stored,
    /// The keys that are its content have nothing from now on.
    Removed,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// Bytes of content after the head.
    pub(super) content: u32,
    /// Of the segment.
    pub(super) turn: u64,
    /// Of the content.
    pub(super) sum: u64,
}

impl Head {
    /// As it is written after a frame (or the beginning of a segment) whose sum is `chain`; and the
    /// sum that the next one goes on from.
    pub(super) fn encode(&self, chain: u64) -> ([u8; HEAD], u64) {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(match self.kind {
            Kind::Stored => STORED,
            Kind::Removed => REMOVED,
        });
        head[4..8].copy_from_slice(&self.content.to_le_bytes());
        head[8..16].copy_from_slice(&self.turn.to_le_bytes());
        head[16..32].copy_from_slice(&self.key.to_le_bytes());
        head[32..40].copy_from_slice(&self.sum.to_le_bytes());
        let chain = xxh3_64_with_seed(&head[..40], chain);
        head[40..].copy_from_slice(&chain.to_le_bytes());
        (head, chain)
    }

    /// What is written there, whatever came before it.
    pub(super) fn decode(head: &[u8; HEAD]) -> Option<Self> {
        Some(Self {
            kind: match &head[..4] {
                kind if kind == STORED => Kind::Stored,
                kind if kind == REMOVED => Kind::Removed,
                _ => return None,
            },
            content: u32::from_le_bytes(part(head, 4)),
            turn: u64::from_le_bytes(part(head, 8)),
            key: u128::from_le_bytes(part(head, 16)),
            sum: u64::from_le_bytes(part(head, 32)),
        })
    }

    /// What is written there, if it goes on from `chain`; and the sum that the next one goes on from.
    pub(super) fn follow(head: &[u8; HEAD], chain: u64) -> Option<(Self, u64)> {
        let chain = xxh3_64_with_seed(&head[..40], chain);
        if chain != u64::from_le_bytes(part(head, 40)) {
            return None;
        }
        Some((Self::decode(head)?, chain))
    }

    /// Bytes of the file that the frame takes.
    pub(super) fn room(&self) -> u64 {
        room(self.content as usize)
    }
}

/// Bytes of the file that a frame with so much content takes.
pub(super) fn room(content: usize) -> u64 {
    ((HEAD + content) as u64).next_multiple_of(PAGE)
}

/// The sum of `content` under `key`.
pub(super) fn sum(key: Key, content: &[u8]) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    let seed = key as u64;
    xxh3_64_with_seed(content, seed)
}

/// The content of the frame that `frame` begins with, if it is whole and what `key` is said to have.
pub(super) fn content(frame: &[u8], key: Key, length: u32) -> Option<&[u8]> {
    let head = Head::decode(frame.first_chunk()?)?;
    let content = frame.get(HEAD..HEAD + length as usize)?;
    let is_it = head.key == key && head.content == length && head.sum == sum(key, content);
    is_it.then_some(content)
}

/// One line of a segment's table: what a frame in it says, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    /// In pages from the beginning of the file.
    pub(super) page: u32,
    /// Bytes of content; `None` where it says that the key has been removed.
    pub(super) content: Option<u32>,
}

/// The table of a full segment with its trailer, to be written so that it ends with the segment.
pub(super) fn table(turn: u64, rows: &[Row]) -> Vec<u8> {
    let mut table = Vec::with_capacity(rows.len() * ROW + TRAILER);
    for row in rows {
        table.extend_from_slice(&row.key.to_le_bytes());
        table.extend_from_slice(&row.page.to_le_bytes());
        table.extend_from_slice(&row.content.unwrap_or(u32::MAX).to_le_bytes());
    }
    let sum = xxh3_64_with_seed(&table, turn);
    table.extend_from_slice(TABLE);
    table.extend_from_slice(&u32::try_from(rows.len()).unwrap_or(u32::MAX).to_le_bytes());
    table.extend_from_slice(&turn.to_le_bytes());
    table.extend_from_slice(&sum.to_le_bytes());
    table
}

/// How many bytes of rows stand before the trailer of a full segment of this turn.
pub(super) fn rows_before(trailer: &[u8; TRAILER], turn: u64) -> Option<usize> {
    let is_its = trailer[..4] == *TABLE && u64::from_le_bytes(part(trailer, 8)) == turn;
    is_its.then(|| u32::from_le_bytes(part(trailer, 4)) as usize * ROW)
}

/// The rows that stand before `trailer`, if they are what was written.
pub(super) fn rows(rows: &[u8], trailer: &[u8; TRAILER], turn: u64) -> Option<Vec<Row>> {
    if xxh3_64_with_seed(rows, turn) != u64::from_le_bytes(part(trailer, 16)) {
        return None;
    }
    let row = |row: &[u8]| Row {
        key: u128::from_le_bytes(part(row, 0)),
        page: u32::from_le_bytes(part(row, 16)),
        content: Some(u32::from_le_bytes(part(row, 20))).filter(|content| *content != u32::MAX),
    };
    Some(rows.chunks_exact(ROW).map(row).collect())
}

/// The page that a segment begins with.
pub(super) fn beginning(turn: u64) -> [u8; TRAILER] {
    let mut beginning = [0; TRAILER];
    beginning[..8].copy_from_slice(SEGMENT);
    beginning[8..16].copy_from_slice(&turn.to_le_bytes());
    let sum = xxh3_64_with_seed(&beginning[..16], 0);
    beginning[16..].copy_from_slice(&sum.to_le_bytes());
    beginning
}

/// The turn of a segment that begins so.
pub(super) fn turn(beginning: &[u8; TRAILER]) -> Option<u64> {
    let is_whole = beginning[..8] == *SEGMENT
        && xxh3_64_with_seed(&beginning[..16], 0) == u64::from_le_bytes(part(beginning, 16));
    is_whole.then(|| u64::from_le_bytes(part(beginning, 8)))
}

/// `N` bytes of `bytes` from `at` on, which has them.
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk()
        .expect("callers have looked at the length")
}

const STORED: &[u8] = b"PDf1";
const REMOVED: &[u8] = b"PDr1";
const TABLE: &[u8] = b"PDt1";
const SEGMENT: &[u8] = b"PDsegm_1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(key: u128, turn: u64, chain: u64, bytes: Vec<u8>) {
            let content_sum = sum(key, &bytes);
            let length = u32::try_from(bytes.len()).unwrap();
            let head = Head { kind: Kind::Stored, key, content: length, turn, sum: content_sum };
            let (written, next) = head.encode(chain);
            prop_assert_eq!(Head::follow(&written, chain), Some((head, next)));
            prop_assert_eq!(Head::follow(&written, chain ^ 1), None);
            let frame = [&written[..], &bytes].concat();
            prop_assert_eq!(content(&frame, key, length), Some(&bytes[..]));
            prop_assert_eq!(content(&frame, key ^ 1, length), None);
            prop_assert_eq!(content(&frame[..frame.len() - 1], key, length), None);
        }

        #[test]
        fn no_bit_of_a_frame_is_flipped_unnoticed(
            key: u128, bytes in prop::collection::vec(any::<u8>(), 1..50), at in 0..100_usize, bit in 0..8_u8
        ) {
            let length = u32::try_from(bytes.len()).unwrap();
            let head = Head { kind: Kind::Stored, key, content: length, turn: 7, sum: sum(key, &bytes) };
            let (written, _) = head.encode(7);
            let mut frame = [&written[..], &bytes].concat();
            let at = at % frame.len();
            frame[at] ^= 1_u8 << bit;
            let whole = Head::follow(frame.first_chunk().unwrap(), 7).is_some()
                && content(&frame, key, length).is_some();
            prop_assert!(!whole);
        }

        #[test]
        fn a_table_is_read_as_it_was_written(
            turn: u64,
            list in prop::collection::vec((any::<u128>(), any::<u32>(), prop::option::of(0..u32::MAX)), 0..20)
        ) {
            let list: Vec<Row> =
                list.into_iter().map(|(key, page, content)| Row { key, page, content }).collect();
            let written = table(turn, &list);
            let (before, trailer) = written.split_last_chunk().unwrap();
            prop_assert_eq!(rows_before(trailer, turn), Some(before.len()));
            prop_assert_eq!(rows_before(trailer, turn ^ 1), None);
            prop_assert_eq!(rows(before, trailer, turn), Some(list));
            for at in 0..before.len() {
                let mut flipped = before.to_vec();
                flipped[at] ^= 1;
                prop_assert_eq!(rows(&flipped, trailer, turn), None);
            }
        }
    }

    #[test]
    fn a_segment_tells_its_turn() {
        let written = beginning(9);
        assert_eq!(turn(&written), Some(9));
        for at in 0..written.len() {
            let mut flipped = written;
            flipped[at] ^= 0x10;
            assert_eq!(turn(&flipped), None);
        }
    }
}
