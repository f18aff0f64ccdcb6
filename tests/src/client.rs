//! Clients: hyper's own, one connection each, nothing added to what a test says.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// A whole response.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Final status.
    pub status: StatusCode,
    /// All fields.
    pub headers: HeaderMap,
    /// All content, as it came over the wire.
    pub body: Bytes,
}

impl Fetched {
    /// The first line of field `name`, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// The content as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The content after its coding is undone, by the field `Content-Encoding`.
    pub fn decoded(&self) -> Vec<u8> {
        decode(self.header("content-encoding"), &self.body)
    }
}

/// Undoes one content coding.
///
/// # Panics
/// On content that is not coded so, or an unknown coding.
pub fn decode(coding: &str, content: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    match coding {
        "" | "identity" => plain.extend_from_slice(content),
        "gzip" => {
            flate2::read::GzDecoder::new(content)
                .read_to_end(&mut plain)
                .expect("gzip");
        }
        "br" => {
            brotli::Decompressor::new(content, 4096)
                .read_to_end(&mut plain)
                .expect("Brotli");
        }
        "zstd" => plain = zstd::decode_all(content).expect("zstd"),
        other => panic!("unknown coding {other}"),
    }
    plain
}

/// One keep-alive connection.
pub struct Client {
    sender: Sender,
    authority: String,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connects with HTTP/1.1.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("Pillion listens");
        Self::over(stream, address.to_string()).await
    }

    /// HTTP/1.1 over any stream.
    pub async fn over<S>(stream: S, authority: String) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a fresh connection");
        tokio::spawn(connection.with_upgrades());
        Self {
            sender: Sender::One(sender),
            authority,
        }
    }

    /// HTTP/2 by prior knowledge, or after ALPN, over any stream.
    pub async fn over_h2<S>(stream: S, authority: String) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a fresh connection");
        tokio::spawn(connection);
        Self {
            sender: Sender::Two(sender),
            authority,
        }
    }

    /// Sends a request; the answer's content is still to be read.
    ///
    /// # Errors
    /// If the connection ends before the head of an answer.
    pub async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::One(sender) => {
                if !request.headers().contains_key("host") {
                    let host = self.authority.parse().expect("an authority");
                    request.headers_mut().insert("host", host);
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                let target = format!("http://{}{}", self.authority, request.uri());
                *request.uri_mut() = target.parse().expect("a URI");
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// If the connection ends before the answer is complete.
    pub async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Fetched, hyper::Error> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Fetched {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// GET with these fields.
    pub async fn get_with(&mut self, target: &str, fields: &[(&str, &str)]) -> Fetched {
        let request = request(Method::GET, target, fields, "");
        crate::within("an answer", self.exchange(request))
            .await
            .expect("a whole answer")
    }
}

/// A request with these fields and this content.
pub fn request(
    method: Method,
    target: &str,
    fields: &[(&str, &str)],
    content: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(content.into()))
        .expect("a valid request")
}

/// One request on a connection of its own.
///
/// # Panics
/// If no whole answer comes in time.
pub async fn fetch(address: SocketAddr, request: Request<Full<Bytes>>) -> Fetched {
    let exchange = async { Client::connect(address).await.exchange(request).await };
    crate::within("an answer", exchange)
        .await
        .expect("a whole answer")
}
