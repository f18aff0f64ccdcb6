use std::sync::Arc;
use std::time::Duration;

use crate::cache::record::Sealer;
use crate::cache::store::tier::testing::TestTier;
use crate::cache::store::tier::{ByteTier, RecordKey};
use crate::cache::store::tiers::{Level, Read, Tier};
use crate::cache::stored::StoredResponse;
use crate::cache::testing::{World, at_once, reply};
use crate::clock::Clock;
use crate::content_coding::Coding;
use crate::metrics::Event;

fn pages(lines: &'static [(&'static str, &'static str)]) -> World {
    World::at(
        Clock::standing(),
        |_| {},
        move |_, _| at_once(reply(200, lines, "content")),
    )
}

/// What Redis has after one request, each with the time that it may stay there.
async fn written(lines: &'static [(&'static str, &'static str)]) -> Vec<u64> {
    let tier = TestTier::default();
    let world = pages(lines).over(&tier, Level::L2);
    world.get("/").await;
    world.written().await;
    let records = tier.records();
    let mut ttls: Vec<u64> = records.iter().map(|(_, _, ttl)| ttl.as_secs()).collect();
    ttls.sort_unstable();
    ttls
}

#[tokio::test]
async fn a_record_lives_as_long_as_it_may_be_used() {
    assert_eq!(written(&[("cache-control", "max-age=60")]).await, [60]);
    let aged = [("cache-control", "max-age=60"), ("age", "20")];
    assert_eq!(written(Box::leak(Box::new(aged))).await, [40]);
    let windows = "max-age=60, stale-while-revalidate=30, stale-if-error=90";
    let lines = Box::leak(Box::new([("cache-control", windows)]));
    assert_eq!(written(lines).await, [150]);
    let vary = [("cache-control", "max-age=60"), ("vary", "x-a")];
    let day = Duration::from_secs(24 * 3600).as_secs();
    assert_eq!(written(Box::leak(Box::new(vary))).await, [60, day]);
}

#[tokio::test]
async fn what_is_of_no_use_to_others_is_not_written() {
    for lines in [
        &[("cache-control", "no-store")][..],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "no-cache"), ("etag", "\"a\"")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        &[
            ("cache-control", "max-age=60"),
            ("no-vary-search", "params"),
        ],
        &[("cache-control", "max-age=0"), ("etag", "\"a\"")],
        &[],
    ] {
        assert_eq!(written(lines).await, [0; 0], "{lines:?}");
    }
}

#[tokio::test]
async fn memory_that_is_full_gives_to_disk_what_was_asked_for_twice() {
    let disk = TestTier::default();
    let world = World::new(|_, _| {
        let content = "x".repeat(16 << 10);
        at_once(reply(200, &[("cache-control", "max-age=600")], content))
    });
    let world = world.over_all(vec![Tier::test(disk.clone(), Level::Disk)], 256 << 10);
    for index in 0..100 {
        world.get(&format!("/once/{index}")).await;
    }
    world.shared.figures();
    world.written().await;
    assert_eq!(disk.records().len(), 0, "nothing was asked for twice");
    for index in 0..100 {
        world.get(&format!("/once/{index}")).await;
    }
    world.shared.figures();
    world.written().await;
    let second = disk.records().len();
    assert!(
        second > 50,
        "{second} were asked for again after they had left"
    );
    for index in 0..100 {
        let path = format!("/twice/{index}");
        world.get(&path).await;
        world.get(&path).await;
    }
    world.shared.figures();
    world.written().await;
    let now = disk.records().len();
    assert!(now > second + 50, "{now} after {second}");
    let asked = world.seen().len();
    let mut hits = 0;
    for index in 0..100 {
        let answer = world.get(&format!("/twice/{index}")).await;
        hits += usize::from(answer.cache_status().ends_with("detail=disk"));
    }
    assert!(hits > 50, "{hits}");
    assert!(world.seen().len() - asked < 50);
}

