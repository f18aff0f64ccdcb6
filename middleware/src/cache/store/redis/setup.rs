//! What is read from files at the start: TLS and passwords.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use config::redis::{Password, RedisTls};
use config::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Why the settings cannot be carried out: a file that cannot be read or does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupError {
    /// The key in `[cache.redis]`.
    key: &'static str,
    message: String,
}

impl SetupError {
    pub(crate) fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cache.redis.{}: {}", self.key, self.message)
    }
}

impl std::error::Error for SetupError {}

/// The password, read anew each time: one that was changed is taken over with the next connection.
pub(super) fn password(
    password: Option<&Password>,
    key: &'static str,
) -> Result<Option<Secret>, SetupError> {
    match password {
        None => Ok(None),
        Some(Password::Written(secret)) => Ok(Some(secret.clone())),
        Some(Password::File(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| SetupError::new(key, unreadable(path, &error)))?;
            match text.lines().next().map(str::trim_end).unwrap_or_default() {
                "" => Err(SetupError::new(
                    key,
                    format!("{} has nothing in its first line", path.display()),
                )),
                line => Ok(Some(line.to_owned().into())),
            }
        }
    }
}

/// How to shake hands.
pub(super) fn tls(tls: &RedisTls) -> Result<TlsConnector, SetupError> {
    let roots = match &tls.ca {
        Some(file) => own_roots(file)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::new("url", format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                SetupError::new(
                    "key",
                    format!("no private key in {}: {error}", key.display()),
                )
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| SetupError::new("key", error.to_string()))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn own_roots(file: &Path) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", file)? {
        roots
            .add(certificate)
            .map_err(|error| SetupError::new("ca", format!("{}: {error}", file.display())))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Systems carry roots that no parser takes; the others are what counts.
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(SetupError::new(
            "ca",
            "the system has no root certificates; install ca-certificates or write `ca`",
        )),
    }
}

/// At least one.
fn certificates(
    key: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| SetupError::new(key, unreadable(file, &error)))?;
    match read.is_empty() {
        false => Ok(read),
        true => Err(SetupError::new(
            key,
            format!("{} holds no certificate", file.display()),
        )),
    }
}

fn unreadable(file: &Path, error: &dyn fmt::Display) -> String {
    format!("cannot read {}: {error}", file.display())
}
