#![cfg(target_os = "linux")]

use futures_util::poll;
use rustix::net::sockopt::tcp_quickack;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A stream that delays its acknowledgements, as one does that answers what it reads; and its peer.
async fn delaying() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let mut stream = Stream {
        kind: Kind::Tcp(ours.unwrap()),
        heard: Arc::default(),
        ends_head: false,
    };
    let mut peer = theirs.unwrap().0;
    let mut buffer = [0; 4];
    while acknowledges_at_once(&stream) {
        peer.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut buffer).await.unwrap();
        stream.write_all(b"pong").await.unwrap();
        peer.read_exact(&mut buffer).await.unwrap();
    }
    (stream, peer)
}

fn acknowledges_at_once(stream: &Stream) -> bool {
    match &stream.kind {
        Kind::Tcp(stream) => tcp_quickack(stream).unwrap(),
        Kind::Tls(_) | Kind::Unix(_) => unreachable!("made of TCP"),
    }
}

/// Whether the acknowledgement goes out at once when `piece` has come and nothing after it.
async fn acknowledged_after(piece: &[u8]) -> bool {
    let (mut stream, mut peer) = delaying().await;
    peer.write_all(piece).await.unwrap();
    let mut buffer = vec![0; piece.len()];
    stream.read_exact(&mut buffer).await.unwrap();
    assert!(poll!(std::pin::pin!(stream.read(&mut buffer))).is_pending());
    acknowledges_at_once(&stream)
}

#[tokio::test]
async fn a_head_without_its_content_is_acknowledged_at_once() {
    assert!(acknowledged_after(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await);
}

#[tokio::test]
async fn a_whole_answer_costs_no_call_for_that() {
    assert!(!acknowledged_after(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await);
}
