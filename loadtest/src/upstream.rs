//! A synthetic app: what it answers, and how slowly, is said by the URL.
//!
//! `/any/path?size=8192&wait=10ms&max-age=60&type=html` is 8 KiB of HTML after 10 ms, fresh for a
//! minute. Every path has another content, so that a mix-up is seen.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::failure::{Failure, Result};
use crate::units;

/// How it behaves as a whole.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The port, on 127.0.0.1
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// How much longer every wait takes than its URL says
    #[arg(long, value_name = "SHARE", value_parser = units::percent, default_value = "0%")]
    slow: f64,
    /// Waits before every answer whose URL names no wait of its own
    #[arg(long, value_name = "TIME", value_parser = units::span)]
    wait: Option<Duration>,
    /// Answers this share of the requests with 500
    #[arg(long, value_name = "SHARE", value_parser = units::percent, default_value = "0%")]
    fail: f64,
}

type Content = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until the process is ended.
///
/// # Errors
/// When the port is taken.
pub(crate) async fn serve(args: Args) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], args.port));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Failure::unmeasured(format!("{address}: {error}.")))?;
    eprintln!("The synthetic app listens on http://{address}");
    let app = Arc::new(App {
        args,
        asked: AtomicU64::new(0),
    });
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; some connection will end.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let app = app.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let app = app.clone();
                async move { Ok::<_, Infallible>(app.answer(request).await) }
            });
            // A client that goes away is no event.
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

struct App {
    args: Args,
    /// Requests so far, but for those that ask for this number.
    asked: AtomicU64,
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<Content> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if path == COUNT {
            return plain(self.asked.load(Ordering::Relaxed).to_string());
        }
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        if head.method == Method::POST && path == "/rpc" {
            let content = body.collect().await.map(|body| body.to_bytes());
            self.wait(&Wish::default()).await;
            return rpc(&content.unwrap_or_default());
        }
        if path == "/events" {
            return events();
        }
        let wish = match head.uri.query() {
            None if path == "/" => Wish::parse(START_PAGE),
            query => Wish::parse(query.unwrap_or_default()),
        };
        self.wait(&wish).await;
        // A share of all, spread evenly.
        let before = (number as f64 * self.args.fail).floor();
        let fails = ((number + 1) as f64 * self.args.fail).floor() > before;
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let tag = wish
            .etag
            .then(|| format!("\"{}-{}\"", wish.size, target.len()));
        let known = head
            .headers
            .get(header::IF_NONE_MATCH)
            .and_then(|value| value.to_str().ok());
        let unchanged = tag.is_some() && known == tag.as_deref();
        if fails {
            let mut response = plain("the app failed, as it was told to".to_owned());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
        let mut response = Response::builder()
            .status(if unchanged {
                StatusCode::NOT_MODIFIED
            } else {
                wish.status
            })
            .header(header::CONTENT_TYPE, wish.media_type());
        if let Some(control) = &wish.cache_control {
            response = response.header(header::CACHE_CONTROL, control);
        }
        if let Some(tag) = tag {
            response = response.header(header::ETAG, tag);
        }
        let content = if unchanged {
            Bytes::new()
        } else {
            wish.content(target)
        };
        let response = response.body(Full::new(content).boxed_unsync());
        response.unwrap_or_else(|_| plain("what was wished for is no response".to_owned()))
    }

    async fn wait(&self, wish: &Wish) {
        let wait = wish.wait.or(self.args.wait).unwrap_or(Duration::ZERO);
        if !wait.is_zero() {
            sleep(wait.mul_f64(1.0 + self.args.slow)).await;
        }
    }
}

/// What a URL asks for.
#[derive(Debug)]
struct Wish {
    size: usize,
    wait: Option<Duration>,
    status: StatusCode,
    kind: String,
    cache_control: Option<String>,
    etag: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            size: 1024,
            wait: None,
            status: StatusCode::OK,
            kind: "text".to_owned(),
            cache_control: None,
            etag: false,
        }
    }
}

