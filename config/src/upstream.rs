//! `[upstream.NAME]`: an app that requests are forwarded to.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::{self, Fault, FilePath, Period, Text, text_form};

/// One upstream with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// At least one.
    pub endpoints: Vec<EndpointAddress>,
    /// Connections to each endpoint at once, all cores together.
    pub connections: usize,
    /// Deadline for a connection, its TLS handshake included.
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Longest pause within an answer's body (event streams and tunnels: see `stream_idle`).
    pub body_idle: Duration,
    /// Longest pause of an event stream or an upgraded connection, both directions.
    pub stream_idle: Duration,
    /// An unused connection is closed after this.
    pub keep_alive: Duration,
    /// Requests that may wait for a connection at once; 503 beyond.
    pub queue: usize,
    /// Header fields in an answer; 502 beyond.
    pub fields_count: usize,
    /// For `https:` endpoints.
    pub tls: UpstreamTls,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// How to get there.
    pub transport: Transport,
    /// How to speak.
    pub protocol: Protocol,
    /// `HOST` or `HOST:PORT` for `Host` and `:authority` where the client's is not kept; `localhost` for a Unix socket.
    pub authority: String,
}

/// How to reach an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Name or address, and port.
    Tcp {
        /// A DNS name, or an address without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The HTTP version spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (over TLS: h2 if ALPN says so).
    Http1,
    /// HTTP/2 by prior knowledge (`h2c:`).
    Http2,
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM with the roots to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must have, and SNI, instead of the URL's host.
    pub name: Option<String>,
}

impl UpstreamSettings {
    /// The defaults, for these endpoints.
    pub fn new(endpoints: Vec<EndpointAddress>) -> Self {
        Self {
            endpoints,
            connections: 256,
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            stream_idle: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(55),
            queue: 1024,
            fields_count: 100,
            tls: UpstreamTls::default(),
        }
    }
}

/// One `[upstream.NAME]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenUpstream {
    /// The endpoint: `http:`, `https:`, `h2c:` (HTTP/2 without TLS) or `unix:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<WrittenUrl>,
    /// Several endpoints, instead of `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    urls: Option<Vec<WrittenUrl>>,
    /// To each endpoint at once, all cores together.
    #[schemars(range(min = 1, max = 1_000_000))]
    connections: usize,
    /// Requests that may wait for a connection; 503 beyond.
    #[schemars(range(min = 0, max = 1_000_000))]
    queue: usize,
    /// Deadline for a connection, its TLS handshake included.
    connect: Period,
    /// From the request's last byte to the answer's head.
    first_byte: Period,
    /// Longest pause within an answer's body.
    body_idle: Period,
    /// Longest pause of an event stream or an upgraded connection, both directions.
    stream_idle: Period,
    /// An unused connection is closed after this; keep it below the app's own.
    keep_alive: Period,
    /// Header fields of an answer.
    fields: WrittenUpstreamFields,
    /// For `https:` endpoints.
    tls: WrittenUpstreamTls,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenUpstreamFields {
    /// How many; 502 beyond.
    #[schemars(range(min = 1, max = 10_000))]
    count: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenUpstreamTls {
    /// PEM with the roots to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<FilePath>,
    /// The name that the certificate must have, and SNI, instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<ServerName>,
}

impl Default for WrittenUpstream {
    fn default() -> Self {
        let settings = UpstreamSettings::new(Vec::new());
        Self {
            url: None,
            urls: None,
            connections: settings.connections,
            queue: settings.queue,
            connect: Period(settings.connect),
            first_byte: Period(settings.first_byte),
            body_idle: Period(settings.body_idle),
            stream_idle: Period(settings.stream_idle),
            keep_alive: Period(settings.keep_alive),
            fields: WrittenUpstreamFields::default(),
            tls: WrittenUpstreamTls::default(),
        }
    }
}

impl Default for WrittenUpstreamFields {
    fn default() -> Self {
        Self {
            count: UpstreamSettings::new(Vec::new()).fields_count,
        }
    }
}

impl WrittenUpstream {
    pub(crate) fn check(&self, site: &Site<'_>) -> UpstreamSettings {
        let endpoints = self.endpoints(site);
        let is_tls = |endpoint: &EndpointAddress| {
            matches!(endpoint.transport, Transport::Tcp { tls: true, .. })
        };
        if site.key("tls").is_written() && !endpoints.iter().any(is_tls) {
            let help = "write the URL with `https:`, or leave `tls` out";
            site.key("tls")
                .warning("says how to speak TLS, but no endpoint does", help);
        }
        let tls = site.key("tls");
        UpstreamSettings {
            endpoints,
            connections: self.connections,
            connect: self.connect.0,
            first_byte: self.first_byte.0,
            body_idle: self.body_idle.0,
            stream_idle: self.stream_idle.0,
            keep_alive: self.keep_alive.0,
            queue: self.queue,
            fields_count: self.fields.count,
            tls: UpstreamTls {
                ca: self
                    .tls
                    .ca
                    .as_ref()
                    .map(|ca| tls.key("ca").existing_file(ca)),
                name: self.tls.name.as_ref().map(ServerName::to_string),
            },
        }
    }

    fn endpoints(&self, site: &Site<'_>) -> Vec<EndpointAddress> {
        let urls = match (&self.url, &self.urls) {
            (Some(url), None) => vec![url.check(&site.key("url"))],
            (None, Some(urls)) if !urls.is_empty() => {
                let all = urls.iter().enumerate();
                all.map(|(index, url)| url.check(&site.key("urls").index(index)))
                    .collect()
            }
            (Some(_), Some(_)) => {
                let help = "write all endpoints in `urls`, or one in `url`";
                site.key("urls").problem("stands beside `url`", help);
                Vec::new()
            }
            _ => {
                site.problem("has no endpoint", "write `url = \"http://127.0.0.1:3000\"`");
                Vec::new()
            }
        };
        for (index, url) in urls.iter().enumerate() {
            if urls.iter().take(index).any(|earlier| earlier == url) {
                let help = "each endpoint stands once; weights are not written by repeating";
                site.key("urls")
                    .index(index)
                    .problem("stands here twice", help);
            }
        }
        urls
    }
}

/// An endpoint, and as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenUrl {
    text: String,
    endpoint: EndpointAddress,
}

