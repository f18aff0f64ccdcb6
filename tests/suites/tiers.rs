//! The tiers below memory: sidecars that share a real Redis, and one that comes back to its disk.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tests::client::request;
use tests::proxy::Folder;
use tests::redis::{Redis, until};
use tests::{Fetched, Proxy, Seen, Upstream, fetch, reply};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
const HOST: (&str, &str) = ("host", "shop.test");

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A sidecar over `redis` that has heard of all purges.
async fn sidecar(upstream: &Upstream, redis: &Redis, toml: &str) -> Proxy {
    let url = redis.url();
    // The machine may be busy with other tests.
    let patient = "timeout = \"1s\"\nconnect_timeout = \"1s\"";
    let toml = format!("{toml}\n{ADMIN}[cache.redis]\nurl = {url:?}\n{patient}\n");
    let proxy = Proxy::with(upstream, &toml).await;
    until("the sidecar hears the bus", async || {
        metric(&proxy, "pillion_bus_instances").await > 0.0
    })
    .await;
    proxy
}

async fn two(upstream: &Upstream, redis: &Redis) -> (Proxy, Proxy) {
    let one = sidecar(upstream, redis, "").await;
    (one, sidecar(upstream, redis, "").await)
}

async fn get(proxy: &Proxy, target: &str) -> Fetched {
    proxy.get_with(target, &[HOST]).await
}

async fn metric(proxy: &Proxy, name: &str) -> f64 {
    proxy.metric(name).await.unwrap_or(0.0)
}

async fn order(proxy: &Proxy, query: &str) -> Fetched {
    let admin = proxy.admin.expect("an admin listener");
    let target = format!("/purge?{query}");
    fetch(admin, request(Method::POST, &target, &[], "")).await
}

/// Waits until Redis has so many records.
async fn written(redis: &Redis, count: usize) {
    until("the records are written", async || {
        // Leases and their marks lie beside them, under longer names.
        let keys = redis.text(&["KEYS", "pillion:r:*}"]).await;
        keys.lines().filter(|line| !line.is_empty()).count() >= count
    })
    .await;
}

/// Whether one of the records in Redis is of this content.
async fn holds(redis: &Redis, content: &str) -> bool {
    let keys = redis.text(&["KEYS", "pillion:r:*}"]).await;
    for key in keys.lines() {
        if redis.text(&["GET", key]).await.contains(content) {
            return true;
        }
    }
    false
}

fn is_from_redis(answer: &Fetched) -> bool {
    let status = answer.header("cache-status");
    status.starts_with("pillion; hit") && status.ends_with("detail=l2")
}

async fn counting(lifetime: &'static str) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |seen: Seen| {
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            if !seen.header("if-none-match").is_empty() {
                return reply(304)
                    .header("cache-control", lifetime)
                    .header("etag", "\"a\"")
                    .empty();
            }
            reply(200)
                .header("cache-control", lifetime)
                .header("etag", "\"a\"")
                .header("surrogate-key", "one")
                .body(format!("fetched {number}"))
        }
    })
    .await
}

