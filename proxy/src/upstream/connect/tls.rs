//! TLS towards the upstream, by rustls.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use config::upstream::{Protocol, UpstreamTls};
use middleware::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Wanted;

/// The system's roots of trust, read when they are first needed: that takes tens of milliseconds.
#[derive(Default)]
pub(in super::super) struct Roots(Option<Arc<RootCertStore>>);

/// How to shake hands with one endpoint.
pub(super) struct Tls {
    preferred: TlsConnector,
    /// Offers HTTP/1.1 alone, for requests that ask to upgrade.
    http1: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(
        host: &str,
        protocol: Protocol,
        settings: &UpstreamTls,
        system: &mut Roots,
    ) -> anyhow::Result<Self> {
        let name = settings.name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("\"{name}\" cannot be the name of a TLS server"))?;
        let roots = match &settings.ca {
            Some(file) => Arc::new(own_roots(file)?),
            None => system.read()?,
        };
        let offer = |protocols: &[&[u8]]| -> anyhow::Result<TlsConnector> {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            preferred: match protocol {
                Protocol::Http1 => offer(&[H2, HTTP1])?,
                Protocol::Http2 => offer(&[H2])?,
            },
            http1: offer(&[HTTP1])?,
            name,
        })
    }

    /// The encrypted stream, and whether HTTP/2 was agreed on.
    pub(super) async fn handshake(
        &self,
        plain: TcpStream,
        wanted: Wanted,
    ) -> Result<(TlsStream<TcpStream>, bool)> {
        let connector = match wanted {
            Wanted::Any => &self.preferred,
            Wanted::Http1 => &self.http1,
        };
        let stream = connector
            .connect(self.name.clone(), plain)
            .await
            .map_err(failed)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((stream, http2))
    }
}

impl Roots {
    fn read(&mut self) -> anyhow::Result<Arc<RootCertStore>> {
        if let Some(roots) = &self.0 {
            return Ok(roots.clone());
        }
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        // Systems carry roots that no parser takes; the others are what counts.
        roots.add_parsable_certificates(found.certs);
        anyhow::ensure!(
            !roots.is_empty(),
            "the system has no root certificates; install ca-certificates or set tls.ca"
        );
        let roots = Arc::new(roots);
        self.0 = Some(roots.clone());
        Ok(roots)
    }
}

fn own_roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("cannot read the certificates in {}", file.display()))?;
    for certificate in certificates {
        let certificate = certificate
            .with_context(|| format!("{} holds something that is no PEM", file.display()))?;
        roots
            .add(certificate)
            .with_context(|| format!("{} holds an unusable certificate", file.display()))?;
    }
    anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", file.display());
    Ok(roots)
}

/// A failed handshake, in the words of RFC 9209.
fn failed(error: io::Error) -> Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let kind = match tls {
        Some(rustls::Error::InvalidCertificate(_)) => ErrorKind::TlsCertificateError,
        _ => ErrorKind::TlsProtocolError,
    };
    Error::upstream(kind).caused_by(error).retryable()
}

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
