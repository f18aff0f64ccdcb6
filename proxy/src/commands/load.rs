//! The configuration as the commands read it: the file, the environment, the flags.

use std::path::Path;

use config::admin::AdminSettings;
use config::{Loaded, Overrides};

use super::Failure;

/// Reads and checks; shows on standard error what needs thought.
///
/// # Errors
/// All problems at once.
pub(crate) fn load(file: Option<&Path>, flags: &Overrides) -> Result<Loaded, Failure> {
    let loaded = read(file, flags)?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    Ok(loaded)
}

/// Where a running Pillion's admin listener is, for those who look for it.
///
/// # Errors
/// When the configuration has problems, or switches the listener off.
pub(crate) fn configured_admin(file: Option<&Path>) -> Result<AdminSettings, Failure> {
    let flags = Overrides {
        // What it stands in front of is not asked here.
        awaits_upstream: true,
        ..Overrides::default()
    };
    read(file, &flags)?.settings.admin.ok_or_else(|| {
        Failure::new(
            "The configuration switches the admin listener off. \
             Switch it on, or name another with --admin.",
        )
    })
}

fn read(file: Option<&Path>, flags: &Overrides) -> Result<Loaded, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    config::load(file, flags, &environment).map_err(|problems| Failure::problems(&problems))
}
