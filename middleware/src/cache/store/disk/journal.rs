//! The journal of purges: what is on disk must not come back after a purge was acknowledged.
//!
//! Lines are only ever appended, each with a sum that goes on from the line before, and are on disk
//! (fdatasync) before anybody is told. A journal that ends within a line lost what nobody was told. One
//! that is damaged anywhere else could hide a purge, so everything that it speaks of is dropped.
//!
//! It has a bound. When that is reached, it is written anew with the latest place of each purge; what
//! still does not fit is forgotten, oldest first, and the floor says up to which place that was.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::at::DiskFile;
use super::folder::Folder;
use super::frame::part;

/// See the module. Belongs to the one thread that writes it.
#[derive(Debug)]
pub(super) struct Journal {
    file: DiskFile,
    id: Id,
    /// Bytes that are written.
    length: u64,
    /// Bytes that may be.
    most: u64,
    /// The sum that the next line goes on from.
    chain: u64,
}

/// Tells journals apart; the file of records bears that of its own.
pub(super) type Id = [u8; 16];

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) place: u64,
    pub(super) content: Bytes,
}

/// What a journal has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Purges of this place and before may be missing.
    pub(super) floor: u64,
    /// In the order in which they were written.
    pub(super) lines: Vec<Line>,
}

impl Journal {
    /// Reads what was written, and goes on from there: `None` if there is none, or it cannot be relied
    /// upon.
    pub(super) fn open(folder: &Folder, most: u64) -> io::Result<Option<(Self, Read)>> {
        let file = folder.open(NAME)?;
        let length = file.length()?;
        if length > most {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).expect("it was bounded when written")];
        file.read(&mut bytes, 0)?;
        let Some(parsed) = parse(Bytes::from(bytes)) else {
            return Ok(None);
        };
        // What was cut off must not stand behind what comes next.
        file.set_length(parsed.length)?;
        let journal = Self {
            file,
            id: parsed.id,
            length: parsed.length,
            most,
            chain: parsed.chain,
        };
        Ok(Some((journal, parsed.read)))
    }

    /// Begins one, in the place of any other.
    pub(super) fn create(folder: &Folder, most: u64) -> io::Result<Self> {
        let mut id = Id::default();
        aws_lc_rs::rand::fill(&mut id).map_err(|_| io::Error::other("no randomness"))?;
        Self::write_anew(folder, most, id, &Read::default())
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    /// Writes `lines`, and has them survive a loss of power. With `floor`, everything up to that place
    /// counts as purged.
    pub(super) fn record(
        &mut self,
        folder: &Folder,
        lines: &[Line],
        floor: Option<u64>,
    ) -> io::Result<()> {
        let (written, chain) = encode(lines, self.chain);
        let is_longest = lines.iter().map(|line| line.content.len()).max() > Some(LONGEST);
        if floor.is_some() || is_longest || self.length + written.len() as u64 > self.most {
            return self.compact(folder, lines, floor);
        }
        self.file.write(&written, self.length)?;
        self.file.sync()?;
        self.length += written.len() as u64;
        self.chain = chain;
        Ok(())
    }

    fn compact(&mut self, folder: &Folder, lines: &[Line], floor: Option<u64>) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.length).expect("it is bounded")];
        self.file.read(&mut bytes, 0)?;
        let Some(parsed) = parse(Bytes::from(bytes)) else {
            return Err(io::Error::other("the journal of purges is damaged"));
        };
        let mut read = parsed.read;
        read.lines.extend_from_slice(lines);
        read.floor = read.floor.max(floor.unwrap_or(0));
        *self = Self::write_anew(folder, self.most, self.id, &latest(read, self.most / 2))?;
        Ok(())
    }

    fn write_anew(folder: &Folder, most: u64, id: Id, read: &Read) -> io::Result<Self> {
        let file = folder.open(NEW)?;
        file.set_length(0)?;
        let (mut written, chain) = head(id, read.floor);
        let (lines, chain) = encode(&read.lines, chain);
        written.extend_from_slice(&lines);
        file.write(&written, 0)?;
        file.sync()?;
        folder.replace(NAME, NEW)?;
        Ok(Self {
            file,
            id,
            length: written.len() as u64,
            most,
            chain,
        })
    }
}

