//! The tier as its users see it, over real files.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;

/// A directory of the test's own, removed with it.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pillion-disk-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::remove_dir_all(&path).ok();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A tier that is open, and what its journal told.
pub(super) struct Opened {
    pub(super) tier: DiskTier,
    replayed: Arc<Mutex<Vec<Replayed>>>,
    pub(super) metrics: Metrics,
}

pub(super) async fn open(path: &Path, size: u64) -> Opened {
    let opened = begin(path, size);
    let is_open = async {
        while opened.tier.state() == State::Opening {
            tokio::task::yield_now().await;
        }
    };
    let is_open = timeout(LONG, is_open).await;
    assert!(is_open.is_ok(), "it does not open");
    opened
}

fn begin(path: &Path, size: u64) -> Opened {
    let settings = DiskSettings {
        path: path.to_owned(),
        size,
    };
    let replayed = Arc::<Mutex<Vec<Replayed>>>::default();
    let metrics = Metrics::new();
    let told = replayed.clone();
    let tier = DiskTier::open_with(LONG, &settings, Clock::system(), &metrics, move |line| {
        lock(&told).push(line);
    });
    Opened {
        tier,
        replayed,
        metrics,
    }
}

impl Opened {
    pub(super) fn replayed(&self) -> Vec<Replayed> {
        lock(&self.replayed).clone()
    }
}

pub(super) fn name(number: u64) -> [u8; 16] {
    let hash = blake3::hash(&number.to_le_bytes());
    *hash.as_bytes().first_chunk().unwrap()
}

/// Content that tells which it is.
pub(super) fn record(number: u64, length: usize) -> Bytes {
    let mut bytes = vec![u8::try_from(number % 251).unwrap(); length.max(8)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn files_length(path: &Path) -> u64 {
    let files = fs::read_dir(path).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

fn replayed(place: u64, content: &'static str) -> Replayed {
    Replayed::Purge {
        place,
        content: Bytes::from_static(content.as_bytes()),
    }
}

const SIZE: u64 = 16 << 20;
/// However busy the machine of the tests is.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_was_put_is_found_at_once_later_and_after_a_restart() {
    let directory = Directory::new();
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.tier.get(name(1)).await, None);
    for number in 0..100 {
        disk.tier.put(name(number), record(number, 3000));
        assert_eq!(
            disk.tier.get(name(number)).await,
            Some(record(number, 3000))
        );
    }
    disk.tier.flush().await;
    for number in 0..100 {
        assert_eq!(
            disk.tier.get(name(number)).await,
            Some(record(number, 3000))
        );
    }
    disk.tier.put(name(5), record(1005, 10));
    disk.tier.remove(name(6));
    assert_eq!(disk.tier.get(name(6)).await, None);
    disk.tier.remove(name(7));
    disk.tier.put(name(7), record(1007, 9));
    disk.tier.close().await;
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.tier.figures().0, 99);
    for number in 0..100 {
        let expected = match number {
            5 => Some(record(1005, 10)),
            6 => None,
            7 => Some(record(1007, 9)),
            _ => Some(record(number, 3000)),
        };
        assert_eq!(disk.tier.get(name(number)).await, expected, "{number}");
    }
}

