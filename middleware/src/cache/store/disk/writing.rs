//! What the threads of the disk tier do.

use std::io;
use std::time::Duration;

use super::folder::Folder;
use super::frame::{Key, Row};
use super::index::Place;
use super::journal::Journal;
use super::purges::Batch;
use super::queue::{Idle, Job};
use super::ring::{MOST_REMOVED, Ring};
use super::{Shared, State};
use crate::metrics::Event;

/// Writes what is put and removed, until it is closed and nothing waits.
pub(super) fn write_records(shared: &Shared, ring: Ring) {
    let mut writer = Writer {
        shared,
        ring,
        removed: Vec::new(),
    };
    if let Err(error) = writer.run() {
        shared.fail("it cannot be written", &error);
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    ring: Ring,
    /// Gone from the index, and not yet from the file.
    removed: Vec<Key>,
}

impl Writer<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            match self.shared.queue.next(PATIENCE) {
                Ok(Some(job)) => {
                    if self.shared.state() == State::Off {
                        return Ok(());
                    }
                    self.carry_out(&job)?;
                    let is_behind = !self.removed.is_empty();
                    self.shared.queue.done(&job, is_behind);
                }
                Ok(None) if self.shared.state() == State::Off => return Ok(()),
                Ok(None) => {
                    self.write_removed()?;
                    return self.ring.sync();
                }
                Err(Idle) => {
                    self.write_removed()?;
                    self.shared.queue.caught_up();
                }
            }
        }
    }

    fn carry_out(&mut self, job: &Job) -> io::Result<()> {
        let (shared, key) = (self.shared, job.key);
        let Some(content) = &job.content else {
            if shared.index.remove(key) {
                self.removed.push(key);
            }
            return match self.removed.len() {
                MOST_REMOVED => self.write_removed(),
                _ => Ok(()),
            };
        };
        // What is stored after it was removed stays.
        self.removed.retain(|removed| *removed != key);
        let page = self.ring.store(key, content, |row| forget(shared, row))?;
        let Some(page) = page else {
            shared.metrics.count(Event::DiskTooLong);
            // What it would have replaced is not what was put last.
            if shared.index.remove(key) {
                self.removed.push(key);
            }
            return Ok(());
        };
        let length = u32::try_from(content.len()).expect("it fits into a segment");
        shared.index.insert(key, Place { page, length });
        shared.metrics.count(Event::DiskStored);
        Ok(())
    }

    fn write_removed(&mut self) -> io::Result<()> {
        if self.removed.is_empty() || self.shared.state() == State::Off {
            return Ok(());
        }
        let shared = self.shared;
        let removed = std::mem::take(&mut self.removed);
        self.ring.remove(&removed, |row| forget(shared, row))
    }
}

/// Its place is about to be overwritten.
fn forget(shared: &Shared, row: Row) {
    if row.content.is_some() && shared.index.remove_at(row.key, row.page) {
        shared.metrics.count(Event::DiskOverwritten);
    }
}

/// Reads records for whoever asks, until it is closed.
pub(super) fn answer_reads(shared: &Shared) {
    while let Some(read) = shared.reads.next() {
        let record = shared.read(read.key, read.place);
        // Whoever asked may have gone.
        read.answer.send(record).ok();
    }
}

/// Writes purges down, and tells that they are, until it is closed.
pub(super) fn write_purges(shared: &Shared, folder: &Folder, mut journal: Journal) {
    while let Some(batch) = shared.purges.next() {
        let is_empty = batch.lines.is_empty() && batch.floor.is_none();
        if is_empty && shared.state() == State::On {
            tell(batch, true);
            continue;
        }
        if shared.state() == State::On {
            match journal.record(folder, &batch.lines, batch.floor) {
                Ok(()) => {
                    shared
                        .metrics
                        .add(Event::DiskPurges, batch.lines.len() as u64);
                    tell(batch, true);
                    continue;
                }
                Err(error) => shared.fail("its journal of purges cannot be written", &error),
            }
        }
        tell(batch, shared.is_emptied());
    }
}

/// Answers purges where there is no journal, until it is closed.
pub(super) fn answer_purges(shared: &Shared) {
    while let Some(batch) = shared.purges.next() {
        tell(batch, shared.is_emptied());
    }
}

fn tell(batch: Batch, is_safe: bool) {
    for told in batch.told {
        // Whoever asked may have gone.
        told.send(is_safe).ok();
    }
}

/// Removals are written together with those that come within this.
const PATIENCE: Duration = Duration::from_millis(50);
