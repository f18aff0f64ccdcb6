use super::*;

async fn answered_with(bytes: &str) -> Result<Response> {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async { raw.accept().await.serve(bytes).await };
    tokio::join!(upstream.call(get("/")), serve).0
}

#[tokio::test]
async fn what_is_no_http_is_a_protocol_error() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nFolded: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        assert_eq!(
            kind(answered_with(garbage).await),
            ErrorKind::HttpProtocolError,
            "{garbage}"
        );
    }
}

#[tokio::test]
async fn an_answer_with_too_many_fields_is_refused() {
    for (limit, count, taken) in [
        (10, 10, true),
        (10, 11, false),
        (128, 128, true),
        (128, 129, false),
    ] {
        let raw = Raw::new().await;
        let mut settings = raw.settings();
        settings.fields_count = limit;
        let fixture = Fixture::new(settings);
        let mut upstream = fixture.upstream();
        let fields: String = (1..count).map(|n| format!("X-{n}: x\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
        let serve = async { raw.accept().await.serve(&answer).await };
        let (answer, _) = tokio::join!(upstream.call(get("/")), serve);
        match answer {
            Ok(_) => assert!(taken, "{count} of {limit}"),
            Err(error) => {
                assert!(!taken, "{count} of {limit}");
                assert_eq!(error.kind(), ErrorKind::HttpResponseHeaderSectionSize);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_reaches_the_client_so() {
    for start in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n",
    ] {
        let raw = Raw::new().await;
        let fixture = Fixture::new(raw.settings());
        let mut upstream = fixture.upstream();
        let (begun, go_on) = tokio::sync::oneshot::channel();
        let serve = async {
            let mut connection = raw.accept().await;
            let chunk = if start.contains("chunked") && !start.ends_with("9\r\n") {
                "2\r\nab\r\n"
            } else {
                "ab"
            };
            connection.serve(&format!("{start}{chunk}")).await;
            go_on.await.unwrap();
        };
        let ask = async {
            let mut body = upstream.call(get("/")).await.unwrap().into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, "ab");
            begun.send(()).unwrap();
            let error = body.frame().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HttpResponseIncomplete, "{start}");
            assert!(body.frame().await.is_none());
        };
        tokio::join!(serve, ask);
        while fixture.open() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_complete() {
    let answer = answered_with("HTTP/1.1 200 OK\r\n\r\nall there is").await;
    assert_eq!(text(answer.unwrap()).await.unwrap(), "all there is");
}

#[tokio::test]
async fn only_a_true_length_is_passed_on() {
    for (answer, length) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            Some("2"),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            Some("2"),
        ),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", None),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            Some("7"),
        ),
    ] {
        let response = answered_with(answer).await.unwrap();
        let lengths: Vec<_> = response.headers().get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(
            lengths.first().map(|one| one.to_str().unwrap()),
            length,
            "{answer}"
        );
        assert!(lengths.len() < 2);
        assert!(!response.headers().contains_key("transfer-encoding"));
    }
}

#[tokio::test]
async fn fields_of_the_connection_are_not_passed_on() {
    let answer = answered_with(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = answer.await.unwrap();
    let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-end", "content-length"]);
}

#[tokio::test]
async fn informational_answers_are_passed_over() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let answer = answered_with(&format!("{early}{OK}")).await;
    assert_eq!(answer.unwrap().status(), 200);
}
