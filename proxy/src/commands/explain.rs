//! `pillion explain`: asks a running Pillion what would become of a request, and why.

use http::Method;

use super::Failure;
use super::ask::{Admin, Question, escaped};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As the client would ask for it: http://localhost:8080/page, or just /page
    url: String,
    /// A field of the request, "Name: value"; may be given several times
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// Answer with JSON instead of sentences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Prints the explanation.
///
/// # Errors
/// When the running Pillion cannot be asked, or refuses.
pub(crate) fn explain(args: &Args) -> Result<(), Failure> {
    let mut target = format!(
        "/explain?method={}&url={}",
        escaped(&args.method),
        escaped(&args.url)
    );
    for header in &args.headers {
        target.push_str(&format!("&header={}", escaped(header)));
    }
    let explanation = args.admin.ask(Question {
        method: Method::GET,
        target,
        accept: if args.json {
            "application/json"
        } else {
            "text/plain"
        },
    })?;
    super::print(&explanation)
}
