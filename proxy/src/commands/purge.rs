//! `pillion purge`: has a running Pillion forget stored responses.

use http::Method;

use super::Failure;
use super::ask::{Admin, Question, escaped};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As clients ask for it: http://localhost:8080/page
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    url: Option<String>,
    /// Everything that is stored
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Purges, and prints what was.
///
/// # Errors
/// When the running Pillion cannot be asked, or refuses.
pub(crate) fn purge(args: &Args) -> Result<(), Failure> {
    let target = match &args.url {
        Some(url) => format!("/purge?url={}", escaped(url)),
        None => "/purge?all".to_owned(),
    };
    let purged = args.admin.ask(Question {
        method: Method::POST,
        target,
        accept: "text/plain",
    })?;
    super::print(&purged)
}
