//! Instances that share a real Redis, each with a cache of its own over one app.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::cache::ledger::Below;
use crate::cache::store::redis::servers::{Redis, until};
use crate::cache::store::redis::tests::settings;
use crate::cache::testing::{World, at_once, reply};
use crate::cache::{OrderedBy, Purge, What};
use crate::facts::Scheme;

/// What all instances stand before: pages that say which edition they are of.
#[derive(Clone, Default)]
struct App(Arc<AtomicU64>);

impl App {
    fn publish(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn edition(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What no purge takes to reach all, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Instance {
    world: World,
    redis: RedisTier,
    bus: Bus,
    metrics: Metrics,
}

impl Instance {
    fn start(app: &App, redis: &Redis, name: &str) -> Self {
        let app = app.clone();
        // Heartbeats and what they say go by real time.
        let clock = crate::clock::Clock::adjustable();
        let world = World::at(
            clock,
            |_| {},
            move |_, request| {
                let edition = app.edition();
                let tag = format!("\"{edition}\"");
                let key = format!("tag{} all", request.uri().path().replace('/', "-"));
                let fields = [
                    ("cache-control", "max-age=3600"),
                    ("etag", tag.as_str()),
                    ("surrogate-key", key.as_str()),
                    ("cache-groups", "\"g\""),
                ];
                let known = request.headers().get("if-none-match");
                match known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
                    true => at_once(reply(304, &fields, "")),
                    false => at_once(reply(200, &fields, format!("{edition}"))),
                }
            },
        )
        .ordered(OrderedBy::Stream);
        let metrics = Metrics::new();
        let settings = settings(&format!("url = {:?}", redis.url()));
        let handle = Handle::current();
        let redis = RedisTier::connect(&settings, &handle, &metrics).unwrap();
        let shared = world.shared.clone();
        let bus = Bus::start(shared, redis.clone(), &handle, name, &metrics);
        Self {
            world,
            redis,
            bus,
            metrics,
        }
    }

    async fn purge(&self, what: &What, purge: Purge) -> Report {
        let (_, tickets) = self.world.shared.purge_noted(what, purge).unwrap();
        self.bus.report(&tickets, PATIENCE).await
    }

    async fn edition(&self, uri: &str) -> u64 {
        self.world.get(uri).await.body().parse().unwrap()
    }

    fn heard(&self, what: &str) -> u64 {
        let text = self.metrics.encode(crate::metrics::Exposition::Classic);
        let name = format!("pillion_bus_heard_total{{what=\"{what}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().parse().unwrap()
    }

    async fn stop(self) {
        self.bus.close().await;
        self.redis.close().await;
    }
}

/// Instances that all hear each other.
async fn together(app: &App, redis: &Redis, names: &[&str]) -> Vec<Instance> {
    let instances: Vec<Instance> = names
        .iter()
        .map(|name| Instance::start(app, redis, name))
        .collect();
    hear_each_other(&instances).await;
    instances
}

async fn hear_each_other(instances: &[Instance]) {
    for instance in instances {
        until("an instance knows all others", async || {
            instance.world.shared.is_trusted() && instance.bus.known(None).len() == instances.len()
        })
        .await;
    }
}

fn url(uri: &str) -> What {
    What::Url {
        scheme: Scheme::Http,
        authority: "example.com".to_owned(),
        uri: uri.parse().unwrap(),
    }
}

fn kinds() -> Vec<What> {
    vec![
        url("/a/b?c"),
        What::All,
        What::Tags(vec!["nothing".to_owned(), "tag-a-b".to_owned()]),
        What::Groups {
            scheme: Scheme::Http,
            authority: "example.com".to_owned(),
            names: vec!["g".to_owned()],
        },
        What::Prefix {
            host: None,
            path: "/a".to_owned(),
        },
        What::Prefix {
            host: Some("EXAMPLE.com".to_owned()),
            path: "/a/b".to_owned(),
        },
        What::Pattern("/*?c".to_owned()),
    ]
}

fn acknowledged(report: &Report) -> Vec<(&str, Option<bool>)> {
    let each = report.instances.iter();
    each.map(|instance| (instance.name.as_str(), instance.is_acknowledged))
        .collect()
}

#[tokio::test]
async fn a_purge_that_all_have_acknowledged_is_effective_at_all() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b", "c"]).await;
    for what in kinds() {
        for purge in [Purge::Hard, Purge::Soft] {
            for purging in &instances {
                for instance in &instances {
                    instance.edition("/a/b?c").await;
                    assert!(instance.world.get("/a/b?c").await.is_hit());
                }
                let edition = app.publish();
                let report = purging.purge(&what, purge).await;
                assert!(report.is_complete(), "{report:?}");
                assert_eq!(report.instances.len(), 3);
                for instance in &instances {
                    assert_eq!(instance.edition("/a/b?c").await, edition, "{what:?}");
                }
            }
        }
    }
    for instance in &instances {
        assert_eq!(
            (instance.heard("gap"), instance.heard("unreadable")),
            (0, 0)
        );
        until("it has heard all", async || instance.bus.lag().is_zero()).await;
    }
}

#[tokio::test]
async fn what_was_not_purged_stays_everywhere() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    for instance in &instances {
        instance.edition("/other").await;
    }
    app.publish();
    let spared = |what: &What| !matches!(what, What::All | What::Groups { .. });
    for what in kinds().iter().filter(|what| spared(what)) {
        assert!(instances[0].purge(what, Purge::Hard).await.is_complete());
        for instance in &instances {
            assert!(instance.world.get("/other").await.is_hit(), "{what:?}");
        }
    }
}

#[tokio::test]
async fn an_unsafe_request_at_one_reaches_the_others() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b", "c"]).await;
    for instance in &instances {
        instance.edition("/a").await;
    }
    let edition = app.publish();
    instances[1].world.ask("POST", "/a", &[]).await;
    for instance in &instances {
        until("the others have heard", async || {
            instance.edition("/a").await == edition
        })
        .await;
    }
}

