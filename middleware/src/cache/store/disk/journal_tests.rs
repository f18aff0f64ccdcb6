use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::cache::store::disk::tests::Directory;

fn folder(path: &Path) -> Folder {
    Folder::take(path).expect("it is ours")
}

fn line(place: u64, content: &str) -> Line {
    Line {
        place,
        content: Bytes::from(content.to_owned()),
    }
}

/// What is read of a journal whose bytes are `bytes`.
fn reread(bytes: &[u8]) -> Option<Read> {
    parse(Bytes::copy_from_slice(bytes)).map(|parsed| parsed.read)
}

#[test]
fn what_was_recorded_is_read_again_and_gone_on_from() {
    let directory = Directory::new();
    let folder = folder(directory.path());
    assert!(Journal::open(&folder, MOST).unwrap().is_none());
    let mut journal = Journal::create(&folder, MOST).unwrap();
    let id = journal.id();
    journal
        .record(&folder, &[line(1, "a"), line(2, "b")], None)
        .unwrap();
    journal.record(&folder, &[line(3, "a")], None).unwrap();
    for _ in 0..2 {
        let (mut again, read) = Journal::open(&folder, MOST).unwrap().expect("it is whole");
        assert_eq!(again.id(), id);
        assert_eq!(read.floor, 0);
        assert_eq!(read.lines[..3], [line(1, "a"), line(2, "b"), line(3, "a")]);
        again.record(&folder, &[line(4, "c")], None).unwrap();
    }
    let (_, read) = Journal::open(&folder, MOST).unwrap().expect("it is whole");
    assert_eq!(read.lines.len(), 5);
}

#[test]
fn one_that_is_cut_off_anywhere_has_what_came_before() {
    let (mut bytes, chain) = head([7; 16], 9);
    let lines: Vec<_> = (0..5).map(|place| line(place, "something")).collect();
    let mut ends = vec![bytes.len()];
    let mut chain = chain;
    for one in &lines {
        let (written, next) = encode(std::slice::from_ref(one), chain);
        bytes.extend_from_slice(&written);
        (chain, _) = (next, ends.push(bytes.len()));
    }
    for length in HEAD..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= length).count() - 1;
        let read = reread(&bytes[..length]).expect("only its end is missing");
        assert_eq!((read.floor, &read.lines[..]), (9, &lines[..whole]));
        // The file had grown before the power went.
        let grown = [&bytes[..ends[whole]], &[0; 100][..]].concat();
        assert_eq!(reread(&grown).expect("zeros").lines, lines[..whole]);
    }
    assert_eq!(reread(&bytes[..HEAD - 1]), None);
}

proptest! {
    #[test]
    fn one_that_is_damaged_never_hides_a_purge(at in 0..300_usize, bit in 0..8_u8, count in 1..6_u64) {
        let (mut bytes, chain) = head([7; 16], 0);
        let lines: Vec<_> = (0..count).map(|place| line(place, "a purge of something")).collect();
        bytes.extend_from_slice(&encode(&lines, chain).0);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(reread(&bytes), None);
    }

    #[test]
    fn lines_cannot_be_left_out_or_exchanged(left in 0..5_usize, other in 0..5_usize) {
        let (bytes, chain) = head([7; 16], 0);
        let mut parts = Vec::new();
        let mut next = chain;
        for place in 0..5 {
            let (written, chain) = encode(&[line(place, "a purge")], next);
            (next, _) = (chain, parts.push(written));
        }
        let mut exchanged = parts.clone();
        exchanged.swap(left, other);
        let read = reread(&[&bytes[..], &exchanged.concat()].concat());
        prop_assert_eq!(read.is_some(), left == other);
        parts.remove(left);
        let read = reread(&[&bytes[..], &parts.concat()].concat());
        // Without its last, it is one that was never longer.
        prop_assert_eq!(read.is_some(), left == 4);
    }

    #[test]
    fn what_is_compacted_purges_no_less(
        floor in 0..50_u64, lines in prop::collection::vec((0..100_u64, 0..8_u8), 0..200), most in 40..800_u64
    ) {
        let lines: Vec<_> = lines.iter().map(|(place, what)| line(*place, &what.to_string())).collect();
        let compacted = latest(Read { floor, lines: lines.clone() }, most);
        let length: usize = compacted.lines.iter().map(|line| LINE + line.content.len()).sum();
        prop_assert!((HEAD + length) as u64 <= most);
        for line in lines {
            // Whatever was asked for before that place is hit still.
            let is_kept = compacted.floor >= line.place
                || compacted.lines.iter().any(|kept| {
                    kept.content == line.content && kept.place >= line.place
                });
            prop_assert!(is_kept, "{:?} {:?}", line, compacted);
        }
    }
}

#[test]
fn it_never_grows_beyond_its_bound() {
    let directory = Directory::new();
    let folder = folder(directory.path());
    let most = 4096;
    let mut journal = Journal::create(&folder, most).unwrap();
    for place in 1..2000 {
        let content = format!("purge {}", place % 300);
        journal
            .record(&folder, &[line(place, &content)], None)
            .unwrap();
        let length = |name| fs::metadata(directory.path().join(name)).map_or(0, |file| file.len());
        assert!(length(NAME) <= most);
        assert!(length(NAME) + length(NEW) <= 2 * most);
    }
    let (_, read) = Journal::open(&folder, most).unwrap().expect("it is whole");
    for place in 1..2000 {
        let content = format!("purge {}", place % 300);
        let has = |kept: &Line| kept.place >= place && kept.content == content;
        assert!(read.floor >= place || read.lines.iter().any(has), "{place}");
    }
}

#[test]
fn too_many_at_once_and_too_long_ones_raise_the_floor() {
    let directory = Directory::new();
    let folder = folder(directory.path());
    let mut journal = Journal::create(&folder, MOST).unwrap();
    journal.record(&folder, &[line(5, "a")], None).unwrap();
    journal.record(&folder, &[], Some(7)).unwrap();
    journal.record(&folder, &[line(8, "b")], None).unwrap();
    let long = "x".repeat(LONGEST + 1);
    let read = |journal: Journal| {
        drop(journal);
        Journal::open(&folder, MOST)
            .unwrap()
            .expect("it is whole")
            .1
    };
    assert_eq!(
        read(journal),
        Read {
            floor: 7,
            lines: vec![line(8, "b")]
        }
    );
    let (mut journal, _) = Journal::open(&folder, MOST).unwrap().expect("it is whole");
    journal
        .record(&folder, &[line(9, &long), line(10, "c")], None)
        .unwrap();
    assert_eq!(
        read(journal),
        Read {
            floor: 9,
            lines: vec![line(10, "c")]
        }
    );
}

const MOST: u64 = 1 << 20;
