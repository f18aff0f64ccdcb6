//! The bus: a purge at one sidecar holds at all that share its Redis, whatever Redis goes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use tests::client::request;
use tests::redis::{Cluster, Redis, Watched, until};
use tests::{Fetched, Proxy, Seen, Upstream, fetch, reply};

const HOST: (&str, &str) = ("host", "shop.test");

/// Three sidecars before one app, whose pages say of which edition they are.
struct Scene {
    edition: Arc<AtomicU64>,
    _upstream: Upstream,
    sidecars: Vec<Proxy>,
}

impl Scene {
    /// With this `[cache.redis]`.
    async fn new(redis: &str) -> Self {
        let edition = Arc::<AtomicU64>::default();
        let of = edition.clone();
        let upstream = Upstream::start(move |seen: Seen| {
            let edition = of.load(Ordering::SeqCst);
            async move {
                let tag = format!("\"{edition}\"");
                let is_known = seen.header("if-none-match") == tag;
                let answer = reply(if is_known { 304 } else { 200 })
                    .header("cache-control", "max-age=600")
                    .header("etag", &tag)
                    .header("surrogate-key", "page all")
                    .header("cache-groups", "\"pages\"");
                match is_known {
                    true => answer.empty(),
                    false => answer.body(edition.to_string()),
                }
            }
        })
        .await;
        // The machine may be busy with other tests.
        let patient = "timeout = \"1s\"\nconnect_timeout = \"1s\"";
        let toml =
            format!("[admin]\naddress = \"127.0.0.1:0\"\n[cache.redis]\n{redis}\n{patient}\n");
        let mut sidecars = Vec::new();
        for _ in 0..3 {
            sidecars.push(Proxy::with(&upstream, &toml).await);
        }
        let scene = Self {
            edition,
            _upstream: upstream,
            sidecars,
        };
        scene.hear_each_other().await;
        scene
    }

    async fn catch_up(&self) {
        for sidecar in &self.sidecars {
            until("all sidecars have heard everything", async || {
                metric(sidecar, "pillion_bus_lag_seconds").await == 0.0
            })
            .await;
        }
    }

    async fn hear_each_other(&self) {
        for sidecar in &self.sidecars {
            until("all sidecars hear each other", async || {
                let is_known = metric(sidecar, "pillion_bus_instances").await >= 3.0;
                is_known && metric(sidecar, "pillion_bus_lag_seconds").await == 0.0
            })
            .await;
        }
    }

