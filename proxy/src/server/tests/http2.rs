//! HTTP/2: by prior knowledge and by ALPN; its limits, its idleness and its goodbye.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's own clients are not a stop's to wait for"
)]

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::harness::{PATIENCE, Server};

type Content = http_body_util::combinators::BoxBody<bytes::Bytes, std::convert::Infallible>;

async fn connect(server: &Server) -> (SendRequest<Content>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::task::spawn(connection))
}

fn get(path: &str) -> http::Request<Content> {
    http::Request::get(format!("http://a{path}"))
        .body(Empty::new().boxed())
        .unwrap()
}

async fn fetch(
    sender: &mut SendRequest<Content>,
    request: http::Request<Content>,
) -> (u16, String) {
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let content = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&content).into_owned())
}

#[tokio::test]
async fn prior_knowledge_is_recognised_and_streams_run_side_by_side() {
    let server = Server::start();
    let (mut sender, _connection) = connect(&server).await;
    let slow = tokio::task::spawn(sender.send_request(get("/wait")));
    let request = http::Request::post("http://a/echo")
        .body(Full::from("hi").boxed())
        .unwrap();
    assert_eq!(fetch(&mut sender, request).await, (200, "hi".to_owned()));
    server.echo.gate.permits.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_that_breaks_resets_its_stream_alone() {
    let server = Server::start();
    let (mut sender, _connection) = connect(&server).await;
    let broken = sender.send_request(get("/broken")).await.unwrap();
    assert!(broken.into_body().collect().await.is_err());
    assert_eq!(fetch(&mut sender, get("/echo")).await.0, 200);
}

#[tokio::test]
async fn a_large_head_is_431() {
    let server = Server::with(|limits| limits.fields_size = 8 << 10);
    let (mut sender, _connection) = connect(&server).await;
    let mut request = get("/echo");
    request
        .headers_mut()
        .insert("a", "x".repeat(9 << 10).parse().unwrap());
    assert_eq!(fetch(&mut sender, request).await.0, 431);
    assert_eq!(fetch(&mut sender, get("/echo")).await.0, 200);
}

#[tokio::test]
async fn an_idle_connection_gets_a_goaway() {
    let server = Server::with(|limits| limits.idle = Duration::from_secs(1));
    let (mut sender, connection) = connect(&server).await;
    assert_eq!(fetch(&mut sender, get("/echo")).await.0, 200);
    let ended = tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it ends")
        .unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_stop_finishes_streams_after_its_goaway() {
    let server = Server::start();
    let address = server.address();
    let (mut sender, connection) = connect(&server).await;
    let slow = tokio::task::spawn(sender.send_request(get("/wait")));
    server.echo.gate.arrived.acquire().await.unwrap().forget();
    let gate = server.echo.gate.clone();
    let stop = tokio::task::spawn_blocking(move || server.stop(PATIENCE));
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed)
        .await
        .expect("the door is closed");
    gate.permits.add_permits(1);
    let answer = slow
        .await
        .unwrap()
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(answer.to_bytes(), "waited");
    assert!(stop.await.unwrap().drained);
    // Ours is still open for more: it was the server that said goodbye.
    connection.await.unwrap().unwrap();
    drop(sender);
}

#[tokio::test]
async fn a_window_that_stays_shut_is_cut() {
    let server = Server::with(|limits| {
        limits.idle = Duration::from_secs(1);
        limits.header_time = Duration::from_secs(1);
    });
    let (mut sender, connection) = connect(&server).await;
    let response = sender.send_request(get("/large")).await.unwrap();
    // Its content is never read, so the window fills and stays shut.
    let ended = tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it is cut")
        .unwrap();
    drop((response, ended));
}

#[tokio::test]
async fn resets_in_a_row_close_the_connection() {
    let server = Server::start();
    let (mut sender, connection) = connect(&server).await;
    // CVE-2023-44487: begun and reset at once, over and over.
    for _ in 0..10_000 {
        if sender.ready().await.is_err() {
            break;
        }
        drop(sender.send_request(get("/wait")));
    }
    drop(sender);
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it ends")
        .unwrap()
        .ok();
    let begun = server.echo.seen().len();
    assert!(begun < 10_000, "{begun}");
}
