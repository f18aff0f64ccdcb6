//! `cache.on_outage`: what clients see while a real Redis is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use middleware::metrics::Exposition;
use tests::client::request;
use tests::redis::{Redis, until};
use tests::{Fetched, Proxy, Upstream, reply, within};
use tokio::sync::Semaphore;

/// A Pillion before an app whose answers to `/held…` wait for permits, and a Redis.
struct Scene {
    proxy: Proxy,
    upstream: Upstream,
    redis: Redis,
    gate: Arc<Semaphore>,
}

impl Scene {
    async fn new(cache: &str) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let wait = gate.clone();
        let upstream = Upstream::start(move |seen| {
            let wait = wait.clone();
            async move {
                if seen.target.starts_with("/held") {
                    wait.acquire().await.expect("open").forget();
                }
                let control = match seen.target.as_str() {
                    "/must" => "max-age=10, must-revalidate",
                    _ => "max-age=10",
                };
                reply(200)
                    .header("cache-control", control)
                    .body(seen.target.clone())
            }
        })
        .await;
        let redis = Redis::start().await;
        // The machine may be busy with other tests.
        let patient = "timeout = \"1s\"\nconnect_timeout = \"1s\"";
        let toml = format!(
            "[cache]\n{cache}\n[cache.redis]\nurl = {:?}\n{patient}\n",
            redis.url()
        );
        let proxy = Proxy::with(&upstream, &toml).await;
        let scene = Self {
            proxy,
            upstream,
            redis,
            gate,
        };
        scene.becomes("up").await;
        scene
    }

    /// Waits until Pillion knows that Redis is in this state.
    async fn becomes(&self, state: &str) {
        let line = format!("pillion_l2_state{{state=\"{state}\"}} 1");
        let metrics = &self.proxy.running().shared().metrics;
        until("Pillion knows of Redis", async || {
            metrics.encode(Exposition::OpenMetrics).contains(&line)
        })
        .await;
    }

    async fn go_away(&self) {
        self.redis.kill();
        // Somebody has to notice; a request costs nobody anything.
        self.proxy.get("/notices").await;
        self.becomes("away").await;
    }

    async fn many(&self, count: usize) -> Vec<Fetched> {
        let shed = AtomicUsize::new(0);
        let one = async |number: usize| {
            let request = request(Method::GET, &format!("/held/{number}"), &[], "");
            let answer = tests::fetch(self.proxy.address, request).await;
            // As many refusals as there are: the others are at the app, and may go.
            if answer.status == 503 && shed.fetch_add(1, Ordering::SeqCst) + 1 == count - 4 {
                self.gate.add_permits(count);
            }
            answer
        };
        within("all answers", join_all((0..count).map(one))).await
    }
}

#[tokio::test]
async fn shed_lets_so_many_through_and_answers_the_others_with_503_and_retry_after() {
    let scene = Scene::new("on_outage = \"shed\"\noutage = { concurrency = 4 }").await;
    scene.go_away().await;
    let before = scene.upstream.count();
    let answers = scene.many(12).await;
    let (good, shed): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((good.len(), shed.len()), (4, 8));
    assert_eq!(scene.upstream.count() - before, 4);
    for answer in shed {
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
        assert!(
            answer
                .header("proxy-status")
                .contains("connection_limit_reached"),
            "{answer:?}"
        );
    }
    let metrics = scene.proxy.running().shared().metrics.clone();
    let told = metrics.encode(Exposition::OpenMetrics);
    for line in [
        "pillion_cache_outage_total{result=\"shed\"} 8",
        "reason=\"shed\"} 8",
    ] {
        assert!(told.contains(line), "{line}");
    }
    // Once Redis is there again, nothing is limited.
    scene.redis.restart().await;
    scene.becomes("up").await;
    scene.gate.add_permits(100);
    let again = async |number: usize| scene.proxy.get(&format!("/held/again/{number}")).await;
    for answer in within("all answers", join_all((0..12).map(again))).await {
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn bypass_forwards_all() {
    let scene = Scene::new("outage = { concurrency = 1 }").await;
    scene.go_away().await;
    scene.gate.add_permits(12);
    let answers = scene.many(12).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn serve_stale_uses_what_is_stored_beyond_its_lifetime_and_never_against_must_revalidate() {
    let scene = Scene::new("on_outage = \"serve_stale\"\noutage = { stale = \"1m\" }").await;
    for target in ["/page", "/must"] {
        scene.proxy.get(target).await;
    }
    scene.go_away().await;
    scene.proxy.advance(Duration::from_secs(20));
    let before = scene.upstream.count();
    let stale = scene.proxy.get("/page").await;
    let status = stale.header("cache-status");
    assert!(status.starts_with("pillion; hit; ttl=-"), "{status}");
    assert!(status.ends_with("detail=outage"), "{status}");
    // It is validated behind the client's back.
    scene.upstream.wait_for(before + 1).await;
    let must = scene.proxy.get("/must").await;
    let status = must.header("cache-status");
    assert!(status.contains("fwd=stale"), "{status}");
}
