//! `[admin]`: the operator's own listener.

use std::path::PathBuf;

use crate::listen::ListenAddress;

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// A TCP address or a Unix socket.
    pub address: ListenAddress,
    /// Holds the bearer token; beyond loopback there must be one.
    pub token_file: Option<PathBuf>,
}
