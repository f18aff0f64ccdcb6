//! The harness: an upstream that remembers what it saw, a Pillion in front of it, and clients.
//!
//! ```ignore
//! let upstream = Upstream::start(async |_| reply(200).header("cache-control", "max-age=60").body("hi")).await;
//! let proxy = Proxy::before(&upstream).await;
//! let first = proxy.get("/x").await;
//! let second = proxy.get("/x").await;
//! assert_eq!(second.text(), "hi");
//! assert_eq!(upstream.count(), 1);
//! ```

pub mod binary;
pub mod client;
pub mod frames;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod sidecar;
pub mod tls;
pub mod upstream;

pub use client::{Client, Fetched, fetch};
pub use proxy::Proxy;
pub use raw::{RawUpstream, raw_exchange};
pub use redis::port;
pub use upstream::{Answer, Seen, Upstream, reply};

use std::time::Duration;

/// What a wait for an event may take before the test fails; generous, since CI machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `event`, which must come.
///
/// # Panics
/// If it does not come within [`PATIENCE`].
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what} in vain"),
    }
}