#[tokio::test]
async fn a_record_is_judged_by_what_all_instances_purged() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    let (a, b) = (&instances[0].world.shared, &instances[1].world.shared);
    let settings = Default::default();
    let (_rules, rules) = (a.rules(&settings), b.rules(&settings));
    let mut key = Vec::new();
    let uri = "/a/b?c".parse().unwrap();
    let target = crate::cache::key::Target::new(Scheme::Http, b"example.com", &uri);
    rules.write_plain(target, &mut key);
    let born = b.place();
    assert!(born > Place::FIRST);
    assert_eq!(b.standing_below(born, &key, &[]), Below::Valid);
    assert!(
        instances[0]
            .purge(&url("/a/b?c"), Purge::Hard)
            .await
            .is_complete()
    );
    assert_eq!(b.standing_below(born, &key, &[]), Below::Gone);
    assert_eq!(a.standing_below(born, &key, &[]), Below::Gone);
    assert_eq!(a.place(), b.place());
    assert_eq!(b.standing_below(b.place(), &key, &[]), Below::Valid);
    // One that starts now hears of it as well, and judges alike.
    let c = Instance::start(&app, &redis, "d");
    let shared = &c.world.shared;
    let _rules = shared.rules(&settings);
    until("it has read the Stream", async || shared.is_trusted()).await;
    assert_eq!(shared.standing_below(born, &key, &[]), Below::Gone);
    assert_eq!(shared.standing_below(b.place(), &key, &[]), Below::Valid);
    let latest = redis.text(&["GET", "{pillion:}latest"]).await;
    assert!(
        c.bus
            .wait_for(Place::of_id(&latest).unwrap(), PATIENCE)
            .await
    );
    assert!(!c.bus.wait_for(Place::LAST, Duration::from_millis(1)).await);
}

