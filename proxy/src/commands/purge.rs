//! `pillion purge`: has a running Pillion forget stored responses.

use http::Method;

use super::Failure;
use super::ask::{Admin, Question, escaped};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    /// Whose group it is: http://localhost:8080 [default: the first listener]
    // What is not allowed beside --group is not required by clap either, so each is named.
    #[arg(
        long,
        value_name = "URL",
        requires = "groups",
        conflicts_with_all = ["url", "tags", "prefix", "pattern", "all"]
    )]
    origin: Option<String>,
    /// Keep it, and validate it before its next use
    #[arg(long)]
    soft: bool,
    /// Only tell what would be purged
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: Admin,
}

/// One of them.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// As clients ask for it: http://localhost:8080/page
    url: Option<String>,
    /// Everything that has this tag, exactly as it is spelled; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Everything in this group of one origin (RFC 9875); may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Every path that begins so: /api/users, or http://localhost:8080/api on one host
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Every URL like this one, where * is any text: '/shop/*' or 'localhost:8080/*?page=*'
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// Everything that is stored
    #[arg(long)]
    all: bool,
}

/// Purges, and prints what was.
///
/// # Errors
/// When the running Pillion cannot be asked, or refuses.
pub(crate) fn purge(args: &Args) -> Result<(), Failure> {
    let purged = args.admin.ask(Question {
        method: Method::POST,
        target: format!("/purge?{}", args.query()),
        accept: "text/plain",
    })?;
    super::print(&purged)
}

impl Args {
    fn query(&self) -> String {
        let What {
            url,
            tags,
            groups,
            prefix,
            pattern,
            all,
        } = &self.what;
        let named = |name: &'static str, value: &String| format!("{name}={}", escaped(value));
        let flags = [
            (*all, "all"),
            (self.soft, "soft"),
            (self.dry_run, "dry_run"),
        ];
        let parts: Vec<String> = url
            .iter()
            .map(|url| named("url", url))
            .chain(tags.iter().map(|tag| named("tag", tag)))
            .chain(groups.iter().map(|group| named("group", group)))
            .chain(self.origin.iter().map(|origin| named("origin", origin)))
            .chain(prefix.iter().map(|prefix| named("prefix", prefix)))
            .chain(pattern.iter().map(|pattern| named("pattern", pattern)))
            .chain(
                flags
                    .iter()
                    .filter(|(is_set, _)| *is_set)
                    .map(|(_, name)| (*name).to_owned()),
            )
            .collect();
        parts.join("&")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Args;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn query(line: &[&str]) -> Option<String> {
        let line = std::iter::once("purge").chain(line.iter().copied());
        let line = Line::try_parse_from(line).ok()?;
        Some(line.args.query())
    }

    #[test]
    fn lines() {
        for (line, expected) in [
            (&["/a?b"][..], Some("url=%2Fa%3Fb")),
            (&["/a", "--soft"], Some("url=%2Fa&soft")),
            (&["--all"], Some("all")),
            (
                &["--tag", "a", "--tag", "b c", "--dry-run"],
                Some("tag=a&tag=b%20c&dry_run"),
            ),
            (
                &["--group", "a", "--origin", "http://b"],
                Some("group=a&origin=http%3A%2F%2Fb"),
            ),
            (&["--prefix", "/a"], Some("prefix=%2Fa")),
            (&["--pattern", "/a*"], Some("pattern=%2Fa%2A")),
            (&[], None),
            (&["/a", "--all"], None),
            (&["--tag", "a", "--prefix", "/a"], None),
            (&["/a", "--origin", "http://b"], None),
        ] {
            assert_eq!(query(line).as_deref(), expected, "{line:?}");
        }
    }
}