/// Whether the system tells, for files of `directory`, that a read would have to wait.
#[cfg(target_os = "linux")]
fn tells_waits(directory: &Path) -> bool {
    let path = directory.join("probe");
    fs::write(&path, "x").unwrap();
    let file = fs::File::open(&path).unwrap();
    let mut byte = [0];
    let buffers = &mut [io::IoSliceMut::new(&mut byte)];
    let nowait = rustix::io::ReadWriteFlags::NOWAIT;
    rustix::io::preadv2(&file, buffers, 0, nowait) != Err(rustix::io::Errno::OPNOTSUPP)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_system_has_in_memory_is_there_at_once() {
    use futures_util::FutureExt;

    let directory = Directory::new();
    let disk = open(directory.path(), SIZE).await;
    for (number, length) in [(1, 60_000), (2, 70_000)] {
        let put = disk
            .tier
            .put_patiently(name(number), record(number, length));
        assert!(put.await);
    }
    disk.tier.flush().await;
    if tells_waits(directory.path()) {
        let short = disk.tier.get(name(1)).now_or_never();
        assert!(short.flatten() == Some(record(1, 60_000)));
    }
    assert!(disk.tier.get(name(2)).await == Some(record(2, 70_000)));
    disk.tier.close().await;
}

#[tokio::test]
async fn all_files_together_never_have_more_than_its_size_and_the_latest_stay() {
    let directory = Directory::new();
    let (mut most, mut latest, mut number) = (0, HashMap::new(), 0);
    for _ in 0..3 {
        let disk = open(directory.path(), SIZE).await;
        for _ in 0..1500 {
            let length = usize::try_from(number * 7919 % 60_000).unwrap();
            disk.tier
                .put_patiently(name(number % 900), record(number, length))
                .await;
            latest.insert(number % 900, (number, length));
            if number % 100 == 0 {
                let purge = Bytes::from(vec![0; 5000]);
                disk.tier.record_purge(number, purge).await.unwrap();
            }
            number += 1;
            most = most.max(files_length(directory.path()));
        }
        disk.tier.flush().await;
        let mut found = 0;
        let number_of_all = number;
        for (key, (number, length)) in &latest {
            match disk.tier.get(name(*key)).await {
                Some(bytes) => {
                    assert_eq!(bytes, record(*number, *length), "never an older one");
                    found += 1;
                }
                None => assert!(*number + 420 < number_of_all, "{number} was put just now"),
            }
        }
        assert!(found > 300, "{found}");
        assert_eq!(disk.metrics.total(Event::DiskDamaged), 0);
        disk.tier.close().await;
    }
    assert!(most <= SIZE, "{most}");
    assert!(most > SIZE / 10 * 9, "{most}: it is used");
}

#[tokio::test]
async fn what_was_replaced_or_removed_never_comes_back_whatever_was_overwritten() {
    let directory = Directory::new();
    let mut expected: HashMap<u64, Option<u64>> = HashMap::new();
    let mut seed = 12345_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for round in 0..12 {
        let disk = open(directory.path(), 4 << 20).await;
        for step in 0..400 {
            let key = random(150);
            if random(4) == 0 {
                disk.tier.remove(name(key));
                expected.insert(key, None);
            } else {
                let number = round * 1000 + step;
                let length = usize::try_from(random(20_000)).unwrap();
                disk.tier
                    .put_patiently(name(key), record(number, length))
                    .await;
                expected.insert(key, Some(number));
            }
        }
        disk.tier.flush().await;
        // The half of the rounds ends without an end.
        if round % 2 == 0 {
            std::mem::forget(disk.tier.clone());
            let copy = Directory::new();
            fs::create_dir(copy.path()).unwrap();
            fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o700)).unwrap();
            for file in ["records", "purges"] {
                fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
            }
            check(&open(copy.path(), 4 << 20).await.tier, &expected).await;
        }
        disk.tier.close().await;
        let again = open(directory.path(), 4 << 20).await;
        check(&again.tier, &expected).await;
        again.tier.close().await;
    }

    async fn check(tier: &DiskTier, expected: &HashMap<u64, Option<u64>>) {
        let mut found = 0;
        for (key, number) in expected {
            if let Some(bytes) = tier.get(name(*key)).await {
                let number = number.expect("it was not removed");
                assert_eq!(bytes[..8], number.to_le_bytes());
                found += 1;
            }
        }
        assert!(found > 50, "{found}");
    }
}

