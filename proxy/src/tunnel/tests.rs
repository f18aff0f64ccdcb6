//! A client by hyper, an upstream by hand, and the tunnel between them.

use hyper::service::service_fn;
use middleware::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::upstream::tests::{Fixture, Raw, request};

impl Fixture {
    fn tunnel(&self) -> Tunnel {
        Tunnel {
            metrics: Metrics::new(),
            upstream: self.upstream(),
            tasks: self.tasks.clone(),
            stopping: self.stopping.clone(),
        }
    }
}

/// A client's connection to a server whose only way is `tunnel`.
fn client_of(tunnel: Tunnel) -> DuplexStream {
    let (client, server) = duplex(1 << 16);
    let service = service_fn(move |received: http::Request<hyper::body::Incoming>| {
        let (head, body) = received.into_parts();
        let facts = request("GET", "/", Body::empty()).into_parts().0.extensions;
        let body = Body::stream(http_body_util::BodyExt::map_err(body, |_| {
            Error::internal()
        }));
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().extend(facts);
        tunnel.clone().call(request)
    });
    TaskTracker::new().spawn(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades(),
    );
    client
}

async fn until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

#[tokio::test]
async fn bytes_pass_both_ways_and_each_direction_ends_by_itself() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let tunnel = fixture.tunnel();
    let metrics = tunnel.metrics.clone();
    let mut client = client_of(tunnel);
    client.write_all(ASK.as_bytes()).await.unwrap();
    let mut upstream = raw.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
    for field in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: x",
    ] {
        assert!(head.contains(field), "{head}");
    }
    // The first bytes of the new protocol come with the 101.
    upstream.say(&format!("{SWITCH}hello")).await;
    let head = until(&mut client, b"\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(head.contains("sec-websocket-accept: y\r\n"), "{head}");
    assert_eq!(until(&mut client, b"hello").await, "hello");

    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    upstream.0.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    // Half-closed: the answer still gets through.
    upstream.say("answer").await;
    drop(upstream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    fixture.tasks.close();
    fixture.tasks.wait().await;
    let counted = [Event::TunnelBytesIn, Event::TunnelBytesOut].map(|event| metrics.total(event));
    let sent = ["question".len(), "helloanswer".len()].map(|bytes| bytes as u64);
    assert_eq!(counted, sent);
}

#[tokio::test]
async fn content_is_sent_before_the_upgrade_as_dockers_attach_does() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut client = client_of(fixture.tunnel());
    let ask = "POST /attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}stdin";
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut upstream = raw.accept().await;
    upstream.head().await;
    assert_eq!(upstream.until(b"{}").await, "{}");
    let switch = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    upstream.say(switch).await;
    // What the client sent before it had the answer is not lost.
    assert_eq!(upstream.until(b"stdin").await, "stdin");
    upstream.say("stdout").await;
    let head = until(&mut client, b"\r\n\r\n").await;
    assert!(
        head.contains("content-type: application/vnd.docker.raw-stream\r\n"),
        "{head}"
    );
    assert_eq!(until(&mut client, b"stdout").await, "stdout");
}

#[tokio::test]
async fn any_other_answer_passes_as_any_other_answer_does() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut client = client_of(fixture.tunnel());
    let mut upstream = None;
    for _ in 0..2 {
        client.write_all(ASK.as_bytes()).await.unwrap();
        let upstream = match &mut upstream {
            Some(upstream) => upstream,
            none => none.insert(raw.accept().await),
        };
        upstream.head().await;
        let answer = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno";
        upstream.say(answer).await;
        let head = until(&mut client, b"no").await;
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    }
}

#[tokio::test]
async fn a_protocol_that_was_not_asked_for_is_a_failure() {
    for (asked, chosen, joined) in [
        ("websocket", "websocket", true),
        ("WebSocket", "websocket", true),
        ("h2c, websocket/13", "websocket/13", true),
        ("websocket", "tcp", false),
    ] {
        let asked = HeaderValue::from_static(asked);
        let chosen = HeaderValue::from_static(chosen);
        assert_eq!(
            is_asked_for(&chosen, Some(&asked)),
            joined,
            "{asked:?} {chosen:?}"
        );
        assert!(!is_asked_for(&chosen, None));
    }
}

/// A tunnel whose ends are the returned streams.
async fn joined(fixture: &Fixture, raw: &Raw) -> (DuplexStream, tokio::net::TcpStream) {
    let mut client = client_of(fixture.tunnel());
    client.write_all(ASK.as_bytes()).await.unwrap();
    let mut upstream = raw.accept().await;
    upstream.head().await;
    upstream.say(SWITCH).await;
    until(&mut client, b"\r\n\r\n").await;
    (client, upstream.0)
}

#[tokio::test]
async fn stopping_cuts_tunnels() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let (mut client, mut upstream) = joined(&fixture, &raw).await;
    fixture.stopping.cancel();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
    fixture.tasks.close();
    fixture.tasks.wait().await;
}

#[tokio::test]
async fn a_silent_tunnel_is_cut_and_a_busy_one_is_not() {
    let raw = Raw::new().await;
    let mut settings = raw.settings();
    settings.stream_idle = Duration::from_secs(1);
    let fixture = Fixture::new(settings);
    let (mut client, mut upstream) = joined(&fixture, &raw).await;
    // Two and a half times as long.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        upstream.write_all(b"x").await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 1);
    }
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}
