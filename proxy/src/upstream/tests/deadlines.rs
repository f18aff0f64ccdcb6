use super::*;

/// What passes by itself, while nothing happens.
const SHORT: Duration = Duration::from_millis(50);
/// What must not pass while something happens, however busy the machine: a test that stays below sleeps
/// for some [`STEP`]s.
const LONG: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(250);

#[tokio::test]
async fn an_upstream_that_says_nothing_is_a_read_timeout() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.first_byte = SHORT;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.head().await;
        connection.closed().await;
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(kind(answer), ErrorKind::ConnectionReadTimeout);
}

#[tokio::test]
async fn the_deadline_counts_from_the_last_byte_of_an_upload() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.first_byte = LONG;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let (sender, body) = streamed();
    let serve = async { raw.accept().await.0 };
    let upload = async {
        // Longer than the deadline, but never silent for as long.
        for _ in 0..10 {
            tokio::time::sleep(STEP).await;
            sender.send(chunk("x")).unwrap();
        }
        drop(sender);
    };
    let ask = async {
        let begun = Clock::system().mono();
        let answer = upstream.call(request("POST", "/", body)).await;
        (answer, Clock::system().mono() - begun)
    };
    let ((answer, took), _open, ()) = tokio::join!(ask, serve, upload);
    assert_eq!(kind(answer), ErrorKind::ConnectionReadTimeout);
    assert!(took > STEP * 10 + LONG - STEP, "{took:?}");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_the_one_to_blame() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.first_byte = SHORT;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let (sender, body) = streamed();
    sender.send(chunk("x")).unwrap();
    let serve = async { raw.accept().await.0 };
    let (answer, _open) = tokio::join!(upstream.call(request("POST", "/", body)), serve);
    assert_eq!(kind(answer), ErrorKind::RequestTimeout);
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_is_a_write_timeout() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.first_byte = SHORT * 4;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let endless =
        futures_util::stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; 1 << 16]))));
    let body = Body::stream(StreamBody::new(endless));
    let serve = async { raw.accept().await.0 };
    let (answer, _open) = tokio::join!(upstream.call(request("POST", "/", body)), serve);
    assert_eq!(kind(answer), ErrorKind::ConnectionWriteTimeout);
}

#[tokio::test]
async fn a_body_may_pause_but_not_for_too_long() {
    for (kind, fails) in [("text/html", true), ("text/event-stream", false)] {
        let raw = Raw::new().await;
        let mut settings = raw.settings();
        settings.body_idle = STEP * 3;
        let fixture = Fixture::new(settings);
        let mut upstream = fixture.upstream();
        let serve = async {
            let mut connection = raw.accept().await;
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 3\r\n\r\n");
            connection.serve(&head).await;
            for part in ["a", "b"] {
                tokio::time::sleep(SHORT).await;
                connection.say(part).await;
            }
            tokio::time::sleep(STEP * 6).await;
            // Cut off meanwhile, where that was too long.
            drop(connection.0.write_all(b"c").await);
        };
        let ask = async { text(upstream.call(get("/")).await.unwrap()).await };
        let (body, ()) = tokio::join!(ask, serve);
        match body {
            Ok(body) => {
                assert!(!fails);
                assert_eq!(body, "abc");
            }
            Err(error) => {
                assert!(fails);
                assert_eq!(error.kind(), ErrorKind::ConnectionReadTimeout);
            }
        }
    }
}

#[tokio::test]
async fn a_deadline_set_for_one_request_does_not_strike_the_next() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.first_byte = LONG;
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        for _ in 0..4 {
            connection.head().await;
            tokio::time::sleep(STEP * 3).await;
            connection.say(OK).await;
        }
        connection
    };
    let ask = async {
        for _ in 0..4 {
            upstream.call(get("/")).await.unwrap();
        }
    };
    let (_connection, ()) = tokio::join!(serve, ask);
    raw.assert_unvisited();
}
