//! TLS towards clients: rustls, with a certificate that is read again when its files change.
//!
//! The *directories* are watched, since editors, certbot and Kubernetes replace files by renaming;
//! and now and then the files are read anyway, for file systems that tell nobody. A pair that cannot
//! be used leaves the old one in place, with a warning and a metric.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{fmt, fs, io, thread};

use arc_swap::ArcSwap;
use config::listen::TlsFiles;
use middleware::metrics::{Event, Metrics};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::start_error::StartError;

/// The TLS of one listener; `certificate` may be replaced while it serves.
pub(crate) fn acceptor(certificate: Arc<Certificate>) -> Result<TlsAcceptor, StartError> {
    let provider = certificate.provider.clone();
    let no_tls = |error: rustls::Error| {
        StartError::new(
            "TLS cannot be set up",
            "This is a fault of this build; please report it",
        )
        .caused_by(error)
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(no_tls)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Resumption without memory of ours for each client; the keys are rotated by themselves.
    config.ticketer = crypto::aws_lc_rs::Ticketer::new().map_err(no_tls)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A listener's certificate and key, as they are in use.
pub(crate) struct Certificate {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    /// Written by the watcher's thread, read at every full handshake.
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads both files.
    pub(crate) fn load(files: &TlsFiles) -> Result<(Arc<Self>, Pem), StartError> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let (pem, key) = Pem::read(files)
            .and_then(|pem| pem.parse(files, &provider).map(|key| (pem, key)))
            .map_err(|fault| fault.into_start_error())?;
        let certificate = Self {
            files: files.clone(),
            provider,
            current: ArcSwap::from_pointee(key),
        };
        Ok((Arc::new(certificate), pem))
    }

    /// Takes over what is in the files now, if that differs from `known`.
    fn refresh(&self, known: &mut Pem, metrics: &Metrics) {
        let pem = match Pem::read(&self.files) {
            Ok(pem) if pem == *known => return,
            Ok(pem) => pem,
            // Between the removal of a file and its replacement, most likely; and if it stays, the
            // next look says so again.
            Err(fault) => return refuse(&fault, metrics),
        };
        match pem.parse(&self.files, &self.provider) {
            Ok(key) => {
                self.current.store(Arc::new(key));
                metrics.count(Event::CertificateLoaded);
                info!(file = %self.files.certificate.display(), "A changed certificate is in use.");
                *known = pem;
            }
            Err(fault) => refuse(&fault, metrics),
        }
    }
}

fn refuse(fault: &Fault, metrics: &Metrics) {
    metrics.count(Event::CertificateRefused);
    warn!(%fault, "A changed certificate cannot be used; the old one stays.");
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.files).finish()
    }
}

/// What is in the two files.
#[derive(PartialEq, Eq)]
pub(crate) struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, Fault> {
        let read = |file: &Path| fs::read(file).map_err(|error| Fault::unreadable(file, error));
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
        })
    }

    /// The chain and the key, checked to belong together.
    fn parse(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, Fault> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Fault::no_certificate(&files.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(Fault::no_certificate(
                &files.certificate,
                "no PEM block of that kind".to_owned(),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| Fault::no_key(&files.key, error.to_string()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Fault::mismatch(files),
            error => Fault::no_key(&files.key, error.to_string()),
        })
    }
}

/// Why a certificate cannot be used, and what to do. Never quotes what is in the files.
#[derive(Debug)]
struct Fault {
    sentence: String,
    next_step: &'static str,
}

impl Fault {
    fn unreadable(file: &Path, error: io::Error) -> Self {
        Self {
            sentence: format!("Cannot read {}: {error}", file.display()),
            next_step: "Check the path in tls = { certificate, key }, and that this user may read it",
        }
    }

    fn no_certificate(file: &Path, error: String) -> Self {
        Self {
            sentence: format!("{} holds no certificate: {error}", file.display()),
            next_step: "Give a PEM file with the certificate first, then its intermediates",
        }
    }

    fn no_key(file: &Path, error: String) -> Self {
        Self {
            sentence: format!("{} holds no usable private key: {error}", file.display()),
            next_step: "Give an unencrypted PEM file: PKCS#8, PKCS#1 or SEC1",
        }
    }

    fn mismatch(files: &TlsFiles) -> Self {
        Self {
            sentence: format!(
                "The key in {} does not belong to the certificate in {}",
                files.key.display(),
                files.certificate.display()
            ),
            next_step: "Give the key that the certificate was made for",
        }
    }

    fn into_start_error(self) -> StartError {
        StartError::new(self.sentence, self.next_step)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Watches certificates' files until it is dropped.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    _watcher: Option<RecommendedWatcher>,
    /// Closing it ends the thread.
    _changes: Sender<()>,
}

impl CertificateWatch {
    /// Begins to watch; `certificates` come with what is known of them.
    pub(crate) fn start(
        certificates: Vec<(Arc<Certificate>, Pem)>,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let (changes, changed) = mpsc::channel();
        let watcher = watch_directories(&certificates, changes.clone())
            .inspect_err(|error| {
                warn!(%error, "Cannot watch the certificates' directories; their files are read every minute instead.");
            })
            .ok();
        thread::Builder::new()
            .name("pillion-certs".into())
            .spawn(move || refresh_on_change(&changed, certificates, &metrics))
            .map_err(|error| {
                StartError::new(
                    "Cannot start a thread",
                    "Raise this user's limit of processes",
                )
                .caused_by(error)
            })?;
        Ok(Self {
            _watcher: watcher,
            _changes: changes,
        })
    }
}

fn watch_directories(
    certificates: &[(Arc<Certificate>, Pem)],
    changes: Sender<()>,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is an event as well, and must not be answered by reading again.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changes.send(()).ok();
        }
    })?;
    for (certificate, _) in certificates {
        for file in [&certificate.files.certificate, &certificate.files.key] {
            let directory = match file.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

fn refresh_on_change(
    changed: &Receiver<()>,
    mut certificates: Vec<(Arc<Certificate>, Pem)>,
    metrics: &Metrics,
) {
    loop {
        match changed.recv_timeout(READ_ANYWAY) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            // Certificate and key are written one after the other: wait until it is quiet.
            Ok(()) => while changed.recv_timeout(QUIET).is_ok() {},
        }
        for (certificate, known) in &mut certificates {
            certificate.refresh(known, metrics);
        }
    }
}

/// How long nothing may have changed before files are read.
const QUIET: Duration = Duration::from_millis(100);
/// How often they are read without a sign of change.
const READ_ANYWAY: Duration = Duration::from_secs(60);
