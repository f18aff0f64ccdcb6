//! `pillion check`: all problems of a configuration at once, and what needs thought.

use std::path::PathBuf;

use config::Overrides;

use super::{Failure, load};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration [default: ./pillion.toml, if it is there]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Starts nothing, changes nothing.
///
/// # Errors
/// With exit code 2 if the configuration cannot be used.
pub(crate) fn check(args: &Args) -> Result<(), Failure> {
    let flags = Overrides {
        // The app may come with the flags of the start.
        awaits_upstream: true,
        ..Overrides::default()
    };
    let loaded = load::load(args.file.as_deref(), &flags)?;
    let name = match &loaded.file {
        Some(file) => file.display().to_string(),
        None => "There is no file, and what the environment says".to_owned(),
    };
    super::print(&match loaded.warnings.len() {
        0 => format!("{name} is fine.\n"),
        1 => format!("{name} can be used; 1 warning needs thought.\n"),
        count => format!("{name} can be used; {count} warnings need thought.\n"),
    })
}
