//! `[limits]`: bounds on what clients may send, and how slowly.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::{Period, Size, SizeOrUnlimited};

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

/// `[limits]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenLimits {
    /// Of a request's content; 413 beyond. Bodies are streamed, not kept.
    body: SizeOrUnlimited,
    /// What a request body must arrive at, per second, averaged over 10 s.
    body_rate: SizeOrUnlimited,
    /// From a connection's first moment to a complete header section; 408 beyond.
    header_time: Period,
    /// A connection without a request in flight is closed after this.
    idle: Period,
    /// At once, all listeners together; further ones wait in the kernel's queue.
    #[schemars(range(min = 1, max = 10_000_000))]
    connections: usize,
    /// HTTP/2 streams at once on one connection.
    #[schemars(range(min = 1, max = 100_000))]
    streams: u32,
    /// HTTP/2 streams reset by the client that may be pending (rapid reset, CVE-2023-44487).
    #[schemars(range(min = 1, max = 100_000))]
    resets: usize,
    /// Header fields of a request; 431 beyond.
    fields: WrittenFields,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenFields {
    /// How many.
    #[schemars(range(min = 1, max = 10_000))]
    count: usize,
    /// All together, names and values.
    size: Size,
}

impl Default for WrittenLimits {
    fn default() -> Self {
        let settings = LimitsSettings::default();
        Self {
            body: SizeOrUnlimited(settings.body),
            body_rate: SizeOrUnlimited(settings.body_rate),
            header_time: Period(settings.header_time),
            idle: Period(settings.idle),
            connections: settings.connections,
            streams: settings.streams,
            resets: settings.resets,
            fields: WrittenFields::default(),
        }
    }
}

impl Default for WrittenFields {
    fn default() -> Self {
        let settings = LimitsSettings::default();
        Self {
            count: settings.fields_count,
            size: Size(settings.fields_size as u64),
        }
    }
}

impl WrittenLimits {
    pub(crate) fn check(&self, site: &Site<'_>) -> LimitsSettings {
        let Size(size) = self.fields.size;
        if !(SMALLEST_HEAD..=LARGEST_HEAD).contains(&size) {
            site.key("fields").key("size").problem(
                format!(
                    "{} is not a size that requests' fields can have",
                    self.fields.size
                ),
                "write a size from \"8KiB\" to \"1MiB\"",
            );
        }
        LimitsSettings {
            fields_count: self.fields.count,
            fields_size: self.fields.size.in_memory(),
            body: self.body.0,
            header_time: self.header_time.0,
            body_rate: self.body_rate.0,
            idle: self.idle.0,
            connections: self.connections,
            streams: self.streams,
            resets: self.resets,
        }
    }
}

/// The smallest read buffer that the HTTP/1 engine works with.
const SMALLEST_HEAD: u64 = 8 << 10;
/// Held in memory for every connection that sends one.
const LARGEST_HEAD: u64 = 1 << 20;