#[tokio::test]
async fn while_redis_is_away_purges_wait_and_the_answer_says_so() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    for instance in &instances {
        instance.edition("/a").await;
        instance.edition("/b").await;
    }
    redis.kill();
    let edition = app.publish();
    let (_, tickets) = instances[0]
        .world
        .shared
        .purge_noted(&url("/a"), Purge::Hard)
        .unwrap();
    let report = instances[0]
        .bus
        .report(&tickets, Duration::from_millis(300))
        .await;
    assert!(!report.is_told && !report.is_complete());
    assert_eq!(acknowledged(&report), [("a", Some(true)), ("b", None)]);
    assert_eq!(instances[0].edition("/a").await, edition);
    // The other one cannot know; memory goes on answering.
    assert!(instances[1].world.get("/a").await.is_hit());
    redis.restart().await;
    let report = instances[0].bus.report(&tickets, PATIENCE).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(instances[1].edition("/a").await, edition);
    // All that Redis knew is lost, so nobody knows what else was purged.
    for instance in &instances {
        assert!(instance.heard("gap") > 0);
        assert_eq!(instance.edition("/b").await, edition);
    }
}

#[tokio::test]
async fn a_redis_that_stands_still_delays_purges_and_loses_none() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    instances[1].edition("/a").await;
    redis.stop();
    let edition = app.publish();
    let shared = &instances[0].world.shared;
    let (_, tickets) = shared.purge_noted(&url("/a"), Purge::Hard).unwrap();
    let report = instances[0]
        .bus
        .report(&tickets, Duration::from_millis(1500))
        .await;
    assert!(!report.is_complete());
    redis.cont();
    let report = instances[0].bus.report(&tickets, PATIENCE).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(instances[1].edition("/a").await, edition);
}

#[tokio::test]
async fn after_a_flush_everything_is_validated_once() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    for instance in &instances {
        instance.edition("/a").await;
    }
    redis.flushall().await;
    for instance in &instances {
        until("the gap is noticed", async || instance.heard("gap") > 0).await;
        until("it is heard again", async || {
            instance.world.shared.is_trusted()
        })
        .await;
        let answer = instance.world.get("/a").await;
        assert!(answer.cache_status().contains("fwd=stale"), "{answer:?}");
        assert_eq!(answer.body(), "0");
        assert!(instance.world.get("/a").await.is_hit());
    }
    let edition = app.publish();
    assert!(
        instances[0]
            .purge(&url("/a"), Purge::Hard)
            .await
            .is_complete()
    );
    assert_eq!(instances[1].edition("/a").await, edition);
}

#[tokio::test]
async fn a_lost_tail_makes_everybody_validate_even_those_who_come_later() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    let settings = Default::default();
    for instance in &instances {
        instance.edition("/a").await;
    }
    let born = instances[0].world.shared.place();
    // As a replica that is behind, and becomes the master.
    redis.command(&["SAVE"]).await;
    let edition = app.publish();
    assert!(
        instances[0]
            .purge(&url("/a"), Purge::Hard)
            .await
            .is_complete()
    );
    let lost = instances[0].world.shared.place();
    let old = instances[1].edition("/a").await;
    assert_eq!(old, edition);
    // Nor can who purged tell it again.
    let mut instances = instances;
    instances.remove(0).stop().await;
    redis.restart().await;
    for instance in &instances {
        until("the gap is noticed", async || instance.heard("gap") > 0).await;
        until("it is heard again", async || {
            instance.world.shared.is_trusted()
        })
        .await;
        assert!(instance.world.shared.place() > lost);
    }
    let late = Instance::start(&app, &redis, "late");
    let shared = &late.world.shared;
    let rules = shared.rules(&settings);
    until("it has read the Stream", async || shared.is_trusted()).await;
    let mut key = Vec::new();
    let uri = "/a".parse().unwrap();
    rules.write_plain(
        crate::cache::key::Target::new(Scheme::Http, b"example.com", &uri),
        &mut key,
    );
    // The purge itself was told again, or else nobody knows.
    assert!(shared.standing_below(born, &key, &[]) >= Below::Suspect);
    assert!(shared.standing_below(lost, &key, &[]) >= Below::Suspect);
    assert_eq!(
        shared.standing_below(shared.place(), &key, &[]),
        Below::Valid
    );
}

