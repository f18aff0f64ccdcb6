//! `[admin]`: the operator's own listener.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listen::{ListenAddress, WrittenAddress};
use crate::site::Site;
use crate::units::{FilePath, Mode};

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// A TCP address or a Unix socket.
    pub address: ListenAddress,
    /// Holds the bearer token; beyond loopback there must be one.
    pub token_file: Option<PathBuf>,
}

impl Default for AdminSettings {
    /// 127.0.0.1:9900, without a token.
    fn default() -> Self {
        Self {
            address: ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 9900).into()),
            token_file: None,
        }
    }
}

/// `[admin]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenAdmin {
    /// Off listens nowhere: no metrics, no health, no purge.
    enabled: bool,
    /// `IP:PORT`, `unix:PATH` or `systemd:NAME`; beyond loopback only with a token.
    pub(crate) address: WrittenAddress,
    /// Permission bits of a Unix socket, "0600" unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    /// Holds the bearer token that every request must bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<FilePath>,
}

impl Default for WrittenAdmin {
    fn default() -> Self {
        Self {
            enabled: true,
            address: WrittenAddress(AdminSettings::default().address),
            mode: None,
            token_file: None,
        }
    }
}

impl WrittenAdmin {
    pub(crate) fn check(&self, site: &Site<'_>) -> Option<AdminSettings> {
        let token = self
            .token_file
            .as_ref()
            .map(|file| site.key("token_file").existing_file(file));
        let address = self.address.check(self.mode, site);
        if self.enabled && token.is_none() {
            check_open_address(&address, &site.key("address"));
        }
        self.enabled.then_some(AdminSettings {
            address,
            token_file: token,
        })
    }
}

/// Who reaches an admin listener without a token.
fn check_open_address(address: &ListenAddress, site: &Site<'_>) {
    match address {
        ListenAddress::Tcp(tcp) if tcp.ip().to_canonical().is_loopback() => {
            if site.is_in_file() {
                let help = "set `admin.token_file`, or listen on `unix:PATH`";
                site.warning(
                    "every user and program of this machine may purge and look",
                    help,
                );
            }
        }
        ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => site.problem(
            format!("{address} may be reached from other machines, and there is no token"),
            "set `admin.token_file`, or listen on 127.0.0.1 or `unix:PATH`",
        ),
        ListenAddress::Unix { .. } => {}
    }
}
