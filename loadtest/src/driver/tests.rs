use super::*;
use crate::upstream;

/// The synthetic app in this process, and a scenario that is put on it.
async fn load(text: &str, duration: Duration) -> Round {
    let port = crate::targets::free_port().expect("a port");
    let args = upstream::for_tests(port);
    let mut tasks = JoinSet::new();
    tasks.spawn(upstream::serve(args));
    let origin = Origin::local(port, false);
    while origin.connect(Http::One).await.is_err() {
        // It does not listen yet, or never will.
        assert!(tasks.try_join_next().is_none(), "the app has ended");
        tokio::task::yield_now().await;
    }
    let scenario = Scenario::parse(text).expect("well written");
    run(&scenario, &origin, duration, 1, Arc::default())
        .await
        .expect("it runs")
}

#[tokio::test]
async fn a_closed_loop_keeps_all_clients_busy() {
    let round = load(
        "connections = 4\n[[request]]\npath = \"/?size=100&wait=5ms\"",
        Duration::from_millis(300),
    )
    .await;
    assert!(round.errors.is_empty(), "{:?}", round.errors);
    assert!(
        round.requests >= 4 && round.requests <= 4 * 60 + 4,
        "{}",
        round.requests
    );
    assert_eq!(round.body_bytes, round.requests * 100);
    assert!(round.latency.quantile(0.5) >= 0.005);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let round = load(
        "connections = 10\nrate = 200.0\n[[request]]\npath = \"/?wait=1ms\"",
        Duration::from_millis(500),
    )
    .await;
    assert_eq!(round.requests, 100, "{:?}", round.errors);
}

#[tokio::test]
async fn a_target_that_is_too_slow_for_the_rate_is_not_called_fast() {
    let round = load(
        "connections = 1\nrate = 1000.0\n[[request]]\npath = \"/?wait=100ms\"",
        Duration::from_millis(500),
    )
    .await;
    // The tenth request waits for nine before it: its latency counts from when it was due.
    assert!(round.latency.quantile(0.99) > 0.5, "{:?}", round.latency);
    assert!(round.errors.contains_key(NOT_SENT), "{:?}", round.errors);
    let sent: u64 = round.requests + round.errors.values().sum::<u64>();
    assert_eq!(sent, 500);
}

#[tokio::test]
async fn clients_that_keep_tags_are_told_not_modified() {
    let round = load(
        "connections = 2\nkeep_etags = true\n[[request]]\npath = \"/{key}?etag\"\nkeys = { count = 3 }",
        Duration::from_secs(1),
    )
    .await;
    let first = round.statuses.get(&200).copied().unwrap_or(0);
    assert!(
        first <= 6,
        "each client fetches each key once: {:?}",
        round.statuses
    );
    assert!(round.statuses.contains_key(&304), "{:?}", round.statuses);
}

#[tokio::test]
async fn listeners_listen_beside_the_load() {
    let round = load(
        "connections = 1\n[streams]\npath = \"/events\"\nclients = 5\n[[request]]\npath = \"/?wait=1ms\"",
        Duration::from_secs(1),
    )
    .await;
    assert!(round.errors.is_empty(), "{:?}", round.errors);
    assert!(round.stream_chunks >= 5, "each hears the first event");
}

#[tokio::test]
async fn what_fails_is_counted() {
    let round = load(
        "connections = 1\n[streams]\npath = \"/x\"\nclients = 1\n[[request]]\npath = \"/?status=503\"",
        Duration::from_millis(100),
    )
    .await;
    assert_eq!(round.error_answers(), round.requests);
    assert!(
        round
            .errors
            .contains_key("a stream: it ended before the load did"),
        "{:?}",
        round.errors
    );
}
