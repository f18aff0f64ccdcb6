//! `pillion savings`: asks a running Pillion what a cache would save where nothing is stored.

use http::Method;

use super::Failure;
use super::ask::{Admin, Question};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Answer with JSON instead of sentences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Prints what would be saved.
///
/// # Errors
/// When the running Pillion cannot be asked, or refuses.
pub(crate) fn savings(args: &Args) -> Result<(), Failure> {
    let told = args.admin.ask(Question {
        method: Method::GET,
        target: "/explain/savings".to_owned(),
        accept: match args.json {
            true => "application/json",
            false => "text/plain",
        },
    })?;
    super::print(&told)
}
