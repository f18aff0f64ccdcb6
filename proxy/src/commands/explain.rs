//! `pillion explain`: asks a running Pillion what would become of a request or became of one, and why;
//! or what another configuration would have made of the latest ones.

use std::path::{Path, PathBuf};

use config::Overrides;
use http::Method;
use middleware::clock::Clock;
use proxy::explain::with::{Recent, compare};

use super::ask::{Admin, Question, escaped};
use super::{Failure, load};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// As the client would ask for it: http://localhost:8080/page, or just /page
    #[arg(required_unless_present_any = ["id", "with"])]
    url: Option<String>,
    /// A field of the request, "Name: value"; may be given several times
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// Explain the request with this X-Request-Id, which was answered lately
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "with", "headers", "method"])]
    id: Option<String>,
    /// Judge the latest decisions again by this configuration, and say which would be others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "headers", "method", "json"])]
    with: Option<PathBuf>,
    /// Answer with JSON instead of sentences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Prints the explanation.
///
/// # Errors
/// When the running Pillion cannot be asked, or refuses; when the other configuration has problems.
pub(crate) fn explain(args: &Args) -> Result<(), Failure> {
    if let Some(file) = &args.with {
        return explain_with(args, file);
    }
    let mut target = match (&args.id, &args.url) {
        (Some(id), _) => format!("/explain?id={}", escaped(id)),
        (None, url) => format!(
            "/explain?method={}&url={}",
            escaped(&args.method),
            escaped(url.as_deref().unwrap_or_default())
        ),
    };
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

/// Judges here, so that the running Pillion is told nothing of the other configuration.
fn explain_with(args: &Args, file: &Path) -> Result<(), Failure> {
    let flags = Overrides {
        // The upstream of `run -- CMD` is nobody's to name here.
        awaits_upstream: true,
        ..Overrides::default()
    };
    let other = load::load(Some(file), &flags)?;
    let recent = args.admin.ask(Question {
        method: Method::GET,
        target: "/explain/recent".to_owned(),
        accept: "application/json",
    })?;
    let recent: Vec<Recent> = serde_json::from_str(&recent).map_err(|error| {
        Failure::new(format!(
            "The running Pillion tells of decisions in a way that this one does not know ({error}). \
             Ask with the version that runs."
        ))
    })?;
    let difference = compare(&recent, &other.settings, Clock::system().now());
    super::print(&difference.to_string())
}
