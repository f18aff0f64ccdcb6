//! Redis stands still, crashes, forgets and fails over under steady load of hits and misses on two
//! sidecars: no client error, no stale answer after a purge, and hardly a wait.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use tests::client::request;
use tests::redis::{Cluster, Redis, Watched, until};
use tests::{Client, Proxy, Seen, Upstream, fetch, reply};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Two sidecars before one app, whose pages say which version they are.
struct Scene {
    proxies: [Proxy; 2],
    version: Arc<AtomicU64>,
    load: Arc<Load>,
    clients: JoinSet<()>,
    _upstream: Upstream,
}

/// What the clients saw.
#[derive(Default)]
struct Load {
    ended: AtomicBool,
    /// What of this sidecar must not be older than.
    least: [AtomicU64; 2],
    phase: AtomicUsize,
    seen: Mutex<Vec<Answered>>,
    failed: Mutex<Vec<String>>,
}

#[derive(Clone, Copy)]
struct Answered {
    phase: usize,
    is_miss: bool,
    took: Duration,
}

impl Scene {
    /// With these lines under `[cache.redis]`.
    async fn start(redis: &str) -> Self {
        let version = Arc::new(AtomicU64::new(1));
        let current = version.clone();
        let upstream = Upstream::start(move |_: Seen| {
            let version = current.load(Ordering::SeqCst);
            async move {
                reply(200)
                    .header("cache-control", "max-age=600")
                    .header("surrogate-key", "page")
                    .body(version.to_string())
            }
        })
        .await;
        let toml =
            format!("threads = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[cache.redis]\n{redis}\n");
        let proxies = [
            Proxy::with(&upstream, &toml).await,
            Proxy::with(&upstream, &toml).await,
        ];
        let scene = Self {
            proxies,
            version,
            load: Arc::default(),
            clients: JoinSet::new(),
            _upstream: upstream,
        };
        scene.both_up().await;
        scene
    }

    /// The same with deadlines ten times as long as they are if nobody says otherwise: on a busy machine, Redis would else
    /// be taken for away before anything is done to it, and what waits for it could not be told from what waits for
    /// the machine.
    async fn patient(redis: &str) -> Self {
        let deadlines = format!("timeout = \"{DEADLINE:?}\"\nconnect_timeout = \"2s\"");
        Self::start(&format!("{redis}\n{deadlines}")).await
    }

    /// Clients that ask each sidecar, in turn, for pages that are stored and for one that is not.
    fn load(&mut self, clients: usize) {
        for number in 0..clients {
            let place = number % 2;
            let (address, load) = (self.proxies[place].address, self.load.clone());
            self.clients.spawn(async move {
                let mut client = Client::connect(address).await;
                let mut turn = 0;
                while !load.ended.load(Ordering::SeqCst) {
                    turn += 1;
                    let is_miss = turn % 2 == 0;
                    let target = match is_miss {
                        true => format!("/cold/{number}/{turn}"),
                        false => format!("/hot/{}", turn % 10),
                    };
                    load.ask(&mut client, place, &target, is_miss).await;
                    sleep(Duration::from_millis(3)).await;
                }
            });
        }
    }

    /// What is answered from now on belongs to this phase, which takes so long.
    async fn phase(&self, phase: usize, lasts: Duration) {
        self.load.phase.store(phase, Ordering::SeqCst);
        sleep(lasts).await;
    }

    /// The pages change and are purged at the first sidecar: from now on it must not answer with what
    /// was before, nor must the second if it has acknowledged the purge. Whether it has.
    async fn purge(&self) -> bool {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let admin = self.proxies[0].admin.expect("an admin listener");
        let order = request(Method::POST, "/purge?tag=page", &[], "");
        let answer = fetch(admin, order).await;
        let is_told = answer.status == 200;
        assert!(is_told || answer.status == 202, "{}", answer.text());
        self.load.least[0].store(version, Ordering::SeqCst);
        if is_told {
            self.load.least[1].store(version, Ordering::SeqCst);
        }
        is_told
    }

    /// Waits until the second sidecar has nothing of what was purged, from when on it must not have.
    async fn caught_up(&self) {
        let version = self.version.load(Ordering::SeqCst);
        let address = self.proxies[1].address;
        until("the other sidecar has heard of the purge", async || {
            let mut client = Client::connect(address).await;
            for number in 0..10 {
                let answer = client.get_with(&format!("/hot/{number}"), SITE).await;
                if answer.text() != version.to_string() {
                    return false;
                }
            }
            true
        })
        .await;
        self.load.least[1].store(version, Ordering::SeqCst);
    }

    async fn both_up(&self) {
        for proxy in &self.proxies {
            until("Redis is up", async || ready(proxy).await == "ready").await;
        }
    }

