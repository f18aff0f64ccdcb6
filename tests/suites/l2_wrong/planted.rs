//! Records that are not what a sidecar of ours wrote there: damaged, of another version, moved, or planted.

use futures_util::future::join_all;
use redis::AsyncCommands;
use tests::sidecar::Sidecar;

use super::*;

const UNREADABLE: &str = "pillion_cache_tier_reads_total{tier=\"l2\",result=\"unreadable\"}";
const TOLD: &str = "A record cannot be used, and counts as missing.";

/// An app that says `who`, and what it was asked for.
async fn app(who: &'static str) -> Upstream {
    Upstream::start(move |seen: Seen| async move {
        reply(200)
            .header("cache-control", "max-age=600")
            .body(format!("{who} {}", seen.target))
    })
    .await
}

/// The names of all records.
async fn names(redis: &Redis) -> Vec<String> {
    let keys = redis.text(&["KEYS", "pillion:r:*"]).await;
    let records = keys.lines().filter(|key| key.ends_with('}'));
    records.map(str::to_owned).collect()
}

/// Has `sidecar` store `target`, which nobody has: the name of its record.
async fn stored(redis: &Redis, sidecar: &Sidecar, target: &str) -> String {
    // What is stored before Redis is known to answer, and the bus is heard, may not be written.
    until("Redis and the bus are there", async || {
        sidecar.metric("pillion_l2_state{state=\"up\"}").await == 1
            && sidecar.metric("pillion_bus_instances").await > 0
    })
    .await;
    let before = names(redis).await;
    let found = std::cell::RefCell::new(String::new());
    assert_eq!(sidecar.get(target, &[]).await.status, 200);
    until("a record is written", async || {
        let new = names(redis).await;
        let new = new.into_iter().find(|name| !before.contains(name));
        new.is_some_and(|name| {
            *found.borrow_mut() = name;
            true
        })
    })
    .await;
    found.into_inner()
}

/// Until what `one` stores answers at `other`.
async fn share(redis: &Redis, one: &Sidecar, other: &Sidecar) {
    let number = AtomicU64::new(0);
    until("what one stores answers the other", async || {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let target = format!("/ready/{number}");
        let stored = stored(redis, one, &target);
        if tokio::time::timeout(Duration::from_secs(1), stored)
            .await
            .is_err()
        {
            return false;
        }
        let answer = other.get(&target, &[]).await;
        answer.header("cache-status").contains("detail=l2")
    })
    .await;
}

#[tokio::test]
async fn records_with_flipped_bits_or_of_another_version_are_misses_and_one_line_each() {
    let (redis, upstream) = (Redis::start().await, app("app").await);
    let lines = format!("url = {:?}", redis.url());
    let start = || Sidecar::start(&upstream, &lines, "");
    let (one, other) = (start().await, start().await);
    share(&redis, &one, &other).await;
    let mut connection = redis.connection().await.expect("a connection");
    let before = other.metric(UNREADABLE).await;
    // The magic, the format, the kind, the head's length, the sum; and then here and there.
    let places = [0, 4, 5, 8, 12, 20, 25, 40, 60, 90, 120];
    for (number, at) in places.into_iter().enumerate() {
        let target = format!("/flipped/{number}");
        let name = stored(&redis, &one, &target).await;
        let record: Vec<u8> = connection.get(&name).await.expect("a record");
        let at = at.min(record.len() - 1);
        let flipped = [record[at] ^ 1 << (number % 8)];
        let set: redis::RedisResult<()> =
            connection.setrange(&name, at as isize, &flipped[..]).await;
        set.expect("it is there");
        let count = upstream.count();
        let answer = other.get(&target, &[]).await;
        assert_eq!(answer.text(), format!("app {target}"), "byte {at}");
        assert_eq!(
            upstream.count(),
            count + 1,
            "byte {at}: {}",
            answer.header("cache-status")
        );
    }
    assert_eq!(other.metric(UNREADABLE).await - before, places.len() as u64);
    let version = other
        .tells(&[TOLD, "format", "Another version has written it"])
        .await;
    assert!(version.contains("l2"), "{version}");
    other
        .tells(&[TOLD, "checksum", "damaged where it lies"])
        .await;
    let told = other.told(&[TOLD]);
    assert!(told.len() <= 4, "one for each kind: {told:?}");
}

