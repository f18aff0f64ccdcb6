use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

/// Serves HTTP/2 on `connection`, answering with the request's line and trailers.
pub(super) async fn serve(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let answer = service_fn(|request: http::Request<Incoming>| async move {
        let line = format!("{} {}", request.method(), request.uri());
        let te = request.headers().get("te").cloned();
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from(line))),
            Ok(Frame::trailers(http::HeaderMap::from_iter([(
                HeaderName::from_static("grpc-status"),
                te.unwrap_or_else(|| "missing".parse().unwrap()),
            )]))),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Ok::<_, Infallible>(http::Response::new(body))
    });
    drop(
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(connection), answer)
            .await,
    );
}

fn settings(raw: &Raw) -> UpstreamSettings {
    UpstreamSettings::new(vec![raw.endpoint(Protocol::Http2)])
}

#[tokio::test]
async fn requests_share_one_connection_by_prior_knowledge() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(settings(&raw));
    let upstream = fixture.upstream();
    let serve = async { serve(raw.accept().await.0).await };
    let ask = async {
        let cold = (0..20).map(|n| {
            let mut upstream = upstream.clone();
            async move { upstream.call(get(&format!("/{n}"))).await.unwrap() }
        });
        for (n, answer) in futures_util::future::join_all(cold)
            .await
            .into_iter()
            .enumerate()
        {
            let answer = answer.into_body().collect().await.unwrap();
            assert_eq!(answer.trailers().unwrap()["grpc-status"], "trailers");
            assert_eq!(answer.to_bytes(), format!("GET http://app.example/{n}"));
        }
    };
    tokio::select! {
        () = serve => panic!("the connection is closed early"),
        () = ask => {}
    }
    assert_eq!(fixture.open(), 1);
    raw.assert_unvisited();
}

#[tokio::test]
async fn a_new_connection_is_opened_after_goaway() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(settings(&raw));
    let mut upstream = fixture.upstream();
    let accepted = AtomicUsize::new(0);
    let serve = async {
        loop {
            let connection = raw.accept().await.0;
            accepted.fetch_add(1, Ordering::SeqCst);
            let answer = service_fn(|_: http::Request<Incoming>| async {
                Ok::<_, Infallible>(http::Response::new(http_body_util::Full::new(Bytes::from(
                    "ok",
                ))))
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(connection), answer);
            let mut connection = std::pin::pin!(connection);
            // Takes one request, then says goodbye at once.
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    };
    let ask = async {
        for _ in 0..3 {
            let answer = upstream.call(get("/")).await.unwrap();
            assert_eq!(text(answer).await.unwrap(), "ok");
        }
    };
    tokio::select! {
        () = serve => unreachable!(),
        () = ask => {}
    }
    assert!(accepted.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn an_upload_and_an_answer_run_at_the_same_time() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(settings(&raw));
    let mut upstream = fixture.upstream();
    let serve = async {
        let echo = service_fn(|request: http::Request<Incoming>| async {
            Ok::<_, Infallible>(http::Response::new(request.into_body()))
        });
        drop(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(raw.accept().await.0), echo)
                .await,
        );
    };
    let ask = async {
        let (sender, body) = streamed();
        let mut answer = upstream
            .call(request("POST", "/", body))
            .await
            .unwrap()
            .into_body();
        for text in ["one", "two"] {
            sender.send(chunk(text)).unwrap();
            let echoed = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(echoed, text);
        }
        drop(sender);
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    };
    tokio::select! {
        () = serve => panic!("the connection is closed early"),
        () = ask => {}
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_http1_where_http2_is_known_is_a_failure() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(settings(&raw));
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        connection
            .say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await;
        connection.closed().await;
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(kind(answer), ErrorKind::HttpProtocolError);
}
