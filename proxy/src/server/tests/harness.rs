//! One server with an echo behind it, and a client that writes and reads bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use config::limits::LimitsSettings;
use config::listen::{ListenAddress, ListenSettings};
use futures_util::StreamExt;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use middleware::clock::Clock;
use middleware::metrics::{Event, Metrics};
use middleware::{Body, Error, Request, Response, ResponseFuture, Result, facts};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::server::{Bound, Cores, Ground, Listeners};
use crate::shutdown::{Readiness, Signals, Stop, Stopped};

/// What no test waits longer for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `holds`.
///
/// # Panics
/// If it does not come true in time.
pub(super) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Clock::system().mono();
    while !holds() {
        let waited = Clock::system().mono() - begun;
        assert!(waited < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server that listens; ended when it is dropped.
pub(super) struct Server {
    pub(super) bound: Vec<Bound>,
    pub(super) echo: Echo,
    pub(super) metrics: Metrics,
    signals: Signals,
    cores: Option<Cores>,
}

impl Server {
    /// On a free port, with the default limits.
    pub(super) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With other limits.
    pub(super) fn with(change: impl FnOnce(&mut LimitsSettings)) -> Self {
        Self::listening(&[plain()], change).expect("a free port")
    }

    pub(super) fn listening(
        listen: &[ListenSettings],
        change: impl FnOnce(&mut LimitsSettings),
    ) -> std::result::Result<Self, crate::StartError> {
        let mut limits = LimitsSettings::default();
        change(&mut limits);
        let (metrics, signals, echo) = (Metrics::new(), Signals::default(), Echo::default());
        let listeners = Listeners::open(listen, 2, &metrics)?;
        let bound = listeners.bound();
        let ground = Ground {
            clock: Clock::system(),
            metrics: metrics.clone(),
            limits,
            interim: true,
            signals: signals.clone(),
        };
        let stack = {
            let echo = echo.clone();
            move |_| echo.clone()
        };
        Ok(Self {
            bound,
            echo,
            metrics,
            signals: signals.clone(),
            cores: Some(Cores::start(2, listeners, &ground, stack)?),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.bound[0].tcp().expect("the first listener is TCP")
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// All that the server answers to `bytes` until it closes.
    pub(super) fn exchange(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        client.send(bytes);
        client.read_to_end()
    }

    pub(super) fn counted(&self, event: Event) -> u64 {
        self.metrics.total(event)
    }

    /// Waits until there were `count` of `event`: clients see a close before it is counted.
    pub(super) fn wait_until_counted(&self, event: Event, count: u64) {
        let what = format!("{event:?} was counted {count} times");
        wait_until(&what, || self.counted(event) >= count);
        assert_eq!(self.counted(event), count, "{event:?}");
    }

    /// Stops it, within `drain` at most.
    pub(super) fn stop(mut self, drain: Duration) -> Stopped {
        let mut cores = self.cores.take().expect("it runs");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stopped = runtime.block_on(
            Stop {
                readiness: &Readiness::new(),
                signals: &self.signals,
                clock: &Clock::system(),
                doors: &cores.doors,
                connections: &cores.connections,
                background: &TaskTracker::new(),
                drain,
            }
            .carry_out(),
        );
        cores.remove_files();
        self.signals.exit.cancel();
        cores.join();
        stopped
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signals.exit.cancel();
    }
}

/// A plain listener on a free port.
pub(super) fn plain() -> ListenSettings {
    ListenSettings {
        address: ListenAddress::Tcp(([127, 0, 0, 1], 0).into()),
        tls: None,
        proxy_protocol: false,
    }
}

/// What stands in the pipeline's place: does what the path says.
#[derive(Clone, Default)]
pub(super) struct Echo {
    /// `METHOD PATH` of every request that came.
    seen: Arc<Mutex<Vec<String>>>,
    /// `/wait` takes a permit before it answers.
    pub(super) gate: Arc<Gate>,
    tunnels: TaskTracker,
}

pub(super) struct Gate {
    pub(super) permits: Semaphore,
    /// Requests that came as far as the gate.
    pub(super) arrived: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(0),
            arrived: Semaphore::new(0),
        }
    }
}

impl Echo {
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Blocks until `count` requests have been taken.
    pub(super) fn wait_until_seen(&self, count: usize) {
        wait_until("requests have come", || self.seen().len() >= count);
    }

    /// Blocks until `count` requests wait at the gate.
    pub(super) fn wait_for(&self, count: u32) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(async {
                tokio::time::timeout(PATIENCE, self.gate.arrived.acquire_many(count)).await
            })
            .expect("they arrive")
            .expect("the gate stays")
            .forget();
    }

    fn answer(&self, request: Request) -> ResponseFuture {
        let path = request.uri().path().to_owned();
        self.seen
            .lock()
            .unwrap()
            .push(format!("{} {path}", request.method()));
        let now = |response| ResponseFuture::ready(Ok(response));
        match path.as_str() {
            "/facts" => {
                let facts = facts::of_request(&request);
                let text = format!("{:?} {:?} {:?}", facts.peer, facts.client, facts.scheme);
                now(Response::new(Body::from(text)))
            }
            "/refuse" => now(status(StatusCode::PAYLOAD_TOO_LARGE, "too much")),
            "/large" => now(Response::new(Body::from(bytes::Bytes::from(vec![
                b'x';
                LARGE
            ])))),
            "/broken" => now(Response::new(frames([Ok("some"), Err(Error::internal())]))),
            "/stream" => {
                let content = Body::stream(Endless(frames([Ok("first")])));
                let mut response = Response::new(content);
                response
                    .headers_mut()
                    .insert("content-type", "text/event-stream".parse().unwrap());
                now(response)
            }
            "/wait" => {
                let gate = self.gate.clone();
                ResponseFuture::boxed(async move {
                    gate.arrived.add_permits(1);
                    gate.permits
                        .acquire()
                        .await
                        .expect("the gate stays")
                        .forget();
                    Ok(Response::new(Body::from("waited")))
                })
            }
            // Answers at once, and goes on reading.
            "/early" => {
                self.tunnels.spawn(request.into_body().collect());
                now(Response::new(Body::from(bytes::Bytes::from(vec![
                    b'x';
                    LARGE
                ]))))
            }
            // As `/wait`, with hints before.
            "/hint" => {
                let client = facts::of_request(&request).interim.clone();
                client.expect("HTTP/1.1 takes them").send(HINTS);
                let mut waiting = Request::new(Body::empty());
                *waiting.uri_mut() = "/wait".parse().expect("a path");
                self.answer(waiting)
            }
            "/upgrade" => now(self.upgrade(request)),
            "/read" => ResponseFuture::boxed(async move {
                let content = request.into_body().collect().await?.to_bytes();
                Ok(Response::new(Body::from(content)))
            }),
            _ => now(Response::new(request.into_body())),
        }
    }

    /// 101, then an echo of bytes.
    fn upgrade(&self, mut request: Request) -> Response {
        let upgrade = hyper::upgrade::on(&mut request);
        self.tunnels.spawn(async move {
            let upgraded = upgrade.await.expect("it is upgraded");
            let (mut read, mut write) = tokio::io::split(hyper_util::rt::TokioIo::new(upgraded));
            tokio::io::copy(&mut read, &mut write).await.ok();
            tokio::io::AsyncWriteExt::shutdown(&mut write).await.ok();
        });
        let mut response = status(StatusCode::SWITCHING_PROTOCOLS, "");
        for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }
}

impl tower::Service<Request> for Echo {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        self.answer(request)
    }
}

/// What `/hint` says first.
pub(super) const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
/// More than any buffer between us and a client holds.
pub(super) const LARGE: usize = 32 << 20;

fn status(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

fn frames<const N: usize>(frames: [Result<&'static str>; N]) -> Body {
    let frames = frames.map(|frame| frame.map(|text| Frame::data(text.into())));
    // Between them HTTP has time to write.
    let frames = futures_util::stream::iter(frames).then(async |frame| {
        tokio::time::sleep(Duration::from_millis(10)).await;
        frame
    });
    Body::stream(StreamBody::new(frames))
}

/// As what it holds, but without an end.
struct Endless(Body);

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>>>> {
        match std::pin::Pin::new(&mut self.0).poll_frame(cx) {
            Poll::Ready(None) => Poll::Pending,
            other => other,
        }
    }
}

/// A client that sees bytes.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("it takes bytes");
    }

    /// A request for `path` without content.
    pub(super) fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }

    /// All bytes until the connection is closed in order.
    pub(super) fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("it closes in order");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All bytes until the connection is closed in whatever way.
    pub(super) fn read_until_gone(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open: {error}"),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Bytes until they end with `end`.
    pub(super) fn read_until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(end.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                other => panic!(
                    "{other:?} after {:?}, before {end:?}",
                    String::from_utf8_lossy(&seen)
                ),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// A folder that goes when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "pillion-server-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
