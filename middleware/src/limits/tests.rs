use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tokio::time::{advance, pause, sleep};
use tower::service_fn;

use super::guarded::WINDOW;
use super::*;

/// What the layer below got.
async fn passed(settings: LimitsSettings, request: Request) -> Result<Request> {
    let seen = Arc::new(Mutex::new(None));
    let inside = seen.clone();
    let app = service_fn(move |request: Request| {
        *inside.lock().unwrap() = Some(request);
        ResponseFuture::ready(Ok(Response::default()))
    });
    LimitsLayer::new(settings).layer(app).call(request).await?;
    Ok(seen.lock().unwrap().take().expect("it was passed on"))
}

fn upload(chunks: &[&'static str]) -> Request {
    let frames: Vec<Result<Frame<Bytes>>> = chunks
        .iter()
        .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
        .collect();
    let body = Body::stream(StreamBody::new(stream::iter(frames)));
    http::Request::post("/").body(body).unwrap()
}

fn at_most(body: u64) -> LimitsSettings {
    LimitsSettings {
        body: Some(body),
        ..LimitsSettings::default()
    }
}

#[tokio::test]
async fn trace_and_connect_are_refused() {
    for method in [Method::TRACE, Method::CONNECT] {
        let request = http::Request::builder()
            .method(method)
            .uri("example.com:443")
            .body(Body::empty());
        let error = passed(LimitsSettings::default(), request.unwrap()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::MethodNotAllowed);
    }
}

#[tokio::test]
async fn header_sections_are_bounded_in_number_and_size() {
    let settings = LimitsSettings {
        fields_count: 2,
        fields_size: 64,
        ..LimitsSettings::default()
    };
    let with = |fields: &[(&'static str, String)], target: &str| {
        let mut request = http::Request::get(target).body(Body::empty()).unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    };
    let small = || String::from("1");
    for (request, good) in [
        (with(&[("a", small()), ("b", small())], "/"), true),
        (
            with(&[("a", small()), ("a", small()), ("a", small())], "/"),
            false,
        ),
        // 1 for the target, 5 for name and separators.
        (with(&[("a", "x".repeat(58))], "/"), true),
        (with(&[("a", "x".repeat(59))], "/"), false),
        (with(&[], &format!("/{}", "x".repeat(64))), false),
    ] {
        let result = passed(settings, request).await;
        assert_eq!(result.is_ok(), good);
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::FieldsTooLarge);
        }
    }
}

#[tokio::test]
async fn content_declared_too_large_is_refused_unread() {
    let request = http::Request::post("/").header("content-length", "11");
    let error = passed(at_most(10), request.body(Body::empty()).unwrap()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ContentTooLarge);
}

#[tokio::test]
async fn content_of_no_declared_length_is_counted() {
    let fits = passed(at_most(10), upload(&["12345", "67890"]))
        .await
        .unwrap();
    let content = fits.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(content, "1234567890");

    let request = passed(at_most(10), upload(&["12345", "678901", "rest"]))
        .await
        .unwrap();
    let mut body = request.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContentTooLarge);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn content_that_is_here_passes_untouched() {
    let request = http::Request::post("/").body(Body::from("12345")).unwrap();
    let passed = passed(at_most(10), request).await.unwrap();
    assert!(passed.body().as_whole().is_some());
}

/// Sends a byte each `step` of (paused) time, `count` of them.
fn trickle(step: Duration, count: usize) -> Request {
    let frames = stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        sleep(step).await;
        Some((Ok(Frame::data(Bytes::from_static(b"x"))), sent + 1))
    });
    let body = Body::stream(StreamBody::new(frames));
    http::Request::post("/").body(body).unwrap()
}

fn rate(least: u64) -> LimitsSettings {
    LimitsSettings {
        body_rate: Some(least),
        ..LimitsSettings::default()
    }
}

#[tokio::test]
async fn content_that_comes_too_slowly_is_given_up() {
    pause();
    let request = passed(rate(1), trickle(Duration::from_secs(2), 100))
        .await
        .unwrap();
    let error = request.into_body().collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout);

    let silent = passed(rate(1), trickle(Duration::from_secs(3600), 1))
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    let error = silent.into_body().collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout);
    assert!(began.elapsed() < WINDOW + Duration::from_secs(1));
}

#[tokio::test]
async fn content_that_comes_fast_enough_may_take_long() {
    pause();
    let request = passed(rate(1), trickle(Duration::from_millis(900), 200))
        .await
        .unwrap();
    let content = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(content.len(), 200);
}

#[tokio::test]
async fn a_conversation_may_pause() {
    pause();
    let mut request = trickle(Duration::from_secs(600), 3);
    let grpc = http::HeaderValue::from_static("application/grpc+proto");
    request.headers_mut().insert(CONTENT_TYPE, grpc);
    let request = passed(rate(1), request).await.unwrap();
    let content = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(content.len(), 3);
}

#[tokio::test]
async fn time_in_which_nobody_asks_is_not_the_clients() {
    pause();
    let request = passed(rate(1000), trickle(Duration::from_millis(1), 30))
        .await
        .unwrap();
    let mut body = request.into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        count += 1;
        // The upstream takes its time.
        advance(Duration::from_secs(60)).await;
    }
    assert_eq!(count, 30);
}

proptest! {
    /// Whatever the chunks: what passes is within the limit, and all of it passes if it fits.
    #[test]
    fn never_more_than_the_limit(chunks in prop::collection::vec(0_usize..50, 0..10), limit in 0_u64..200) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let total: usize = chunks.iter().sum();
        let frames: Vec<Result<Frame<Bytes>>> =
            chunks.iter().map(|length| Ok(Frame::data(Bytes::from(vec![b'x'; *length])))).collect();
        let body = Body::stream(StreamBody::new(stream::iter(frames)));
        let request = http::Request::post("/").body(body).unwrap();
        let (seen, result) = runtime.block_on(async {
            let mut body = passed(at_most(limit), request).await.unwrap().into_body();
            let mut seen = 0;
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => seen += frame.data_ref().map_or(0, Bytes::len),
                    Err(error) => return (seen, Err(error.kind())),
                }
            }
            (seen, Ok(()))
        });
        prop_assert!(seen as u64 <= limit);
        if total as u64 <= limit {
            prop_assert_eq!((seen, result), (total, Ok(())));
        } else {
            prop_assert_eq!(result, Err(ErrorKind::ContentTooLarge));
        }
    }
}
