//! The configuration as the commands read it: the file, the environment, the flags.

use std::path::{Path, PathBuf};

use config::Settings;
use config::admin::AdminSettings;

use super::{Failure, USAGE};

/// What flags say; they win over the environment, which wins over the file.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// The upstream `app`.
    pub(crate) upstream: Option<String>,
    /// In place of all `[[listen]]`.
    pub(crate) listen: Vec<String>,
    /// In place of `[admin]`.
    pub(crate) admin: Option<String>,
    /// In place of `profile`.
    pub(crate) profile: Option<String>,
}

/// A configuration without problems.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// Each value with where it came from, secrets hidden.
    pub(crate) effective: serde_json::Value,
    /// The file, if there was one.
    pub(crate) file: Option<PathBuf>,
}

/// Reads and checks.
///
/// # Errors
/// All problems at once.
pub(crate) fn load(file: Option<&Path>, flags: Flags) -> Result<Loaded, Failure> {
    let _ = (file, flags);
    Err(Failure::new("adapter").with_code(USAGE))
}

/// `[admin]` of the file, for those who look for a running Pillion.
///
/// # Errors
/// When there is a file and it has problems.
pub(crate) fn configured_admin(file: Option<&Path>) -> Result<Option<AdminSettings>, Failure> {
    let _ = file;
    Ok(None)
}
