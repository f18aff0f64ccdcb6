//! A process that is killed while it writes, and what the next one finds.

use std::collections::{HashMap, HashSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::tests::{Directory, Opened, name, open, record};
use super::*;

/// What the process that is killed says on its standard output, line by line, as it goes.
///
/// `stored KEY NUMBER`, `removed KEY`: it is written. `purged PLACE`: it is acknowledged.
#[tokio::test]
#[ignore = "is run as a process of its own by the test below"]
async fn writes_until_it_is_killed() {
    let path = env::var_os("PILLION_TEST_DIRECTORY").expect("the other test sets it");
    let round: u64 = env::var("PILLION_TEST_ROUND").unwrap().parse().unwrap();
    let disk = open(path.as_ref(), SIZE).await;
    let mut out = io::stdout().lock();
    for step in 0.. {
        let number = round * 1_000_000 + step;
        let key = number * 31 % KEYS;
        let length = usize::try_from(number * 7919 % 40_000).unwrap();
        if step % 7 == 3 {
            disk.tier.remove(name(key));
            disk.tier.flush().await;
            writeln!(out, "removed {key}").unwrap();
        } else {
            disk.tier.put(name(key), record(number, length));
            if step % 5 == 0 {
                disk.tier.flush().await;
                writeln!(out, "stored {key} {number}").unwrap();
            }
        }
        if step % 11 == 0 {
            // Long ones and those that come again, so that the journal is written anew now and then.
            let content = format!("{} {}", number % 50, "x".repeat(3000));
            let recorded = disk.tier.record_purge(number, content.into());
            recorded.await.unwrap();
            writeln!(out, "purged {number}").unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_written_survives_a_kill_and_what_was_purged_stays_purged() {
    let directory = Directory::new();
    let rounds = 40;
    let (mut purged, mut found, mut gone) = (HashSet::new(), 0, 0);
    for round in 1..=rounds {
        let said = until_killed(directory.path(), round);
        let disk = open(directory.path(), SIZE).await;
        assert_eq!(disk.tier.state(), State::On);
        let mut latest: HashMap<u64, Option<u64>> = HashMap::new();
        for line in &said {
            let words: Vec<&str> = line.split(' ').collect();
            let word = |at: usize| -> u64 { words[at].parse().unwrap() };
            match words[0] {
                "stored" => _ = latest.insert(word(1), Some(word(2))),
                "removed" => _ = latest.insert(word(1), None),
                "purged" => _ = purged.insert(word(1)),
                _ => {}
            }
        }
        has_all(&disk, &purged);
        for key in 0..KEYS {
            let bytes = disk.tier.get(name(key)).await;
            let number = bytes.as_ref().map(|bytes| {
                let number = u64::from_le_bytes(*bytes.first_chunk().unwrap());
                let length = usize::try_from(number * 7919 % 40_000).unwrap();
                assert_eq!(*bytes, record(number, length));
                assert_eq!(number * 31 % KEYS, key);
                number
            });
            match latest.get(&key) {
                // Or a later one that it had no time to tell of.
                Some(Some(told)) => {
                    assert!(
                        number.is_none_or(|number| number >= *told),
                        "{key} {number:?}"
                    );
                    found += u32::from(number.is_some());
                    gone += u32::from(number.is_none());
                }
                Some(None) => assert!(number.is_none_or(|number| number / 1_000_000 == round)),
                None => {}
            }
        }
        // A kill that falls into a write leaves half of it, which is found out and is a miss.
        assert!(disk.metrics.total(Event::DiskDamaged) <= 1);
        disk.tier.close().await;
    }
    println!(
        "{rounds} kills: {found} records found again, {gone} removed later or overwritten, {} purges",
        purged.len()
    );
    assert!(purged.len() > 100, "{}", purged.len());
    assert!(found > 10 * gone, "{found} {gone}");
}

/// Every purge that was acknowledged is told, or is not after the floor.
fn has_all(disk: &Opened, purged: &HashSet<u64>) {
    let mut latest: HashMap<u64, u64> = HashMap::new();
    let mut floor = 0;
    for line in disk.replayed() {
        match line {
            Replayed::Floor(place) => floor = place,
            Replayed::Purge { place, content } => {
                let what = content.split(|byte| *byte == b' ').next().unwrap();
                let what: u64 = std::str::from_utf8(what).unwrap().parse().unwrap();
                let kept = latest.entry(what).or_default();
                *kept = place.max(*kept);
            }
        }
    }
    for place in purged {
        let kept = latest.get(&(place % 50));
        assert!(
            floor >= *place || kept >= Some(place),
            "{place} is forgotten: {floor} {kept:?}"
        );
    }
}

/// What a process said that was killed some milliseconds after it began to write.
fn until_killed(path: &Path, round: u64) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["cache::store::disk::crash_tests::writes_until_it_is_killed"])
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("PILLION_TEST_DIRECTORY", path)
        .env("PILLION_TEST_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    // Random enough: what a process gets done until then differs each time.
    let until = usize::try_from(5 + round * 13 % 60).unwrap();
    for line in lines.by_ref().map_while(Result::ok) {
        said.push(line);
        if said.len() == until {
            thread::sleep(Duration::from_micros(round * 137 % 3000));
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    // The last may be cut off.
    if said.last().is_some_and(|line| line.split(' ').count() < 2) {
        said.pop();
    }
    assert!(said.len() > 3, "{said:?}");
    said
}

const KEYS: u64 = 300;
const SIZE: u64 = 8 << 20;
