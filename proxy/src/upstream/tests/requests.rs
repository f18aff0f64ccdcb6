use config::forwarding::ForwardedHost;

use super::*;

/// What the upstream sees of `request`, which has no content that comes later.
async fn sent(request: Request, prefix: Option<&str>, host: ForwardedHost) -> String {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let forwarding = ForwardingSettings {
        host,
        ..ForwardingSettings::default()
    };
    let upstreams = &fixture.upstreams;
    let mut upstream = upstreams.get("app", 0, prefix.map(Arc::from), &forwarding);
    let serve = async { raw.accept().await.serve(OK).await };
    let (answer, head) = tokio::join!(upstream.call(request), serve);
    answer.unwrap();
    let port = raw.0.local_addr().unwrap().port();
    head.replace(&port.to_string(), "PORT")
}

#[tokio::test]
async fn target_and_fields_arrive_as_they_are() {
    let request = with(get("/a%2fb//c?q=%zz&x"), "x-one", "1");
    let head = sent(request, None, ForwardedHost::Keep).await;
    let start = "GET /a%2fb//c?q=%zz&x HTTP/1.1\r\nhost: app.example\r\nx-one: 1\r\n";
    assert!(head.starts_with(start), "{head}");
    // What the proxy adds of its own.
    assert!(head.contains("x-request-id: 00"), "{head}");
}

#[tokio::test]
async fn the_prefix_is_stripped_and_host_replaced_where_that_is_wanted() {
    let head = sent(get("/api/x?y"), Some("/api"), ForwardedHost::Upstream).await;
    let start = "GET /x?y HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n";
    assert!(head.starts_with(start), "{head}");
    assert!(head.contains("x-forwarded-host: app.example\r\n"), "{head}");
}

#[tokio::test]
async fn options_of_the_server_itself_keep_their_asterisk() {
    let request = request("OPTIONS", "*", Body::empty());
    let head = sent(request, Some("/api"), ForwardedHost::Keep).await;
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
}

/// What the upstream sees of the content `body`, sent with `method`, up to `end`.
async fn sent_content(
    method: &str,
    length: Option<&str>,
    body: Body,
    end: &str,
) -> (String, String) {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let mut request = request(method, "/", body);
    if let Some(length) = length {
        request = with(request, "content-length", length);
    }
    let serve = async {
        let mut connection = raw.accept().await;
        let head = connection.head().await;
        let content = connection.until(end.as_bytes()).await;
        connection.say(OK).await;
        (head, content)
    };
    let (answer, seen) = tokio::join!(upstream.call(request), serve);
    answer.unwrap();
    seen
}