/// A name to find in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerName(String);

text_form!(WrittenUrl, ServerName);

impl WrittenUrl {
    fn check(&self, site: &Site<'_>) -> EndpointAddress {
        let mut endpoint = self.endpoint.clone();
        if let Transport::Unix(path) = &mut endpoint.transport {
            *path = site.file(&FilePath(path.to_string_lossy().into_owned()));
        }
        endpoint
    }
}

impl fmt::Display for WrittenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Text for WrittenUrl {
    const FORMAT: &'static str = "upstream-url";
    const MEANING: &'static str = "an upstream's URL";
    const EXAMPLES: &'static [&'static str] = &[
        "http://127.0.0.1:3000",
        "https://api.internal",
        "h2c://127.0.0.1:50051",
        "unix:run/app.sock",
    ];

    fn parse(text: &str) -> Result<Self, Fault> {
        let endpoint = match text.split_once(':') {
            Some(("unix", path)) => unix(path)?,
            Some((scheme, rest)) if rest.starts_with("//") => {
                let rest = rest.trim_start_matches('/');
                match scheme.to_ascii_lowercase().as_str() {
                    "http" => tcp(rest, 80, false, Protocol::Http1)?,
                    "https" => tcp(rest, 443, true, Protocol::Http1)?,
                    "h2c" => tcp(rest, 80, false, Protocol::Http2)?,
                    _ => return Err(unknown_scheme(scheme)),
                }
            }
            _ => return Err(no_scheme(text)),
        };
        let text = text.to_owned();
        Ok(Self { text, endpoint })
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!("write \"http://127.0.0.1:{number}\""))
    }
}

