use super::*;

#[tokio::test]
async fn a_connection_serves_again_once_its_answer_is_read() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        for _ in 0..3 {
            connection.serve(OK).await;
        }
        // A body that comes after the head, in chunks.
        connection
            .serve("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            .await;
        connection.say("0\r\n\r\n").await;
        connection.serve(OK).await;
        connection
    };
    let ask = async {
        for round in 0..5 {
            let mut answer = upstream.call(get("/")).await.unwrap();
            assert_eq!(timing(&mut answer).connect.is_some(), round == 0);
            assert_eq!(text(answer).await.unwrap(), "ok");
        }
    };
    let (_connection, ()) = tokio::join!(serve, ask);
    raw.assert_unvisited();
    assert_eq!(fixture.open(), 1);
}

#[tokio::test]
async fn an_answer_that_is_here_with_its_head_is_whole() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async { raw.accept().await.serve(OK).await };
    let (answer, _) = tokio::join!(upstream.call(get("/")), serve);
    let body = answer.unwrap().into_body();
    assert_eq!(body.as_whole().unwrap(), "ok");
}

/// Plays: one answered request; then the next one is read and the connection dies.
async fn dies_on_second(raw: &Raw) -> Conversation {
    let mut first = raw.accept().await;
    first.serve(OK).await;
    first.head().await;
    drop(first);
    let mut second = raw.accept().await;
    second.serve(OK).await;
    second
}

#[tokio::test]
async fn a_get_is_repeated_once_when_a_reused_connection_dies() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let ask = async {
        upstream.call(get("/1")).await.unwrap();
        upstream.call(get("/2")).await.unwrap()
    };
    let (mut answer, _kept) = tokio::join!(ask, dies_on_second(&raw));
    assert_eq!(timing(&mut answer).retries, 1);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_post_is_not_repeated() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut first = raw.accept().await;
        first.serve(OK).await;
        first.head().await;
    };
    let ask = async {
        upstream.call(get("/1")).await.unwrap();
        upstream.call(request("POST", "/2", Body::from("x"))).await
    };
    let (answer, ()) = tokio::join!(ask, serve);
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionTerminated);
    assert!(!error.may_retry());
    raw.assert_unvisited();
}

#[tokio::test]
async fn nothing_is_repeated_once_a_byte_of_the_answer_came() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut first = raw.accept().await;
        first.serve(OK).await;
        first.serve("HTTP/1.1 2").await;
    };
    let ask = async {
        upstream.call(get("/1")).await.unwrap();
        upstream.call(get("/2")).await
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(kind(answer), ErrorKind::HttpResponseIncomplete);
    raw.assert_unvisited();
}

#[tokio::test]
async fn nothing_is_repeated_when_a_new_connection_dies() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async { raw.accept().await.head().await };
    let (answer, _) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(kind(answer), ErrorKind::ConnectionTerminated);
    raw.assert_unvisited();
}

#[tokio::test]
async fn a_post_goes_out_on_a_new_connection_when_the_pooled_one_is_known_to_be_closed() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let ask = async {
        upstream.call(get("/1")).await.unwrap();
        while fixture.open() > 0 {
            tokio::task::yield_now().await;
        }
        upstream.call(request("POST", "/2", Body::from("x"))).await
    };
    let serve = async {
        raw.accept().await.serve(OK).await;
        raw.accept().await.serve(OK).await
    };
    let (answer, head) = tokio::join!(ask, serve);
    assert_eq!(timing(&mut answer.unwrap()).retries, 0);
    assert!(head.starts_with("POST /2 HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn an_announced_keep_alive_timeout_is_respected() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let short = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n";
    let serve = async {
        let (mut one, mut other) = (raw.accept().await, None);
        one.serve(short).await;
        one.closed().await;
        other.insert(raw.accept().await).serve(OK).await;
    };
    let ask = async {
        let answer = upstream.call(get("/")).await.unwrap();
        assert!(!answer.headers().contains_key("keep-alive"));
        upstream.call(get("/")).await.unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn connections_by_http_1_0_and_those_to_be_closed_are_not_kept() {
    for answer in [
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let raw = Raw::new().await;
        let fixture = Fixture::new(raw.settings());
        let mut upstream = fixture.upstream();
        let serve = async {
            for _ in 0..2 {
                let mut connection = raw.accept().await;
                connection.serve(answer).await;
                connection.closed().await;
            }
        };
        let ask = async {
            for _ in 0..2 {
                let answer = upstream.call(get("/")).await.unwrap();
                assert!(!answer.headers().contains_key("connection"));
                assert_eq!(text(answer).await.unwrap(), "ok");
            }
        };
        tokio::join!(serve, ask);
    }
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_its_time() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.keep_alive = Duration::from_millis(40);
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.serve(OK).await;
        connection.closed().await;
    };
    tokio::join!(async { upstream.call(get("/")).await.unwrap() }, serve);
    // Its sweeper ends with it.
    fixture.tasks.close();
    fixture.tasks.wait().await;
}

#[tokio::test]
async fn stopping_closes_unused_connections_and_keeps_no_more() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let mut second = fixture.upstream();
    let serve = async {
        let mut one = raw.accept().await;
        let mut other = raw.accept().await;
        one.serve(OK).await;
        other.head().await;
        (one, other)
    };
    let first = async { upstream.call(get("/")).await.unwrap() };
    let slow = fixture.tasks.spawn(second.call(get("/")));
    let ((mut one, mut other), _) = tokio::join!(serve, first);
    fixture.stopping.cancel();
    one.closed().await;
    other.say(OK).await;
    slow.await.unwrap().unwrap();
    other.closed().await;
    fixture.tasks.close();
    fixture.tasks.wait().await;
    assert_eq!(fixture.open(), 0);
}
