//! `[forwarding]`: whom to believe, and what the upstream is told.

use std::net::IpAddr;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardingSettings {
    /// Peers whose `Forwarded`, `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted: Vec<Network>,
    /// Whether peers on a Unix socket are believed as well.
    pub trust_unix: bool,
    /// The `Host` that the upstream sees.
    pub host: ForwardedHost,
    /// The pseudonym in `Via`, by which a loop is noticed.
    pub name: String,
}

/// The `Host` that the upstream sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHost {
    /// The client's.
    #[default]
    Keep,
    /// The upstream URL's.
    Upstream,
}

/// An address range in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address of the range.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}
