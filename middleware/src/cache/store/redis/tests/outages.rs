//! A Redis that is not well: what a request waits for, and that it comes back.

use std::time::Instant;

use super::super::servers::Redis;
use super::*;

/// How long it took to be told that there is nothing.
#[expect(clippy::disallowed_methods, reason = "what a test measures")]
async fn time_of(asked: impl Future<Output = Result<Option<String>, Failed>>) -> (Duration, bool) {
    let begun = Instant::now();
    let result = asked.await;
    (begun.elapsed(), result.is_ok())
}

#[tokio::test]
async fn one_that_stands_still_costs_one_deadline_and_then_nothing() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    shared.is(L2State::Up).await;
    redis.stop();
    // Many at once wait for one deadline, together.
    let asked = (0..64).map(|_| time_of(shared.record("a")));
    let first = futures_util::future::join_all(asked).await;
    let longest = first.iter().map(|(took, _)| *took).max().expect("some");
    assert!(first.iter().all(|(_, is_ok)| !is_ok));
    assert!(longest < Duration::from_millis(90), "{longest:?}");
    // And then none waits at all, for as long as it lasts.
    let mut slow = 0;
    for _ in 0..300 {
        let (took, is_ok) = time_of(shared.record("a")).await;
        assert!(!is_ok);
        slow += u32::from(took > Duration::from_millis(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(slow, 0, "{slow} of 300 waited");
    assert_eq!(shared.tier.state(), L2State::Away);
    // What is written meanwhile is dropped, and counted.
    shared.tier.put(key("b"), "x".into(), MINUTE);
    until("the write is dropped", async || {
        shared.counted("pillion_l2_writes_dropped_total{cause=\"away\"}")
    })
    .await;
    redis.cont();
    shared.is(L2State::Up).await;
    assert_eq!(shared.record("a").await, Ok(Some("content".into())));
}

#[tokio::test]
async fn a_short_pause_of_it_is_soon_forgiven() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    redis.stop();
    assert_eq!(shared.record("a").await, Err(Failed::Late));
    assert_eq!(
        shared.record("a").await,
        Err(Failed::Away),
        "it is not asked twice"
    );
    redis.cont();
    let begun = timer_now();
    until("it is asked again", async || {
        shared.record("a").await == Ok(Some("content".into()))
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_crash_and_a_restart_are_a_miss() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    redis.kill();
    for _ in 0..100 {
        let (took, is_ok) = time_of(shared.record("a")).await;
        assert!(!is_ok && took < Duration::from_millis(30), "{took:?}");
    }
    shared.is(L2State::Away).await;
    assert!(
        shared.trouble().await.contains("no connection"),
        "{:?}",
        shared.tier.trouble()
    );
    redis.restart().await;
    shared.is(L2State::Up).await;
    assert_eq!(shared.record("a").await, Ok(None));
    shared.store("a", "again").await;
}

/// Whether the tier has seen it or a request finds it out: until it is back there are misses.
#[tokio::test]
async fn after_a_restart_between_two_requests_it_answers_again() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    redis.restart().await;
    until("it answers", async || shared.record("a").await == Ok(None)).await;
    shared.store("a", "again").await;
}

#[tokio::test]
async fn without_a_redis_at_the_start_nothing_waits_and_it_is_found_later() {
    let redis = Redis::start().await;
    redis.kill();
    let shared = connect(&url(&redis.url()));
    let (took, is_ok) = time_of(shared.record("a")).await;
    assert!(!is_ok && took < Duration::from_millis(100), "{took:?}");
    shared.is(L2State::Away).await;
    redis.restart().await;
    shared.is(L2State::Up).await;
    shared.store("a", "content").await;
}

#[tokio::test]
async fn one_that_stands_still_at_the_start_costs_one_connection_s_deadline() {
    let redis = Redis::start().await;
    redis.stop();
    let shared = connect(&url(&redis.url()));
    let asked = (0..16).map(|_| time_of(shared.record("a")));
    for (took, is_ok) in futures_util::future::join_all(asked).await {
        assert!(!is_ok && took < Duration::from_millis(300), "{took:?}");
    }
    let (took, _) = time_of(shared.record("a")).await;
    assert!(took < Duration::from_millis(10), "{took:?}");
    redis.cont();
    shared.is(L2State::Up).await;
}

#[tokio::test]
async fn a_flushed_one_is_empty_and_well() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    redis.flushall().await;
    assert_eq!(shared.record("a").await, Ok(None));
    shared.store("a", "again").await;
}
