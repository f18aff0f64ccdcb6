use std::sync::Arc;
use std::time::Duration;

use crate::cache::record::Sealer;
use crate::cache::store::tier::ByteTier;
use crate::cache::store::tier::testing::TestTier;
use crate::cache::store::tiers::{Level, Read, Tier};
use crate::cache::stored::StoredResponse;
use crate::cache::testing::{World, at_once, reply};
use crate::clock::Clock;
use crate::content_coding::Coding;

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

/// What answers a request, as it is stored.
async fn stored(world: &World, uri: &str) -> Arc<StoredResponse> {
    let mut answer = world.send("GET", uri, &[]).await.unwrap();
    let stored = crate::facts::of_response(&mut answer).stored.clone();
    stored.expect("it is stored")
}

fn copied(world: &World, stored: &Arc<StoredResponse>, coding: Coding, copy: &'static str) {
    world.shared.keep_coded(stored, coding, copy.into());
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