#[tokio::test]
async fn no_flipped_bit_gives_a_wrong_answer() {
    let directory = Directory::new();
    let disk = open(directory.path(), 4 << 20).await;
    for number in 0..300 {
        disk.tier
            .put_patiently(name(number), record(number, 9000))
            .await;
    }
    disk.tier
        .record_purge(1, Bytes::from_static(b"a purge"))
        .await
        .unwrap();
    disk.tier.close().await;
    let mut damaged = 0;
    for (file, step) in [("records", 40_009_u64), ("purges", 3)] {
        let path = directory.path().join(file);
        let length = fs::metadata(&path).unwrap().len();
        for at in (0..length).step_by(usize::try_from(step).unwrap()) {
            // As it is now: a journal that was made anew has drawn other numbers, one of which a byte of the
            // one before may be.
            let whole = fs::read(&path).unwrap();
            let index = usize::try_from(at).unwrap();
            let handle = OpenOptions::new().write(true).open(&path).unwrap();
            handle.write_all_at(&[whole[index] ^ 0x20], at).unwrap();
            let disk = open(directory.path(), 4 << 20).await;
            assert_eq!(disk.tier.state(), State::On);
            let mut found = 0;
            for number in 0..300 {
                if let Some(bytes) = disk.tier.get(name(number)).await {
                    assert_eq!(bytes, record(number, 9000), "byte {at} of {file}");
                    found += 1;
                }
            }
            if file == "purges" {
                assert_eq!(found, 0, "a purge could be hidden by byte {at}");
            } else {
                // Without its first page, there is no knowing what the file is.
                assert!(found > 100 || at < PAGE, "{found} are left after byte {at}");
            }
            damaged += disk.metrics.total(Event::DiskDamaged);
            disk.tier.close().await;
            for name in ["records", "purges"] {
                if name != file {
                    continue;
                }
                fs::write(directory.path().join(name), &whole).unwrap();
            }
            if file == "purges" {
                // What was dropped is put again.
                fs::remove_file(&path).unwrap();
                let disk = open(directory.path(), 4 << 20).await;
                for number in 0..300 {
                    disk.tier
                        .put_patiently(name(number), record(number, 9000))
                        .await;
                }
                disk.tier
                    .record_purge(1, Bytes::from_static(b"a purge"))
                    .await
                    .unwrap();
                disk.tier.close().await;
            }
        }
    }
    assert!(damaged > 10, "{damaged}: most of the file is content");
}

#[tokio::test]
async fn purges_are_told_before_anything_is_found_and_dropped_with_what_they_speak_of() {
    let directory = Directory::new();
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.replayed(), [Replayed::Floor(0)]);
    disk.tier.put(name(1), record(1, 10));
    let together = (0..50).map(|place| {
        let content = Bytes::from(format!("purge {place}"));
        disk.tier.record_purge(place, content)
    });
    for recorded in futures_util::future::join_all(together).await {
        recorded.unwrap();
    }
    disk.tier.close().await;
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.replayed().len(), 51);
    assert_eq!(disk.replayed()[50], replayed(49, "purge 49"));
    assert_eq!(disk.tier.get(name(1)).await, Some(record(1, 10)));
    disk.tier.close().await;
    // A journal that is gone takes all with it, as does another one.
    fs::rename(
        directory.path().join("purges"),
        directory.path().join("kept"),
    )
    .unwrap();
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.replayed(), [Replayed::Floor(0)]);
    assert_eq!(disk.tier.get(name(1)).await, None);
    disk.tier.put(name(2), record(2, 10));
    disk.tier.close().await;
    fs::rename(
        directory.path().join("kept"),
        directory.path().join("purges"),
    )
    .unwrap();
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.replayed().len(), 51);
    assert_eq!(disk.tier.get(name(2)).await, None);
}

#[tokio::test]
async fn one_directory_has_one_user_and_nobody_else_may_read_it() {
    let directory = Directory::new();
    let disk = open(directory.path(), SIZE).await;
    disk.tier.put(name(1), record(1, 10));
    disk.tier.flush().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.path()), 0o700);
    for file in fs::read_dir(directory.path()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let second = open(directory.path(), SIZE).await;
    assert_eq!(second.tier.state(), State::Off);
    second.tier.put(name(2), record(2, 10));
    assert_eq!(second.tier.get(name(1)).await, None);
    // There is nothing of its own that could come back.
    let purged = second.tier.record_purge(1, Bytes::from_static(b"a"));
    assert_eq!(purged.await, Ok(()));
    second.tier.close().await;
    assert_eq!(disk.tier.get(name(1)).await, Some(record(1, 10)));
    disk.tier.close().await;
    let third = open(directory.path(), SIZE).await;
    assert_eq!(third.tier.get(name(1)).await, Some(record(1, 10)));
    third.tier.close().await;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let open_to_all = open(directory.path(), SIZE).await;
    assert_eq!(open_to_all.tier.state(), State::Off);
    // Records are there that the purge could not reach.
    let purged = open_to_all.tier.record_purge(2, Bytes::from_static(b"a"));
    assert_eq!(purged.await, Err(NotRecorded));
}

