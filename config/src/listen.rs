//! `[[listen]]`: where clients connect.

use std::net::SocketAddr;
use std::path::PathBuf;

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
