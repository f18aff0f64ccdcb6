use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use crate::ResponseFuture;
use crate::cache::shared::Purge;
use crate::cache::store::tier::Failed;
use crate::cache::store::tier::testing::TestTier;
use crate::cache::store::tiers::{Level, Read};
use crate::cache::testing::{World, at_once, reply, settle};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// Two sidecars before one upstream, over one tier.
fn two(world: &World, tier: &TestTier) -> (World, World) {
    (world.over(tier, Level::L2), world.over(tier, Level::L2))
}

fn numbered() -> World {
    World::new(|number, _| at_once(reply(200, &[FRESH, ("etag", "\"a\"")], number.to_string())))
}

async fn filled(world: &World, uri: &str) {
    world.get(uri).await;
    world.written().await;
}

#[tokio::test]
async fn what_one_sidecar_fetched_serves_the_other_and_is_as_old_there() {
    let tier = TestTier::default();
    let world = numbered();
    let (one, other) = two(&world, &tier);
    filled(&one, "/").await;
    world.advance(10);
    let found = other.get("/").await;
    assert_eq!(found.body(), "1");
    assert_eq!(found.cache_status(), "pillion; hit; ttl=50; detail=l2");
    assert_eq!(found.field("age"), "10");
    world.advance(20);
    let hit = other.get("/").await;
    assert_eq!(
        hit.cache_status(),
        "pillion; hit; ttl=30",
        "it is in memory now"
    );
    assert_eq!(hit.field("age"), "30");
    assert_eq!(
        (world.seen().len(), other.reads(Level::L2, Read::Hit)),
        (1, 1)
    );
    world.advance(30);
    assert!(
        !other.get("/").await.is_hit(),
        "its lifetime did not begin anew"
    );
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn all_who_wait_for_a_tier_are_answered_by_one_read() {
    let tier = TestTier::default();
    let world = numbered();
    let (one, other) = two(&world, &tier);
    filled(&one, "/").await;
    let (gate, before) = (tier.hold(), tier.gets());
    let waiting = other.start(10, "/", &[]);
    settle().await;
    gate.add_permits(1);
    for answer in join_all(waiting).await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.cache_status(), "pillion; hit; ttl=60; detail=l2");
    }
    assert_eq!((tier.gets() - before, world.seen().len()), (1, 1));
}

#[tokio::test]
async fn what_few_requests_need_is_not_carried_along_by_all() {
    let tier = TestTier::default();
    let world = numbered().over(&tier, Level::L2);
    let wanted = crate::cache::wanted::Wanted {
        shared: &world.shared,
        key: b"a",
        hash: 1,
        fields: &http::HeaderMap::new(),
    };
    let tiers = world.shared.tiers().unwrap();
    let read = wanted.read(tiers, tiers.at(Level::L2).unwrap());
    // The longest way, through a cluster that moves, takes some ten times that.
    assert!(size_of_val(&read) <= 1 << 10, "{}", size_of_val(&read));
}

#[tokio::test]
async fn a_leader_whose_client_leaves_is_succeeded() {
    let tier = TestTier::default();
    let world = numbered().over(&tier, Level::L2);
    let gate = tier.hold();
    let leader = world.send("GET", "/", &[]);
    let leader = world.shared.tasks().spawn(leader);
    settle().await;
    let follower = world.start(1, "/", &[]);
    settle().await;
    leader.abort();
    settle().await;
    tier.open();
    gate.add_permits(10);
    let answer = join_all(follower).await.remove(0).unwrap().unwrap();
    assert_eq!(answer.body(), "1");
    assert_eq!(world.seen().len(), 1);
    // And one whom nobody follows takes nothing with it.
    tier.hold();
    let alone = world.shared.tasks().spawn(world.send("GET", "/other", &[]));
    settle().await;
    alone.abort();
    assert!(alone.await.is_err());
    tier.open();
    assert_eq!(world.shared.figures().flights, 0);
    assert_eq!(world.get("/other").await.body(), "2");
}

#[tokio::test]
async fn a_variant_is_found_by_its_own_values() {
    let tier = TestTier::default();
    let world = World::new(|_, request| {
        let value = request.headers().get("x-a").unwrap().to_str().unwrap();
        at_once(reply(200, &[FRESH, ("vary", "x-a")], value.to_owned()))
    });
    let (one, other) = two(&world, &tier);
    for value in ["a", "b"] {
        one.ask("GET", "/", &[("x-a", value)]).await;
    }
    one.written().await;
    for value in ["a", "b"] {
        let before = tier.gets();
        let found = other.ask("GET", "/", &[("x-a", value)]).await;
        assert_eq!(found.body(), value);
        assert!(found.cache_status().ends_with("detail=l2"), "{found:?}");
        assert_eq!(tier.gets() - before, 2, "index and record");
    }
    assert_eq!(world.seen().len(), 2);
    let new = other.ask("GET", "/", &[("x-a", "c")]).await;
    assert_eq!((new.body(), world.seen().len()), ("c", 3));
}

