//! The file of records: a ring of segments, written one after the other and then again from the first.
//!
//! What is written last is overwritten last, so that nothing older than what was overwritten is left:
//! neither a record that was replaced nor one that was removed can come back. A segment that is full ends
//! with a table of what is in it; the one that is being written is read frame by frame when it is opened
//! again. What does not fit together is not there. If a loss of power took a frame and left those behind it,
//! these are not there either, unless the same frame is the next that is written, byte for byte, and the program
//! ends then: they were written once after the same frames, and are judged like any.

use std::io;
use std::sync::Arc;

use super::at::DiskFile;
use super::frame::{self, HEAD, Head, Key, Kind, PAGE, ROW, Row, TRAILER};

/// How the file is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// The length of a segment in bytes; whole pages.
    pub(super) segment: u64,
    /// How many there are.
    pub(super) segments: u64,
}

impl Geometry {
    /// The file has at most `most` bytes then.
    pub(super) fn within(most: u64) -> Self {
        let segment = (most / LEAST_SEGMENTS).clamp(PAGE * 4, LONGEST_SEGMENT);
        let segment = segment - segment % PAGE;
        Self {
            segment,
            segments: (most.saturating_sub(PAGE) / segment).max(2),
        }
    }

    /// Pages of all segments.
    pub(super) fn pages(&self) -> u64 {
        self.segments * self.segment / PAGE
    }

    /// Where the segment of this turn begins.
    fn begins(&self, turn: u64) -> u64 {
        PAGE + turn % self.segments * self.segment
    }

    /// The longest content that fits into a segment.
    pub(super) fn longest(&self) -> usize {
        let table = (ROW + TRAILER) as u64;
        usize::try_from(self.segment - 2 * PAGE - table).unwrap_or(usize::MAX) - HEAD
    }
}

/// See the module. Belongs to the one thread that writes.
#[derive(Debug)]
pub(super) struct Ring {
    file: Arc<DiskFile>,
    geometry: Geometry,
    /// Of the segment that is being written, counted from 1 since the file was made; 0 before.
    turn: u64,
    /// Bytes of that segment that are written.
    used: u64,
    /// The sum that the next frame goes on from.
    chain: u64,
    /// What was written there.
    rows: Vec<Row>,
}

impl Ring {
    /// Reads what there is: `found` gets all rows, oldest first. A file that is new has none.
    pub(super) fn open(
        file: Arc<DiskFile>,
        geometry: Geometry,
        mut found: impl FnMut(Row),
    ) -> io::Result<Self> {
        let mut ring = Self {
            file,
            geometry,
            turn: 0,
            used: geometry.segment,
            chain: 0,
            rows: Vec::new(),
        };
        let mut turns = Vec::new();
        for index in 0..geometry.segments {
            let mut beginning = [0; TRAILER];
            ring.file.read(&mut beginning, geometry.begins(index))?;
            // One that stands elsewhere than it belongs is none of ours.
            turns.extend(frame::turn(&beginning).filter(|turn| turn % geometry.segments == index));
        }
        turns.sort_unstable();
        for turn in turns {
            ring.turn = turn;
            ring.rows = match ring.table(turn)? {
                Some(rows) => {
                    ring.used = geometry.segment;
                    rows
                }
                None => ring.walk(turn)?,
            };
            ring.rows.iter().copied().for_each(&mut found);
        }
        Ok(ring)
    }

    /// Writes `content` as that of `key`: the page where it lies, or `None` if it is too long for any.
    /// What has to make room is told to `forget` before it goes.
    pub(super) fn store(
        &mut self,
        key: Key,
        content: &[u8],
        forget: impl FnMut(Row),
    ) -> io::Result<Option<u32>> {
        if content.len() > self.geometry.longest() {
            return Ok(None);
        }
        let page = self.append(Kind::Stored, key, content, 1, forget)?;
        self.rows.push(Row {
            key,
            page,
            content: Some(length(content)),
        });
        Ok(Some(page))
    }

    /// Writes that `keys`, [`MOST_REMOVED`] at most, have nothing any more.
    pub(super) fn remove(&mut self, keys: &[Key], forget: impl FnMut(Row)) -> io::Result<()> {
        let content: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        let page = self.append(Kind::Removed, 0, &content, keys.len(), forget)?;
        self.rows.extend(removed(&content, page));
        Ok(())
    }

    /// Has what was written so far survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Appends a frame that will have `rows` rows in the table.
    fn append(
        &mut self,
        kind: Kind,
        key: Key,
        content: &[u8],
        rows: usize,
        forget: impl FnMut(Row),
    ) -> io::Result<u32> {
        let room = frame::room(content.len());
        let table = ((self.rows.len() + rows) * ROW + TRAILER) as u64;
        if self.used + room + table > self.geometry.segment {
            self.roll(forget)?;
        }
        let head = Head {
            kind,
            key,
            content: length(content),
            turn: self.turn,
            sum: frame::sum(key, content),
        };
        let (head, chain) = head.encode(self.chain);
        let whole = usize::try_from(room).expect("a segment fits into memory");
        let mut written = Vec::with_capacity(whole);
        written.extend_from_slice(&head);
        written.extend_from_slice(content);
        written.resize(whole, 0);
        let place = self.geometry.begins(self.turn) + self.used;
        self.file.write(&written, place)?;
        self.used += room;
        self.chain = chain;
        Ok(u32::try_from(place / PAGE).expect("files of less than 16 TiB"))
    }