    /// Ends the load, and says what was seen in each phase.
    async fn end(mut self, phases: &[&str]) -> Vec<Summary> {
        self.load.ended.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no client panics");
        }
        let failed = self.load.failed.lock().expect("no panic").clone();
        assert!(
            failed.is_empty(),
            "{} failures: {:?}",
            failed.len(),
            failed.first()
        );
        let seen = self.load.seen.lock().expect("no panic").clone();
        let of = |phase: usize, is_miss: bool| {
            let these = seen
                .iter()
                .filter(|one| one.phase == phase && one.is_miss == is_miss);
            let mut times: Vec<Duration> = these.map(|one| one.took).collect();
            times.sort();
            times
        };
        let named = phases.iter().enumerate();
        named
            .map(|(phase, name)| Summary {
                name: (*name).to_owned(),
                hits: of(phase, false),
                misses: of(phase, true),
            })
            .collect()
    }
}

impl Load {
    async fn ask(&self, client: &mut Client, place: usize, target: &str, is_miss: bool) {
        let phase = self.phase.load(Ordering::SeqCst);
        let least = self.least[place].load(Ordering::SeqCst);
        let begun = Instant::now();
        let asked = client.exchange(request(Method::GET, target, SITE, ""));
        let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
        let took = begun.elapsed();
        let wrong = match answer {
            Err(_) => Some("no answer".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Ok(Ok(answer)) if answer.status != 200 => Some(answer.text().to_owned()),
            Ok(Ok(answer)) => {
                let version: u64 = answer.text().parse().expect("a version");
                let status = answer.header("cache-status");
                (version < least)
                    .then(|| format!("{target}: version {version} after {least}: {status}"))
            }
        };
        match wrong {
            Some(wrong) => {
                self.failed.lock().expect("no panic").push(wrong);
            }
            None => self.seen.lock().expect("no panic").push(Answered {
                phase,
                is_miss,
                took,
            }),
        }
    }
}

/// The times of one phase, sorted.
struct Summary {
    name: String,
    hits: Vec<Duration>,
    misses: Vec<Duration>,
}

impl Summary {
    fn longer_than(&self, than: Duration) -> usize {
        let all = self.hits.iter().chain(&self.misses);
        all.filter(|took| **took > than).count()
    }

