//! `[upstream.NAME]`: an app that requests are forwarded to.

use std::path::PathBuf;
use std::time::Duration;

/// One upstream with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// At least one.
    pub endpoints: Vec<EndpointAddress>,
    /// Connections to each endpoint at once, all cores together.
    pub connections: usize,
    /// Deadline for a connection, its TLS handshake included.
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Longest pause within an answer's body (event streams and tunnels: see `stream_idle`).
    pub body_idle: Duration,
    /// Longest pause of an event stream or an upgraded connection, both directions.
    pub stream_idle: Duration,
    /// An unused connection is closed after this.
    pub keep_alive: Duration,
    /// Requests that may wait for a connection at once; 503 beyond.
    pub queue: usize,
    /// Header fields in an answer; 502 beyond.
    pub fields_count: usize,
    /// For `https:` endpoints.
    pub tls: UpstreamTls,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// How to get there.
    pub transport: Transport,
    /// How to speak.
    pub protocol: Protocol,
    /// `HOST` or `HOST:PORT` for `Host` and `:authority` where the client's is not kept; `localhost` for a Unix socket.
    pub authority: String,
}

/// How to reach an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Name or address, and port.
    Tcp {
        /// A DNS name, or an address without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The HTTP version spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (over TLS: h2 if ALPN says so).
    Http1,
    /// HTTP/2 by prior knowledge (`h2c:`).
    Http2,
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM with the roots to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must have, and SNI, instead of the URL's host.
    pub name: Option<String>,
}

impl UpstreamSettings {
    /// The defaults, for these endpoints.
    pub fn new(endpoints: Vec<EndpointAddress>) -> Self {
        Self {
            endpoints,
            connections: 256,
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            stream_idle: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(55),
            queue: 1024,
            fields_count: 128,
            tls: UpstreamTls::default(),
        }
    }
}
