//! Towards the app: transports, deadlines, retries, failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use http_body::Frame;
use http_body_util::BodyExt;
use tests::client::request;
use tests::port::Port;
use tests::{Proxy, RawUpstream, Upstream, raw_exchange, reply, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn before_raw(upstream: &RawUpstream, keys: &str) -> Proxy {
    Proxy::configured(&format!(
        "[upstream.app]\nurl = {:?}\n{keys}\n",
        upstream.url()
    ))
    .await
}

#[tokio::test]
async fn a_unix_socket_and_h2c_are_spoken() {
    let unix = Upstream::start_unix(async |_| reply(200).body("unix")).await;
    assert_eq!(Proxy::before(&unix).await.get("/").await.text(), "unix");

    let two =
        Upstream::start(async |seen: tests::Seen| reply(200).body(format!("{:?}", seen.version)))
            .await;
    let toml = format!("[upstream.app]\nurl = \"h2c://{}\"\n", two.address);
    let proxy = Proxy::configured(&toml).await;
    assert_eq!(proxy.get("/").await.text(), "HTTP/2.0");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // `localhost` is two addresses; the app listens on one of them.
    let upstream = Upstream::start(async |_| reply(200).body("ok")).await;
    let toml = format!(
        "[upstream.app]\nurl = \"http://localhost:{}\"\n",
        upstream.address.port()
    );
    assert_eq!(Proxy::configured(&toml).await.get("/").await.text(), "ok");

    // The same port of the other address is nobody's.
    let nobody = Port::reserve();
    let port = nobody.address().port();
    let six = TcpListener::bind(("::1", port)).await;
    let six = six.expect("IPv6 loopback");
    let serve = tokio::spawn(async move {
        let (mut stream, _) = six.accept().await.expect("a connection");
        tests::raw::read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix")
            .await
            .expect("it reads");
        stream
    });
    let toml = format!("[upstream.app]\nurl = \"http://localhost:{port}\"\n");
    assert_eq!(Proxy::configured(&toml).await.get("/").await.text(), "six");
    serve.abort();
}

#[tokio::test]
async fn connections_are_reused() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let upstream = RawUpstream::start({
        let accepted = accepted.clone();
        move |mut stream| {
            accepted.fetch_add(1, Ordering::SeqCst);
            async move {
                while !tests::raw::read_head(&mut stream).await.is_empty() {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await
                        .ok();
                }
                Vec::new()
            }
        }
    })
    .await;
    let proxy = Proxy::configured(&format!(
        "threads = 1\n[upstream.app]\nurl = {:?}\n",
        upstream.url()
    ))
    .await;
    let mut client = proxy.client().await;
    for number in 0..20 {
        assert_eq!(
            client.get_with(&format!("/{number}"), &[]).await.text(),
            "ok"
        );
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_an_idempotent_request_on_a_dead_reused_connection_is_sent_again() {
    // Each connection answers once; the second request on it gets the door.
    let upstream = RawUpstream::start(|mut stream| async move {
        let head = tests::raw::read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .ok();
        tests::raw::read_head(&mut stream).await;
        head
    })
    .await;
    let proxy = Proxy::configured(&format!(
        "threads = 1\n[upstream.app]\nurl = {:?}\n",
        upstream.url()
    ))
    .await;
    let mut client = proxy.client().await;
    assert_eq!(client.get_with("/1", &[]).await.status, 200);
    assert_eq!(
        client.get_with("/2", &[]).await.status,
        200,
        "a GET is sent again"
    );
    let query = client.exchange(request(Method::QUERY, "/3", &[], "x"));
    let query = query.await.expect("an answer");
    assert_eq!(query.status, 200, "nor is a QUERY lost, content and all");
    let post = client
        .exchange(request(Method::POST, "/4", &[], "x"))
        .await
        .expect("an answer");
    assert_eq!(post.status, 502, "a POST is not");
}

#[tokio::test]
async fn failures_have_names() {
    let nobody = Port::reserve();
    let address = nobody.address();
    let refused = Proxy::configured(&format!("[upstream.app]\nurl = \"http://{address}\"\n")).await;
    let answer = refused.get("/").await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.header("proxy-status").contains("connection_refused"),
        "{answer:?}"
    );

    let silent = RawUpstream::start(|mut stream| async move {
        let head = tests::raw::read_head(&mut stream).await;
        stream.read_to_end(&mut Vec::new()).await.ok();
        head
    })
    .await;
    let answer = before_raw(&silent, "first_byte = \"300ms\"")
        .await
        .get("/")
        .await;
    assert_eq!(answer.status, 504);
    assert!(
        answer
            .header("proxy-status")
            .contains("connection_read_timeout"),
        "{answer:?}"
    );

    for (bytes, error) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], "http_protocol_error"),
        (
            b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
            "http_protocol_error",
        ),
        (b"", "connection_terminated"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "http_response_incomplete"),
    ] {
        let upstream = RawUpstream::replying(bytes).await;
        let answer = before_raw(&upstream, "").await.get("/").await;
        assert_eq!(answer.status, 502, "{}", String::from_utf8_lossy(bytes));
        let told = answer.header("proxy-status");
        assert!(
            told.contains(error)
                || (error == "http_response_incomplete" && told.contains("connection_terminated")),
            "{}: {told}",
            String::from_utf8_lossy(bytes)
        );
    }
    let many: String = (0..300)
        .map(|number| format!("X-{number}: 1\r\n"))
        .collect();
    let many: &'static str = format!("HTTP/1.1 200 OK\r\n{many}\r\n").leak();
    let upstream = RawUpstream::replying(many.as_bytes()).await;
    let answer = before_raw(&upstream, "").await.get("/").await;
    assert_eq!(answer.status, 502, "more than the limit of fields");
}

