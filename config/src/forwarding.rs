//! `[forwarding]`: whom to believe, and what the upstream is told.

use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::token;
use crate::site::Site;
use crate::units::{Fault, Text, text_form};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardingSettings {
    /// Peers whose `Forwarded`, `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted: Vec<Network>,
    /// Whether peers on a Unix socket are believed as well.
    pub trust_unix: bool,
    /// The `Host` that the upstream sees.
    pub host: ForwardedHost,
    /// The pseudonym in `Via`, by which a loop is noticed.
    pub name: String,
    /// Whether interim responses (103 and other 1xx) are passed on.
    pub interim: bool,
}

/// The `Host` that the upstream sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
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

impl Default for ForwardingSettings {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            trust_unix: false,
            host: ForwardedHost::default(),
            name: "pillion".to_owned(),
            // "A proxy MUST forward 1xx responses" (RFC 9110 §15.2).
            interim: true,
        }
    }
}

/// `[forwarding]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenForwarding {
    /// Networks whose `Forwarded`, `X-Forwarded-*`, `X-Request-Id` and `traceparent` are believed.
    trusted: Vec<Network>,
    /// Whether peers on a Unix socket are believed as well.
    trust_unix: bool,
    /// The `Host` that the upstream sees: the client's, or the one of its URL.
    host: ForwardedHost,
    /// The pseudonym in `Via`; a request that comes back with it is a loop, so each hop needs its own.
    name: Pseudonym,
    /// Whether interim responses (103 and other 1xx) are passed on, where both sides speak HTTP/1.1.
    interim: bool,
}

impl Default for WrittenForwarding {
    fn default() -> Self {
        let settings = ForwardingSettings::default();
        Self {
            trusted: settings.trusted,
            trust_unix: settings.trust_unix,
            host: settings.host,
            name: Pseudonym(settings.name),
            interim: settings.interim,
        }
    }
}

impl WrittenForwarding {
    pub(crate) fn check(&self, site: &Site<'_>) -> ForwardingSettings {
        for (index, network) in self.trusted.iter().enumerate() {
            if network.prefix == 0 {
                site.key("trusted").index(index).warning(
                    "every client can say who it is and which scheme it used",
                    "name the networks of the proxies in front",
                );
            }
        }
        ForwardingSettings {
            trusted: self.trusted.clone(),
            trust_unix: self.trust_unix,
            host: self.host,
            name: self.name.0.clone(),
            interim: self.interim,
        }
    }
}

/// A name in `Via` (RFC 9110 §7.6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pseudonym(String);

text_form!(Network, Pseudonym);

impl Text for Pseudonym {
    const FORMAT: &'static str = "pseudonym";
    const MEANING: &'static str = "a name without spaces";
    const EXAMPLES: &'static [&'static str] = &["pillion", "edge-1"];

    fn parse(text: &str) -> Result<Self, Fault> {
        token(text).map(|name| Self(name.to_owned()))
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for Network {
    const FORMAT: &'static str = "network";
    const MEANING: &'static str = "an address or a network";
    const EXAMPLES: &'static [&'static str] = &["10.0.0.0/8", "127.0.0.1", "fd00::/8"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write it like \"10.0.0.0/8\", \"127.0.0.1\" or \"fd00::/8\"";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| Fault::new("is not an address", help))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|&prefix| prefix <= bits)
                .ok_or_else(|| Fault::new(format!("has no prefix from 0 to {bits}"), help))?,
        };
        let first = first_address(address, prefix);
        if first != address {
            let help = format!("write \"{first}/{prefix}\", or \"{address}\" for this one address");
            return Err(Fault::new("has bits set beyond its prefix", help));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_cidr() {
        let written = |text| Network::parse(text).map(|network| network.to_string());
        assert_eq!(written("10.0.0.0/8"), Ok("10.0.0.0/8".into()));
        assert_eq!(written("127.0.0.1"), Ok("127.0.0.1/32".into()));
        assert_eq!(written("::1"), Ok("::1/128".into()));
        assert_eq!(written("0.0.0.0/0"), Ok("0.0.0.0/0".into()));
        assert_eq!(written("fd00::/8"), Ok("fd00::/8".into()));
        for wrong in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10/8",
            "fd00::/129",
            "localhost",
            "1.2.3.4/",
            "::1/+1",
        ] {
            assert!(Network::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
