//! Disks that answer with EIO, from whatever call on: the tier goes off once, and nothing fails for it.

use super::at::failing::{Call, from_now};
use super::tests::{Directory, Opened, name, open, record};
use super::*;

const SIZE: u64 = 4 << 20;

/// With some records and a purge, all of it written.
async fn filled(directory: &Directory) -> Opened {
    let disk = open(directory.path(), SIZE).await;
    for number in 0..20 {
        let put = disk.tier.put_patiently(name(number), record(number, 9000));
        assert!(put.await);
    }
    disk.tier.flush().await;
    let purge = Bytes::from_static(b"a purge");
    disk.tier.record_purge(1, purge).await.unwrap();
    disk
}

/// It is off, once; nothing is found, nothing is waited for, and a purge is told `expected`.
async fn is_off(disk: &Opened, expected: Result<(), NotRecorded>) {
    let off = async {
        while disk.tier.state() != State::Off {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), off)
        .await
        .expect("it goes off");
    for number in 0..30 {
        disk.tier.put(name(number), record(number, 10));
        disk.tier.remove(name(number + 1));
        assert_eq!(disk.tier.get(name(number)).await, None);
    }
    disk.tier.flush().await;
    let purge = disk.tier.record_purge(2, Bytes::from_static(b"another"));
    assert_eq!(purge.await, expected);
    assert_eq!(disk.tier.purges_recorded().await, expected);
    assert_eq!(disk.metrics.total(Event::DiskFailed), 1);
    assert_eq!(disk.tier.figures(), (0, 0));
    disk.tier.close().await;
}

/// Nothing of before is found by the next process, whose disk is well.
async fn is_empty_next_time(directory: &Directory, records: u64) {
    let copy = Directory::new();
    std::fs::rename(directory.path(), copy.path()).unwrap();
    let disk = open(copy.path(), SIZE).await;
    assert_eq!(
        (disk.tier.state(), disk.tier.figures().0),
        (State::On, records)
    );
    disk.tier.close().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read() {
    let directory = Directory::new();
    let disk = filled(&directory).await;
    from_now(&directory.path().join("records"), Call::Read);
    assert_eq!(disk.tier.get(name(3)).await, None);
    is_off(&disk, Ok(())).await;
    is_empty_next_time(&directory, 0).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_written_nor_what_is_there_be_given_up() {
    let directory = Directory::new();
    let disk = filled(&directory).await;
    // Which is a write as well: so what is purged from now on can come back, and the answer says so.
    from_now(&directory.path().join("records"), Call::Write);
    disk.tier.put(name(100), record(100, 10));
    is_off(&disk, Err(NotRecorded)).await;
    is_empty_next_time(&directory, 20).await;
}

#[tokio::test]
async fn records_that_do_not_come_to_the_disk_at_the_end() {
    let directory = Directory::new();
    let disk = filled(&directory).await;
    from_now(&directory.path().join("records"), Call::Sync);
    disk.tier.close().await;
    assert_eq!(disk.metrics.total(Event::DiskFailed), 1);
    is_empty_next_time(&directory, 0).await;
}

#[tokio::test]
async fn a_purge_that_cannot_be_written() {
    for call in [Call::Write, Call::Sync] {
        let directory = Directory::new();
        let disk = filled(&directory).await;
        from_now(&directory.path().join("purges"), call);
        // What it would have hit is given up instead.
        let purge = disk.tier.record_purge(2, Bytes::from_static(b"another"));
        assert_eq!(purge.await, Ok(()), "{call:?}");
        is_off(&disk, Ok(())).await;
        is_empty_next_time(&directory, 0).await;
    }
}

#[tokio::test]
async fn a_purge_that_cannot_be_written_and_records_that_stay() {
    for call in [Call::Write, Call::Sync] {
        let directory = Directory::new();
        let disk = filled(&directory).await;
        from_now(directory.path(), call);
        let purge = disk.tier.record_purge(2, Bytes::from_static(b"another"));
        assert_eq!(purge.await, Err(NotRecorded), "{call:?}");
        is_off(&disk, Err(NotRecorded)).await;
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_at_the_start() {
    for (file, purged) in [("records", Ok(())), ("purges", Ok(()))] {
        let directory = Directory::new();
        filled(&directory).await.tier.close().await;
        from_now(&directory.path().join(file), Call::Read);
        let disk = open(directory.path(), SIZE).await;
        assert_eq!(disk.tier.state(), State::Off, "{file}");
        is_off(&disk, purged).await;
        is_empty_next_time(&directory, 0).await;
    }
}
