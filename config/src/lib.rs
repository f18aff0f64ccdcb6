//! From TOML to checked settings. Knows no runtime, no socket and no HTTP library.
//!
//! Three stages with three words: *written* (a mirror of the file), *settings* (checked, typed;
//! what this crate gives), *running* (what the program makes of them).
//!
//! ```
//! let overrides = config::Overrides {
//!     upstream: Some("http://127.0.0.1:3000".to_owned()),
//!     ..config::Overrides::default()
//! };
//! let text = "[cache]\nmax_body = \"1MiB\"\n";
//! let loaded = config::load_text(text, None, &overrides, &|_| None).expect("nothing is wrong");
//! assert_eq!(loaded.settings.routes[0].cache.max_body, 1 << 20);
//! ```

pub mod admin;
pub mod cache;
pub mod conditional;
pub mod content_coding;
pub mod disk;
pub mod etag;
pub mod forwarding;
pub mod invalidate;
pub mod lease;
pub mod limits;
pub mod listen;
pub mod mode;
pub mod outage;
pub mod redis;
pub mod request_log;
pub mod respond;
pub mod route;
pub mod tags;
pub mod targeted;
pub mod upstream;
pub mod warm_up;

mod collapse;
mod conform;
mod document;
mod expand;
mod ghost;
mod load;
mod names;
mod nearest;
mod pattern;
mod print;
mod problem;
mod profile;
mod redis_url;
mod schema;
pub mod secret;
mod site;
mod units;
mod written;

pub use load::{Loaded, Overrides, load, load_text};
pub use problem::{Problem, Problems};
pub use profile::Profile;
pub use schema::schema;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that one running Pillion is told; checked and immutable.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Cores to run on, at least 1; each has a runtime, listeners and connection pools of its own.
    pub threads: usize,
    /// What a stop waits for requests in flight.
    pub drain: Duration,
    /// At least one.
    pub listen: Vec<listen::ListenSettings>,
    /// The admin listener; `None` where it is switched off.
    pub admin: Option<admin::AdminSettings>,
    /// Bounds on what clients may send.
    pub limits: limits::LimitsSettings,
    /// Whom to believe, what to tell the upstream.
    pub forwarding: Arc<forwarding::ForwardingSettings>,
    /// The access lines.
    pub request_log: request_log::RequestLogSettings,
    /// Error pages.
    pub respond: Arc<respond::RespondSettings>,
    /// What the whole cache may use; its rules are each route's.
    pub cache_memory: u64,
    /// What is kept on disk; `None` where nothing is.
    pub disk: Option<disk::DiskSettings>,
    /// Keys that are followed where nothing is stored, all routes together.
    pub ghost_keys: usize,
    /// What is shared with other Pillions; `None` where nothing is.
    pub redis: Option<redis::RedisSettings>,
    /// What is fetched when nobody asks; `None` where that is nothing.
    pub warm_up: Option<Arc<warm_up::WarmUpSettings>>,
    /// By name; at least one.
    pub upstreams: BTreeMap<Arc<str>, Arc<upstream::UpstreamSettings>>,
    /// Most specific first; the last one takes everything.
    pub routes: Vec<Arc<route::RouteSettings>>,
}

#[cfg(test)]
mod tests;