    /// The app changes.
    fn publish(&self) -> u64 {
        self.edition.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Of which edition each sidecar has the page.
    async fn seen(&self, target: &str) -> Vec<u64> {
        let mut seen = Vec::new();
        for sidecar in &self.sidecars {
            seen.push(edition(sidecar, target).await);
        }
        seen
    }
}

async fn edition(sidecar: &Proxy, target: &str) -> u64 {
    let answer = sidecar.get_with(target, &[HOST]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().parse().expect("an edition")
}

async fn metric(sidecar: &Proxy, name: &str) -> f64 {
    sidecar.metric(name).await.unwrap_or(-1.0)
}

async fn purge(sidecar: &Proxy, query: &str) -> Fetched {
    let admin = sidecar.admin.expect("an admin listener");
    let target = format!("/purge?{query}");
    fetch(admin, request(Method::POST, &target, &[], "")).await
}

/// Orders until all have said within an order's second that they have done it, which a busy machine may keep them
/// from for a while.
async fn purge_everywhere(sidecar: &Proxy, query: &str) {
    until("all have acknowledged a purge", async || {
        let answer = purge(sidecar, query).await;
        assert!([200, 202].contains(&answer.status.as_u16()), "{answer:?}");
        answer.status == 200 && states(&answer) == ["acknowledged"; 3]
    })
    .await;
}

fn states(answer: &Fetched) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    let instances = answer["instances"].as_array().expect("instances");
    let state = |it: &serde_json::Value| it["state"].as_str().unwrap_or_default().to_owned();
    instances.iter().map(state).collect()
}

fn url_of(redis: &Redis) -> String {
    format!("url = {:?}", redis.url())
}

const ORDERS: [&str; 7] = [
    "url=http://shop.test/a/b?c",
    "tag=page",
    "group=pages&origin=http://shop.test",
    "prefix=/a",
    "prefix=http://shop.test/a/b",
    "pattern=/*?c",
    "all",
];

#[tokio::test]
async fn a_purge_holds_at_all_sidecars_when_it_is_acknowledged() {
    let redis = Redis::start().await;
    let scene = Scene::new(&url_of(&redis)).await;
    for (turn, order) in ORDERS.iter().enumerate() {
        for soft in ["", "&soft"] {
            let before = scene.seen("/a/b?c").await;
            assert!(before.iter().all(|seen| *seen == before[0]));
            let edition = scene.publish();
            purge_everywhere(&scene.sidecars[turn % 3], &format!("{order}{soft}")).await;
            // Neither from memory nor from Redis, where the old record still lies.
            assert_eq!(scene.seen("/a/b?c").await, [edition; 3], "{order}{soft}");
        }
    }
}

#[tokio::test]
async fn what_an_unsafe_request_changes_at_one_sidecar_changes_at_all() {
    let redis = Redis::start().await;
    let scene = Scene::new(&url_of(&redis)).await;
    scene.seen("/a").await;
    let edition = scene.publish();
    let change = request(Method::POST, "/a", &[HOST], "change");
    assert_eq!(fetch(scene.sidecars[2].address, change).await.status, 200);
    // Here at once, there as soon as they hear of it.
    assert_eq!(self::edition(&scene.sidecars[2], "/a").await, edition);
    until("all have heard", async || {
        scene.seen("/a").await == [edition; 3]
    })
    .await;
}

#[tokio::test]
async fn an_order_says_when_others_cannot_be_told() {
    let redis = Redis::start().await;
    let scene = Scene::new(&url_of(&redis)).await;
    scene.seen("/a").await;
    redis.kill();
    let edition = scene.publish();
    let answer = purge(&scene.sidecars[0], "url=http://shop.test/a").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(states(&answer), ["acknowledged", "unknown", "unknown"]);
    assert!(
        answer.text().contains("\"unreachable\": true"),
        "{answer:?}"
    );
    assert_eq!(self::edition(&scene.sidecars[0], "/a").await, edition);
    redis.restart().await;
    until("all were told", async || {
        scene.seen("/a").await == [edition; 3]
    })
    .await;
}

/// Whatever happens to Redis: no client gets an error, and after an acknowledged purge nobody gets what
/// was before it.
#[tokio::test]
async fn nothing_that_redis_goes_through_brings_back_what_was_purged() {
    let redis = Redis::start().await;
    let scene = Scene::new(&url_of(&redis)).await;
    for round in 0..18 {
        scene.seen("/a").await;
        match round % 6 {
            1 => redis.flushall().await,
            2 => redis.restart().await,
            3 => redis.stop(),
            4 => redis.kill(),
            _ => {}
        }
        let edition = scene.publish();
        let order = if round % 2 == 0 {
            "tag=page"
        } else {
            "url=http://shop.test/a"
        };
        let purging = &scene.sidecars[round % 3];
        // Where nothing happens to Redis, all acknowledge.
        if let 0 | 5 = round % 6 {
            purge_everywhere(purging, order).await;
            assert_eq!(scene.seen("/a").await, [edition; 3], "round {round}");
        }
        let answer = purge(purging, order).await;
        assert!([200, 202].contains(&answer.status.as_u16()), "{answer:?}");
        if answer.status == 200 && states(&answer).len() == 3 {
            assert_eq!(scene.seen("/a").await, [edition; 3], "round {round}");
        }
        assert_eq!(
            self::edition(&scene.sidecars[round % 3], "/a").await,
            edition
        );
        match round % 6 {
            3 => redis.cont(),
            4 => redis.restart().await,
            _ => {}
        }
        until("all were told", async || {
            scene.seen("/a").await == [edition; 3]
        })
        .await;
        scene.catch_up().await;
    }
}

#[tokio::test]
async fn purges_go_on_after_a_failover_of_the_sentinels() {
    let watched = Watched::start().await;
    let nodes = format!("nodes = [{:?}]", watched.sentinel.url());
    let scene = Scene::new(&format!(
        "{nodes}\nmode = \"sentinel\"\nmaster = \"mymaster\""
    ))
    .await;
    scene.seen("/a").await;
    watched.servers[0].kill();
    let edition = scene.publish();
    // Nobody can be told yet, mostly; a slow order may outlast a quick failover.
    let answer = purge(&scene.sidecars[0], "tag=page").await;
    assert!([200, 202].contains(&answer.status.as_u16()), "{answer:?}");
    until("all were told", async || {
        scene.seen("/a").await == [edition; 3]
    })
    .await;
    scene.hear_each_other().await;
    let edition = scene.publish();
    purge_everywhere(&scene.sidecars[1], "tag=page").await;
    assert_eq!(scene.seen("/a").await, [edition; 3]);
}

#[tokio::test]
async fn purges_go_on_after_a_failover_in_a_cluster() {
    let cluster = Cluster::with_replicas().await;
    let nodes = cluster.nodes();
    let scene = Scene::new(&format!("nodes = {nodes}\nmode = \"cluster\"")).await;
    scene.seen("/a").await;
    let edition = scene.publish();
    purge_everywhere(&scene.sidecars[0], "tag=page").await;
    assert_eq!(scene.seen("/a").await, [edition; 3]);
    // The bus is at one of the masters.
    let mut bus = None;
    for master in &cluster.masters {
        if master
            .text(&["KEYS", "{pillion:}bus"])
            .await
            .contains("bus")
        {
            bus = Some(master);
        }
    }
    bus.expect("the bus is somewhere").kill();
    let edition = scene.publish();
    purge(&scene.sidecars[0], "tag=page").await;
    until("all were told", async || {
        scene.seen("/a").await == [edition; 3]
    })
    .await;
    scene.hear_each_other().await;
    let edition = scene.publish();
    purge_everywhere(&scene.sidecars[2], "all").await;
    assert_eq!(scene.seen("/a").await, [edition; 3]);
}

/// What is stored leaves no trace on the bus: counters exist for what was purged, and for nothing else.
#[tokio::test]
async fn what_is_stored_costs_the_bus_nothing() {
    let redis = Redis::start().await;
    let scene = Scene::new(&url_of(&redis)).await;
    let length = || async { redis.text(&["XLEN", "{pillion:}bus"]).await };
    let before = length().await;
    for number in 0..300 {
        edition(&scene.sidecars[0], &format!("/{number}")).await;
    }
    until("the records are written", async || {
        redis.text(&["KEYS", "pillion:r:*"]).await.lines().count() >= 300
    })
    .await;
    assert_eq!(length().await, before);
    let keys = redis.text(&["KEYS", "*"]).await;
    let shared: Vec<&str> = keys.lines().filter(|key| key.starts_with('{')).collect();
    assert_eq!(shared.len(), 6, "{shared:?}");
}

#[tokio::test]
async fn the_time_that_purges_may_have_been_missed_for_is_a_gauge() {
    let redis = Redis::start().await;
    let scene = Scene::new(&url_of(&redis)).await;
    redis.stop();
    until("it lags", async || {
        metric(&scene.sidecars[0], "pillion_bus_lag_seconds").await > 2.0
    })
    .await;
    redis.cont();
    scene.hear_each_other().await;
}
