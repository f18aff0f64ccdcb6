use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use config::request_log::{LogFormat, LogTarget, RequestLogSettings};
use futures_util::stream;
use http::request::Builder;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tower::service_fn;

use super::writer::Target;
use http::HeaderValue;

use super::*;
use crate::facts::RequestId;
use crate::facts::{
    self, CacheOutcome, CacheStatus, Peer, RequestFacts, Scheme, Told, UpstreamTiming,
};
use crate::metrics::{Event, Exposition, Metrics};
use crate::{Error, ResponseFuture, Side};

/// What the writer wrote.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log whose lines can be read, and the metrics beside it.
struct Desk {
    paper: Paper,
    log: AccessLog,
    metrics: Metrics,
    layer: RequestLogLayer,
}

impl Desk {
    fn new(settings: RequestLogSettings) -> Self {
        let paper = Paper::default();
        let metrics = Metrics::new();
        let target = Target::Other(Box::new(paper.clone()));
        let log = AccessLog::start(&settings, target, &metrics).unwrap();
        let layer = RequestLogLayer::new(log.clone(), metrics.core(), Clock::system());
        Self {
            paper,
            log,
            metrics,
            layer,
        }
    }

    fn json() -> Self {
        Self::new(RequestLogSettings {
            format: LogFormat::Json,
            ..RequestLogSettings::default()
        })
    }

    fn call(
        &self,
        request: Builder,
        answer: impl FnMut(Request) -> ResponseFuture + Send + 'static,
    ) -> Entered<ResponseFuture> {
        let mut service = self.layer.layer(service_fn(answer));
        service.call(request.body(Body::empty()).unwrap())
    }

