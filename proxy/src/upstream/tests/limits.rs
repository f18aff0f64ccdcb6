use super::*;

#[tokio::test]
async fn beyond_the_limit_of_connections_requests_wait_their_turn_and_no_longer_than_the_queue() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    (settings.connections, settings.queue) = (1, 1);
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let first = fixture.tasks.spawn(upstream.call(get("/1")));
    let mut connection = raw.accept().await;
    assert!(connection.head().await.starts_with("GET /1 "));
    let second = fixture.tasks.spawn(upstream.call(get("/2")));
    let endpoint = &fixture.upstreams.state("app").endpoints[0];
    while endpoint.slots.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let third = upstream.call(get("/3")).await;
    assert_eq!(kind(third), ErrorKind::ConnectionLimitReached);
    connection.say(OK).await;
    first.await.unwrap().unwrap();
    assert!(connection.serve(OK).await.starts_with("GET /2 "));
    second.await.unwrap().unwrap();
    raw.assert_unvisited();
}

#[tokio::test]
async fn whoever_waits_gets_the_slot_of_a_connection_that_is_closed() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.connections = 1;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let first = fixture.tasks.spawn(upstream.call(get("/1")));
    let mut connection = raw.accept().await;
    connection.head().await;
    let second = fixture.tasks.spawn(upstream.call(get("/2")));
    tokio::task::yield_now().await;
    drop(connection);
    assert!(first.await.unwrap().is_err());
    raw.accept().await.serve(OK).await;
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_wait_for_a_connection_has_an_end() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    (settings.connections, settings.connect) = (1, Duration::from_secs(1));
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let _first = fixture.tasks.spawn(upstream.call(get("/1")));
    let _connection = raw.accept().await;
    assert_eq!(
        kind(upstream.call(get("/2")).await),
        ErrorKind::ConnectionLimitReached
    );
}

#[tokio::test]
async fn at_the_limit_another_cores_unused_connection_is_borrowed_and_goes_home() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.connections = 1;
    let fixture = Fixture::with_cores(settings, 2);
    let mut one = fixture.upstream();
    let mut other = fixture
        .upstreams
        .get("app", 1, None, &ForwardingSettings::default());
    let serve = async {
        let mut connection = raw.accept().await;
        for _ in 0..3 {
            connection.serve(OK).await;
        }
        connection
    };
    let ask = async {
        one.call(get("/1")).await.unwrap();
        other.call(get("/2")).await.unwrap();
        one.call(get("/3")).await.unwrap();
    };
    let (_connection, ()) = tokio::join!(serve, ask);
    let endpoint = &fixture.upstreams.state("app").endpoints[0];
    assert_eq!(endpoint.shard(0).idle().len(), 1);
    assert_eq!(endpoint.shard(1).idle().len(), 0);
    raw.assert_unvisited();
}

#[tokio::test]
async fn a_retry_at_the_limit_gets_a_new_connection() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.connections = 1;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut first = raw.accept().await;
        first.serve(OK).await;
        first.head().await;
        drop(first);
        raw.accept().await.serve(OK).await;
    };
    let ask = async {
        upstream.call(get("/1")).await.unwrap();
        upstream.call(get("/2")).await.unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn requests_are_held_until_the_hold_is_released() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.queue = 1;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let hold = fixture.upstreams.hold("app");
    let held = fixture.tasks.spawn(upstream.call(get("/1")));
    tokio::task::yield_now().await;
    assert_eq!(
        kind(upstream.call(get("/2")).await),
        ErrorKind::DestinationUnavailable
    );
    raw.assert_unvisited();
    hold.release();
    raw.accept().await.serve(OK).await;
    held.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_are_not_held_for_ever() {
    let settings = UpstreamSettings::new(vec![tcp("127.0.0.1", 1, false, Protocol::Http1)]);
    let fixture = Fixture::new(settings);
    let _hold = fixture.upstreams.hold("app");
    let answer = fixture.upstream().call(get("/")).await;
    assert_eq!(kind(answer), ErrorKind::DestinationUnavailable);
}

#[tokio::test]
async fn an_answer_nobody_waits_for_closes_its_connection() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let waiting = fixture.tasks.spawn(upstream.call(get("/")));
    let mut connection = raw.accept().await;
    connection.head().await;
    waiting.abort();
    connection.closed().await;
    while fixture.open() > 0 {
        tokio::task::yield_now().await;
    }
}
