use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;
use crate::cache::testing::{World, at_once, reply, settle};
use crate::clock::Clock;
use crate::facts::Scheme;
use crate::{Error, ErrorKind, ResponseFuture};

const MINUTE: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];

/// A world whose fetches take `seconds` by its clock, all but the fetches in the background.
fn slow(seconds: u64, fields: &'static [(&'static str, &'static str)]) -> World {
    changed(seconds, fields, |_| {})
}

fn changed(
    seconds: u64,
    fields: &'static [(&'static str, &'static str)],
    change: impl FnOnce(&mut config::cache::CacheSettings),
) -> World {
    let clock = Clock::standing();
    let passes = clock.clone();
    World::at(clock, change, move |count, _| {
        if count == 1 {
            passes.advance(Duration::from_secs(seconds));
        }
        at_once(reply(200, fields, format!("{count}")))
    })
}

proptest! {
    /// "Each process computes independently whether to recompute early, by an exponential distribution
    /// whose scale is the time that a recomputation takes" (Vattani et al., §4.2)
    #[test]
    fn nearer_slower_and_heavier_is_never_less_likely(
        left in 0_u64..100_000, took in 0.0_f32..100.0, weight in 0.1_f64..10.0, drawn in 1e-9_f64..=1.0,
    ) {
        let left = Duration::from_millis(left);
        if is_due(left, took, weight, drawn) {
            prop_assert!(is_due(left / 2, took, weight, drawn));
            prop_assert!(is_due(left, took * 2.0, weight, drawn));
            prop_assert!(is_due(left, took, weight * 2.0, drawn));
            prop_assert!(is_due(left, took, weight, drawn / 2.0));
        }
    }

    #[test]
    fn what_is_left_before_lots_is_what_no_lot_is_drawn_in(
        age in 0_u64..100_000, lifetime in 1_u64..100_000, took in 0.0_f32..10.0, weight in 0.1_f64..10.0,
        immutable in any::<bool>(),
    ) {
        let now = Clock::standing().now();
        let mut stored = StoredResponse::fixed(StatusCode::OK, http::HeaderMap::new(), bytes::Bytes::new(), now);
        stored.took = took;
        let mut candidate = stored.candidate(now, false);
        candidate.terms.lifetime = Duration::from_millis(lifetime);
        candidate.terms.immutable = immutable;
        candidate.age = Duration::from_millis(age);
        match stored.left_before_lots(candidate, weight) {
            None => prop_assert!(!candidate.is_fresh() || stored.is_near_end(older(candidate, 1), weight)),
            Some(left) => {
                let left = u64::try_from(left.as_nanos()).unwrap();
                prop_assert!(!stored.is_near_end(older(candidate, left - 1), weight));
                prop_assert!(older(candidate, left - 1).is_fresh());
                let after = older(candidate, left + 1);
                prop_assert!(!after.is_fresh() || stored.is_near_end(after, weight));
            }
        }
    }

    #[test]
    fn what_is_not_drawn_for_would_hardly_have_won(took in 0.001_f32..100.0, weight in 0.1_f64..10.0) {
        let left = Duration::from_secs_f64(f64::from(took) * weight * SPAN);
        prop_assert!(!is_due(left, took, weight, 1.0 / 20_000.0));
    }
}

/// By `nanos` nanoseconds.
fn older(mut candidate: Candidate, nanos: u64) -> Candidate {
    candidate.age += Duration::from_nanos(nanos);
    candidate
}