fn stream_of(parts: &[&'static str]) -> Body {
    let (sender, body) = streamed();
    for part in parts {
        sender.send(chunk(part)).unwrap();
    }
    body
}

#[tokio::test]
async fn content_of_a_declared_length_is_framed_by_it() {
    let body = stream_of(&["ab", "cd"]);
    let (head, content) = sent_content("POST", Some("4"), body, "abcd").await;
    assert!(head.contains("content-length: 4\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(content, "abcd");
}

#[tokio::test]
async fn content_of_unknown_length_is_sent_in_chunks_whatever_the_method() {
    for method in ["POST", "GET", "DELETE", "PROPFIND"] {
        let body = stream_of(&["ab", "cd"]);
        let (head, content) = sent_content(method, None, body, "0\r\n\r\n").await;
        assert!(
            head.contains("transfer-encoding: chunked\r\n"),
            "{method}: {head}"
        );
        assert_eq!(content, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn content_that_is_here_is_sent_with_its_length() {
    let (head, _) = sent_content("PUT", None, Body::from("abcd"), "abcd").await;
    assert!(head.contains("content-length: 4\r\n"), "{head}");
}

#[tokio::test]
async fn content_shorter_than_declared_never_looks_complete() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let (sender, body) = streamed();
    sender.send(chunk("ab")).unwrap();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.head().await;
        connection.until(b"ab").await;
        drop(sender);
        // Nothing follows that could be taken for the rest: not even the next request.
        let mut rest = Vec::new();
        drop(connection.0.read_to_end(&mut rest).await);
        assert!(rest.is_empty());
    };
    let ask = async {
        let broken = with(request("POST", "/", body), "content-length", "4");
        upstream.call(broken).await
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert!(answer.is_err());
}

#[tokio::test]
async fn trailers_are_relayed_both_ways() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let (sender, body) = streamed();
    let trailers =
        http::HeaderMap::from_iter([(HeaderName::from_static("x-sum"), "1".parse().unwrap())]);
    sender.send(chunk("ab")).unwrap();
    sender.send(Ok(Frame::trailers(trailers))).unwrap();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.head().await;
        let content = connection.until(b"\r\n\r\n").await;
        assert_eq!(content, "2\r\nab\r\n0\r\nx-sum: 1\r\n\r\n");
        let head = "HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n";
        connection.say(head).await;
        connection.say("2\r\nok\r\n0\r\nX-End: 2\r\n\r\n").await;
    };
    let ask = async {
        let request = with(request("POST", "/", body), "trailer", "x-sum");
        let answer = upstream.call(request).await.unwrap();
        answer.into_body().collect().await.unwrap()
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(answer.trailers().unwrap()["x-end"], "2");
    assert_eq!(answer.to_bytes(), "ok");
}

#[tokio::test]
async fn an_answer_before_the_upload_is_read_gets_through_and_ends_the_upload() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let (sender, body) = streamed();
    sender.send(chunk("x")).unwrap();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.head().await;
        connection
            .say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
            .await;
        connection.closed().await;
    };
    let ask = async {
        let answer = upstream.call(request("POST", "/", body)).await.unwrap();
        assert_eq!(answer.status(), 413);
        drop(answer);
        // Nobody takes what the client still sends.
        sender.closed().await;
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn an_upload_that_the_client_breaks_off_is_the_clients_failure_and_reaches_the_upstream_so() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let (sender, body) = streamed();
    sender.send(chunk("x")).unwrap();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.head().await;
        connection.until(b"x\r\n").await;
        sender
            .send(Err(Error::client(ErrorKind::ContentTooLarge)))
            .unwrap();
        let mut rest = String::new();
        drop(connection.0.read_to_string(&mut rest).await);
        assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
    };
    let (answer, ()) = tokio::join!(upstream.call(request("POST", "/", body)), serve);
    assert_eq!(kind(answer), ErrorKind::ContentTooLarge);
}

fn expecting(body: Body) -> Request {
    let request = with(request("POST", "/", body), "expect", "100-continue");
    with(request, "content-length", "2")
}

#[tokio::test]
async fn content_is_sent_when_the_upstream_says_continue() {
    let mut took = Vec::new();
    // Not because the second is over after which it is sent without a word. A machine that is busy with
    // something else for that second is not for five of them.
    for _ in 0..5 {
        let raw = Raw::new().await;
        let fixture = Fixture::new(raw.settings());
        let mut upstream = fixture.upstream();
        let (sender, body) = streamed();
        sender.send(chunk("ab")).unwrap();
        let serve = async {
            let mut connection = raw.accept().await;
            let head = connection.head().await;
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            connection.say("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(connection.until(b"ab").await, "ab");
            connection.say(OK).await;
        };
        let begun = Clock::system().mono();
        let (answer, ()) = tokio::join!(upstream.call(expecting(body)), serve);
        answer.unwrap();
        took.push(Clock::system().mono() - begun);
        if took.last() < Some(&Duration::from_millis(900)) {
            return;
        }
    }
    panic!("{took:?}");
}

#[tokio::test]
async fn a_refusal_by_the_head_alone_comes_before_any_content_is_read_from_the_client() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let touched = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let note = touched.clone();
    let frames = futures_util::stream::poll_fn(move |_| {
        note.store(true, std::sync::atomic::Ordering::SeqCst);
        Poll::<Option<Result<Frame<Bytes>>>>::Pending
    });
    let body = Body::stream(StreamBody::new(frames));
    let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let serve = async { raw.accept().await.serve(refusal).await };
    let (answer, _) = tokio::join!(upstream.call(expecting(body)), serve);
    assert_eq!(answer.unwrap().status(), 417);
    assert!(!touched.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn an_upstream_that_does_not_know_the_expectation_gets_the_content_in_the_end() {
    let (head, content) = {
        let raw = Raw::new().await;
        let fixture = Fixture::new(raw.settings());
        let mut upstream = fixture.upstream();
        let serve = async {
            let mut connection = raw.accept().await;
            let seen = (connection.head().await, connection.until(b"ab").await);
            connection.say(OK).await;
            seen
        };
        let (answer, seen) = tokio::join!(upstream.call(expecting(stream_of(&["ab"]))), serve);
        answer.unwrap();
        seen
    };
    assert!(head.contains("expect"), "{head}");
    assert_eq!(content, "ab");
}

#[tokio::test]
async fn head_has_no_body_whatever_its_length_says() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        for _ in 0..2 {
            connection
                .serve("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
                .await;
        }
    };
    let ask = async {
        for _ in 0..2 {
            let head = request(Method::HEAD.as_str(), "/", Body::empty());
            let answer = upstream.call(head).await.unwrap();
            assert_eq!(answer.headers()[CONTENT_LENGTH], "1234");
            assert!(answer.body().as_whole().unwrap().is_empty());
        }
    };
    tokio::join!(serve, ask);
}