#[tokio::test]
async fn head_ranges_and_only_if_cached_find_what_lies_below() {
    for (method, fields) in [
        ("HEAD", &[][..]),
        ("GET", &[("range", "bytes=0-0")]),
        ("GET", &[("cache-control", "only-if-cached")]),
    ] {
        let tier = TestTier::default();
        let world = numbered();
        let (one, other) = two(&world, &tier);
        filled(&one, "/").await;
        let found = other.ask(method, "/", fields).await;
        assert_eq!(
            found.cache_status(),
            "pillion; hit; ttl=60; detail=l2",
            "{method}"
        );
        assert_eq!(found.field("content-length"), "1");
        assert_eq!(world.seen().len(), 1, "{method} {fields:?}");
        assert_eq!(other.get("/").await.cache_status(), "pillion; hit; ttl=60");
    }
    let empty = numbered().over(&TestTier::default(), Level::L2);
    let only = empty.send("GET", "/", &[("cache-control", "only-if-cached")]);
    assert!(only.await.is_err());
    assert_eq!(empty.seen().len(), 0);
}

#[tokio::test]
async fn a_tier_is_not_asked_in_vain() {
    let tier = TestTier::default();
    let world = numbered().over(&tier, Level::L2);
    filled(&world, "/").await;
    let before = tier.gets();
    for directive in ["no-store", "no-cache", "max-age=0"] {
        let fields = [("cache-control", directive)];
        world.ask("GET", "/", &fields).await;
        world.ask("GET", "/new", &fields).await;
    }
    world.ask("POST", "/", &[]).await;
    assert_eq!(tier.gets(), before);
    // Nor where answers could not be stored lately.
    let tier = TestTier::default();
    let world = World::new(|_, _| at_once(reply(200, &[("cache-control", "no-store")], "x")));
    let world = world.over(&tier, Level::L2);
    world.get("/").await;
    assert_eq!(tier.gets(), 1);
    world.get("/").await;
    world.ask("HEAD", "/", &[]).await;
    world.ask("GET", "/", &[("range", "bytes=0-0")]).await;
    assert_eq!((tier.gets(), world.seen().len()), (1, 4));
    // Nor about what has to be validated before every use.
    let tier = TestTier::default();
    let lines = [("cache-control", "no-cache"), ("etag", "\"a\"")];
    let world = World::new(move |_, _| at_once(reply(200, &lines, "x"))).over(&tier, Level::L2);
    world.get("/").await;
    world.get("/").await;
    assert_eq!((tier.gets(), world.seen().len()), (1, 2));
}

#[tokio::test]
async fn a_tier_that_fails_is_a_miss() {
    for (failed, read) in [
        (Failed::Away, Read::Away),
        (Failed::Late, Read::Late),
        (Failed::Broken, Read::Failed),
    ] {
        let tier = TestTier::default();
        tier.fail(Some(failed));
        let world = numbered().over(&tier, Level::L2);
        let answer = world.get("/").await;
        let status = "pillion; fwd=uri-miss; fwd-status=200; ttl=60; stored";
        assert_eq!(answer.cache_status(), status);
        assert_eq!(world.reads(Level::L2, read), 1);
    }
}