#[test]
fn a_third_wins_one_fetch_time_before_the_end() {
    // P(−ln u ≥ 1) = 1/e
    let (left, rounds) = (Duration::from_secs(2), 20_000);
    let won = (0..rounds)
        .filter(|_| is_due(left, 2.0, 1.0, draw()))
        .count();
    assert!((6_900..7_820).contains(&won), "{won} of {rounds}");
    let range = (0..rounds).map(|_| draw());
    assert!(range.into_iter().all(|drawn| drawn > 0.0 && drawn <= 1.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_all_the_time_is_never_stale_when_it_is() {
    let world = slow(2, MINUTE);
    world.get("/").await;
    let mut early = 0;
    // 2 s of age already at receipt.
    for _ in 0..580 {
        world.clock.advance(Duration::from_millis(100));
        let answer = world.get("/").await;
        assert!(answer.is_hit(), "{}", answer.cache_status());
        early += usize::from(answer.cache_status().ends_with("; detail=early-refresh"));
        settle().await;
    }
    assert_eq!((early, world.seen().len()), (1, 2));
    assert_eq!(world.seen()[1].field("if-none-match"), Some("\"a\""));
    assert_eq!(world.get("/").await.body(), "2");
    let total = |event| world.shared.metrics().total(event);
    assert_eq!(total(Event::EarlyRefresh), 1);
    assert_eq!(total(Event::BackgroundValidated), 1);
}

/// Asks every 10 ms from `from` seconds of age until just before 60: how often the upstream was asked.
async fn asked_near_the_end(world: &World, uri: &str, fields: &[(&str, &str)]) -> usize {
    world.get(uri).await;
    world.clock.advance(Duration::from_millis(56_900));
    for _ in 0..100 {
        world.clock.advance(Duration::from_millis(10));
        let answer = world.ask("GET", uri, fields).await;
        assert!(answer.is_hit(), "{answer:?}");
        settle().await;
    }
    world.seen().len()
}

#[tokio::test(start_paused = true)]
async fn not_where_it_is_off_or_quick_or_immutable_or_the_client_wants_no_forwarding() {
    let off = changed(2, MINUTE, |settings| settings.early_refresh = 0.0);
    assert_eq!(asked_near_the_end(&off, "/", &[]).await, 1);
    let quick = slow(0, MINUTE);
    assert_eq!(asked_near_the_end(&quick, "/", &[]).await, 1);
    let immutable = slow(2, &[("cache-control", "max-age=60, immutable")]);
    assert_eq!(asked_near_the_end(&immutable, "/", &[]).await, 1);
    let only = slow(2, MINUTE);
    let fields = [("cache-control", "only-if-cached")];
    assert_eq!(asked_near_the_end(&only, "/", &fields).await, 1);
    // And this is what each of them is to be told from.
    let on = slow(2, MINUTE);
    assert_eq!(asked_near_the_end(&on, "/", &[]).await, 2);
}

#[tokio::test(start_paused = true)]
async fn not_before_the_last_quarter_however_slow_the_upstream_is() {
    let world = slow(12, MINUTE);
    world.get("/").await;
    // Of 60 seconds, 12 have passed at receipt, so a quarter is left after another 33.
    for _ in 0..328 {
        world.clock.advance(Duration::from_millis(100));
        world.get("/").await;
        settle().await;
    }
    assert_eq!(world.seen().len(), 1);
    for _ in 0..140 {
        world.clock.advance(Duration::from_millis(100));
        world.get("/").await;
        settle().await;
    }
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobodys_credentials_travel_with_it() {
    let world = slow(2, MINUTE);
    let fields = [("cookie", "session=1"), ("authorization", "secret")];
    asked_near_the_end(&world, "/", &fields).await;
    let seen = world.seen().pop().unwrap();
    assert_eq!(world.seen().len(), 2);
    assert_eq!(
        (seen.field("cookie"), seen.field("authorization")),
        (None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_time_replaces_nothing_whatever_lifetime_it_has() {
    for is_error in [false, true] {
        let clock = Clock::standing();
        let passes = clock.clone();
        let world = World::at(
            clock,
            |_| {},
            move |count, _| match count {
                1 => {
                    passes.advance(Duration::from_secs(2));
                    at_once(reply(200, MINUTE, "good"))
                }
                _ if is_error => {
                    ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused)))
                }
                _ => at_once(reply(500, MINUTE, "bad")),
            },
        );
        // Once a second, not by every request.
        let asked = asked_near_the_end(&world, "/", &[]).await;
        assert_eq!(asked, 2);
        assert_eq!(world.get("/").await.body(), "good");
        let failed = world.shared.metrics().total(Event::BackgroundFailed);
        assert_eq!(failed, asked as u64 - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_while_it_was_under_way_does_not_come_back() {
    let gate = Arc::new(Semaphore::new(0));
    let (clock, wait) = (Clock::standing(), gate.clone());
    let passes = clock.clone();
    let world = World::at(
        clock,
        |_| {},
        move |count, _| {
            if count == 1 {
                passes.advance(Duration::from_secs(2));
            }
            let (answer, wait) = (reply(200, MINUTE, format!("{count}")), wait.clone());
            if count != 2 {
                return at_once(answer);
            }
            ResponseFuture::boxed(async move {
                wait.acquire().await.unwrap().forget();
                Ok(answer)
            })
        },
    );
    assert_eq!(asked_near_the_end(&world, "/", &[]).await, 2);
    world.shared.purge_uri(
        Scheme::Http,
        "example.com",
        &"/".parse().unwrap(),
        crate::cache::Purge::Hard,
    );
    gate.add_permits(1);
    settle().await;
    assert_eq!(world.get("/").await.body(), "3");
}
