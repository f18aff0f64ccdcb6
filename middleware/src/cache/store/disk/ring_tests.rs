//! The file of records alone: what is read again after it was not written to its end.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::cache::store::disk::tests::Directory;

/// A ring in the file `records` of `directory`, and the rows that were found there.
fn open(directory: &Directory) -> (Ring, Vec<Row>) {
    fs::create_dir_all(directory.path()).unwrap();
    let path = directory.path().join("records");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = DiskFile::new(options.open(&path).unwrap(), &path);
    let mut rows = Vec::new();
    let ring = Ring::open(Arc::new(file), Geometry::within(SIZE), |row| rows.push(row));
    (ring.unwrap(), rows)
}

/// What each key has after all rows: its page, and its content's length.
fn left(rows: &[Row]) -> Vec<(Key, u32, u32)> {
    let mut left: Vec<(Key, u32, u32)> = Vec::new();
    for row in rows {
        left.retain(|(key, _, _)| *key != row.key);
        left.extend(row.content.map(|length| (row.key, row.page, length)));
    }
    left.sort_unstable();
    left
}

/// Overwrites the head of the frame at `page`, as if it had never come to the disk.
fn lose(directory: &Directory, page: u32) {
    let path = directory.path().join("records");
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; HEAD], u64::from(page) * PAGE)
        .unwrap();
}

/// A loss of power keeps later pages and loses earlier ones; what is then written in the place of the
/// lost ones must not bring those after it back.
#[test]
fn what_stood_behind_a_lost_frame_of_the_same_turn_does_not_come_back() {
    let directory = Directory::new();
    let (mut ring, _) = open(&directory);
    let page = |ring: &mut Ring, key, content: &[u8]| {
        ring.store(key, content, |_| {}).unwrap().expect("it fits")
    };
    let first = page(&mut ring, 1, b"first");
    let second = page(&mut ring, 2, b"second");
    page(&mut ring, 3, b"an old one");
    ring.remove(&[1], |_| {}).unwrap();
    drop(ring);
    lose(&directory, second);
    let (mut ring, rows) = open(&directory);
    assert_eq!(left(&rows), [(1, first, 5)]);
    // As long as what was lost, so that it ends where the next one begins.
    assert_eq!(page(&mut ring, 3, b"a new one"), second);
    drop(ring);
    let (_, rows) = open(&directory);
    assert_eq!(left(&rows), [(1, first, 5), (3, second, 9)]);
}

/// And the segment's frames of an earlier turn, which are of the same length and end in the same places.
#[test]
fn what_an_earlier_turn_left_does_not_come_back() {
    let directory = Directory::new();
    let (mut ring, _) = open(&directory);
    let geometry = Geometry::within(SIZE);
    let frames = (geometry.segment - PAGE) / PAGE * geometry.segments;
    for key in 0..frames {
        ring.store(key.into(), b"old", |_| {}).unwrap();
    }
    // One frame into the next turn.
    while ring.used != PAGE * 2 {
        ring.store(Key::MAX, b"new", |_| {}).unwrap();
    }
    let segment = geometry.begins(ring.turn) / PAGE;
    drop(ring);
    let (_, rows) = open(&directory);
    let within = rows.iter().filter(|row| {
        let page = u64::from(row.page);
        page >= segment && page < segment + geometry.segment / PAGE
    });
    assert_eq!(within.map(|row| row.key).collect::<Vec<_>>(), [Key::MAX]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a model: whatever is lost of the segment that is being written, what is found afterwards is
    /// what the frames before it said, and what was written since.
    #[test]
    fn losses_and_restarts(
        steps in prop::collection::vec((0..8_u128, 0..3_u8, 0..3_usize), 1..40),
        lost in prop::collection::vec((0..40_usize, any::<bool>()), 0..4),
    ) {
        let directory = Directory::new();
        let (mut ring, _) = open(&directory);
        // What was written since the segment was begun, in its order: it is short enough to stay one.
        let mut written: Vec<Row> = Vec::new();
        let mut lost = lost.into_iter();
        let chunk = steps.len() / 3 + 1;
        for (round, steps) in (0_u128..).zip(steps.chunks(chunk)) {
            for (key, kind, pages) in steps {
                // No frame is written again byte for byte after a loss: see the head of the module.
                let key = &(*key + 8 * round);
                if *kind == 0 {
                    let before = ring.used;
                    ring.remove(&[*key], |_| {}).unwrap();
                    prop_assume!(ring.used > before);
                    let page = (ring.geometry.begins(ring.turn) + before) / PAGE;
                    written.push(Row { key: *key, page: u32::try_from(page).unwrap(), content: None });
                } else {
                    let content = vec![*kind; *pages * 3000];
                    let page = ring.store(*key, &content, |_| {}).unwrap().unwrap();
                    written.push(Row { key: *key, page, content: Some(length(&content)) });
                }
            }
            prop_assume!(ring.turn == 1);
            drop(ring);
            if let Some((at, true)) = lost.next() {
                let at = at % written.len();
                lose(&directory, written[at].page);
                written.truncate(at);
            }
            let (again, rows) = open(&directory);
            ring = again;
            prop_assert_eq!(&rows, &written);
        }
    }
}

/// Segments of 64 pages.
const SIZE: u64 = 16 * 64 * PAGE;