/// A sidecar with little memory over `disk`, whose pages all take 16 KiB.
fn long_pages(disk: &TestTier) -> World {
    let world = World::new(|_, _| {
        let content = "x".repeat(16 << 10);
        at_once(reply(200, &[("cache-control", "max-age=600")], content))
    });
    world.over_all(vec![Tier::test(disk.clone(), Level::Disk)], 256 << 10)
}

/// Asks for a hundred pages, twice each, of which memory keeps a few.
async fn go_round(world: &World) {
    for index in 0..100 {
        for _ in 0..2 {
            world.get(&format!("/{index}")).await;
        }
    }
    world.shared.figures();
    world.written().await;
}

#[tokio::test]
async fn what_came_from_disk_is_not_written_there_again() {
    let disk = TestTier::default();
    let world = long_pages(&disk);
    let written = || world.shared.metrics().total(Event::DiskBytesWritten);
    for _ in 0..5 {
        go_round(&world).await;
    }
    assert!(disk.records().len() > 90, "{}", disk.records().len());
    let (before, read) = (written(), world.reads(Level::Disk, Read::Hit));
    go_round(&world).await;
    let read = world.reads(Level::Disk, Read::Hit) - read;
    assert!(read > 50, "{read} came and went");
    assert!(
        written() - before < 2 * (16 << 10),
        "{}",
        written() - before
    );
    // What the disk has lost meanwhile is written again.
    for (name, ..) in disk.records() {
        disk.remove(name);
    }
    let before = written();
    go_round(&world).await;
    go_round(&world).await;
    assert!(written() - before > 50 * (16 << 10));
}

#[tokio::test]
async fn a_copy_made_after_its_response_left_memory_lies_on_disk() {
    let disk = TestTier::default();
    let world = long_pages(&disk);
    let first = stored(&world, "/").await;
    let key = world.shared.key_on_disk(&first);
    let key = key.expect("it is in memory");
    let give_away = |stored: &StoredResponse| {
        for (name, record) in super::records(&key, stored) {
            disk.store(name, &record);
        }
        world.shared.store().remove(stored.key);
    };
    let late = |stored, coding, copy: &'static str| {
        let keep = &world.shared;
        keep.keep_coded(stored, Some(key.clone()), coding, copy.into());
    };
    give_away(&first);
    late(&first, Coding::Br, "br");
    world.written().await;
    let found = stored(&world, "/").await;
    assert_eq!(found.coded(Coding::Br).unwrap(), "br");
    // But not in the place of what came later, nor of nothing.
    world.advance(601);
    let later = stored(&world, "/").await;
    give_away(&later);
    let written = || world.shared.metrics().total(Event::DiskBytesWritten);
    let before = written();
    late(&found, Coding::Zstd, "zstd");
    world.written().await;
    disk.remove(RecordKey::of(&key));
    late(&found, Coding::Gzip, "gzip");
    world.written().await;
    assert_eq!(written(), before);
}

/// What answers a request, as it is stored.
async fn stored(world: &World, uri: &str) -> Arc<StoredResponse> {
    let mut answer = world.send("GET", uri, &[]).await.unwrap();
    let stored = crate::facts::of_response(&mut answer).stored.clone();
    stored.expect("it is stored")
}

fn copied(world: &World, stored: &Arc<StoredResponse>, coding: Coding, copy: &'static str) {
    world.shared.keep_coded(stored, None, coding, copy.into());
}

