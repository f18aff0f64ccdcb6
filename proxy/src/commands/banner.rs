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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use config::Overrides;
    use proxy::{Bound, BoundAddress};

    use super::{Banner, size};

    #[test]
    fn five_lines() {
        let flags = Overrides {
            child: Some("http://localhost:20001".to_owned()),
            ..Overrides::default()
        };
        let text = "threads = 2\n[cache.memory]\nsize = \"64MiB\"\n";
        let loaded = config::load_text(text, None, &flags, &|_| None).unwrap();
        let tcp = |text: &str, tls| Bound {
            address: BoundAddress::Tcp(text.parse().unwrap()),
            tls,
        };
        let unix = Bound {
            address: BoundAddress::Unix("/run/pillion.sock".into()),
            tls: false,
        };
        let banner = Banner {
            bound: &[tcp("127.0.0.1:8080", false), tcp("[::]:8443", true), unix],
            admin: Some(&tcp("127.0.0.1:9900", false)),
            settings: &loaded.settings,
            app: Some("npm start".to_owned()),
            file: Some(Path::new("pillion.toml")),
        };
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "\
Pillion {version} listens on http://127.0.0.1:8080, https://localhost:8443 ([::]:8443), unix:/run/pillion.sock
  in front of  http://localhost:20001 (npm start)
  with         64 MiB of cache, 2 cores, configured by pillion.toml
  admin        http://127.0.0.1:9900/metrics, also /readyz /explain /purge
  why and how  `pillion explain http://127.0.0.1:8080` tells what the cache does; Ctrl-C stops"
        );
        assert_eq!(banner.to_string(), expected);
    }

    #[test]
    fn sizes() {
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(3 << 30), "3 GiB");
        assert_eq!(size(1536), "1536 bytes");
        assert_eq!(size(0), "0 bytes");
    }
}