impl Text for ServerName {
    const FORMAT: &'static str = "server-name";
    const MEANING: &'static str = "a host's name";
    const EXAMPLES: &'static [&'static str] = &["api.internal"];

    fn parse(text: &str) -> Result<Self, Fault> {
        match is_host_name(text) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(Fault::new(
                "is not a host's name",
                "write it without scheme and port",
            )),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn unix(path: &str) -> Result<EndpointAddress, Fault> {
    Ok(EndpointAddress {
        transport: Transport::Unix(units::path(path)?.into()),
        protocol: Protocol::Http1,
        authority: "localhost".to_owned(),
    })
}

/// What stands after `scheme://`.
fn tcp(rest: &str, default: u16, tls: bool, protocol: Protocol) -> Result<EndpointAddress, Fault> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(Fault::new(
            "has a path, and requests keep the client's",
            "write scheme, host and port only; a route's `strip_prefix` shortens paths",
        ));
    }
    if authority.contains('@') {
        return Err(Fault::new(
            "holds credentials, and these do not belong in a URL",
            "let the app trust the connection, or the client send them",
        ));
    }
    let (host, port) = split_port(authority);
    let port =
        match port {
            None => default,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Fault::new(format!("has the port `{port}`"), "ports are 1 to 65535")
            })?,
        };
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => v6,
        None if is_host_name(host) => host,
        _ => {
            let help = "write a name, an IPv4 address, or an IPv6 address in brackets";
            return Err(Fault::new(format!("has the host `{host}`"), help));
        }
    };
    Ok(EndpointAddress {
        transport: Transport::Tcp {
            host: host.to_ascii_lowercase(),
            port,
            tls,
        },
        protocol,
        authority: authority.to_ascii_lowercase(),
    })
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Letters, digits, `-`, `_` and dots between labels, at most 253 bytes (RFC 1035 §2.3.4).
pub(crate) fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_label)
}

fn unknown_scheme(scheme: &str) -> Fault {
    let help = match scheme {
        "grpc" | "http2" | "h2" => "write `h2c:` for HTTP/2 without TLS, `https:` with it",
        "ws" | "wss" => "write `http:` or `https:`; WebSockets pass through these",
        _ => "schemes are http:, https:, h2c: and unix:",
    };
    Fault::new(format!("has the scheme `{scheme}`"), help)
}

fn no_scheme(text: &str) -> Fault {
    let guess = match text.parse::<u16>() {
        Ok(port) => format!("write \"http://127.0.0.1:{port}\""),
        Err(_) if tcp(text, 80, false, Protocol::Http1).is_ok() => {
            format!("write \"http://{text}\"")
        }
        Err(_) if text.starts_with(['/', '.']) => format!("write \"unix:{text}\" for a socket"),
        Err(_) => "write for example \"http://127.0.0.1:3000\"".to_owned(),
    };
    Fault::new("has no scheme", guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Option<EndpointAddress> {
        WrittenUrl::parse(text).ok().map(|url| url.endpoint)
    }

    #[test]
    fn urls_name_transport_protocol_and_authority() {
        let tcp = |host: &str, port, tls, protocol, authority: &str| {
            Some(EndpointAddress {
                transport: Transport::Tcp {
                    host: host.into(),
                    port,
                    tls,
                },
                protocol,
                authority: authority.into(),
            })
        };
        let (http1, http2) = (Protocol::Http1, Protocol::Http2);
        assert_eq!(
            endpoint("http://localhost:3000"),
            tcp("localhost", 3000, false, http1, "localhost:3000")
        );
        assert_eq!(endpoint("HTTP://App/"), tcp("app", 80, false, http1, "app"));
        assert_eq!(
            endpoint("https://10.0.0.7"),
            tcp("10.0.0.7", 443, true, http1, "10.0.0.7")
        );
        assert_eq!(
            endpoint("h2c://[::1]:50051"),
            tcp("::1", 50051, false, http2, "[::1]:50051")
        );
        let unix = endpoint("unix:/run/app.sock").map(|endpoint| endpoint.transport);
        assert_eq!(unix, Some(Transport::Unix("/run/app.sock".into())));
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        for wrong in [
            "",
            "3000",
            "localhost:3000",
            "http:/x",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://::1",
            "http://[::1",
            "http://[a]",
            "http://a b",
            "ftp://a",
            "unix:",
            "http://.",
            "http://a..b",
        ] {
            assert!(endpoint(wrong).is_none(), "{wrong:?}");
        }
        let help = |text| WrittenUrl::parse(text).map_err(|fault| fault.help);
        assert_eq!(help("3000"), Err("write \"http://127.0.0.1:3000\"".into()));
        assert_eq!(
            help("localhost:3000"),
            Err("write \"http://localhost:3000\"".into())
        );
        assert_eq!(
            help("/run/a.sock"),
            Err("write \"unix:/run/a.sock\" for a socket".into())
        );
    }
}