    fn text(&self) -> String {
        self.log.flush();
        String::from_utf8(self.paper.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap();
        self.text().lines().map(parse).collect()
    }
}

fn get(target: &str) -> Builder {
    http::Request::get(target)
        .header("host", "example.com")
        .extension(RequestFacts::new(
            Clock::system().now(),
            RequestId::Made([0, 0xabc]),
            Peer::Ip("192.0.2.9:5000".parse().unwrap()),
            Scheme::Http,
        ))
}

fn hit() -> ResponseFuture {
    let mut response = Response::new(Body::from("hello"));
    *facts::of_response(&mut response) = ResponseFacts {
        cache: Some(CacheStatus {
            outcome: CacheOutcome::Hit,
            fwd_status: None,
            stored: false,
            collapsed: false,
            ttl: Some(5),
            reason: None,
        }),
        route: Some(Arc::from("/api/*")),
        ..ResponseFacts::default()
    };
    ResponseFuture::ready(Ok(response))
}

fn streamed(chunks: &[Result<&'static str>]) -> ResponseFuture {
    let frames: Vec<Result<Frame<Bytes>>> = chunks
        .iter()
        .map(|chunk| match chunk {
            Ok(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Err(error) => Err(Error::upstream(error.kind())),
        })
        .collect();
    let body = Body::stream(StreamBody::new(stream::iter(frames)));
    ResponseFuture::ready(Ok(Response::new(body)))
}

#[tokio::test]
async fn a_hit_is_entered_at_once() {
    let desk = Desk::json();
    let request = get("/api/1?q=2")
        .header("user-agent", "curl/8")
        .header("authorization", "Basic c2VjcmV0")
        .header("cookie", "session=secret");
    let future = desk.call(request, |_| hit());
    let response = future
        .try_ready()
        .ok()
        .expect("a hit is answered at once")
        .unwrap();
    assert_eq!(
        response.headers()["x-request-id"],
        "00000000000000000000000000000abc"
    );
    assert!(
        response.body().as_whole().is_some(),
        "the body is not wrapped"
    );
    let line = &desk.lines()[0];
    for (field, value) in [
        ("status", "200"),
        ("method", "\"GET\""),
        ("host", "\"example.com\""),
        ("target", "\"/api/1?q=2\""),
        ("version", "\"1.1\""),
        ("outcome", "\"hit\""),
        ("cache", "\"hit\""),
        ("bytes", "5"),
        ("client", "\"192.0.2.9\""),
        ("route", "\"/api/*\""),
        ("id", "\"00000000000000000000000000000abc\""),
        ("agent", "\"curl/8\""),
    ] {
        assert_eq!(line[field].to_string(), value, "{field}");
    }
    assert!(line.get("upstream").is_none() && line.get("aborted").is_none());
    assert!(!desk.text().contains("secret") && !desk.text().contains("c2VjcmV0"));
}

#[tokio::test]
async fn what_a_trusted_peer_said_is_logged() {
    let desk = Desk::json();
    let answer = |_| {
        let mut response = Response::new(Body::empty());
        facts::of_response(&mut response).told = Some(Told {
            client: Some("203.0.113.7".parse().unwrap()),
            id: RequestId::Kept(Arc::from("outer-1")),
        });
        ResponseFuture::ready(Ok(response))
    };
    let response = desk.call(get("/"), answer).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "outer-1");
    let line = &desk.lines()[0];
    assert_eq!(line["client"], "203.0.113.7");
    assert_eq!(line["id"], "outer-1");
}

#[tokio::test]
async fn a_stream_is_entered_when_it_ends() {
    let desk = Desk::json();
    let answer = |_| streamed(&[Ok("12345"), Ok("678")]);
    let response = desk.call(get("/"), answer).await.unwrap();
    assert_eq!(desk.text(), "");
    assert!(
        desk.metrics
            .encode(Exposition::Classic)
            .contains("in_flight 1.0\n")
    );
    response.into_body().collect().await.unwrap();
    let line = &desk.lines()[0];
    assert_eq!(line["bytes"], 8);
    assert!(line.get("aborted").is_none());
    assert!(
        desk.metrics
            .encode(Exposition::Classic)
            .contains("in_flight 0.0\n")
    );
}

#[tokio::test]
async fn a_stream_that_nobody_takes_to_its_end_is_aborted() {
    let desk = Desk::json();
    let answer = |_| streamed(&[Ok("12345"), Ok("678")]);
    let mut response = desk.call(get("/"), answer).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let line = &desk.lines()[0];
    assert_eq!(line["bytes"], 5);
    assert_eq!(line["aborted"], true);
}

#[tokio::test]
async fn a_stream_of_which_all_that_was_promised_was_taken_is_complete() {
    let desk = Desk::json();
    let answer = |_| {
        streamed(&[Ok("12345")]).map(|result| {
            let mut response = result?;
            let length = HeaderValue::from_static("5");
            response.headers_mut().insert("content-length", length);
            Ok(response)
        })
    };
    let mut response = desk.call(get("/"), answer).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    assert!(desk.lines()[0].get("aborted").is_none());
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error() {
    let desk = Desk::json();
    let broken = || Error::upstream(ErrorKind::HttpResponseIncomplete);
    let answer = move |_| streamed(&[Ok("12345"), Err(broken())]);
    let response = desk.call(get("/"), answer).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let line = &desk.lines()[0];
    assert_eq!(line["error"], "http_response_incomplete");
    assert_eq!(line["outcome"], "error");
    assert_eq!(line["status"], 200);
}

#[tokio::test]
async fn a_client_that_goes_away_unanswered_is_logged() {
    let desk = Desk::json();
    let future = desk.call(get("/slow"), |_| {
        ResponseFuture::boxed(std::future::pending())
    });
    assert!(
        desk.metrics
            .encode(Exposition::Classic)
            .contains("in_flight 1.0\n")
    );
    drop(future);
    let line = &desk.lines()[0];
    assert_eq!(line["status"], 499);
    assert_eq!(line["aborted"], true);
    assert!(
        desk.metrics
            .encode(Exposition::Classic)
            .contains("in_flight 0.0\n")
    );
}

#[tokio::test]
async fn an_answer_to_come_is_entered_when_it_comes() {
    let desk = Desk::json();
    let answer = |_| {
        ResponseFuture::boxed(async {
            tokio::task::yield_now().await;
            let mut response = Response::new(Body::from("x"));
            facts::of_response(&mut response).upstream = Some(UpstreamTiming {
                first_byte: Duration::from_millis(12),
                connect: Some(Duration::from_millis(2)),
                retries: 1,
            });
            Ok(response)
        })
    };
    desk.call(get("/"), answer).await.unwrap();
    let line = &desk.lines()[0];
    assert_eq!(line["upstream"], 0.012);
    assert_eq!(line["connect"], 0.002);
    assert_eq!(line["retries"], 1);
}

#[tokio::test]
async fn an_answer_to_head_sends_no_content() {
    let desk = Desk::json();
    let request = get("/").method("HEAD");
    desk.call(request, |_| streamed(&[Ok("12345")]))
        .await
        .unwrap();
    assert_eq!(desk.lines()[0]["bytes"], 0);
}

#[tokio::test]
async fn lines_for_people() {
    let desk = Desk::new(RequestLogSettings::default());
    let request = get("/a").header("user-agent", "Mozilla \"5\"");
    desk.call(request, |_| hit()).await.unwrap();
    let text = desk.text();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(&words[1..3], ["200", "hit"]);
    assert_eq!(&words[4..7], ["5B", "GET", "example.com/a"]);
    assert!(text.ends_with("agent=\"Mozilla \\\"5\\\"\"\n"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn a_host_cannot_pass_for_the_words_behind_it() {
    let desk = Desk::new(RequestLogSettings::default());
    let mut request = get("/a");
    let host = "a error=x \" b\\".parse().unwrap();
    request.headers_mut().unwrap().insert("host", host);
    desk.call(request, |_| hit()).await.unwrap();
    let text = desk.text();
    assert!(text.contains(" \"a error=x \\\" b\\\\\"/a "), "{text}");
}

#[tokio::test]
async fn nobody_writes_a_line_of_their_own() {
    for format in [LogFormat::Human, LogFormat::Json] {
        let desk = Desk::new(RequestLogSettings {
            format,
            ..RequestLogSettings::default()
        });
        let mut request = get("/a");
        let agent = HeaderValue::from_bytes(b"x\t\x9b31m\xe2\x80\xae{}").unwrap();
        request.headers_mut().unwrap().insert("user-agent", agent);
        desk.call(request, |_| hit()).await.unwrap();
        let text = desk.text();
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.bytes()
                .all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~')),
            "{text}"
        );
    }
}

#[tokio::test]
async fn failures_are_logged_whatever_the_sample() {
    let desk = Desk::new(RequestLogSettings {
        sample: 0.0,
        format: LogFormat::Json,
        ..RequestLogSettings::default()
    });
    desk.call(get("/"), |_| hit()).await.unwrap();
    let missing = |_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ResponseFuture::ready(Ok(response))
    };
    desk.call(get("/nothing"), missing).await.unwrap();
    let lines = desk.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["status"], 404);
}

#[test]
fn a_sample_is_about_as_large_as_asked_for() {
    let settings = RequestLogSettings {
        sample: 0.25,
        ..RequestLogSettings::default()
    };
    let desk = Desk::new(settings);
    let chosen = (0..4000).filter(|id| {
        let id = RequestId::Made([0, *id]);
        desk.log.is_wanted(StatusCode::OK, Ending::Complete, &id)
    });
    assert!((900..1100).contains(&chosen.count()));
}

#[tokio::test]
async fn a_log_that_is_off_still_counts() {
    let metrics = Metrics::new();
    let settings = RequestLogSettings {
        enabled: false,
        target: LogTarget::File("/does/not/exist".into()),
        ..RequestLogSettings::default()
    };
    let log = AccessLog::open(&settings, &metrics).unwrap();
    let layer = RequestLogLayer::new(log, metrics.core(), Clock::system());
    let mut service = layer.layer(service_fn(|_: Request| hit()));
    let request = get("/").body(Body::empty()).unwrap();
    service.call(request).await.unwrap();
    let text = metrics.encode(Exposition::Classic);
    assert!(text.contains(r#"{route="/api/*",method="GET",code="200",outcome="hit"} 1"#));
}

#[tokio::test]
async fn a_file_is_opened_again_after_it_was_moved() {
    let directory = std::env::temp_dir().join(format!("pillion-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (path, moved) = (directory.join("access.log"), directory.join("access.log.1"));
    let settings = RequestLogSettings {
        target: LogTarget::File(path.clone()),
        ..RequestLogSettings::default()
    };
    let metrics = Metrics::new();
    let log = AccessLog::open(&settings, &metrics).unwrap();
    let layer = RequestLogLayer::new(log.clone(), metrics.core(), Clock::system());
    let mut service = layer.layer(service_fn(|_: Request| hit()));
    service
        .call(get("/before").body(Body::empty()).unwrap())
        .await
        .unwrap();
    log.flush();
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    service
        .call(get("/after").body(Body::empty()).unwrap())
        .await
        .unwrap();
    log.flush();
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert!(read(&moved).contains("/before") && !read(&moved).contains("/after"));
    assert!(read(&path).contains("/after"));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Blocks until the test lets go.
struct Stuck(Arc<Mutex<()>>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.lock().unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_that_is_stuck_loses_lines_and_stops_nobody() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let metrics = Metrics::new();
    let target = Target::Other(Box::new(Stuck(gate.clone())));
    let log = AccessLog::start(&RequestLogSettings::default(), target, &metrics).unwrap();
    let layer = RequestLogLayer::new(log, metrics.core(), Clock::system());
    let mut service = layer.layer(service_fn(|_: Request| hit()));
    for _ in 0..20_000 {
        let future = service.call(get("/").body(Body::empty()).unwrap());
        assert!(future.try_ready().is_ok());
    }
    assert!(metrics.total(Event::LogLineLost) > 0);
    drop(closed);
}

/// A full disk.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn lines_that_cannot_be_written_are_counted() {
    let metrics = Metrics::new();
    let target = Target::Other(Box::new(Full));
    let log = AccessLog::start(&RequestLogSettings::default(), target, &metrics).unwrap();
    let layer = RequestLogLayer::new(log.clone(), metrics.core(), Clock::system());
    let mut service = layer.layer(service_fn(|_: Request| hit()));
    service
        .call(get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    log.flush();
    assert_eq!(metrics.total(Event::LogLineLost), 1);
}

#[test]
fn an_error_is_its_own_record() {
    // The layer below never fails in the pipeline; should it, nothing is lost on the way.
    let desk = Desk::json();
    let future = desk.call(get("/"), |_| {
        ResponseFuture::ready(Err(Error::new(ErrorKind::ProxyInternalError, Side::Proxy)))
    });
    assert!(matches!(future.try_ready(), Ok(Err(_))));
}
