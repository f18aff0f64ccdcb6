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

/// Waits until the file at `path` has `count` lines, and gives all of them.
///
/// # Panics
/// If they do not come within [`PATIENCE`].
pub async fn lines(path: &std::path::Path, count: usize) -> Vec<String> {
    let wait = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // The last line may be there in part.
            if text.matches('\n').count() >= count {
                return text.lines().map(str::to_owned).collect::<Vec<_>>();
            }
            tokio::task::yield_now().await;
        }
    };
    within("lines", wait).await
}

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
