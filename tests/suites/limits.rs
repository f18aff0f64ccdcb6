//! Bounds on what clients may send, and how slowly.

use std::time::Duration;

use http::Method;
use tests::client::request;
use tests::{Proxy, Upstream, raw_exchange, reply, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn upstream() -> Upstream {
    Upstream::start(async |_| reply(200).body("ok")).await
}

#[tokio::test]
async fn too_many_or_too_long_fields_are_431() {
    let upstream = upstream().await;
    let proxy = Proxy::with(
        &upstream,
        "[limits]\nfields = { count = 20, size = \"8KiB\" }",
    )
    .await;
    let many: String = (0..30).map(|number| format!("X-{number}: 1\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "v".repeat(20_000));
    for fields in [many, long] {
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let answer = raw_exchange(proxy.address, raw.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn content_over_the_limit_is_413_declared_or_not() {
    let upstream = upstream().await;
    let proxy = Proxy::with(&upstream, "[limits]\nbody = \"1KiB\"").await;
    let declared = proxy
        .send(request(Method::POST, "/", &[], vec![b'x'; 2000]))
        .await;
    assert_eq!(declared.status, 413);
    assert_eq!(upstream.count(), 0);
    let chunk = format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800));
    let raw = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    let answer = raw_exchange(proxy.address, raw.as_bytes()).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert_eq!(upstream.count(), 0, "the upstream saw no whole request");
    let fits = proxy
        .send(request(Method::POST, "/", &[], vec![b'x'; 1024]))
        .await;
    assert_eq!(fits.status, 200);
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_let_go() {
    let upstream = upstream().await;
    let proxy = Proxy::with(
        &upstream,
        "[limits]\nheader_time = \"1s\"\nidle = \"1200ms\"",
    )
    .await;
    for start in [
        &b""[..],
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"PRI * HTTP/2.0\r\n\r\nSM",
    ] {
        let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
        stream.write_all(start).await.expect("it reads");
        let mut rest = Vec::new();
        within("the close", stream.read_to_end(&mut rest))
            .await
            .ok();
        let text = String::from_utf8_lossy(&rest);
        assert!(!text.contains("200 OK"), "{text}");
    }
    // An idle keep-alive connection, too.
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("it reads");
    let mut rest = Vec::new();
    within("the close", stream.read_to_end(&mut rest))
        .await
        .expect("a clean close");
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed() {
    let upstream = upstream().await;
    let proxy = Proxy::with(&upstream, "[limits]\nidle = \"1s\"").await;
    let stream = TcpStream::connect(proxy.address).await.expect("it listens");
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("h2c");
    let driver = tokio::spawn(connection);
    let target = format!("http://{}/", proxy.address);
    let get = http::Request::get(target)
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .expect("valid");
    assert_eq!(
        sender.send_request(get).await.expect("an answer").status(),
        200
    );
    within("GOAWAY", driver).await.expect("no panic").ok();
}

#[tokio::test]
async fn a_body_slower_than_the_minimum_rate_is_refused() {
    let upstream = upstream().await;
    let proxy = Proxy::with(&upstream, "[limits]\nbody_rate = \"1KiB\"").await;
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
        .await
        .expect("it reads");
    let mut rest = Vec::new();
    // The window is 10 s: this is the one test that waits for real time.
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    read.expect("the connection is closed").ok();
    let text = String::from_utf8_lossy(&rest);
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 408"),
        "{text}"
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_answer_before_the_upload_is_read_gets_through() {
    let upstream = tests::RawUpstream::start(|mut stream| async move {
        let head = tests::raw::read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
            .await
            .ok();
        // Reads nothing more, as servers do that refuse an upload.
        stream.shutdown().await.ok();
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        head
    })
    .await;
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    let (mut reader, mut writer) = stream.split();
    let upload = async {
        writer
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
            .await
            .ok();
        let chunk = vec![b'x'; 65536];
        for _ in 0..700 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    let answer = async {
        let mut head = [0; 12];
        reader
            .read_exact(&mut head)
            .await
            .expect("an answer while uploading");
        head
    };
    let head = within("the early answer", async {
        tokio::select! { head = answer => head, () = async { upload.await; std::future::pending().await } => unreachable!() }
    })
    .await;
    assert_eq!(&head, b"HTTP/1.1 413");
}