#[tokio::test]
async fn a_coded_copy_is_made_by_one_sidecar_for_all() {
    let tier = TestTier::default();
    let world = pages(&[("cache-control", "max-age=60")]);
    let (one, other, third) = (
        world.over(&tier, Level::L2),
        world.over(&tier, Level::L2),
        world.over(&tier, Level::L2),
    );
    copied(&one, &stored(&one, "/").await, Coding::Br, "br");
    one.written().await;
    assert_eq!(tier.records().len(), 1, "written again in its own place");
    world.advance(10);
    let found = stored(&other, "/").await;
    assert_eq!(found.coded(Coding::Br).unwrap(), "br");
    assert_eq!(found.coded(Coding::Gzip), None);
    // What was found there is written again too, with both, and for no longer than before.
    copied(&other, &found, Coding::Gzip, "gzip");
    other.written().await;
    let ttls: Vec<u64> = tier
        .records()
        .iter()
        .map(|(_, _, ttl)| ttl.as_secs())
        .collect();
    assert_eq!(ttls, [50]);
    let found = stored(&third, "/").await;
    assert_eq!(found.coded(Coding::Br).unwrap(), "br");
    assert_eq!(found.coded(Coding::Gzip).unwrap(), "gzip");
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_copy_is_not_written_where_it_does_not_pay() {
    for (lines, advance, case) in [
        (&[("cache-control", "max-age=4")][..], 0, "gone soon"),
        (&[("cache-control", "max-age=60")], 31, "late in its life"),
        (
            &[("cache-control", "max-age=0"), ("etag", "\"a\"")],
            0,
            "not written at all",
        ),
    ] {
        let tier = TestTier::default();
        let world = pages(lines).over(&tier, Level::L2);
        let stored = stored(&world, "/").await;
        world.written().await;
        let before = tier.records();
        world.advance(advance);
        copied(&world, &stored, Coding::Br, "br");
        world.written().await;
        assert_eq!(tier.records(), before, "{case}");
        assert_eq!(stored.coded(Coding::Br).unwrap(), "br", "{case}");
    }
}

#[tokio::test]
async fn a_purge_between_takes_the_copy_with_it() {
    let tier = TestTier::default();
    let world = pages(&[("cache-control", "max-age=60"), ("surrogate-key", "a")]);
    let world = world.over(&tier, Level::L2);
    let stored = stored(&world, "/").await;
    world.written().await;
    let before = tier.records();
    world.shared.purge_all();
    copied(&world, &stored, Coding::Br, "br");
    world.written().await;
    assert_eq!(tier.records(), before);
}

/// A sidecar over `tier`, which seals by the key `file`, if there is one.
fn sealing(world: &World, tier: &TestTier, file: Option<&str>) -> World {
    let tier = Tier::test(tier.clone(), Level::L2);
    let tier = match file {
        Some(file) => tier.sealed(Sealer::of_file(file.as_bytes(), 0).unwrap()),
        None => tier,
    };
    world.over_all(vec![tier], 1 << 20)
}

#[tokio::test]
async fn what_somebody_else_has_planted_is_served_only_where_nothing_is_sealed() {
    let (own, other) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    for (planter, reader, is_served) in [
        (None, None, true),
        (None, Some(&own), false),
        (Some(&other), Some(&own), false),
        (Some(&own), None, false),
        (Some(&own), Some(&own), true),
    ] {
        let tier = TestTier::default();
        let world = pages(&[("cache-control", "max-age=60")]);
        let planter = sealing(&world, &tier, planter.map(String::as_str));
        let reader = sealing(&world, &tier, reader.map(String::as_str));
        planter.get("/").await;
        planter.written().await;
        let answer = reader.get("/").await;
        assert_eq!(answer.cache_status().ends_with("detail=l2"), is_served);
        assert_eq!(answer.body(), "content");
        assert_eq!(
            reader.reads(Level::L2, Read::Unreadable),
            u64::from(!is_served)
        );
    }
    // Not under another name either.
    let tier = TestTier::default();
    let world = sealing(
        &pages(&[("cache-control", "max-age=60")]),
        &tier,
        Some(&own),
    );
    world.get("/a").await;
    world.get("/b").await;
    world.written().await;
    let [(one, record, ttl), (two, ..)] = &tier.records()[..] else {
        panic!("two records");
    };
    tier.put(*two, record.clone(), *ttl);
    let reader = sealing(&world, &tier, Some(&own));
    reader.get("/a").await;
    reader.get("/b").await;
    assert_ne!(one, two);
    assert_eq!(reader.reads(Level::L2, Read::Hit), 1);
    assert_eq!(reader.reads(Level::L2, Read::Unreadable), 1);
}
