//! `pillion health`: asks a running Pillion whether it is ready, for those who watch over containers.

use http::Method;

use super::Failure;
use super::ask::{Admin, Question};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: Admin,
}

/// Says nothing if it is.
///
/// # Errors
/// When it is not, or does not answer.
pub(crate) fn health(args: &Args) -> Result<(), Failure> {
    let ready = args.admin.ask(Question {
        method: Method::GET,
        target: "/readyz".to_owned(),
        accept: "application/json",
    });
    ready.map(drop)
}