#[tokio::test]
async fn a_pause_longer_than_body_idle_breaks_the_answer_off() {
    let upstream = RawUpstream::start(|mut stream| async move {
        let head = tests::raw::read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
            .await
            .ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
        head
    })
    .await;
    let proxy = before_raw(&upstream, "body_idle = \"300ms\"").await;
    let mut client = proxy.client().await;
    let answer = client.exchange(request(Method::GET, "/", &[], ""));
    assert!(within("the abort", answer).await.is_err());
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http_2() {
    let (trailers_seen, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service =
            hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let trailers_seen = trailers_seen.clone();
                async move {
                    let te = request.headers().get("te").cloned();
                    let body = request.into_body().collect().await?;
                    trailers_seen
                        .send((te, body.trailers().cloned()))
                        .expect("the test waits");
                    let (sender, answer) = reply(200)
                        .header("content-type", "application/grpc")
                        .stream();
                    sender
                        .send(Ok(Frame::data("message".into())))
                        .expect("it is read");
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    sender
                        .send(Ok(Frame::trailers(trailers)))
                        .expect("it is read");
                    Ok::<_, hyper::Error>(answer)
                }
            });
        hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
            .await
            .ok();
    });
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = \"h2c://{address}\"\n")).await;
    let stream = tokio::net::TcpStream::connect(proxy.address)
        .await
        .expect("it listens");
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("h2c");
    let driver = tokio::spawn(connection);
    let (pieces, body) = reply(200).stream();
    pieces
        .send(Ok(Frame::data("ask".into())))
        .expect("it is read");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-checksum", http::HeaderValue::from_static("7"));
    pieces
        .send(Ok(Frame::trailers(trailers)))
        .expect("it is read");
    drop(pieces);
    let call = http::Request::post(format!("http://{}/svc/Method", proxy.address))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(body.into_body())
        .expect("valid");
    let answer = within("an answer", sender.send_request(call))
        .await
        .expect("an answer");
    let whole = within("content", answer.into_body().collect())
        .await
        .expect("whole");
    let status = whole
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .cloned();
    assert_eq!(status.expect("a trailer"), "0");
    assert_eq!(whole.to_bytes(), "message");
    let (te, trailers) = seen.recv().await.expect("a request");
    assert_eq!(te.expect("te"), "trailers");
    assert_eq!(
        trailers
            .expect("trailers")
            .get("x-checksum")
            .expect("a trailer"),
        "7"
    );
    driver.abort();
    server.abort();
}

#[tokio::test]
async fn expect_100_continue_reaches_an_answer() {
    let upstream = Upstream::start(async |seen: tests::Seen| reply(200).body(seen.body)).await;
    let proxy = Proxy::before(&upstream).await;
    let mut stream = tokio::net::TcpStream::connect(proxy.address)
        .await
        .expect("it listens");
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        .await
        .expect("it reads");
    let interim = within("the go-ahead", tests::raw::read_head(&mut stream)).await;
    assert!(
        interim.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&interim)
    );
    stream.write_all(b"hello").await.expect("it reads");
    let mut rest = Vec::new();
    within("the answer", stream.read_to_end(&mut rest))
        .await
        .expect("an answer");
    let text = String::from_utf8_lossy(&rest);
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("hello"),
        "{text}"
    );
}

#[tokio::test]
async fn more_bytes_than_declared_are_cut_and_the_connection_is_not_reused() {
    let upstream =
        RawUpstream::replying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
    let proxy = before_raw(&upstream, "").await;
    for _ in 0..3 {
        let answer = raw_exchange(
            proxy.address,
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.ends_with("\r\n\r\nok"), "{text}");
    }
}

#[tokio::test]
async fn the_limit_of_connections_holds_and_its_queue_is_bounded() {
    let open = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let upstream = RawUpstream::start({
        let (open, gate) = (open.clone(), gate.clone());
        move |mut stream| {
            open.fetch_add(1, Ordering::SeqCst);
            let gate = gate.clone();
            async move {
                while !tests::raw::read_head(&mut stream).await.is_empty() {
                    gate.acquire().await.expect("open").forget();
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await
                        .ok();
                }
                Vec::new()
            }
        }
    })
    .await;
    let proxy = before_raw(
        &upstream,
        "connections = 2\nqueue = 3\nfirst_byte = \"15s\"\nconnect = \"10s\"",
    )
    .await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..10 {
        let address = proxy.address;
        let target = format!("/{number}");
        clients.spawn(async move {
            tests::fetch(address, request(Method::GET, &target, &[], ""))
                .await
                .status
        });
    }
    // Two are being answered, three wait, five are turned away at once.
    let mut refused = 0;
    while refused < 5 {
        let status = within("a refusal", clients.join_next())
            .await
            .expect("more")
            .expect("no panic");
        assert_eq!(status, 503);
        refused += 1;
    }
    assert!(open.load(Ordering::SeqCst) <= 2);
    gate.add_permits(10);
    while let Some(status) = within("an answer", clients.join_next()).await {
        assert_eq!(status.expect("no panic"), 200);
    }
    assert!(open.load(Ordering::SeqCst) <= 2);
}
