//! Pillion as a process beside others: one of many sidecars of one site, which share a Redis.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use crate::binary::Binary;
use crate::client::{Fetched, fetch, request};
use crate::proxy::Folder;
use crate::upstream::Upstream;

/// One process; killed when dropped.
pub struct Sidecar {
    /// The process.
    pub binary: Binary,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    _folder: Folder,
}

impl Sidecar {
    /// In front of `upstream`, with `redis` under `[cache.redis]`, deadlines for a busy machine, and `more`
    /// tables.
    pub async fn start(upstream: &Upstream, redis: &str, more: &str) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("pillion.toml");
        let toml = format!(
            "threads = 2\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [request_log]\nenabled = false\n[upstream.app]\nurl = {:?}\n\
             # The machine may be busy with other tests.\n\
             [cache.redis]\ntimeout = \"1s\"\nconnect_timeout = \"1s\"\n{redis}\n{more}\n",
            upstream.url,
        );
        std::fs::write(&file, toml).expect("a writable folder");
        let file = file.display().to_string();
        let binary = Binary::start(&["run", "--config", &file]);
        let (address, admin) = (
            binary.address("http://").await,
            binary.address("admin        http://").await,
        );
        Self {
            binary,
            address,
            admin,
            _folder: folder,
        }
    }

    /// GET as of the site.
    pub async fn get(&self, target: &str, fields: &[(&str, &str)]) -> Fetched {
        fetch(self.address, asked(target, fields)).await
    }

    /// What `POST /purge` answers.
    pub async fn purge(&self, query: &str) -> Fetched {
        let target = format!("/purge?{query}");
        fetch(self.admin, request(Method::POST, &target, &[], "")).await
    }

    /// The value of a series; 0 where there is none.
    pub async fn metric(&self, series: &str) -> u64 {
        let answer = fetch(self.admin, request(Method::GET, "/metrics", &[], "")).await;
        let value = |line: &str| line.strip_prefix(series)?.trim().parse::<f64>().ok();
        answer.text().lines().find_map(value).unwrap_or_default() as u64
    }

    /// The lines so far that have all these words.
    pub fn told(&self, words: &[&str]) -> Vec<String> {
        let mut lines = self.binary.lines();
        lines.retain(|line| words.iter().all(|word| line.contains(word)));
        lines
    }

    /// Waits for a line that has all these words, and returns it.
    pub async fn tells(&self, words: &[&str]) -> String {
        let told = |line: &str| {
            let has_all = words.iter().all(|word| line.contains(word));
            has_all.then(|| line.to_owned())
        };
        self.binary.line(told).await
    }
}

/// A request for a page of the site that all sidecars stand for.
pub fn asked(target: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let fields = [&[("host", "example.com")], fields].concat();
    request(Method::GET, target, &fields, "")
}
