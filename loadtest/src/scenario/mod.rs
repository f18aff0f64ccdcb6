//! What is asked, how often and by how many: a scenario, checked.

mod nearest;
pub(crate) mod replay;
mod written;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// A load that can be put on any target.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// As reports call it.
    pub(crate) name: String,
    /// One sentence for the report.
    pub(crate) about: String,
    /// Connections.
    pub(crate) connections: usize,
    /// Requests at once on each HTTP/2 connection; 1 with HTTP/1.1.
    pub(crate) parallel: usize,
    /// Requests per second; none asks as fast as answers come.
    pub(crate) rate: Option<f64>,
    /// Of one round.
    pub(crate) duration: Duration,
    /// An answer that takes longer is an error.
    pub(crate) patience: Duration,
    /// Before the first round of each target.
    pub(crate) warm_up: Duration,
    /// How often each target is measured.
    pub(crate) rounds: usize,
    /// The protocol.
    pub(crate) http: Http,
    /// Whether Pillion and the other proxies are asked over TLS.
    pub(crate) tls: bool,
    /// Whether each client keeps entity tags and asks with `If-None-Match` the next time.
    pub(crate) keep_etags: bool,
    /// Which generator must make the load.
    pub(crate) engine: Choice,
    /// Sent with every request.
    pub(crate) headers: Vec<(String, String)>,
    /// What is asked; never empty.
    pub(crate) requests: Vec<Kind>,
    /// Whether the requests are taken one after the other, as they were recorded.
    pub(crate) in_order: bool,
    /// Clients that only listen, beside the load.
    pub(crate) streams: Option<Streams>,
}

/// One kind of request in the mix.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// Path and query; `{key}` is replaced by a key of `keys`.
    pub(crate) path: String,
    /// Share of the mix, against the other weights.
    pub(crate) weight: u32,
    /// The method.
    pub(crate) method: http::Method,
    /// Sent with this kind alone.
    pub(crate) headers: Vec<(String, String)>,
    /// The content; `{key}` is replaced as in the path.
    pub(crate) body: Option<Bytes>,
    /// The key space of `{key}`.
    pub(crate) keys: Option<Keys>,
}

/// Numbers from 0 that a `{key}` takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Keys {
    /// How many there are.
    pub(crate) count: u32,
    /// Exponent of the popularity: key k is asked in proportion to 1/(k+1)^zipf. Zero asks all alike.
    pub(crate) zipf: f64,
}

/// Clients that open a stream and listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    /// What they ask for.
    pub(crate) path: String,
    /// How many there are.
    pub(crate) clients: usize,
}

/// The protocol between the generator and a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Http {
    /// HTTP/1.1 with kept connections.
    #[default]
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2, without TLS by prior knowledge.
    #[serde(rename = "2")]
    Two,
}

/// Which generator makes the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Choice {
    /// oha where it can, else our own.
    #[default]
    Auto,
    /// oha or nothing.
    Oha,
    /// Our own.
    Own,
}

impl Scenario {
    /// Reads the scenario that `name` is the file of, or one of those that come with the program.
    ///
    /// # Errors
    /// Names the file, the line, and what would be right.
    pub(crate) fn load(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return written::read(text, Path::new(&format!("{name}.toml")));
        }
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).map_err(|error| {
            let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            Failure::usage(format!(
                "The scenario {name} cannot be read ({error}). Give a file, or one of: {}.",
                known.join(", ")
            ))
        })?;
        written::read(&text, path)
    }

    /// Reads one that is in no file.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self> {
        written::read(text, Path::new("test.toml"))
    }

    /// The names and sentences of the scenarios that come with the program.
    pub(crate) fn built_in() -> Vec<(&'static str, String)> {
        BUILT_IN
            .iter()
            .map(|(name, text)| {
                let scenario = written::read(text, Path::new(name)).expect("tested");
                (*name, scenario.about)
            })
            .collect()
    }

    /// Why oha cannot make this load; none if it can.
    pub(crate) fn beyond_oha(&self) -> Option<&'static str> {
        let [first, rest @ ..] = self.requests.as_slice() else {
            return None;
        };
        let alike = |kind: &Kind| {
            kind.method == first.method && kind.headers == first.headers && kind.body == first.body
        };
        if self.streams.is_some() {
            Some("clients that only listen")
        } else if self.keep_etags {
            Some("clients that keep entity tags")
        } else if self.requests.iter().any(|kind| kind.keys.is_some()) {
            Some("keys")
        } else if self.in_order {
            Some("a recorded log in its order")
        } else if !rest.iter().all(alike) {
            Some("a mix of methods, header fields or bodies")
        } else {
            None
        }
    }
}

/// The scenarios that come with the program.
const BUILT_IN: [(&str, &str); 13] = [
    ("page", include_str!("../../scenarios/page.toml")),
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("returning", include_str!("../../scenarios/returning.toml")),
    ("catalogue", include_str!("../../scenarios/catalogue.toml")),
    ("json-rpc", include_str!("../../scenarios/json-rpc.toml")),
    ("events", include_str!("../../scenarios/events.toml")),
    ("http2", include_str!("../../scenarios/http2.toml")),
    ("hit", include_str!("../../scenarios/hit.toml")),
    ("hit-304", include_str!("../../scenarios/hit-304.toml")),
    ("hit-64k", include_str!("../../scenarios/hit-64k.toml")),
    ("hit-coded", include_str!("../../scenarios/hit-coded.toml")),
    ("hit-h2", include_str!("../../scenarios/hit-h2.toml")),
    ("pass", include_str!("../../scenarios/pass.toml")),
];

#[cfg(test)]
mod tests;
