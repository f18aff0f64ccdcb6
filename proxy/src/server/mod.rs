//! Listeners and connections: one thread with a runtime and listeners of its own for each core.
//!
//! A connection's way: [`socket`] (accepted by `accept`) → PROXY protocol → TLS → HTTP
//! (`connection`) → the core's front stack (`service`). Deadlines of all connections of a core are
//! kept by its `warden`.

mod accept;
mod client_io;
mod connection;
mod cores;
mod descriptors;
mod interim;
pub mod listen;
pub mod proxy_protocol;
mod repeats;
mod service;
pub mod socket;
mod stalls;
mod systemd;
#[cfg(test)]
mod tests;
mod tls;
mod warden;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

use config::listen::ListenSettings;
use middleware::metrics::Metrics;
use tokio_rustls::TlsAcceptor;

pub(crate) use crate::server::cores::{Cores, Ground};
pub(crate) use crate::server::descriptors::allow_descriptors;
use crate::server::listen::{Opened, SocketFile, StdListener};
pub(crate) use crate::server::service::RequestIds;
use crate::server::tls::{Certificate, CertificateWatch};
use crate::start_error::StartError;

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

impl Bound {
    /// The address, if it is a TCP one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self.address {
            BoundAddress::Tcp(address) => Some(address),
            BoundAddress::Unix(_) => None,
        }
    }
}

/// All listeners, bound and with their certificates read; nobody accepts yet.
pub(crate) struct Listeners {
    opened: Vec<OneListener>,
    certificates: Option<CertificateWatch>,
    files: Vec<SocketFile>,
}

struct OneListener {
    bound: Bound,
    /// One for each core.
    sockets: Vec<StdListener>,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
}

/// One core's part of a listener.
struct Share {
    socket: StdListener,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
}

impl OneListener {
    /// The next core's part.
    fn share(&mut self) -> Option<Share> {
        Some(Share {
            socket: self.sockets.pop()?,
            tls: self.tls.clone(),
            proxy_protocol: self.proxy_protocol,
        })
    }
}

impl Listeners {
    /// Opens everything that `settings` name, or nothing.
    pub(crate) fn open(
        settings: &[ListenSettings],
        cores: usize,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let mut listeners = Self {
            opened: Vec::new(),
            certificates: None,
            files: Vec::new(),
        };
        let mut certificates = Vec::new();
        for settings in settings {
            // Files first: a wrong certificate is not worth a moment of an open port.
            let tls = match &settings.tls {
                None => None,
                Some(files) => {
                    let (certificate, pem) = Certificate::load(files)?;
                    let acceptor = tls::acceptor(certificate.clone())?;
                    certificates.push((certificate, pem));
                    Some(acceptor)
                }
            };
            let Opened {
                address,
                listeners: sockets,
                file,
            } = listen::open(&settings.address, cores)?;
            listeners.files.extend(file);
            listeners.opened.push(OneListener {
                bound: Bound {
                    address,
                    tls: tls.is_some(),
                },
                sockets,
                tls,
                proxy_protocol: settings.proxy_protocol,
            });
        }
        if !certificates.is_empty() {
            listeners.certificates = Some(CertificateWatch::start(certificates, metrics.clone())?);
        }
        Ok(listeners)
    }

    /// Where they listen, in the order of the settings.
    pub(crate) fn bound(&self) -> Vec<Bound> {
        self.opened
            .iter()
            .map(|listener| listener.bound.clone())
            .collect()
    }
}
