//! Listeners and connections: one thread with a runtime and listeners of its own for each core.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// As it is bound, so port 0 is a real port here.
    pub address: BoundAddress,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// See [`Bound`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// An address and its real port.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}
