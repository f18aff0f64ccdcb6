//! The configuration as the commands read it: the file, the environment, the flags.

use std::path::{Path, PathBuf};

use config::admin::AdminSettings;
use config::{Overrides, Settings};

use super::{Failure, USAGE};

/// What flags say; they win over the environment, which wins over the file.
pub(crate) type Flags = Overrides;

/// A configuration without problems.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// Each value with where it came from, secrets hidden.
    pub(crate) effective: serde_json::Value,
    /// The same as TOML.
    pub(crate) toml: String,
    /// The file, if there was one.
    pub(crate) file: Option<PathBuf>,
    /// How much there was that needs thought.
    pub(crate) warnings: usize,
}

/// Reads and checks; shows on standard error what needs thought.
///
/// # Errors
/// All problems at once.
pub(crate) fn load(file: Option<&Path>, flags: Flags) -> Result<Loaded, Failure> {
    let loaded = read(file, &flags)?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    Ok(Loaded {
        effective: loaded.to_json(),
        toml: loaded.to_toml(),
        file: loaded.file,
        warnings: loaded.warnings.len(),
        settings: loaded.settings,
    })
}

/// `[admin]` of the file, for those who look for a running Pillion.
///
/// # Errors
/// When there is a file and it has problems.
pub(crate) fn configured_admin(file: Option<&Path>) -> Result<Option<AdminSettings>, Failure> {
    let flags = Flags {
        // What it stands in front of is not asked here.
        awaits_upstream: true,
        ..Flags::default()
    };
    Ok(read(file, &flags)?.settings.admin)
}

fn read(file: Option<&Path>, flags: &Flags) -> Result<config::Loaded, Failure> {
    config::load(file, flags, &|name| std::env::var(name).ok()).map_err(|problems| {
        Failure::new(format!("the configuration cannot be used.\n\n{problems}")).with_code(USAGE)
    })
}
