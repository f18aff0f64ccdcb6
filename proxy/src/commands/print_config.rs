//! `pillion print-config`: what applies, and who said so.

use std::path::PathBuf;

use config::Overrides;

use super::{Failure, load};

/// The same flags as `run`, to see what they would do.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration [default: ./pillion.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As for `run`
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// As for `run`
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// As for `run`
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// As for `run`
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

/// Prints TOML that can be loaded again; a comment at every key says where its value came from.
///
/// # Errors
/// With exit code 2 if the configuration cannot be used.
pub(crate) fn print_config(args: &Args) -> Result<(), Failure> {
    let flags = Overrides {
        upstream: args.upstream.clone(),
        listen: args.listen.clone(),
        admin: args.admin.clone(),
        profile: args.profile.clone(),
        awaits_upstream: true,
        ..Overrides::default()
    };
    super::print(&load::load(args.config.as_deref(), &flags)?.to_toml())
}
