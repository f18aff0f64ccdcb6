//! Against upstreams that say, byte for byte, what the test wants them to.

use std::time::Duration;

use bytes::Bytes;
use config::upstream::{EndpointAddress, Protocol, Transport};
use futures_util::StreamExt;
use http::Method;
use http::header::{CONTENT_LENGTH, HOST, HeaderName};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use middleware::{Body, ErrorKind, facts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::*;

mod broken;
mod deadlines;
mod http2;
mod limits;
mod plain;
mod requests;
mod reuse;
mod transports;

/// An upstream as one core sees it.
pub(crate) struct Fixture {
    pub(crate) upstreams: Upstreams,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl Fixture {
    pub(crate) fn new(settings: UpstreamSettings) -> Self {
        Self::with_cores(settings, 1)
    }

    pub(crate) fn with_cores(settings: UpstreamSettings, cores: usize) -> Self {
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let upstreams = BTreeMap::from([(Arc::from("app"), Arc::new(settings))]);
        let upstreams = Upstreams::new(
            &upstreams,
            cores,
            Clock::system(),
            &Metrics::new(),
            &tasks,
            &stopping,
        );
        Self {
            upstreams: upstreams.unwrap(),
            tasks,
            stopping,
        }
    }

    pub(crate) fn upstream(&self) -> Upstream {
        self.upstreams
            .get("app", 0, None, &ForwardingSettings::default())
    }

    fn open(&self) -> usize {
        let state = self.upstreams.state("app");
        state.endpoints.iter().map(|one| one.slots.open()).sum()
    }
}

/// An upstream that a test plays by hand.
pub(crate) struct Raw(TcpListener);

impl Raw {
    pub(crate) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn settings(&self) -> UpstreamSettings {
        UpstreamSettings::new(vec![self.endpoint(Protocol::Http1)])
    }

    fn endpoint(&self, protocol: Protocol) -> EndpointAddress {
        let address = self.0.local_addr().unwrap();
        tcp("127.0.0.1", address.port(), false, protocol)
    }

    pub(crate) async fn accept(&self) -> Conversation {
        Conversation(self.0.accept().await.unwrap().0)
    }

    /// Fails if anyone has connected.
    fn assert_unvisited(&self) {
        let accepted = futures_util::FutureExt::now_or_never(self.0.accept());
        assert!(accepted.is_none(), "one more connection");
    }
}

fn tcp(host: &str, port: u16, tls: bool, protocol: Protocol) -> EndpointAddress {
    EndpointAddress {
        transport: Transport::Tcp {
            host: host.to_owned(),
            port,
            tls,
        },
        protocol,
        authority: format!("{host}:{port}"),
    }
}

/// One connection to a [`Raw`] upstream.
pub(crate) struct Conversation(pub(crate) TcpStream);

impl Conversation {
    /// The next request's head.
    pub(crate) async fn head(&mut self) -> String {
        self.until(b"\r\n\r\n").await
    }

    /// What comes, up to and including `end`.
    pub(crate) async fn until(&mut self, end: &[u8]) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            read.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(read).unwrap()
    }

    pub(crate) async fn say(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Answers the next request with `bytes` and returns its head.
    async fn serve(&mut self, bytes: &str) -> String {
        let head = self.head().await;
        self.say(bytes).await;
        head
    }

    /// Waits until the other side has closed.
    async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        drop(self.0.read_to_end(&mut rest).await);
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(crate) fn request(method: &str, target: &str, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = target.parse().unwrap();
    request
        .headers_mut()
        .insert(HOST, "app.example".parse().unwrap());
    let facts = facts::RequestFacts::new(
        Clock::system().now(),
        facts::RequestId::Made([0, 1]),
        facts::Peer::Unix,
        facts::Scheme::Http,
    );
    request.extensions_mut().insert(facts);
    request
}

fn get(target: &str) -> Request {
    request("GET", target, Body::empty())
}

fn with(mut request: Request, name: &'static str, value: &str) -> Request {
    let name = HeaderName::from_static(name);
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// A body that sends what the test puts into the channel.
fn streamed() -> (
    tokio::sync::mpsc::UnboundedSender<Result<Frame<Bytes>>>,
    Body,
) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    (sender, Body::stream(StreamBody::new(frames.boxed())))
}

fn chunk(text: &'static str) -> Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn text(response: Response) -> Result<String> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn timing(response: &mut Response) -> facts::UpstreamTiming {
    facts::of_response(response).upstream.unwrap()
}

fn kind(result: Result<Response>) -> ErrorKind {
    result.expect_err("a failure").kind()
}