impl Wish {
    fn parse(query: &str) -> Self {
        let mut wish = Self::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name {
                "size" => wish.size = value.parse().unwrap_or(wish.size).min(LARGEST),
                "wait" => wish.wait = units::span(value).ok(),
                "status" => wish.status = value.parse().unwrap_or(wish.status),
                "type" => value.clone_into(&mut wish.kind),
                "max-age" => wish.cache_control = Some(format!("public, max-age={value}")),
                "private" | "no-store" => wish.cache_control = Some(name.to_owned()),
                "etag" => wish.etag = true,
                _ => {}
            }
        }
        wish
    }

    fn media_type(&self) -> &'static str {
        match self.kind.as_str() {
            "html" => "text/html; charset=utf-8",
            "json" => "application/json",
            "binary" => "application/octet-stream",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// `size` bytes that begin with what was asked for; text as compressible as pages are.
    fn content(&self, target: &str) -> Bytes {
        let mut content = BytesMut::with_capacity(self.size + 64);
        if self.kind == "json" {
            content.put_slice(b"{\"of\":\"");
            content.put_slice(target.as_bytes());
            content.put_slice(b"\",\"rows\":[0");
            let mut row = 0u64;
            while content.len() + 2 < self.size {
                row += 1;
                let text = format!(
                    ",{{\"id\":{row},\"price\":{},\"name\":\"item {}\"}}",
                    row * 7919 % 1000,
                    row * row % 977
                );
                content.put_slice(text.as_bytes());
            }
            content.put_slice(b"]}");
            return content.freeze();
        }
        content.put_slice(target.as_bytes());
        content.put_u8(b'\n');
        let mut state = target.bytes().fold(7u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        while content.len() < self.size {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if self.kind == "binary" {
                content.put_slice(&state.to_le_bytes());
            } else {
                let word = WORDS.get(usize::from((state >> 40) as u8) % WORDS.len());
                content.put_slice(word.copied().unwrap_or("a ").as_bytes());
            }
        }
        content.truncate(self.size.max(1));
        content.freeze()
    }
}

/// Answers each call with its own parameters.
fn rpc(content: &[u8]) -> Response<Content> {
    let one = |call: &serde_json::Value| {
        serde_json::json!({
            "jsonrpc": "2.0",
            "id": call.get("id"),
            "result": {"method": call.get("method"), "params": call.get("params")},
        })
    };
    let answer = match serde_json::from_slice::<serde_json::Value>(content) {
        Ok(serde_json::Value::Array(calls)) => calls.iter().map(one).collect(),
        Ok(call) => one(&call),
        Err(_) => {
            serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "Parse error"}})
        }
    };
    let mut response = plain(answer.to_string());
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// An event every second, until the client goes.
fn events() -> Response<Content> {
    let events = stream::unfold(0u64, |number| async move {
        if number > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        let event = Bytes::from(format!("id: {number}\ndata: tick\n\n"));
        Some((Ok(Frame::data(event)), number + 1))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream"),
    );
    fields.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

fn plain(text: String) -> Response<Content> {
    Response::new(Full::new(Bytes::from(text)).boxed_unsync())
}

/// The app as it is without any option.
#[cfg(test)]
pub(crate) fn for_tests(port: u16) -> Args {
    Args {
        port,
        slow: 0.0,
        wait: None,
        fail: 0.0,
    }
}

/// Tells how many requests there were.
pub(crate) const COUNT: &str = "/-/count";
/// What `/` is.
const START_PAGE: &str = "size=16384&wait=5ms&max-age=60&type=html";
const LARGEST: usize = 64 * 1024 * 1024;
const WORDS: [&str; 24] = [
    "<p>",
    "</p>\n",
    "the ",
    "cache ",
    "answers ",
    "before ",
    "the ",
    "app ",
    "is ",
    "asked, ",
    "and ",
    "a ",
    "page ",
    "of ",
    "text ",
    "<a href=\"/shop\">",
    "</a> ",
    "that ",
    "many ",
    "readers ",
    "want ",
    "twice ",
    "today. ",
    "<b>now</b> ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_it_wants() {
        let wish = Wish::parse("size=10&wait=5ms&max-age=60&type=json&status=404&etag&x=y");
        assert_eq!((wish.size, wish.wait), (10, Some(Duration::from_millis(5))));
        assert_eq!(wish.cache_control.as_deref(), Some("public, max-age=60"));
        assert_eq!((wish.status, wish.etag), (StatusCode::NOT_FOUND, true));
        assert_eq!(Wish::parse("size=x").size, 1024);
    }

    #[test]
    fn every_path_has_another_content_of_the_wanted_size() {
        let wish = Wish::parse("size=5000");
        assert_eq!(wish.content("/a").len(), 5000);
        assert_eq!(wish.content("/a"), wish.content("/a"));
        assert_ne!(
            wish.content("/a").slice(10..),
            wish.content("/b").slice(10..)
        );
        let json = Wish::parse("type=json&size=2000").content("/a");
        assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
    }
}
