//! Upgraded connections.

use tests::raw::read_head;
use tests::{Proxy, RawUpstream, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn open(proxy: &Proxy, ask: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    stream.write_all(ask).await.expect("it reads");
    let head = within("a head", read_head(&mut stream)).await;
    (stream, String::from_utf8_lossy(&head).into_owned())
}

async fn before(upstream: &RawUpstream) -> Proxy {
    Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await
}

#[tokio::test]
async fn a_websocket_handshake_passes_end_to_end_and_bytes_follow_both_ways() {
    let upstream = RawUpstream::start(|mut stream| async move {
        let head = read_head(&mut stream).await;
        // The first bytes of the new protocol come in one packet with the answer.
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: abc\r\n\r\nhello";
        stream.write_all(answer).await.expect("it reads");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
        head
    })
    .await;
    let proxy = before(&upstream).await;
    let ask = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: xyz\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\nearly";
    let (mut stream, head) = open(&proxy, ask).await;
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.starts_with("http/1.1 101") && lower.contains("sec-websocket-accept: abc"),
        "{head}"
    );
    assert!(
        lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"),
        "{head}"
    );
    let mut first = [0; 10];
    within("both sides' first bytes", stream.read_exact(&mut first))
        .await
        .expect("bytes");
    assert_eq!(&first, b"helloearly");
    stream.write_all(b"ping").await.expect("open");
    let mut pong = [0; 4];
    within("the echo", stream.read_exact(&mut pong))
        .await
        .expect("bytes");
    // Half-close: the other direction stays open until it is done.
    stream.write_all(b"last").await.expect("open");
    stream.shutdown().await.expect("open");
    let mut rest = Vec::new();
    within("the rest", stream.read_to_end(&mut rest))
        .await
        .expect("a clean end");
    assert_eq!(rest, b"last");
    within("the upstream's end", async {
        while upstream.received().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let head = String::from_utf8_lossy(&upstream.received()[0]).to_ascii_lowercase();
    for field in [
        "sec-websocket-key: xyz",
        "sec-websocket-extensions: permessage-deflate",
        "upgrade: websocket",
    ] {
        assert!(head.contains(field), "{head}");
    }
}

#[tokio::test]
async fn a_post_with_content_may_be_upgraded() {
    let upstream = RawUpstream::start(|mut stream| async move {
        read_head(&mut stream).await;
        let mut content = [0; 4];
        stream.read_exact(&mut content).await.expect("content");
        let answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        stream.write_all(answer).await.expect("it reads");
        let mut typed = [0; 5];
        stream.read_exact(&mut typed).await.expect("input");
        stream.write_all(b"output").await.expect("it reads");
        [content.as_slice(), typed.as_slice()].concat()
    })
    .await;
    let proxy = before(&upstream).await;
    let ask = b"POST /containers/1/attach HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 4\r\n\r\n{\"\"}";
    let (mut stream, head) = open(&proxy, ask).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.write_all(b"input").await.expect("open");
    let mut output = Vec::new();
    within("the output", stream.read_to_end(&mut output))
        .await
        .expect("a clean end");
    assert_eq!(output, b"output");
    assert_eq!(upstream.received(), [b"{\"\"}input".to_vec()]);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream =
        RawUpstream::replying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let proxy = before(&upstream).await;
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (mut stream, head) = open(&proxy, ask).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let mut content = [0; 2];
    within("content", stream.read_exact(&mut content))
        .await
        .expect("content");
    assert_eq!(&content, b"no");
}

#[tokio::test]
async fn an_upgrade_nobody_asked_for_is_not_passed_on() {
    let upstream = RawUpstream::replying(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    )
    .await;
    let proxy = before(&upstream).await;
    assert_eq!(proxy.get("/").await.status, 502);
}
