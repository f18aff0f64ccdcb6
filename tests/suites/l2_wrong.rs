//! What two sidecars and a Redis get wrong between them: each without a wrong answer.

mod planted;
mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use tests::binary::Binary;
use tests::client::request;
use tests::proxy::Folder;
use tests::redis::{Redis, until};
use tests::{Client, Fetched, Proxy, Seen, Upstream, fetch, reply};

/// Two sidecars, one Redis, and an app whose pages say which version they are.
struct Scene {
    redis: Redis,
    upstream: Upstream,
    proxies: [Proxy; 2],
    version: Arc<AtomicU64>,
}

impl Scene {
    /// The sidecars with these lines under `[cache.redis]`, and these tables.
    async fn start(redis: Redis, lines: [&str; 2], tables: &str) -> Self {
        let version = Arc::new(AtomicU64::new(1));
        let current = version.clone();
        let upstream = Upstream::start(move |seen: Seen| {
            let version = current.load(Ordering::SeqCst);
            async move {
                let length = if seen.target.starts_with("/long") {
                    8192
                } else {
                    0
                };
                reply(200)
                    .header("cache-control", "max-age=600")
                    .header("surrogate-key", "page")
                    .body(format!("{version} {}{}", seen.target, " ".repeat(length)))
            }
        })
        .await;
        let url = format!("url = {:?}", redis.url());
        let toml = |lines: &str| {
            let url = if lines.contains("url = ") { "" } else { &url };
            format!(
                "threads = 1\n{tables}\n[admin]\naddress = \"127.0.0.1:0\"\n[cache.redis]\n{url}\n\
                 # The machine may be busy with other tests.\ntimeout = \"1s\"\nconnect_timeout = \"1s\"\n{lines}\n"
            )
        };
        let proxies = [
            Proxy::with(&upstream, &toml(lines[0])).await,
            Proxy::with(&upstream, &toml(lines[1])).await,
        ];
        let scene = Self {
            redis,
            upstream,
            proxies,
            version,
        };
        // What is stored before Redis is known to answer may not be written.
        for proxy in [0, 1] {
            until("Redis is known to answer", async || {
                let told = scene.metrics(proxy).await;
                told.contains("pillion_l2_state{state=\"up\"} 1")
            })
            .await;
        }
        scene
    }

    async fn get(&self, proxy: usize, target: &str) -> Fetched {
        let mut client = Client::connect(self.proxies[proxy].address).await;
        let answer = client.get_with(target, SITE).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// The version of an answer, which must be for what was asked for.
    async fn version(&self, proxy: usize, target: &str) -> u64 {
        let answer = self.get(proxy, target).await;
        let (version, page) = answer.text().trim_end().split_once(' ').expect("two words");
        assert_eq!(page, target);
        version.parse().expect("a version")
    }

    /// Records in Redis.
    async fn records(&self) -> usize {
        let keys = self.redis.text(&["KEYS", "pillion:r:*"]).await;
        // Leases and their marks lie beside them, under longer names.
        keys.lines().filter(|key| key.ends_with('}')).count()
    }

    /// Whether `second` is answered from what `first` stored, for a page that nobody asked for before.
    async fn is_shared(&self, target: &str, [first, second]: [usize; 2]) -> bool {
        let before = self.records().await;
        self.get(first, target).await;
        until("a record is written", async || {
            self.records().await > before
        })
        .await;
        let answer = self.get(second, target).await;
        answer.header("cache-status").contains("detail=l2")
    }

    /// Waits until the second is answered from what the first stored: until it has heard the bus.
    async fn shares(&self) {
        let count = AtomicU64::new(0);
        until("what one stores answers the other", async || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let shared = format!("/ready/{number}");
            self.is_shared(&shared, [0, 1]).await
        })
        .await;
    }

    async fn purge(&self, proxy: usize) -> u64 {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let admin = self.proxies[proxy].admin.expect("an admin listener");
        let order = request(Method::POST, "/purge?tag=page", &[], "");
        let answer = fetch(admin, order).await;
        // 202: it is made here, and others will hear of it.
        assert!(
            [200, 202].contains(&answer.status.as_u16()),
            "{}",
            answer.text()
        );
        version
    }

    /// A purge at one is soon a purge at the other, and then stays one.
    async fn purges_reach_each_other(&self, target: &str) {
        for proxy in [0, 1] {
            let version = self.purge(proxy).await;
            assert_eq!(
                self.version(proxy, target).await,
                version,
                "at once where it was made"
            );
            let other = 1 - proxy;
            until("the other hears of it", async || {
                self.version(other, target).await == version
            })
            .await;
            for turn in 0..20 {
                let proxy = turn % 2;
                assert_eq!(self.version(proxy, target).await, version);
            }
        }
    }

