//! A Redis that is not well: what a request waits for, and that it comes back.

use super::super::servers::Redis;
use super::*;

/// What a request waits for here, at most: a second for the connection, and a second for the answer. Whether it
/// waits is what these tests are about, and with less a busy machine could not be told from a wait.
const DEADLINE: Duration = Duration::from_secs(1);

fn hasty(redis: &Redis) -> Tested {
    let url = url(&redis.url());
    connect(&format!(
        "{url}\ntimeout = \"{DEADLINE:?}\"\nconnect_timeout = \"{DEADLINE:?}\""
    ))
}

#[tokio::test]
async fn one_that_stands_still_costs_one_deadline_and_then_nothing() {
    let redis = Redis::start().await;
    let shared = hasty(&redis);
    shared.store("a", "content").await;
    shared.is(L2State::Up).await;
    redis.stop();
    // Many at once wait for one deadline, together; one by one it would be a minute.
    let begun = timer_now();
    let first = futures_util::future::join_all((0..64).map(|_| shared.record("a"))).await;
    let took = begun.elapsed();
    assert!(first.contains(&Err(Failed::Late)), "{first:?}");
    assert!(first.iter().all(Result::is_err), "{first:?}");
    assert!(took >= DEADLINE && took < DEADLINE * 20, "{took:?}");
    // And then none waits at all, for as long as it lasts: it is not even asked.
    for _ in 0..300 {
        assert_eq!(shared.record("a").await, Err(Failed::Away));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
    let shared = hasty(&redis);
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
    // Half a second, mostly; those who are not forgiven soon are asked after a quarter of a minute.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_crash_and_a_restart_are_a_miss() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    redis.kill();
    for _ in 0..100 {
        // Nobody waits for an answer.
        let answer = shared.record("a").await;
        assert!(!matches!(answer, Ok(_) | Err(Failed::Late)), "{answer:?}");
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
    let answer = shared.record("a").await;
    assert!(!matches!(answer, Ok(_) | Err(Failed::Late)), "{answer:?}");
    shared.is(L2State::Away).await;
    redis.restart().await;
    shared.is(L2State::Up).await;
    shared.store("a", "content").await;
}

#[tokio::test]
async fn one_that_stands_still_at_the_start_costs_one_connection_s_deadline() {
    let redis = Redis::start().await;
    redis.stop();
    let shared = hasty(&redis);
    let begun = timer_now();
    let first = futures_util::future::join_all((0..16).map(|_| shared.record("a"))).await;
    let took = begun.elapsed();
    assert!(first.iter().all(Result::is_err), "{first:?}");
    assert!(took < DEADLINE * 8, "one by one? {took:?}");
    assert_eq!(shared.record("a").await, Err(Failed::Away));
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
