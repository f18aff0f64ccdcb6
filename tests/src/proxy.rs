//! A Pillion of the test's own, inside the test's process, with a clock that the test moves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use middleware::clock::Clock;

use crate::client::{Client, Fetched, fetch, request};
use crate::upstream::Upstream;

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty one.
    #[expect(
        clippy::new_without_default,
        reason = "making a folder is not a default value"
    )]
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pillion-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a writable temporary folder");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A running Pillion; it is stopped when dropped.
pub struct Proxy {
    /// Its first listener.
    pub address: SocketAddr,
    /// Its admin listener, if `[admin]` says so.
    pub admin: Option<SocketAddr>,
    /// Its clock, which the test may advance.
    pub clock: Clock,
    running: Option<proxy::Running>,
    _folder: Folder,
}

impl Proxy {
    /// In front of `upstream`, with nothing else configured.
    pub async fn before(upstream: &Upstream) -> Self {
        Self::with(upstream, "").await
    }

    /// In front of `upstream`, with these tables of configuration.
    pub async fn with(upstream: &Upstream, toml: &str) -> Self {
        Self::configured(&format!(
            "{toml}\n[upstream.app]\nurl = {:?}\n",
            upstream.url
        ))
        .await
    }

    /// From a whole file; where it has no listener, it listens on a free port of 127.0.0.1.
    pub async fn configured(toml: &str) -> Self {
        let folder = Folder::new();
        Self::configured_in(folder, toml).await
    }

    /// As [`configured`](Self::configured), with files of the test's own in `folder`.
    pub async fn configured_in(folder: Folder, toml: &str) -> Self {
        let listen = if toml.contains("[[listen]]") {
            ""
        } else {
            "[[listen]]\naddress = \"127.0.0.1:0\"\n"
        };
        let log = if toml.contains("[request_log]") {
            ""
        } else {
            "[request_log]\nenabled = false\n"
        };
        let admin = if toml.contains("[admin]") {
            ""
        } else {
            "[admin]\nenabled = false\n"
        };
        // Top-level keys come first in a TOML file, so what is added goes behind.
        let file = folder.path().join("pillion.toml");
        std::fs::write(&file, format!("{toml}\n{listen}{log}{admin}")).expect("a writable folder");
        let mut loaded = config::load(Some(&file), &config::Overrides::default(), &|_| None)
            .unwrap_or_else(|problems| panic!("{problems}"));
        // Who waits for another's answer goes by itself after two seconds; tests that hold answers are about something
        // else, and the machine may be busy.
        if !toml.contains("collapse") {
            for route in &mut loaded.settings.routes {
                let cache = &mut Arc::make_mut(route).cache;
                Arc::make_mut(cache).collapse_wait = crate::PATIENCE;
            }
        }
        let clock = Clock::adjustable();
        let told = proxy::admin::Told {
            effective: loaded.to_toml(),
        };
        let mut running = proxy::start(loaded.settings, clock.clone())
            .unwrap_or_else(|error| panic!("Pillion does not start: {error}"));
        let admin = proxy::admin::open(&mut running, told)
            .unwrap_or_else(|error| panic!("the admin listener does not start: {error}"));
        running.readiness().announce_ready();
        let address = running
            .addresses()
            .iter()
            .find_map(proxy::Bound::tcp)
            .unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let admin = admin.as_ref().and_then(proxy::Bound::tcp);
        Self {
            address,
            admin,
            clock,
            running: Some(running),
            _folder: folder,
        }
    }

    /// The running program.
    pub fn running(&self) -> &proxy::Running {
        self.running.as_ref().expect("it runs until it is stopped")
    }

    /// Where the files of this Pillion are.
    pub fn folder(&self) -> &Path {
        self._folder.path()
    }

    /// Moves its clock forward.
    pub fn advance(&self, step: Duration) {
        self.clock.advance(step);
    }

    /// A keep-alive HTTP/1.1 connection.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Fetched {
        self.get_with(target, &[]).await
    }

    /// GET with these fields, on a connection of its own.
    pub async fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Fetched {
        self.send(request(Method::GET, target, fields, "")).await
    }

    /// Any request, on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Fetched {
        fetch(self.address, request).await
    }

    /// What its admin listener tells a scraper.
    pub async fn metrics(&self) -> String {
        let admin = self.admin.expect("an admin listener");
        let scraped = fetch(admin, request(Method::GET, "/metrics", &[], "")).await;
        scraped.text().to_owned()
    }

    /// The value of the first series that begins so.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let scraped = self.metrics().await;
        let line = scraped.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Stops it gracefully.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}