/// The same in at most `most` bytes: each purge at its latest place, and the oldest given up for a
/// higher floor.
fn latest(read: Read, most: u64) -> Read {
    let mut floor = read.floor;
    let mut purges: HashMap<Bytes, u64> = HashMap::new();
    for line in read.lines {
        if line.content.len() > LONGEST {
            floor = floor.max(line.place);
            continue;
        }
        let place = purges.entry(line.content).or_default();
        *place = line.place.max(*place);
    }
    let mut purges: Vec<_> = purges.into_iter().collect();
    purges.sort_unstable_by_key(|(_, place)| std::cmp::Reverse(*place));
    let mut length = HEAD as u64;
    let kept = purges.iter().take_while(|(content, _)| {
        length += (LINE + content.len()) as u64;
        length <= most
    });
    let kept = kept.count();
    let given_up = purges.get(kept).map_or(0, |(_, place)| *place);
    floor = floor.max(given_up);
    purges.truncate(kept);
    purges.retain(|(_, place)| *place > floor);
    let line = |(content, place)| Line { place, content };
    Read {
        floor,
        lines: purges.into_iter().rev().map(line).collect(),
    }
}

/// What the file begins with; and the sum that the first line goes on from.
fn head(id: Id, floor: u64) -> (Vec<u8>, u64) {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&id);
    head.extend_from_slice(&floor.to_le_bytes());
    let sum = xxh3_64(&head);
    head.extend_from_slice(&sum.to_le_bytes());
    (head, sum)
}

/// Lines as they are written after one whose sum is `chain`; and the sum of the last.
fn encode(lines: &[Line], mut chain: u64) -> (Vec<u8>, u64) {
    let mut written = Vec::new();
    for line in lines {
        let begin = written.len();
        let length = u32::try_from(line.content.len()).unwrap_or(u32::MAX);
        written.extend_from_slice(&length.to_le_bytes());
        written.extend_from_slice(&line.place.to_le_bytes());
        written.extend_from_slice(&xxh3_64(&line.content).to_le_bytes());
        chain = xxh3_64_with_seed(&written[begin..], chain);
        written.extend_from_slice(&chain.to_le_bytes());
        written.extend_from_slice(&line.content);
    }
    (written, chain)
}

struct Parsed {
    id: Id,
    read: Read,
    /// Without what was cut off.
    length: u64,
    chain: u64,
}

/// `None` where something other than the end is missing.
fn parse(bytes: Bytes) -> Option<Parsed> {
    let id: Id = part(bytes.get(..HEAD)?, 8);
    let floor = u64::from_le_bytes(part(&bytes, 24));
    let (expected, mut chain) = head(id, floor);
    if bytes[..HEAD] != expected {
        return None;
    }
    let (mut lines, mut at) = (Vec::new(), HEAD);
    while at < bytes.len() {
        let Some(line) = bytes.get(at..at + LINE) else {
            // The end of what was being written when the process ended.
            break;
        };
        let sum = xxh3_64_with_seed(&line[..20], chain);
        if u64::from_le_bytes(part(line, 20)) != sum {
            // A file can have grown before it was written: a loss of power leaves zeros.
            if bytes[at..].iter().all(|byte| *byte == 0) {
                break;
            }
            return None;
        }
        let begin = at + LINE;
        let end = begin + u32::from_le_bytes(part(line, 0)) as usize;
        if end > bytes.len() {
            break;
        }
        let content = bytes.slice(begin..end);
        if u64::from_le_bytes(part(line, 12)) != xxh3_64(&content) {
            return None;
        }
        let place = u64::from_le_bytes(part(line, 4));
        lines.push(Line { place, content });
        (at, chain) = (end, sum);
    }
    Some(Parsed {
        id,
        read: Read { floor, lines },
        length: at as u64,
        chain,
    })
}

/// What it and its successor may have, while both are there, of a directory of `size` bytes.
pub(super) fn bound(size: u64) -> u64 {
    (size / 64).clamp(256 << 10, 8 << 20)
}

const NAME: &str = "purges";
const NEW: &str = "purges.new";
const MAGIC: &[u8] = b"PDpurge1";
const HEAD: usize = 40;
const LINE: usize = 28;
/// A purge that takes more bytes than this raises the floor instead.
const LONGEST: usize = 64 << 10;

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
