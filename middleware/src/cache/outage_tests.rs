use std::time::Duration;

use config::outage::OutageSettings;
use tokio::sync::Semaphore;

use super::*;
use crate::cache::Purge;
use crate::cache::testing::{World, at_once, reply, settle};
use crate::facts::Scheme;
use crate::{Request, ResponseFuture};

fn policy(on_outage: OnOutage, concurrency: usize) -> impl FnOnce(&mut CacheSettings) {
    move |settings| {
        settings.on_outage = on_outage;
        settings.outage = OutageSettings {
            concurrency,
            stale: Duration::from_secs(100),
        };
    }
}

/// An upstream that answers when told to: each permit lets one answer go.
fn held(
    change: impl FnOnce(&mut CacheSettings),
    answer: impl Fn(usize, &Request) -> Response + Send + Sync + 'static,
) -> (Arc<Semaphore>, World) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let world = World::with(change, move |count, request| {
        let (wait, response) = (wait.clone(), answer(count, request));
        ResponseFuture::boxed(async move {
            wait.acquire().await.unwrap().forget();
            Ok(response)
        })
    });
    (gate, world)
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_served_while_redis_is_away_and_no_longer_than_the_operator_says() {
    let world = World::with(policy(OnOutage::ServeStale, 8), |count, _| {
        at_once(reply(
            200,
            &[("cache-control", "max-age=10")],
            format!("{count}"),
        ))
    });
    world.get("/").await;
    world.advance(20);
    world.shared.tell_outage(true);
    let stale = world.get("/").await;
    assert_eq!(stale.body(), "1");
    assert_eq!(stale.cache_status(), "pillion; hit; ttl=-10; detail=outage");
    settle().await;
    assert_eq!(world.seen().len(), 2, "validated in the background");
    assert_eq!(world.get("/").await.body(), "2");
    // Beyond the window, and once Redis is there again, it is as ever.
    world.advance(111);
    assert_eq!(world.get("/").await.body(), "3");
    world.advance(20);
    world.shared.tell_outage(false);
    assert_eq!(world.get("/").await.body(), "4");
}

#[tokio::test(start_paused = true)]
async fn never_what_the_upstream_or_a_purge_or_the_client_forbids_to_be_stale() {
    for control in [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "max-age=10, no-cache",
        "s-maxage=10",
    ] {
        let fields = [("cache-control", control), ("etag", "\"a\"")];
        let world = World::with(policy(OnOutage::ServeStale, 8), move |count, _| {
            at_once(reply(200, &fields, format!("{count}")))
        });
        world.get("/").await;
        world.advance(20);
        world.shared.tell_outage(true);
        assert_eq!(world.get("/").await.body(), "2", "{control}");
    }
    let fields = &[("cache-control", "max-age=10"), ("etag", "\"a\"")];
    let world = World::with(policy(OnOutage::ServeStale, 8), |count, _| {
        at_once(reply(200, fields, format!("{count}")))
    });
    world.get("/").await;
    world.shared.tell_outage(true);
    let uri = "/".parse().unwrap();
    world
        .shared
        .purge_uri(Scheme::Http, "example.com", &uri, Purge::Soft);
    assert_eq!(world.get("/").await.body(), "2");
    world.advance(20);
    let asking = [("cache-control", "no-cache")];
    assert_eq!(world.ask("GET", "/", &asking).await.body(), "3");
    world.advance(20);
    let asking = [("cache-control", "max-age=5")];
    assert_eq!(world.ask("GET", "/", &asking).await.body(), "4");
}