#[tokio::test]
async fn a_disk_that_fails_switches_it_off_and_leaves_nothing_behind() {
    let directory = Directory::new();
    let disk = open(directory.path(), SIZE).await;
    disk.tier.put(name(1), record(1, 10));
    disk.tier.flush().await;
    disk.tier.0.shared.fail("it is told to", &"an error");
    assert_eq!(disk.tier.state(), State::Off);
    disk.tier.put(name(2), record(2, 10));
    disk.tier.remove(name(1));
    disk.tier.flush().await;
    assert_eq!(disk.tier.get(name(1)).await, None);
    let purged = disk.tier.record_purge(1, Bytes::from_static(b"a"));
    assert_eq!(purged.await, Ok(()), "nothing is left to be purged");
    assert_eq!(disk.metrics.total(Event::DiskFailed), 1);
    disk.tier.close().await;
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.tier.state(), State::On);
    assert_eq!(disk.tier.figures(), (0, 0));
}

#[tokio::test]
async fn what_is_no_directory_is_not_used() {
    let directory = Directory::new();
    fs::write(directory.path(), "a file").unwrap();
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.tier.state(), State::Off);
    disk.tier.close().await;
    fs::remove_file(directory.path()).unwrap();
    // Nor is a link that somebody has put in the place of a file.
    fs::DirBuilder::new().create(directory.path()).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.path().join("records")).unwrap();
    let disk = open(directory.path(), SIZE).await;
    assert_eq!(disk.tier.state(), State::Off);
    disk.tier.close().await;
    assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
}

#[tokio::test]
async fn too_much_at_once_and_too_long_records_are_counted_and_hold_up_nobody() {
    let directory = Directory::new();
    let disk = begin(directory.path(), SIZE);
    let long = Bytes::from(vec![1; 3 << 20]);
    for number in 0..8 {
        disk.tier.put(name(number), long.clone());
    }
    // Those that it cannot take while it has not opened, and then those that no segment has room for.
    disk.tier.flush().await;
    let total = |event| disk.metrics.total(event);
    assert!(total(Event::DiskTooLong) > 0);
    assert_eq!(total(Event::DiskTooLong) + total(Event::DiskQueueFull), 8);
    assert_eq!(disk.tier.get(name(0)).await, None);
    assert_eq!(disk.tier.state(), State::On);
}

#[tokio::test]
async fn another_size_begins_anew() {
    let directory = Directory::new();
    let disk = open(directory.path(), SIZE).await;
    disk.tier.put(name(1), record(1, 10));
    disk.tier.close().await;
    let disk = open(directory.path(), SIZE * 2).await;
    assert_eq!(disk.tier.state(), State::On);
    assert_eq!(disk.tier.get(name(1)).await, None);
}

/// Figures, by hand: `cargo test --release -p middleware disk_figures -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn disk_figures() {
    let directory = Directory::new();
    let size = 4 << 30;
    let disk = open(directory.path(), size).await;
    let count = 200_000;
    let begun = Instant::now();
    for number in 0..count {
        disk.tier
            .put_patiently(name(number), record(number, 16 << 10))
            .await;
    }
    disk.tier.flush().await;
    println!("put {count} of 16 KiB in {:?}", begun.elapsed());
    let begun = Instant::now();
    for number in 0..20_000 {
        assert!(disk.tier.get(name(number * 7 % count)).await.is_some());
    }
    println!("a hit: {:?}", begun.elapsed() / 20_000);
    let begun = Instant::now();
    for number in 0..1_000_000 {
        assert!(disk.tier.get(name(count + number)).await.is_none());
    }
    println!("a miss: {:?}", begun.elapsed() / 1_000_000);
    disk.tier.close().await;
    let begun = Instant::now();
    let disk = begin(directory.path(), size);
    println!("open returns after {:?}", begun.elapsed());
    while disk.tier.state() == State::Opening {
        tokio::task::yield_now().await;
    }
    println!(
        "open with {} records after {:?}",
        disk.tier.figures().0,
        begun.elapsed()
    );
    let begun = Instant::now();
    for place in 0..100 {
        disk.tier
            .record_purge(place, Bytes::from_static(b"a purge"))
            .await
            .unwrap();
    }
    println!("a purge recorded: {:?}", begun.elapsed() / 100);
}
