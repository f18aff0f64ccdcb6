//! Where a target listens, and a connection to it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, Result};
use crate::scenario::Http;

/// Scheme, host and port of a target, or its Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Connected to instead of host and port.
    pub(crate) unix: Option<PathBuf>,
    /// Sent as `Host`, if it is not host and port.
    pub(crate) authority: Option<String>,
}

/// Anything that bytes go through both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Origin {
    /// On this machine, over TCP.
    pub(crate) fn local(port: u16, tls: bool) -> Self {
        Self {
            tls,
            host: "127.0.0.1".to_owned(),
            port,
            unix: None,
            authority: None,
        }
    }

    /// `http://host:port`, `https://host:port` or `unix:/path`.
    ///
    /// # Errors
    /// When it is none of them.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let origin = Self::local(80, false);
            return Ok(Self {
                unix: Some(path.into()),
                ..origin
            });
        }
        let wrong = || {
            Failure::usage(format!(
                "\"{text}\" is no target. Write http://HOST:PORT, https://HOST:PORT or unix:/PATH; \
                 paths belong in the scenario."
            ))
        };
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            port,
            authority: uri.port().is_none().then(|| host.clone()),
            host,
            unix: None,
        })
    }

    /// What `Host` says.
    pub(crate) fn authority(&self) -> String {
        match (&self.authority, &self.unix) {
            (Some(authority), _) => authority.clone(),
            (None, Some(_)) => "localhost".to_owned(),
            (None, None) => format!("{}:{}", self.host, self.port),
        }
    }

    /// Scheme, host and port, as URLs begin: where to connect, whatever `Host` says.
    pub(crate) fn base(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match (&self.unix, self.port, self.tls) {
            (Some(_), ..) => format!("{scheme}://localhost"),
            (None, 80, false) | (None, 443, true) => format!("{scheme}://{}", self.host),
            (None, port, _) => format!("{scheme}://{}:{port}", self.host),
        }
    }

    /// The same place, asked as if it were `other`: what an app writes into its pages stays the same.
    pub(crate) fn in_the_name_of(self, other: &Self) -> Self {
        Self {
            authority: Some(other.authority()),
            ..self
        }
    }

    /// A connection, ready for `http`.
    ///
    /// # Errors
    /// When it cannot be had within five seconds.
    pub(crate) async fn connect(&self, http: Http) -> io::Result<Box<dyn Stream>> {
        let patience = Duration::from_secs(5);
        timeout(patience, self.connect_at_last(http))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    async fn connect_at_last(&self, http: Http) -> io::Result<Box<dyn Stream>> {
        if let Some(path) = &self.unix {
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
        let stream = TcpStream::connect((self.host.trim_matches(['[', ']']), self.port)).await?;
        stream.set_nodelay(true)?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = connector(http)?.connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}

fn connector(http: Http) -> io::Result<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = match http {
        Http::One => vec![b"http/1.1".to_vec()],
        Http::Two => vec![b"h2".to_vec()],
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A load test asks its own targets, whose certificates are often made for the test.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_written_as_urls() {
        let base = |text: &str| Origin::parse(text).map(|origin| origin.base()).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(base("http://localhost:3000"), some("http://localhost:3000"));
        assert_eq!(base("https://example.org"), some("https://example.org"));
        assert_eq!(base("unix:/run/app.sock"), some("http://localhost"));
        for wrong in ["localhost:3000", "ftp://a", "http://a/path", "", "http://"] {
            assert_eq!(base(wrong), None, "{wrong}");
        }
    }
}