    async fn metrics(&self, proxy: usize) -> String {
        self.proxies[proxy].metrics().await
    }
}

#[tokio::test]
async fn clocks_ten_seconds_apart_share_less_and_answer_right() {
    let scene = Scene::start(Redis::start().await, ["", ""], "").await;
    scene.shares().await;
    // The second is ahead: what the first stores has aged by ten seconds more there.
    scene.proxies[1].advance(Duration::from_secs(10));
    let before = scene.records().await;
    scene.get(0, "/ahead").await;
    until("a record is written", async || {
        scene.records().await > before
    })
    .await;
    let answer = scene.get(1, "/ahead").await;
    let age: u64 = answer.header("age").parse().unwrap_or_default();
    let status = answer.header("cache-status");
    assert!(
        !status.contains("detail=l2") || age >= 10,
        "{status} at {age}"
    );
    // The first is behind: what the second stores is from the future there, and is not believed.
    assert!(!scene.is_shared("/behind", [1, 0]).await);
    let behind = scene.metrics(0).await;
    let unreadable = "pillion_cache_tier_reads_total{tier=\"l2\",result=\"unreadable\"} 1";
    assert!(behind.contains(unreadable), "it is counted, and told once");
    assert_eq!(scene.version(0, "/behind").await, 1);
    // Places in the order of purges are Redis', not the clocks'.
    for target in ["/ahead", "/behind", "/new"] {
        scene.purges_reach_each_other(target).await;
    }
}

#[tokio::test]
async fn sidecars_with_different_epochs_share_purges_and_no_records() {
    let scene = Scene::start(Redis::start().await, ["", "epoch = 7"], "").await;
    for number in 0..3 {
        let target = format!("/{number}");
        assert!(!scene.is_shared(&target, [0, 1]).await);
    }
    let keys = scene.redis.text(&["KEYS", "pillion:r:*"]).await;
    assert!(keys.contains("r:0.") && keys.contains("r:7."), "{keys}");
    scene.purges_reach_each_other("/0").await;
}

#[tokio::test]
async fn keys_of_64_kib_are_told_apart() {
    let limits = "[limits]\nfields = { count = 100, size = \"256KiB\" }";
    let scene = Scene::start(Redis::start().await, ["", ""], limits).await;
    scene.shares().await;
    // As long as a URI may be, and the key is longer by method, scheme and host.
    let long = "x".repeat(65_500);
    let (one, other) = (format!("/{long}a"), format!("/{long}b"));
    assert_eq!(scene.version(0, &one).await, 1);
    assert_eq!(scene.version(0, &other).await, 1);
    assert_eq!(scene.version(1, &other).await, 1);
    assert_eq!(scene.version(1, &one).await, 1);
    scene.purges_reach_each_other(&one).await;
    // And its name in Redis is as short as any.
    let keys = scene.redis.text(&["KEYS", "*"]).await;
    assert!(keys.lines().all(|key| key.len() < 100), "{keys}");
}

#[tokio::test]
async fn values_over_the_limit_are_kept_by_each_for_itself() {
    let scene = Scene::start(Redis::start().await, ["max_record = \"4KiB\"", ""], "").await;
    scene.shares().await;
    let before = (scene.records().await, scene.upstream.count());
    scene.get(0, "/long").await;
    let dropped = "pillion_l2_writes_dropped_total{cause=\"size\"} 1";
    until("it is not written", async || {
        scene.metrics(0).await.contains(dropped)
    })
    .await;
    assert_eq!(scene.records().await, before.0);
    assert!(
        scene
            .get(0, "/long")
            .await
            .header("cache-status")
            .contains("hit")
    );
    scene.get(1, "/long").await;
    assert_eq!(scene.upstream.count(), before.1 + 2);
    scene.purges_reach_each_other("/long").await;
}

#[tokio::test]
async fn a_full_redis_gives_what_it_has_and_hears_of_purges_or_says_that_it_does_not() {
    let redis = Redis::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]).await;
    let scene = Scene::start(redis, ["", ""], "").await;
    scene.shares().await;
    assert_eq!(scene.version(0, "/page").await, 1);
    assert_eq!(scene.version(1, "/page").await, 1);
    let fill = "x".repeat(400_000);
    for number in 0..20 {
        let name = format!("filled:{number}");
        drop(scene.redis.try_command(&["SET", &name, &fill]).await);
    }
    // No record is taken, nobody sees an error, and who made the purge does not answer with less.
    let version = scene.purge(0).await;
    for number in 0..20 {
        assert_eq!(scene.version(0, &format!("/new/{number}")).await, version);
    }
    assert_eq!(scene.version(0, "/page").await, version);
    // With room again all is as before, the purge included.
    scene
        .redis
        .command(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    until("the other hears of it", async || {
        scene.version(1, "/page").await == version
    })
    .await;
    scene.purges_reach_each_other("/page").await;
}

