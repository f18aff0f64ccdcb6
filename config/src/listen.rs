//! `[[listen]]`: where clients connect.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::{self, Fault, FilePath, Mode, Text, text_form};

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// Where.
    pub address: ListenAddress,
    /// Certificate and key, PEM, read again when they change; `None` is plain text.
    pub tls: Option<TlsFiles>,
    /// Whether each connection must begin with a PROXY protocol header (v1 or v2).
    pub proxy_protocol: bool,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `IP:PORT`; port 0 is any free one; `[::]` takes IPv4 too.
    Tcp(SocketAddr),
    /// `unix:PATH`, created with these permission bits.
    Unix {
        /// Of the socket.
        path: PathBuf,
        /// Permission bits, 0600 unless said otherwise.
        mode: u32,
    },
    /// `systemd:NAME`: a socket passed by systemd (`FileDescriptorName=NAME`).
    Systemd(String),
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

impl Default for ListenSettings {
    /// Plain text on 127.0.0.1:8080: nothing is open to the network until somebody says so.
    fn default() -> Self {
        Self {
            address: ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 8080).into()),
            tls: None,
            proxy_protocol: false,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// One `[[listen]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenListen {
    /// `IP:PORT` (`[::]` takes IPv4 too, port 0 is any free one), `unix:PATH` or `systemd:NAME`.
    pub(crate) address: WrittenAddress,
    /// Permission bits of a Unix socket, "0600" unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    /// Whether each connection must begin with a PROXY protocol header (v1 or v2).
    #[serde(default)]
    proxy_protocol: bool,
    /// Speaks TLS, HTTP/2 included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<WrittenTls>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenTls {
    /// PEM, leaf first; read again when it changes.
    certificate: FilePath,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    key: FilePath,
}

impl Default for WrittenListen {
    fn default() -> Self {
        let settings = ListenSettings::default();
        Self {
            address: WrittenAddress(settings.address),
            mode: None,
            proxy_protocol: settings.proxy_protocol,
            tls: None,
        }
    }
}

impl WrittenListen {
    pub(crate) fn check(&self, site: &Site<'_>) -> ListenSettings {
        ListenSettings {
            address: self.address.check(self.mode, site),
            tls: self.tls.as_ref().map(|tls| {
                let site = site.key("tls");
                TlsFiles {
                    certificate: site.key("certificate").existing_file(&tls.certificate),
                    key: site.key("key").existing_file(&tls.key),
                }
            }),
            proxy_protocol: self.proxy_protocol,
        }
    }
}

/// An address as written; a Unix socket's mode stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenAddress(pub(crate) ListenAddress);

text_form!(WrittenAddress);

impl WrittenAddress {
    /// The address of the table at `site`, whose keys are `address` and `mode`.
    pub(crate) fn check(&self, mode: Option<Mode>, site: &Site<'_>) -> ListenAddress {
        match (&self.0, mode) {
            (
                ListenAddress::Unix {
                    path,
                    mode: private,
                },
                mode,
            ) => ListenAddress::Unix {
                path: site
                    .key("address")
                    .file(&FilePath(path.to_string_lossy().into_owned())),
                mode: mode.map_or(*private, |mode| mode.0),
            },
            (other, None) => other.clone(),
            (other, Some(_)) => {
                let help = "leave it out, or listen on `unix:PATH`";
                site.key("mode").problem(
                    format!("{other} is no Unix socket and has no permission bits"),
                    help,
                );
                other.clone()
            }
        }
    }
}

impl Text for WrittenAddress {
    const FORMAT: &'static str = "listen-address";
    const MEANING: &'static str = "an address to listen on";
    const EXAMPLES: &'static [&'static str] = &[
        "127.0.0.1:8080",
        "[::]:443",
        "unix:run/pillion.sock",
        "systemd:web",
    ];

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            let (path, mode) = (units::path(path)?.into(), PRIVATE);
            return Ok(Self(ListenAddress::Unix { path, mode }));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return match !name.is_empty() && name.bytes().all(is_systemd_name) {
                true => Ok(Self(ListenAddress::Systemd(name.to_owned()))),
                false => Err(Fault::new(
                    "names no socket of systemd",
                    "write the unit's FileDescriptorName= after `systemd:`",
                )),
            };
        }
        match text.parse() {
            Ok(address) => Ok(Self(ListenAddress::Tcp(address))),
            Err(_) => Err(not_an_address(text)),
        }
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!(
            "a port needs its address: write \"127.0.0.1:{number}\""
        ))
    }
}

impl fmt::Display for WrittenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn not_an_address(text: &str) -> Fault {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse::<u16>().ok();
    let help = match (host, port) {
        ("" | "*", Some(port)) => {
            format!("write \"127.0.0.1:{port}\" for this machine, \"[::]:{port}\" for all")
        }
        ("localhost", Some(port)) => format!("write \"127.0.0.1:{port}\""),
        (host, Some(port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            format!("write \"[{host}]:{port}\"")
        }
        (host, None) if text.parse::<std::net::IpAddr>().is_ok() && !host.contains('[') => {
            "add a port".to_owned()
        }
        _ => "write IP:PORT, unix:PATH or systemd:NAME; names are not looked up here".to_owned(),
    };
    Fault::new("is not an address to listen on", help)
}

/// What systemd lets a FileDescriptorName= hold.
fn is_systemd_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

/// The owner's alone, until somebody says otherwise.
pub(crate) const PRIVATE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ip_and_port_or_a_socket() {
        for right in [
            "127.0.0.1:8080",
            "[::]:0",
            "unix:/run/x.sock",
            "unix:x",
            "systemd:web",
        ] {
            let written = WrittenAddress::parse(right).map(|address| address.to_string());
            assert_eq!(written, Ok(right.to_owned()));
        }
        for wrong in [
            "",
            "8080",
            ":8080",
            "localhost:80",
            "::1:80",
            "1.2.3.4",
            "1.2.3.4:65536",
            "unix:",
            "systemd:",
            "systemd:a:b",
            "http://x",
        ] {
            assert!(WrittenAddress::parse(wrong).is_err(), "{wrong:?}");
        }
        let help = |text| WrittenAddress::parse(text).map_err(|fault| fault.help);
        assert_eq!(help("localhost:80"), Err("write \"127.0.0.1:80\"".into()));
        assert_eq!(help("::1:80"), Err("write \"[::1]:80\"".into()));
    }
}
