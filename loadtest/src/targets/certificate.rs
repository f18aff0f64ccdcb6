//! A certificate of one's own, for the proxies that are asked over TLS.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// The files of a certificate for 127.0.0.1 and localhost.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub(crate) both: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::unmeasured(format!("The test's certificate: {error}."))
        };
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| failed(&error))?;
            Ok(path)
        };
        Ok(Self {
            both: write("both.pem", &format!("{chain}{key}"))?,
            chain: write("certificate.pem", &chain)?,
            key: write("key.pem", &key)?,
        })
    }
}