#[tokio::test]
async fn without_resp3_all_is_as_with_it() {
    let redis = Redis::with(&["--rename-command", "HELLO", ""]).await;
    let scene = Scene::start(redis, ["", ""], "").await;
    scene.shares().await;
    scene.purges_reach_each_other("/page").await;
    assert!(scene.is_shared("/other", [0, 1]).await);
}

#[tokio::test]
async fn a_sidecar_at_a_replica_hears_of_purges_and_says_that_it_cannot_tell_of_any() {
    let master = Redis::start().await;
    let port = master.port.to_string();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &port]).await;
    let at_replica = format!("url = {:?}", replica.url());
    let scene = Scene::start(master, ["", &at_replica], "").await;
    let version = scene.version.load(Ordering::SeqCst);
    assert_eq!(scene.version(0, "/page").await, version);
    assert_eq!(scene.version(1, "/page").await, version);
    // What it has in its own memory goes when others purge it.
    for _ in 0..3 {
        let version = scene.purge(0).await;
        assert_eq!(scene.version(0, "/page").await, version);
        until("the one at the replica hears of it", async || {
            scene.version(1, "/page").await == version
        })
        .await;
        for proxy in [0, 1, 1] {
            assert_eq!(scene.version(proxy, "/page").await, version);
        }
    }
    // Its own take effect at once, and who orders them is told that others do not hear.
    let version = scene.version.fetch_add(1, Ordering::SeqCst) + 1;
    let admin = scene.proxies[1].admin.expect("an admin listener");
    let order = request(Method::POST, "/purge?tag=page", &[], "");
    let answer = fetch(admin, order).await;
    assert_eq!(answer.status, 202);
    assert!(
        answer.text().contains("Redis does not take the purge"),
        "{}",
        answer.text()
    );
    assert_eq!(scene.version(1, "/page").await, version);
    // Nor is anything promised while it lags: the gauge that an operator watches.
    let lag = scene.metrics(1).await;
    assert!(lag.contains("pillion_bus_waiting 1"), "{lag}");
    // When it becomes the master itself, what waited is told.
    replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    until("it takes purges", async || {
        scene.metrics(1).await.contains("pillion_bus_waiting 0")
    })
    .await;
}

#[tokio::test]
async fn the_acl_of_the_reference_is_enough() {
    let reference = include_str!("../../config/reference.toml");
    let lines = reference
        .lines()
        .skip_while(|line| !line.contains("ACL SETUSER"));
    let lines = lines.take_while(|line| line.starts_with("#  "));
    let acl: String = lines.map(|line| line.trim_start_matches('#')).collect();
    let redis = Redis::start().await;
    let acl = acl.replace("PASSWORD", "right");
    let words: Vec<&str> = acl.split_whitespace().collect();
    assert_eq!(redis.text(&words).await, "OK");
    let lines = "username = \"pillion\"\npassword = \"right\"";
    let scene = Scene::start(redis, [lines, lines], "").await;
    scene.shares().await;
    scene.purges_reach_each_other("/page").await;
    let log = scene.redis.text(&["ACL", "LOG"]).await;
    assert_eq!(log, "", "nothing was refused");
}

#[tokio::test]
async fn a_wrong_password_is_told_once_and_is_shown_nowhere() {
    let redis = Redis::with_password("right").await;
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let folder = Folder::new();
    let toml = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [upstream.app]\nurl = {:?}\n[cache.redis]\nurl = {:?}\npassword = \"hunter2\"\n",
        upstream.url,
        redis.url()
    );
    std::fs::write(folder.path().join("pillion.toml"), toml).expect("a writable folder");
    let binary = Binary::start_in(folder.path(), &["run"]);
    let line = binary
        .line(|line| line.contains("does not let us in").then(|| line.to_owned()))
        .await;
    assert!(
        line.contains("WRONGPASS") && line.contains("password_file"),
        "{line}"
    );
    let told = |lines: &[String]| {
        lines
            .iter()
            .filter(|line| line.contains("Redis does not answer; requests"))
            .count()
    };
    // Longer than the probe's first pauses.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lines = binary.lines();
    assert_eq!(told(&lines), 1, "{lines:?}");
    binary.signal(rustix::process::Signal::TERM);
    let (_, lines) = binary.ended().await;
    assert!(
        !lines.iter().any(|line| line.contains("hunter2")),
        "{lines:?}"
    );
}

/// One site, whichever sidecar is asked.
const SITE: &[(&str, &str)] = &[("host", "site.test")];