    fn print(&self) {
        let of = |times: &[Duration], part: usize| {
            let index = (times.len() * part / 1000).min(times.len().saturating_sub(1));
            times
                .get(index)
                .map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        println!(
            "{:<34} hits {:>6}: p50 {:6.2} p99 {:6.2} max {:6.2} ms | misses {:>6}: p50 {:6.2} p99 {:6.2} max {:6.2} ms",
            self.name,
            self.hits.len(),
            of(&self.hits, 500),
            of(&self.hits, 990),
            of(&self.hits, 1000),
            self.misses.len(),
            of(&self.misses, 500),
            of(&self.misses, 990),
            of(&self.misses, 1000),
        );
    }
}

async fn ready(proxy: &Proxy) -> String {
    let admin = proxy.admin.expect("an admin listener");
    let answer = fetch(admin, request(Method::GET, "/readyz", &[], "")).await;
    assert_eq!(answer.status, 200, "Redis takes nothing out of service");
    let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    match told["degraded"].as_str() {
        Some(degraded) => format!("degraded: {degraded}"),
        None => told["status"].as_str().unwrap_or_default().to_owned(),
    }
}

fn url(redis: &Redis) -> String {
    format!("url = {:?}", redis.url())
}

/// Load before, during and after `begin` … `end`, with a purge in each phase.
async fn disturbed(
    scene: &Scene,
    lasts: Duration,
    begin: impl AsyncFnOnce(),
    end: impl AsyncFnOnce(),
) {
    scene.phase(0, lasts / 2).await;
    scene.purge().await;
    scene.caught_up().await;
    scene.phase(0, lasts / 2).await;
    begin().await;
    scene.phase(1, lasts / 2).await;
    scene.purge().await;
    scene.phase(1, lasts / 2).await;
    end().await;
    scene.load.phase.store(2, Ordering::SeqCst);
    scene.both_up().await;
    scene.caught_up().await;
    scene.phase(2, lasts / 2).await;
    scene.purge().await;
    scene.caught_up().await;
    scene.phase(2, lasts / 2).await;
}

/// Of a patient scene.
const DEADLINE: Duration = Duration::from_millis(300);
const PHASES: [&str; 3] = ["before", "during", "after"];

#[tokio::test]
async fn one_that_stands_still_is_not_noticed() {
    let redis = Redis::start().await;
    let mut scene = Scene::patient(&url(&redis)).await;
    scene.load(8);
    let second = Duration::from_secs(2);
    disturbed(&scene, second, async || redis.stop(), async || redis.cont()).await;
    let [before, during, _] = scene
        .end(&PHASES)
        .await
        .try_into()
        .ok()
        .expect("three phases");
    // At most one deadline for each connection: of all that are asked at once, each waits once. Beside
    // that only what a busy machine does; without the rule every miss would wait, half of all.
    let slow = DEADLINE - Duration::from_millis(5);
    let (noise, waited) = (before.longer_than(slow), during.longer_than(slow));
    let all = during.hits.len() + during.misses.len();
    assert!(
        waited <= 8 + 2 * noise + all / 30,
        "{waited} of {all} waited, {noise} before"
    );
}

#[tokio::test]
async fn a_crash_and_a_restart_are_not_noticed() {
    let redis = Redis::start().await;
    let mut scene = Scene::patient(&url(&redis)).await;
    scene.load(8);
    let second = Duration::from_secs(1);
    disturbed(
        &scene,
        second,
        async || redis.kill(),
        async || redis.restart().await,
    )
    .await;
    scene.end(&PHASES).await;
}

#[tokio::test]
async fn a_flushed_one_is_not_noticed() {
    let redis = Redis::start().await;
    let mut scene = Scene::patient(&url(&redis)).await;
    scene.load(8);
    let second = Duration::from_secs(1);
    let flush = async || redis.flushall().await;
    disturbed(&scene, second, flush, flush).await;
    scene.end(&PHASES).await;
}

#[tokio::test]
async fn a_failover_of_a_cluster_is_not_noticed() {
    let cluster = Cluster::with_replicas().await;
    let nodes = format!("mode = \"cluster\"\nnodes = {}", cluster.nodes());
    let mut scene = Scene::patient(&nodes).await;
    scene.load(8);
    // The master of the keys that all have in common, and then another.
    let owner = async |key: &str| {
        let slot: u64 = cluster.masters[0]
            .text(&["CLUSTER", "KEYSLOT", key])
            .await
            .parse()
            .expect("a slot");
        usize::try_from(slot / 5461).expect("a small number").min(2)
    };
    let first = owner("{pillion:}bus").await;
    let second = Duration::from_secs(2);
    disturbed(
        &scene,
        second,
        async || cluster.masters[first].kill(),
        async || {},
    )
    .await;
    scene.end(&PHASES).await;
}

#[tokio::test]
async fn a_failover_by_a_sentinel_is_not_noticed() {
    let watched = Watched::start().await;
    let sentinel = watched.sentinel.url();
    let lines = format!("mode = \"sentinel\"\nmaster = \"mymaster\"\nnodes = [{sentinel:?}]");
    let mut scene = Scene::patient(&lines).await;
    scene.load(8);
    let second = Duration::from_secs(2);
    disturbed(
        &scene,
        second,
        async || watched.servers[0].kill(),
        async || {},
    )
    .await;
    scene.end(&PHASES).await;
}

#[tokio::test]
async fn readiness_tells_of_a_redis_that_is_away() {
    let redis = Redis::start().await;
    redis.kill();
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let toml = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[cache.redis]\n{}",
        url(&redis)
    );
    let proxy = Proxy::with(&upstream, &toml).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    assert_eq!(ready(&proxy).await, "degraded: l2");
    redis.restart().await;
    until("it is ready", async || ready(&proxy).await == "ready").await;
}

/// The figures of CONTRIBUTING.md.
#[tokio::test]
#[ignore = "takes a minute, and says more in a release build: see CONTRIBUTING.md"]
async fn figures() {
    let lasts = Duration::from_secs(4);
    let print = |name: &str, summaries: Vec<Summary>| {
        println!("{name}");
        summaries.iter().for_each(Summary::print);
    };
    let redis = Redis::start().await;
    for name in ["SIGSTOP, SIGCONT", "kill -9, restart", "FLUSHALL"] {
        let mut scene = Scene::start(&url(&redis)).await;
        scene.load(16);
        match name {
            "SIGSTOP, SIGCONT" => {
                disturbed(&scene, lasts, async || redis.stop(), async || redis.cont()).await
            }
            "kill -9, restart" => {
                disturbed(
                    &scene,
                    lasts,
                    async || redis.kill(),
                    async || redis.restart().await,
                )
                .await
            }
            _ => disturbed(&scene, lasts, async || redis.flushall().await, async || {}).await,
        }
        print(name, scene.end(&PHASES).await);
    }
    let cluster = Cluster::with_replicas().await;
    let nodes = format!("mode = \"cluster\"\nnodes = {}", cluster.nodes());
    let mut scene = Scene::start(&nodes).await;
    scene.load(16);
    disturbed(
        &scene,
        lasts,
        async || cluster.masters[0].kill(),
        async || {},
    )
    .await;
    print("Cluster: a master of three dies", scene.end(&PHASES).await);
    let watched = Watched::start().await;
    let sentinel = watched.sentinel.url();
    let lines = format!("mode = \"sentinel\"\nmaster = \"mymaster\"\nnodes = [{sentinel:?}]");
    let mut scene = Scene::start(&lines).await;
    scene.load(16);
    disturbed(
        &scene,
        lasts,
        async || watched.servers[0].kill(),
        async || {},
    )
    .await;
    print("Sentinel: the master dies", scene.end(&PHASES).await);
}

/// One site, whichever sidecar is asked.
const SITE: &[(&str, &str)] = &[("host", "site.test")];