#[tokio::test]
async fn with_a_key_what_others_plant_is_refused() {
    let (redis, upstream, evil) = (Redis::start().await, app("app").await, app("evil").await);
    let folder = Folder::new();
    let keyed = |name: &str, digits: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, digits.repeat(4)).expect("a writable folder");
        format!("url = {:?}\nkey_file = {file:?}", redis.url())
    };
    let (ours, theirs) = (
        keyed("ours", "0123456789abcdef"),
        keyed("theirs", "fedcba9876543210"),
    );
    let plain = format!("url = {:?}", redis.url());
    let one = Sidecar::start(&upstream, &ours, "").await;
    let other = Sidecar::start(&upstream, &ours, "").await;
    share(&redis, &one, &other).await;
    // In clear, and sealed by a key of one's own.
    for (lines, reason, help) in [
        (&plain, "sealing", "or none has"),
        (&theirs, "forged", "the same `cache.redis.key_file`"),
    ] {
        let planter = Sidecar::start(&evil, lines, "").await;
        let count = evil.count();
        let target = format!("/planted/{reason}");
        stored(&redis, &planter, &target).await;
        assert_eq!(evil.count(), count + 1);
        for sidecar in [&one, &other, &one, &other] {
            let answer = sidecar.get(&target, &[]).await;
            assert_eq!(answer.text(), format!("app {target}"));
        }
        one.tells(&[TOLD, reason, help]).await;
    }
    // A sealed one of ours, under the name of another.
    let (from, to) = (
        stored(&redis, &one, "/prices").await,
        stored(&redis, &one, "/admin").await,
    );
    redis.command(&["COPY", &from, &to, "REPLACE"]).await;
    let answer = other.get("/admin", &[]).await;
    assert_eq!(answer.text(), "app /admin");
    // And nobody reads there what pages say.
    for name in names(&redis).await {
        let record = redis.text(&["GET", &name]).await;
        assert!(!record.contains("app /"), "{record}");
    }
}

/// What the manual says of a Redis that others can write into, where there is no key.
#[tokio::test]
async fn without_a_key_a_planted_record_is_served_and_the_manual_says_so() {
    let (redis, upstream, evil) = (Redis::start().await, app("app").await, app("evil").await);
    let lines = format!("url = {:?}", redis.url());
    let start = |upstream| Sidecar::start(upstream, &lines, "");
    let sidecars = join_all([start(&upstream), start(&upstream), start(&evil)]).await;
    let [one, other, planter] = &sidecars[..] else {
        unreachable!("three were started");
    };
    share(&redis, one, other).await;
    stored(&redis, planter, "/planted").await;
    assert_eq!(one.get("/planted", &[]).await.text(), "evil /planted");
    for manual in [
        include_str!("../../../config/reference.toml"),
        include_str!("../../../README.md"),
    ] {
        let manual = manual.replace("\n#", "").replace('\n', " ");
        let says = manual.contains("whoever can write into that Redis decides what clients get")
            || manual.contains("who can write to that Redis can answer for your app");
        assert!(says);
    }
    // But it answers only for what it says that it is.
    let (from, to) = (
        stored(&redis, one, "/prices").await,
        stored(&redis, one, "/admin").await,
    );
    redis.command(&["COPY", &from, &to, "REPLACE"]).await;
    assert_eq!(other.get("/admin", &[]).await.text(), "app /admin");
    other.tells(&[TOLD, "other-key", "not its own"]).await;
}
