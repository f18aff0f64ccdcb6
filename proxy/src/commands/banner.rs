//! The five lines that a start says.

use std::fmt;
use std::path::Path;

use config::Settings;
use config::upstream::{EndpointAddress, Protocol, Transport};
use proxy::{Bound, BoundAddress};

/// What the lines are made of.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    /// Where clients connect.
    pub(crate) bound: &'a [Bound],
    /// Where the operator does.
    pub(crate) admin: Option<&'a Bound>,
    /// What all was told.
    pub(crate) settings: &'a Settings,
    /// The app's command line, if it is a child.
    pub(crate) app: Option<String>,
    /// The file that the settings came from, if there was one.
    pub(crate) file: Option<&'a Path>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners: Vec<_> = self.bound.iter().map(client_url).collect();
        let first = listeners.first().map_or("URL", String::as_str);
        let version = env!("CARGO_PKG_VERSION");
        writeln!(f, "Pillion {version} listens on {}", listeners.join(", "))?;
        writeln!(f, "  in front of  {}", self.in_front_of())?;
        writeln!(f, "  with         {}", self.with())?;
        writeln!(f, "  admin        {}", self.admin())?;
        write!(
            f,
            "  why and how  `pillion explain {first}` tells what the cache does; Ctrl-C stops"
        )
    }
}

impl Banner<'_> {
    fn in_front_of(&self) -> String {
        let upstreams = &self.settings.upstreams;
        let urls: Vec<_> = upstreams
            .iter()
            .map(|(name, upstream)| {
                let urls: Vec<_> = upstream.endpoints.iter().map(upstream_url).collect();
                match upstreams.len() {
                    1 => urls.join(", "),
                    _ => format!("{name} = {}", urls.join(", ")),
                }
            })
            .collect();
        let urls = urls.join("; ");
        match &self.app {
            Some(app) => format!("{urls} ({app})"),
            None => urls,
        }
    }

    fn with(&self) -> String {
        let memory = size(self.settings.cache_memory);
        let threads = self.settings.threads;
        let cores = if threads == 1 { "core" } else { "cores" };
        let file = match self.file {
            Some(file) => format!("configured by {}", file.display()),
            None => "no configuration file".to_owned(),
        };
        format!("{memory} of cache, {threads} {cores}, {file}")
    }

    fn admin(&self) -> String {
        match self.admin.map(|admin| &admin.address) {
            None => "switched off".to_owned(),
            Some(BoundAddress::Unix(path)) => {
                format!("unix:{}: /metrics /readyz /explain /purge", path.display())
            }
            Some(BoundAddress::Tcp(address)) => {
                format!("http://{address}/metrics, also /readyz /explain /purge")
            }
        }
    }
}

/// What to type into a client to get there.
fn client_url(bound: &Bound) -> String {
    let scheme = if bound.tls { "https" } else { "http" };
    match &bound.address {
        BoundAddress::Unix(path) => format!("unix:{}", path.display()),
        // All addresses are not one that can be asked.
        BoundAddress::Tcp(address) if address.ip().is_unspecified() => {
            format!("{scheme}://localhost:{} ({address})", address.port())
        }
        BoundAddress::Tcp(address) => format!("{scheme}://{address}"),
    }
}

/// An endpoint as `url` in the configuration names it.
pub(crate) fn upstream_url(endpoint: &EndpointAddress) -> String {
    match &endpoint.transport {
        Transport::Unix(path) => format!("unix:{}", path.display()),
        Transport::Tcp { host, port, tls } => {
            let scheme = match (endpoint.protocol, tls) {
                (_, true) => "https",
                (Protocol::Http2, false) => "h2c",
                (Protocol::Http1, false) => "http",
            };
            if host.contains(':') {
                format!("{scheme}://[{host}]:{port}")
            } else {
                format!("{scheme}://{host}:{port}")
            }
        }
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, name)| format!("{} {name}", bytes / unit),
        )
}