#[tokio::test]
async fn what_cannot_be_read_counts_as_anything() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a"]).await;
    let instance = &instances[0];
    for (planted, what) in [
        (
            vec!["XADD", "{pillion:}bus", "*", "e", "B\u{2}from the future"],
            "unreadable",
        ),
        (vec!["XADD", "{pillion:}bus", "*", "x", "y"], "unreadable"),
        (
            vec!["XADD", "{pillion:}bus", "*", "e", "x", "n", "y", "p", "z"],
            "gap",
        ),
        (
            vec!["XADD", "{pillion:}bus", "9999999999999-0", "x", "y"],
            "unreadable",
        ),
    ] {
        instance.edition("/a").await;
        let before = instance.heard(what);
        redis.command(&planted).await;
        until("it is noticed", async || instance.heard(what) > before).await;
        until("it is heard again", async || {
            instance.world.shared.is_trusted()
        })
        .await;
        let status = instance.world.get("/a").await;
        assert!(
            status.cache_status().contains("fwd=stale"),
            "{planted:?}: {status:?}"
        );
        let edition = app.publish();
        assert!(instance.purge(&url("/a"), Purge::Hard).await.is_complete());
        assert_eq!(instance.edition("/a").await, edition);
    }
}

#[tokio::test]
async fn a_stream_that_was_trimmed_meanwhile_leaves_nothing_trusted_that_is_older() {
    let (app, redis) = (App::default(), Redis::start().await);
    let first = Instance::start(&app, &redis, "a");
    hear_each_other(std::slice::from_ref(&first)).await;
    let shared = &first.world.shared;
    let (_rules, mut key) = (shared.rules(&Default::default()), Vec::new());
    let uri = "/a".parse().unwrap();
    _rules.write_plain(
        crate::cache::key::Target::new(Scheme::Http, b"example.com", &uri),
        &mut key,
    );
    let born = shared.place();
    assert!(first.purge(&url("/b"), Purge::Hard).await.is_complete());
    assert_eq!(shared.standing_below(born, &key, &[]), Below::Valid);
    redis
        .command(&["XTRIM", "{pillion:}bus", "MAXLEN", "0"])
        .await;
    // Whoever was there knows all of it still.
    assert!(first.purge(&url("/c"), Purge::Hard).await.is_complete());
    assert_eq!(first.heard("gap"), 0);
    assert_eq!(shared.standing_below(born, &key, &[]), Below::Valid);
    let late = Instance::start(&app, &redis, "b");
    let of_late = &late.world.shared;
    let _rules = of_late.rules(&Default::default());
    until("it has read the Stream", async || of_late.is_trusted()).await;
    assert_eq!(of_late.standing_below(born, &key, &[]), Below::Suspect);
    assert_eq!(
        of_late.standing_below(shared.place(), &key, &[]),
        Below::Valid
    );
}

#[tokio::test]
async fn instances_are_counted_when_it_is_sure() {
    let (app, redis) = (App::default(), Redis::start().await);
    let first = Instance::start(&app, &redis, "a");
    assert_eq!(first.bus.instances(), None);
    until("it knows that it is alone", async || {
        first.bus.instances() == Some(1)
    })
    .await;
    let second = Instance::start(&app, &redis, "b");
    until("it is not alone any more", async || {
        first.bus.instances() == Some(2)
    })
    .await;
    assert_eq!(second.bus.instances(), None, "it has just come");
    second.stop().await;
    until("it is alone again", async || {
        first.bus.instances() == Some(1)
    })
    .await;
    redis.kill();
    until("it is not known", async || first.bus.instances().is_none()).await;
    until("it lags", async || first.bus.lag() > Duration::from_secs(2)).await;
}

#[tokio::test]
async fn more_purges_than_wait_become_one_that_stands_for_all() {
    let (app, redis) = (App::default(), Redis::start().await);
    let instances = together(&app, &redis, &["a", "b"]).await;
    instances[1].edition("/x").await;
    redis.stop();
    let edition = app.publish();
    for number in 0..outbox::MOST_WAITING + 10 {
        instances[0]
            .world
            .shared
            .purge(&url(&format!("/{number}")), Purge::Hard)
            .unwrap();
    }
    instances[0]
        .world
        .shared
        .purge(&url("/x"), Purge::Hard)
        .unwrap();
    until("they are given up", async || {
        instances[0].bus.outbox().waiting() < 200
    })
    .await;
    redis.cont();
    until("the others have heard", async || {
        instances[1].world.get("/x").await.body() == edition.to_string()
    })
    .await;
    until("nothing waits", async || {
        instances[0].bus.outbox().waiting() == 0
    })
    .await;
}