#[tokio::test]
async fn what_was_purged_is_not_found_below() {
    for purge in ["url", "tag", "prefix", "all"] {
        let tier = TestTier::default();
        let world = World::new(|number, _| {
            let fields = [FRESH, ("surrogate-key", "one")];
            at_once(reply(200, &fields, number.to_string()))
        });
        let world = world.over(&tier, Level::L2);
        filled(&world, "/a/b").await;
        let uri = "/a/b".parse().unwrap();
        match purge {
            "url" => {
                let scheme = crate::facts::Scheme::Http;
                world
                    .shared
                    .purge_uri(scheme, "example.com", &uri, Purge::Hard);
            }
            "tag" => {
                world.shared.purge_tags(&["one"], Purge::Hard);
            }
            "prefix" => {
                world.shared.purge_prefixes(None, &["/a"], Purge::Hard);
            }
            _ => {
                world.shared.purge_all();
            }
        }
        assert_eq!(world.get("/a/b").await.body(), "2", "{purge}");
        assert_eq!(world.reads(Level::L2, Read::Purged), 1, "{purge}");
        world.written().await;
        let again = world.over(&tier, Level::L2);
        assert_eq!(again.get("/a/b").await.body(), "2", "{purge}");
        assert_eq!(world.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_purge_while_the_tier_is_read_is_not_lost() {
    let tier = TestTier::default();
    let world = World::new(|number, _| {
        let fields = [FRESH, ("surrogate-key", "one")];
        at_once(reply(200, &fields, number.to_string()))
    });
    let (one, world) = two(&world, &tier);
    filled(&one, "/").await;
    let gate = tier.hold();
    let waiting = world.start(3, "/", &[]);
    settle().await;
    world.shared.purge_tags(&["one"], Purge::Hard);
    gate.add_permits(10);
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap().unwrap().body(), "2");
    }
    assert_eq!(world.get("/").await.body(), "2");
}

#[tokio::test]
async fn what_is_stale_below_is_validated_and_written_anew() {
    let tier = TestTier::default();
    let world = World::new(|_, request| {
        let fields = [
            ("cache-control", "max-age=60, stale-if-error=600"),
            ("etag", "\"a\""),
        ];
        match request.headers().contains_key("if-none-match") {
            true => at_once(reply(304, &fields, "")),
            false => at_once(reply(200, &fields, "content")),
        }
    });
    let (one, other) = two(&world, &tier);
    filled(&one, "/").await;
    world.advance(100);
    let validated = other.get("/").await;
    assert_eq!(validated.body(), "content");
    let status = validated.cache_status().to_owned();
    assert!(status.contains("fwd=stale; fwd-status=304"), "{status}");
    assert_eq!(world.seen()[1].field("if-none-match"), Some("\"a\""));
    assert_eq!(other.get("/").await.cache_status(), "pillion; hit; ttl=60");
    // The first one holds it stale in memory, and learns that it was validated.
    other.written().await;
    let news = one.get("/").await;
    assert_eq!(news.cache_status(), "pillion; hit; ttl=60; detail=l2");
    assert_eq!((news.body(), world.seen().len()), ("content", 2));
}

#[tokio::test]
async fn a_soft_purge_marks_what_lies_below() {
    let tier = TestTier::default();
    let is_away = Arc::new(AtomicBool::new(false));
    let away = is_away.clone();
    let world = World::new(move |_, request| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("surrogate-key", "one"),
        ];
        let is_conditional = request.headers().contains_key("if-none-match");
        match (away.load(Ordering::SeqCst), is_conditional) {
            (true, _) => ResponseFuture::ready(Err(crate::Error::upstream(
                crate::ErrorKind::ConnectionRefused,
            ))),
            (false, true) => at_once(reply(304, &fields, "")),
            (false, false) => at_once(reply(200, &fields, "content")),
        }
    });
    let (one, other) = two(&world, &tier);
    filled(&one, "/").await;
    other.shared.purge_tags(&["one"], Purge::Soft);
    is_away.store(true, Ordering::SeqCst);
    assert!(other.send("GET", "/", &[]).await.is_err());
    // It was not put into memory, which would have taken it for valid.
    assert!(other.send("GET", "/", &[]).await.is_err());
    is_away.store(false, Ordering::SeqCst);
    let validated = other.get("/").await;
    assert_eq!(validated.body(), "content");
    assert!(
        validated.cache_status().contains("fwd-status=304"),
        "{validated:?}"
    );
    assert_eq!(other.get("/").await.cache_status(), "pillion; hit; ttl=60");
}

#[tokio::test]
async fn a_stale_hit_from_below_is_validated_in_the_background() {
    let tier = TestTier::default();
    let world = World::new(|number, _| {
        let fields = [("cache-control", "max-age=60, stale-while-revalidate=600")];
        at_once(reply(200, &fields, number.to_string()))
    });
    let (one, other) = two(&world, &tier);
    filled(&one, "/").await;
    world.advance(100);
    let stale = other.get("/").await;
    let status = "pillion; hit; ttl=-40; detail=stale-while-revalidate";
    assert_eq!((stale.body(), stale.cache_status()), ("1", status));
    settle().await;
    assert_eq!(world.seen().len(), 2);
    assert_eq!(other.get("/").await.body(), "2");
    // The other one serves its own stale copy once more, and finds the news below.
    other.written().await;
    assert_eq!(one.get("/").await.body(), "1");
    settle().await;
    let news = one.get("/").await;
    assert_eq!((news.body(), world.seen().len()), ("2", 2));
}

#[tokio::test]
async fn what_may_not_be_stored_any_more_does_not_come_back_from_below() {
    let tier = TestTier::default();
    let world = World::new(|number, _| match number {
        1 => at_once(reply(
            200,
            &[("cache-control", "max-age=60, stale-if-error=600")],
            "1",
        )),
        2 => at_once(reply(200, &[("cache-control", "no-store")], "2")),
        _ => at_once(reply(500, &[], "broken")),
    });
    let (one, other) = two(&world, &tier);
    filled(&one, "/").await;
    world.advance(100);
    assert_eq!(one.get("/").await.body(), "2");
    world.advance(100);
    assert_eq!(one.get("/").await.body(), "broken");
    assert_eq!(other.get("/").await.body(), "broken");
}

#[tokio::test]
async fn what_memory_has_as_new_is_not_taken_from_below() {
    let tier = TestTier::default();
    let world = World::new(|_, request| {
        let fields = [
            ("cache-control", "max-age=60, stale-if-error=600"),
            ("etag", "\"a\""),
        ];
        match request.headers().contains_key("if-none-match") {
            true => at_once(reply(304, &fields, "")),
            false => at_once(reply(200, &fields, "content")),
        }
    });
    let world = world.over(&tier, Level::L2);
    filled(&world, "/").await;
    world.advance(100);
    let validated = world.get("/").await;
    assert!(
        validated.cache_status().contains("fwd-status=304"),
        "{validated:?}"
    );
    assert_eq!(world.reads(Level::L2, Read::Known), 1);
    assert_eq!(world.reads(Level::L2, Read::Validated), 0);
}