    /// Ends the segment with its table, and begins the next one.
    fn roll(&mut self, forget: impl FnMut(Row)) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if self.used < self.geometry.segment {
            let table = frame::table(self.turn, &rows);
            let end = self.geometry.begins(self.turn) + self.geometry.segment;
            self.file.write(&table, end - table.len() as u64)?;
        }
        let turn = self.turn + 1;
        self.forget(turn, forget)?;
        let mut page = vec![0; usize::try_from(PAGE).expect("a page is short")];
        page[..TRAILER].copy_from_slice(&frame::beginning(turn));
        self.file.write(&page, self.geometry.begins(turn))?;
        (self.turn, self.used, self.chain) = (turn, PAGE, turn);
        Ok(())
    }

    /// Tells what stood where the segment of `turn` is to be written.
    fn forget(&mut self, turn: u64, forget: impl FnMut(Row)) -> io::Result<()> {
        let Some(before) = turn
            .checked_sub(self.geometry.segments)
            .filter(|turn| *turn > 0)
        else {
            return Ok(());
        };
        let rows = match self.table(before)? {
            Some(rows) => rows,
            // It was never full, or has gone bad: what can be read of it is what could be found in it.
            None => self.walk(before)?,
        };
        rows.into_iter().for_each(forget);
        Ok(())
    }

    /// The table of the segment of `turn`, if it is full and its table is whole.
    fn table(&self, turn: u64) -> io::Result<Option<Vec<Row>>> {
        let end = self.geometry.begins(turn) + self.geometry.segment - TRAILER as u64;
        let mut trailer = [0; TRAILER];
        self.file.read(&mut trailer, end)?;
        let most = self.geometry.segment - PAGE - TRAILER as u64;
        let length = frame::rows_before(&trailer, turn).filter(|length| *length as u64 <= most);
        let Some(length) = length else {
            return Ok(None);
        };
        let mut rows = vec![0; length];
        self.file.read(&mut rows, end - length as u64)?;
        let rows = frame::rows(&rows, &trailer, turn);
        // A row that points elsewhere would be somebody else's frame.
        Ok(rows.filter(|rows| rows.iter().all(|row| self.is_within(turn, row))))
    }

    fn is_within(&self, turn: u64, row: &Row) -> bool {
        let begin = u64::from(row.page) * PAGE;
        let end = begin + frame::room(row.content.unwrap_or(0) as usize);
        let segment = self.geometry.begins(turn);
        begin > segment && end <= segment + self.geometry.segment
    }

    /// Reads the segment of `turn` frame by frame, as far as they go on from each other, and leaves
    /// `used` and `chain` at their end.
    fn walk(&mut self, turn: u64) -> io::Result<Vec<Row>> {
        let (mut rows, mut used, mut chain) = (Vec::new(), PAGE, turn);
        let segment = self.geometry.begins(turn);
        while used + PAGE <= self.geometry.segment {
            let mut head = [0; HEAD];
            self.file.read(&mut head, segment + used)?;
            let Some((head, next)) = Head::follow(&head, chain) else {
                break;
            };
            if head.turn != turn || used + head.room() > self.geometry.segment {
                break;
            }
            let page = u32::try_from((segment + used) / PAGE).expect("files of less than 16 TiB");
            match head.kind {
                Kind::Stored => rows.push(Row {
                    key: head.key,
                    page,
                    content: Some(head.content),
                }),
                Kind::Removed => {
                    let mut content = vec![0; head.content as usize];
                    self.file.read(&mut content, segment + used + HEAD as u64)?;
                    if head.sum != frame::sum(head.key, &content) {
                        break;
                    }
                    rows.extend(removed(&content, page));
                }
            }
            used += head.room();
            chain = next;
        }
        if turn == self.turn {
            (self.used, self.chain) = (used, chain);
        }
        Ok(rows)
    }
}

fn removed(content: &[u8], page: u32) -> impl Iterator<Item = Row> {
    content.chunks_exact(16).map(move |key| Row {
        key: Key::from_le_bytes(frame::part(key, 0)),
        page,
        content: None,
    })
}

fn length(content: &[u8]) -> u32 {
    u32::try_from(content.len()).expect("a segment is shorter than 4 GiB")
}

/// Keys in one frame that says that they are removed; they fill its page.
pub(super) const MOST_REMOVED: usize = (PAGE as usize - HEAD) / 16;
/// When the next one is begun, a segment's worth is given up: at most a sixteenth of everything.
const LEAST_SEGMENTS: u64 = 16;
/// As long as the longest bodies that somebody may want to store.
const LONGEST_SEGMENT: u64 = 64 << 20;

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
