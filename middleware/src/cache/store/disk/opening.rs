//! Opening the directory, and what was left there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::folder::Folder;
use super::frame::PAGE;
use super::journal::{self, Id, Journal, Read};
use super::ring::{Geometry, Ring};
use super::{Replayed, Shared, State, spawn, writing};

/// Opens the tier, and writes for it until it is closed. For a thread of its own.
pub(super) fn run(shared: &Arc<Shared>, replay: impl FnMut(Replayed)) {
    let _ended = Ended(shared);
    let opened = match Folder::take(&shared.path) {
        Ok(folder) => open(shared, folder, replay),
        Err(refused) => {
            shared.refuse(&refused);
            None
        }
    };
    let Some((ring, folder, journal)) = opened else {
        if shared.is_closing() {
            shared.purges.close();
        }
        writing::answer_purges(shared);
        return;
    };
    let purging = {
        let shared = shared.clone();
        spawn("disk-purge", move || {
            writing::write_purges(&shared, &folder, journal)
        })
    };
    let reading = (0..READERS).map(|_| {
        let shared = shared.clone();
        spawn("disk-read", move || writing::answer_reads(&shared))
    });
    let reading: Vec<_> = reading.collect();
    if let Some(Err(error)) = reading
        .iter()
        .chain([&purging])
        .find(|thread| thread.is_err())
    {
        shared.fail("a thread cannot be started", error);
    }
    writing::write_records(shared, ring);
    shared.reads.close();
    // Where it went off, purges are still to be answered.
    if shared.state() == State::On || shared.is_closing() {
        shared.purges.close();
    }
    // The directory is another's when all of them have ended. One that panicked has said so.
    for thread in reading.into_iter().chain([purging]).flatten() {
        drop(thread.join());
    }
}

/// Says that it has ended, however that came.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.has_ended.send_replace(true);
    }
}

fn open(
    shared: &Arc<Shared>,
    folder: Folder,
    mut replay: impl FnMut(Replayed),
) -> Option<(Ring, Folder, Journal)> {
    let begun = shared.clock.mono();
    let (ring, journal, read) = match files(shared, &folder) {
        Ok(files) => files,
        Err(error) => {
            shared.fail("it cannot be opened", &error);
            return None;
        }
    };
    replay(Replayed::Floor(read.floor));
    let purges = read.lines.len();
    for line in read.lines {
        replay(Replayed::Purge {
            place: line.place,
            content: line.content,
        });
    }
    let (opening, on) = (State::Opening as u8, State::On as u8);
    let order = Ordering::SeqCst;
    let opened = shared.state.compare_exchange(opening, on, order, order);
    opened.ok()?;
    info!(
        path = %shared.path.display(),
        records = shared.index.records(),
        bytes = shared.index.bytes(),
        purges,
        milliseconds = shared.clock.mono().saturating_duration_since(begun).as_millis(),
        "The disk tier of the cache is open."
    );
    Some((ring, folder, journal))
}

/// The file of records and the journal that belongs to it. Records are used only with the journal that
/// was written beside them, whole.
fn files(shared: &Shared, folder: &Folder) -> io::Result<(Ring, Journal, Read)> {
    let file = Arc::new(folder.open(RECORDS)?);
    let file = shared.file.get_or_init(|| file).clone();
    let most = journal::bound(shared.size);
    let geometry = Geometry::within(shared.size.saturating_sub(2 * most));
    let (journal, read) = match Journal::open(folder, most)? {
        Some(whole) => whole,
        None => {
            if file.length()? > 0 {
                warn!(
                    path = %shared.path.display(),
                    "The journal of purges is missing or damaged: all that was on disk is dropped."
                );
            }
            // Before there is a journal that they could be taken to belong to.
            file.set_length(0)?;
            file.sync()?;
            (Journal::create(folder, most)?, Read::default())
        }
    };
    let expected = head(geometry, journal.id());
    let mut found = [0; HEAD];
    file.read(&mut found, 0)?;
    if found != expected {
        file.set_length(0)?;
        let mut page = vec![0; usize::try_from(PAGE).expect("a page is short")];
        page[..HEAD].copy_from_slice(&expected);
        file.write(&page, 0)?;
        file.sync()?;
        folder.sync()?;
    }
    shared.index.goes_round_in(geometry.pages());
    let ring = Ring::open(file, geometry, |row| shared.index.follow(row))?;
    Ok((ring, journal, read))
}

/// What the file of records begins with; one that begins with anything else is begun anew.
fn head(geometry: Geometry, id: Id) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&geometry.segment.to_le_bytes());
    head[16..24].copy_from_slice(&geometry.segments.to_le_bytes());
    head[24..40].copy_from_slice(&id);
    let sum = xxh3_64(&head[..40]);
    head[40..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Two cores' worth of them, and two to wait for a disk.
const READERS: usize = 4;
pub(super) const RECORDS: &str = "records";
const MAGIC: &[u8] = b"PDrecs_1";
const HEAD: usize = 48;
