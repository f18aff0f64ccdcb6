//! Against real servers, which each test starts for itself.

mod bad_input;
mod cluster;
mod outages;
mod reading;
mod serving;

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::servers::until;
use super::*;
use crate::cache::store::tier::{ByteTier, Failed, Got, RecordKey};
use crate::metrics::{Exposition, Metrics};

/// A tier, and its counters.
struct Tested {
    tier: RedisTier,
    metrics: Metrics,
}

/// With these lines under `[cache.redis]`.
fn connect(lines: &str) -> Tested {
    let settings = settings(lines);
    let metrics = Metrics::new();
    let tier = RedisTier::connect(&settings, &Handle::current(), &metrics).expect("files");
    Tested { tier, metrics }
}

/// Where `lines` name no deadlines, ones that a busy machine does not pass: whoever tests them names them.
pub(crate) fn settings(lines: &str) -> RedisSettings {
    let deadlines = match lines.contains("timeout = ") {
        true => "",
        false => "timeout = \"2s\"\nconnect_timeout = \"2s\"",
    };
    let text = format!(
        "[cache.redis]\n{lines}\n{deadlines}\n[upstream.app]\nurl = \"http://127.0.0.1:1\"\n"
    );
    let loaded = config::load_text(&text, None, &config::Overrides::default(), &|_| None);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    loaded.settings.redis.expect("a server")
}

fn url(url: &str) -> String {
    format!("url = {url:?}")
}

fn key(name: &str) -> RecordKey {
    RecordKey::of(name.as_bytes())
}

impl Tested {
    /// Stores it, and waits until it is there.
    async fn store(&self, name: &str, content: &str) {
        let content = Bytes::copy_from_slice(content.as_bytes());
        self.tier.put(key(name), content.clone(), MINUTE);
        until("a record is stored", async || {
            matches!(self.tier.get(key(name)).await, Ok(Got { record: Some(record), .. }) if record == content)
        })
        .await;
    }

    async fn record(&self, name: &str) -> Result<Option<String>, Failed> {
        let got = self.tier.get(key(name)).await?;
        let text = |record: Bytes| String::from_utf8_lossy(&record).into_owned();
        Ok(got.record.map(text))
    }

    async fn is(&self, state: L2State) {
        let mut changes = self.tier.changes();
        let reached = changes.wait_for(|now| *now == state);
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "{state:?}: {:?}", self.tier.trouble());
    }

    /// Waits until something is wrong, and returns what.
    async fn trouble(&self) -> String {
        until("something is wrong", async || self.tier.trouble().is_some()).await;
        self.tier.trouble().expect("something is wrong")
    }

    fn counted(&self, line: &str) -> bool {
        self.count(line) > 0
    }

    /// The value of the series that is written so.
    fn count(&self, series: &str) -> u64 {
        let text = self.metrics.encode(Exposition::Classic);
        let found = text.lines().find_map(|line| line.strip_prefix(series));
        found.map_or(0, |value| {
            value.trim().parse::<f64>().expect("a number") as u64
        })
    }
}

const MINUTE: Duration = Duration::from_secs(60);