#[tokio::test(start_paused = true)]
async fn with_bypass_everything_is_forwarded_as_ever() {
    let (gate, world) = held(policy(OnOutage::Bypass, 1), |_, _| reply(200, &[], "x"));
    world.shared.tell_outage(true);
    let clients: Vec<_> = (0..20)
        .flat_map(|number| world.start(1, &format!("/{number}"), &[]))
        .collect();
    settle().await;
    assert_eq!(world.seen().len(), 20);
    gate.add_permits(20);
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn with_shed_so_many_are_under_way_and_the_others_are_refused_at_once() {
    const CACHED: &[(&str, &str)] = &[("cache-control", "max-age=10")];
    let (gate, world) = held(policy(OnOutage::Shed, 3), |_, _| reply(200, CACHED, "x"));
    // Nothing is limited while Redis is there.
    let before: Vec<_> = (0..5)
        .flat_map(|number| world.start(1, &format!("/before/{number}"), &[]))
        .collect();
    settle().await;
    assert_eq!(world.seen().len(), 5);
    world.shared.tell_outage(true);
    let clients: Vec<_> = (0..10)
        .flat_map(|number| world.start(2, &format!("/{number}"), &[]))
        .collect();
    settle().await;
    assert_eq!(world.seen().len(), 5 + 3);
    gate.add_permits(100);
    let (mut good, mut shed) = (0, 0);
    for client in clients {
        match client.await.unwrap() {
            Ok(answer) => good += usize::from(answer.status == 200),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionLimitReached);
                assert_eq!(error.kind().status(), 503);
                shed += 1;
            }
        }
    }
    // Followers share what their leader gets: its answer, or its refusal.
    assert_eq!((good, shed), (6, 14));
    for client in before {
        client.await.unwrap().unwrap();
    }
    // And all places are free again.
    let places = world.cache.layer.in_flight.0.load(Ordering::Relaxed);
    assert_eq!(places, 0);
    let again: Vec<_> = (20..23)
        .flat_map(|number| world.start(1, &format!("/{number}"), &[]))
        .collect();
    for client in again {
        assert_eq!(client.await.unwrap().unwrap().status, 200);
    }
    let total = |event| world.shared.metrics().total(event);
    assert_eq!(total(Event::OutageLimited), 6);
    assert_eq!(total(Event::OutageShed), 14);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_shared_is_not_shed_since_redis_never_held_it_back() {
    let (gate, world) = held(policy(OnOutage::Shed, 1), |count, _| {
        reply(200, &[("cache-control", "no-store")], format!("{count}"))
    });
    gate.add_permits(1);
    world.get("/").await;
    world.shared.tell_outage(true);
    let clients = world.start(20, "/", &[]);
    settle().await;
    assert_eq!(world.seen().len(), 21);
    gate.add_permits(20);
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn with_shed_a_window_for_errors_is_used_before_anybody_is_refused() {
    const CACHED: &[(&str, &str)] = &[("cache-control", "max-age=10, stale-if-error=60")];
    let (gate, world) = held(policy(OnOutage::Shed, 1), |_, _| reply(200, CACHED, "x"));
    gate.add_permits(1);
    world.get("/").await;
    world.advance(20);
    world.shared.tell_outage(true);
    let blocking = world.start(1, "/other", &[]);
    settle().await;
    let stale = world.get("/").await;
    assert_eq!(
        stale.cache_status(),
        "pillion; fwd=stale; ttl=-10; detail=stale-if-error"
    );
    gate.add_permits(1);
    for client in blocking {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn validations_in_the_background_wait_for_room() {
    const CACHED: &[(&str, &str)] = &[("cache-control", "max-age=10")];
    let (gate, world) = held(policy(OnOutage::ServeStale, 2), |_, _| {
        reply(200, CACHED, "x")
    });
    gate.add_permits(6);
    for number in 0..6 {
        world.get(&format!("/{number}")).await;
    }
    world.advance(20);
    world.shared.tell_outage(true);
    for number in 0..6 {
        assert!(world.get(&format!("/{number}")).await.is_hit());
    }
    settle().await;
    assert_eq!(world.seen().len(), 6 + 2);
    gate.add_permits(2);
    settle().await;
}

#[test]
fn routes_to_one_upstream_share_its_places_and_others_have_their_own() {
    let outage = Outage::default();
    let (one, same, other) = (
        outage.towards("app"),
        outage.towards("app"),
        outage.towards("other"),
    );
    let permit = one.enter(1).unwrap();
    assert!(same.enter(1).is_err());
    assert!(other.enter(1).is_ok());
    drop(permit);
    assert!(same.enter(1).is_ok());
}
