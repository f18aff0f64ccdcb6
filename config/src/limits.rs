//! `[limits]`: bounds on what clients may send, and how slowly.

use std::time::Duration;

/// Bounds on requests and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsSettings {
    /// Header fields in a request; 431 beyond.
    pub fields_count: usize,
    /// Bytes of a request's header section; 431 beyond.
    pub fields_size: usize,
    /// Bytes of a request's content; `None` is unlimited (bodies are streamed, not kept); 413 beyond.
    pub body: Option<u64>,
    /// From a connection's first moment (or the last answer's end) to a complete header section once its first byte is here; 408 or closed beyond.
    pub header_time: Duration,
    /// What a request body must arrive at, in bytes per second, averaged over windows of 10 s; `None` is any.
    pub body_rate: Option<u64>,
    /// A connection without a request in flight is closed after this.
    pub idle: Duration,
    /// Connections at once, all listeners together; further ones wait in the kernel's queue.
    pub connections: usize,
    /// HTTP/2 streams at once on one connection.
    pub streams: u32,
    /// HTTP/2 streams reset by the client that may be pending before the connection is closed (rapid reset, CVE-2023-44487).
    pub resets: usize,
}

impl Default for LimitsSettings {
    fn default() -> Self {
        Self {
            fields_count: 100,
            fields_size: 32 << 10,
            body: None,
            header_time: Duration::from_secs(10),
            body_rate: Some(64),
            idle: Duration::from_secs(75),
            connections: 16_384,
            streams: 128,
            resets: 20,
        }
    }
}
