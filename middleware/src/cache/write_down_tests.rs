use std::time::Duration;

use crate::cache::store::tier::testing::TestTier;
use crate::cache::store::tiers::{Level, Tier};
use crate::cache::testing::{World, at_once, reply};
use crate::clock::Clock;

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
