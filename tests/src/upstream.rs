//! A real HTTP server (1.1 and h2c) that answers as a test says and remembers what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::port::{Port, bound};

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// GET, POST, …
    pub method: Method,
    /// As sent: `/path?query`.
    pub target: String,
    /// All fields.
    pub headers: HeaderMap,
    /// All content.
    pub body: Bytes,
    /// The HTTP version it came in.
    pub version: http::Version,
}

impl Seen {
    /// The first line of field `name`, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("?"))
    }
}

/// An upstream's answer.
pub type Answer = http::Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// Builds an [`Answer`].
pub struct Reply(http::response::Builder);

/// Begins an answer.
pub fn reply(status: u16) -> Reply {
    Reply(http::Response::builder().status(StatusCode::from_u16(status).expect("a status")))
}

impl Reply {
    /// Adds a field.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// Ends with this content.
    pub fn body(self, content: impl Into<Bytes>) -> Answer {
        let body = Full::new(content.into()).map_err(|never: Infallible| match never {});
        self.0.body(body.boxed_unsync()).expect("a valid answer")
    }

    /// Ends with no content.
    pub fn empty(self) -> Answer {
        self.body("")
    }

    /// Ends with content that the test sends piece by piece; an error in place of a piece breaks
    /// the answer off.
    pub fn stream(
        self,
    ) -> (
        mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>,
        Answer,
    ) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)).boxed();
        let body = BodyExt::boxed_unsync(StreamBody::new(frames));
        (sender, self.0.body(body).expect("a valid answer"))
    }
}

type Handler =
    Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync + 'static>;

/// A running upstream; it stops when dropped.
pub struct Upstream {
    /// Where it listens, if on TCP.
    pub address: SocketAddr,
    /// `http://…` or `unix:…`.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrivals: tokio::sync::watch::Receiver<usize>,
    task: JoinHandle<()>,
    port: Option<Port>,
    _folder: Option<crate::proxy::Folder>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(Seen) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let port = Port::reserve();
        let address = port.address();
        let listener = bound(address).listen(1024).expect("a port of ours");
        let server = Server::new(handler);
        let (seen, arrivals) = (server.seen.clone(), server.arrivals.subscribe());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a TCP socket");
                connections.spawn(server.clone().serve(TokioIo::new(stream)));
            }
        });
        let url = format!("http://{address}");
        Self {
            address,
            url,
            seen,
            arrivals,
            task,
            port: Some(port),
            _folder: None,
        }
    }

    /// Starts one on a Unix socket.
    pub async fn start_unix<F, A>(handler: F) -> Self
    where
        F: Fn(Seen) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let folder = crate::proxy::Folder::new();
        let path = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).expect("a fresh socket");
        let server = Server::new(handler);
        let (seen, arrivals) = (server.seen.clone(), server.arrivals.subscribe());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(server.clone().serve(TokioIo::new(stream)));
            }
        });
        let url = format!("unix:{}", path.display());
        let address = ([127, 0, 0, 1], 0).into();
        Self {
            address,
            url,
            seen,
            arrivals,
            task,
            port: None,
            _folder: Some(folder),
        }
    }

    /// Ends it: when this returns, its connections are closed, and others are refused. Nobody else gets its port
    /// while what is returned lives.
    pub async fn close(mut self) -> Option<Port> {
        self.task.abort();
        (&mut self.task).await.ok();
        self.port.take()
    }

    /// Every request so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .expect("no test panics while holding this")
            .clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.seen().len()
    }

    /// The newest request.
    ///
    /// # Panics
    /// If there was none.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream saw a request")
    }

    /// Waits until `count` requests have come.
    pub async fn wait_for(&self, count: usize) {
        let mut arrivals = self.arrivals.clone();
        crate::within(
            "requests at the upstream",
            arrivals.wait_for(|seen| *seen >= count),
        )
        .await
        .expect("the upstream runs");
    }
}

#[derive(Clone)]
struct Server {
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrivals: tokio::sync::watch::Sender<usize>,
}

impl Server {
    fn new<F, A>(handler: F) -> Self
    where
        F: Fn(Seen) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        Self {
            handler: Arc::new(move |seen| Box::pin(handler(seen))),
            seen: Arc::default(),
            arrivals: tokio::sync::watch::Sender::new(0),
        }
    }

    async fn serve<I>(self, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let service = service_fn(move |request: http::Request<Incoming>| {
            let server = self.clone();
            async move { server.answer(request).await }
        });
        // A connection that a test breaks on purpose ends with an error here.
        let mut server = auto::Builder::new(TokioExecutor::new());
        // Its clock is not the one that a test moves.
        server.http1().auto_date_header(false);
        server.http2().auto_date_header(false);
        server
            .serve_connection_with_upgrades(io, service)
            .await
            .ok();
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let seen = Seen {
            method: head.method,
            target: head
                .uri
                .path_and_query()
                .map_or("*", |target| target.as_str())
                .to_owned(),
            headers: head.headers,
            body,
            version: head.version,
        };
        self.seen
            .lock()
            .expect("no test panics while holding this")
            .push(seen.clone());
        self.arrivals.send_modify(|count| *count += 1);
        Ok((self.handler)(seen).await)
    }
}