/// semantics §14 #6: L1 and L2 disagree. An age begins where the upstream answered, and nowhere else.
#[tokio::test]
async fn what_one_sidecar_fetched_serves_all_and_its_age_never_begins_anew() {
    let (redis, upstream) = (Redis::start().await, counting("max-age=60").await);
    let (one, other) = two(&upstream, &redis).await;
    let first = get(&one, "/a").await;
    assert!(first.header("cache-status").contains("fwd=uri-miss"));
    written(&redis, 1).await;
    other.advance(secs(10));
    let found = get(&other, "/a").await;
    assert!(is_from_redis(&found), "{found:?}");
    assert_eq!(found.text(), "fetched 1");
    let age: u64 = found.header("age").parse().expect("an Age");
    assert!((10..=25).contains(&age), "{age}");
    assert_eq!(found.header("date"), first.header("date"));
    other.advance(secs(30));
    let promoted = get(&other, "/a").await;
    let status = promoted.header("cache-status");
    assert!(status.starts_with("pillion; hit; ttl="), "{status}");
    assert!(!status.contains("detail"), "it is in memory: {status}");
    let age: u64 = promoted.header("age").parse().expect("an Age");
    assert!((40..=55).contains(&age), "{age}");
    assert_eq!(upstream.count(), 1);
    other.advance(secs(21));
    get(&other, "/a").await;
    assert_eq!(
        upstream.count(),
        2,
        "it is as stale here as it would be there"
    );
    let line = "pillion_cache_tier_reads_total{tier=\"l2\",result=\"hit\"}";
    assert!(metric(&other, line).await >= 1.0);
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_are_answered_by_one_read() {
    let (redis, upstream) = (Redis::start().await, counting("max-age=60").await);
    let (one, other) = two(&upstream, &redis).await;
    get(&one, "/a").await;
    written(&redis, 1).await;
    for answer in join_all((0..100).map(|_| get(&other, "/a"))).await {
        assert_eq!(answer.text(), "fetched 1");
        let status = answer.header("cache-status");
        assert!(status.starts_with("pillion; hit"), "{status}");
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn each_variant_is_found_by_those_who_ask_for_it() {
    let redis = Redis::start().await;
    let upstream = Upstream::start(async |seen: Seen| {
        reply(200)
            .header("cache-control", "max-age=60")
            .header("vary", "accept-language")
            .body(seen.header("accept-language").to_owned())
    })
    .await;
    let (one, other) = two(&upstream, &redis).await;
    let ask = async |proxy: &Proxy, language: &str| {
        proxy
            .get_with("/a", &[HOST, ("accept-language", language)])
            .await
    };
    for language in ["de", "fr"] {
        ask(&one, language).await;
    }
    written(&redis, 3).await;
    for language in ["de", "fr"] {
        let found = ask(&other, language).await;
        assert!(is_from_redis(&found), "{found:?}");
        assert_eq!(found.text(), language);
    }
    assert_eq!(upstream.count(), 2);
    assert_eq!(ask(&other, "it").await.text(), "it");
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn head_range_and_only_if_cached_are_answered_from_redis() {
    let (redis, upstream) = (Redis::start().await, counting("max-age=60").await);
    let one = sidecar(&upstream, &redis, "").await;
    get(&one, "/a").await;
    written(&redis, 1).await;
    for (method, field, status, content) in [
        (Method::HEAD, ("x-a", "b"), 200, ""),
        (Method::GET, ("range", "bytes=0-6"), 206, "fetched"),
        (
            Method::GET,
            ("cache-control", "only-if-cached"),
            200,
            "fetched 1",
        ),
    ] {
        let other = sidecar(&upstream, &redis, "").await;
        let found = other.send(request(method, "/a", &[HOST, field], "")).await;
        assert!(is_from_redis(&found), "{found:?}");
        assert_eq!((found.status.as_u16(), found.text()), (status, content));
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_came_from_redis_is_coded_for_each_client() {
    let redis = Redis::start().await;
    let page = "<p>The same words again and again.</p>\n".repeat(200);
    let content = page.clone();
    let upstream = Upstream::start(move |_| {
        let content = content.clone();
        async move {
            reply(200)
                .header("cache-control", "public, max-age=60")
                .header("content-type", "text/html")
                .header("etag", "\"a\"")
                .body(content)
        }
    })
    .await;
    let (one, other) = two(&upstream, &redis).await;
    get(&one, "/a").await;
    written(&redis, 1).await;
    for (index, coding) in ["br", "gzip", "zstd", "identity"].into_iter().enumerate() {
        let fields = [HOST, ("accept-encoding", coding)];
        let answer = other.get_with("/a", &fields).await;
        assert_eq!(answer.decoded(), page.as_bytes(), "{coding}");
        assert_eq!(is_from_redis(&answer), index == 0, "{answer:?}");
        let said = answer.header("content-encoding");
        assert_eq!(said, if coding == "identity" { "" } else { coding });
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_purge_at_one_reaches_all_and_what_lies_in_redis() {
    for query in ["url=http://shop.test/a", "tag=one", "all"] {
        let (redis, upstream) = (Redis::start().await, counting("max-age=600").await);
        let (one, other) = two(&upstream, &redis).await;
        get(&one, "/a").await;
        written(&redis, 1).await;
        assert!(is_from_redis(&get(&other, "/a").await));
        let third = sidecar(&upstream, &redis, "").await;
        until("all have acknowledged the purge", async || {
            order(&one, query).await.status == 200
        })
        .await;
        // The third has nothing in memory, and Redis nothing that is not purged.
        let answer = get(&third, "/a").await;
        assert_eq!(answer.text(), "fetched 2", "{query}: {answer:?}");
        // Who asks before that is written fetches for itself.
        until("what it fetched is written", async || {
            holds(&redis, "fetched 2").await
        })
        .await;
        until("the other one has heard of it", async || {
            get(&other, "/a").await.text() == "fetched 2"
        })
        .await;
        assert_eq!(get(&one, "/a").await.text(), "fetched 2", "{query}");
        assert_eq!(upstream.count(), 2, "{query}");
        // Nor does one that starts later believe what is older.
        let late = sidecar(&upstream, &redis, "").await;
        assert_eq!(get(&late, "/a").await.text(), "fetched 2", "{query}");
    }
}

#[tokio::test]
async fn what_one_has_validated_is_fresh_for_all() {
    let redis = Redis::start().await;
    let upstream = counting("max-age=60, stale-if-error=600").await;
    let (one, other) = two(&upstream, &redis).await;
    get(&one, "/a").await;
    written(&redis, 1).await;
    get(&other, "/a").await;
    one.advance(secs(100));
    other.advance(secs(100));
    let validated = get(&one, "/a").await;
    let status = validated.header("cache-status");
    assert!(status.contains("fwd-status=304"), "{status}");
    one.running().shared().cache.written_below().await;
    until("the other one finds it", async || {
        let answer = get(&other, "/a").await;
        is_from_redis(&answer) || !answer.header("cache-status").contains("hit")
    })
    .await;
    let answer = get(&other, "/a").await;
    assert_eq!(answer.text(), "fetched 1");
    assert!(answer.header("cache-status").starts_with("pillion; hit"));
}

#[tokio::test]
async fn a_redis_that_dies_is_a_miss_and_comes_back() {
    let (redis, upstream) = (Redis::start().await, counting("max-age=600").await);
    let (one, other) = two(&upstream, &redis).await;
    get(&one, "/a").await;
    written(&redis, 1).await;
    redis.kill();
    for (index, target) in ["/b", "/c", "/d", "/e"].into_iter().enumerate() {
        for proxy in [&one, &other] {
            let answer = get(proxy, target).await;
            assert_eq!(answer.status.as_u16(), 200, "{index} {answer:?}");
            let status = answer.header("cache-status");
            assert!(status.starts_with("pillion; fwd=uri-miss"), "{status}");
        }
    }
    assert_eq!(get(&one, "/a").await.text(), "fetched 1", "memory goes on");
    redis.restart().await;
    until("what one fetches serves the other again", async || {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let target = format!("/again/{number}");
        get(&one, &target).await;
        one.running().shared().cache.written_below().await;
        tokio::task::yield_now().await;
        is_from_redis(&get(&other, &target).await)
    })
    .await;
}

/// Nothing that a client is told apart by lies in Redis.
#[tokio::test]
async fn what_is_for_one_client_never_lies_in_redis() {
    let redis = Redis::start().await;
    let upstream = Upstream::start(async |seen: Seen| match seen.target.as_str() {
        "/cookie" => reply(200)
            .header("cache-control", "max-age=60")
            .header("set-cookie", "session=secret-of-one")
            .body("secret-of-one"),
        "/private" => reply(200)
            .header("cache-control", "private, max-age=60")
            .body("secret-of-one"),
        "/authorized" => reply(200)
            .header("cache-control", "max-age=60")
            .body("secret-of-one"),
        _ => reply(200)
            .header("cache-control", "public, max-age=60")
            .header("vary", "x-token")
            .body("for all"),
    })
    .await;
    let one = sidecar(&upstream, &redis, "").await;
    let secrets = [
        HOST,
        ("authorization", "Bearer secret-of-one"),
        ("cookie", "session=secret-of-one"),
        ("x-token", "secret-of-one"),
    ];
    for target in ["/cookie", "/private", "/authorized", "/shared"] {
        one.get_with(target, &secrets).await;
    }
    written(&redis, 2).await;
    let keys = redis.text(&["KEYS", "*"]).await;
    for key in keys.lines() {
        let kind = redis.text(&["TYPE", key]).await;
        if kind == "string" {
            let value = redis.text(&["GET", key]).await;
            assert!(!value.contains("secret-of-one"), "{key}");
        }
    }
}

/// A sidecar with a disk of its own.
async fn with_disk(upstream: &Upstream, folder: &Folder) -> Proxy {
    let path = folder.path().join("cache");
    let toml = format!("{ADMIN}[cache.disk]\npath = {path:?}\nsize = \"32MiB\"\n");
    let proxy = Proxy::with(upstream, &toml).await;
    until("the disk is open", async || {
        metric(&proxy, "pillion_cache_disk_on").await > 0.0
    })
    .await;
    proxy
}

#[tokio::test]
async fn a_restart_with_a_disk_is_warm() {
    // A read that takes longer than requests wait is a miss, and a busy machine brings it about.
    for _ in 0..5 {
        if warm_with_a_disk().await {
            return;
        }
    }
    panic!("the disk was late five times");
}

async fn warm_with_a_disk() -> bool {
    let (folder, upstream) = (Folder::new(), counting("max-age=600").await);
    let proxy = with_disk(&upstream, &folder).await;
    get(&proxy, "/a").await;
    get(&proxy, "/b").await;
    proxy.stop().await;
    let proxy = with_disk(&upstream, &folder).await;
    let found = get(&proxy, "/a").await;
    let status = found.header("cache-status");
    if metric(
        &proxy,
        "pillion_cache_disk_reads_lost_total{cause=\"late\"}",
    )
    .await
        > 0.0
    {
        return false;
    }
    assert!(status.starts_with("pillion; hit"), "{status}");
    assert!(status.ends_with("detail=disk"), "{status}");
    assert_eq!(found.text(), "fetched 1");
    assert_eq!(upstream.count(), 2);
    // What is purged stays so, although it lies on disk still.
    assert_eq!(order(&proxy, "tag=one").await.status.as_u16(), 200);
    proxy.stop().await;
    let proxy = with_disk(&upstream, &folder).await;
    assert_eq!(get(&proxy, "/b").await.text(), "fetched 3");
    assert_eq!(get(&proxy, "/a").await.text(), "fetched 4");
    true
}

#[tokio::test]
async fn explain_tells_what_lies_below() {
    let (redis, upstream) = (Redis::start().await, counting("max-age=60").await);
    let (one, other) = two(&upstream, &redis).await;
    let explain = async |proxy: &Proxy| {
        let admin = proxy.admin.expect("an admin listener");
        let target = "/explain?url=http://shop.test/a&format=text";
        let told = fetch(admin, request(Method::GET, target, &[], "")).await;
        told.text().to_owned()
    };
    let told = explain(&other).await;
    assert!(
        told.contains("Nothing that could be used lies in Redis."),
        "{told}"
    );
    get(&one, "/a").await;
    written(&redis, 1).await;
    let told = explain(&other).await;
    assert!(
        told.contains("A response of 9 bytes lies in Redis"),
        "{told}"
    );
    assert!(told.contains("It would answer"), "{told}");
    assert_eq!(upstream.count(), 1);
    let found = get(&other, "/a").await;
    assert!(
        is_from_redis(&found),
        "explaining has put nothing into memory"
    );
}
