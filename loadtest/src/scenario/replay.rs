//! A recorded request log, read as the requests that it tells of.
//!
//! Two forms: the common and combined log formats of Apache and nginx (`"GET /x HTTP/1.1"`), and lines
//! of JSON with `method` and `path`, `uri`, `url` or `target`, as Pillion writes them. Only GET and
//! HEAD are replayed: a log does not keep the content of other requests.

use std::path::Path;

use super::Kind;

/// The requests of the log at `path`, in its order.
///
/// # Errors
/// When it cannot be read, or no line tells of a request that can be replayed.
pub(super) fn read(path: &Path) -> Result<Vec<Kind>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read ({error})", path.display()))?;
    let kinds: Vec<_> = text.lines().filter_map(line).take(MOST).collect();
    if kinds.is_empty() {
        return Err(format!(
            "{} has no line that tells of a GET or HEAD, as \"GET /x HTTP/1.1\" or as JSON with \
             method and path",
            path.display()
        ));
    }
    Ok(kinds)
}

fn line(line: &str) -> Option<Kind> {
    let (method, target) = if line.trim_start().starts_with('{') {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| line.get(name)?.as_str().map(str::to_owned);
        let target = ["path", "uri", "url", "target"]
            .into_iter()
            .find_map(text)?;
        (text("method")?, target)
    } else {
        let quoted = line.split('"').nth(1)?;
        let mut words = quoted.split(' ');
        (words.next()?.to_owned(), words.next()?.to_owned())
    };
    let method: http::Method = method.parse().ok()?;
    let uri: http::Uri = target.parse().ok()?;
    let path = uri.path_and_query()?.as_str().to_owned();
    let replayable = method == http::Method::GET || method == http::Method::HEAD;
    (replayable && path.starts_with('/')).then(|| Kind {
        path,
        weight: 1,
        method,
        headers: Vec::new(),
        body: None,
        keys: None,
    })
}

/// Requests of one log that are kept.
const MOST: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_logs_are_read() {
        let asked = |text| line(text).map(|kind| (kind.method.to_string(), kind.path));
        let get = |path: &str| Some(("GET".to_owned(), path.to_owned()));
        assert_eq!(
            asked(r#"127.0.0.1 - - [21/Nov/2026:06:00:00 +0000] "GET /a?b=1 HTTP/1.1" 200 5"#),
            get("/a?b=1")
        );
        assert_eq!(
            asked(r#"{"method":"GET","path":"/x","status":200}"#),
            get("/x")
        );
        assert_eq!(
            asked(r#"{"method":"GET","url":"http://a/y?z"}"#),
            get("/y?z")
        );
        for unusable in [
            "",
            "text",
            r#"x "POST /a HTTP/1.1""#,
            r#"{"method":"GET"}"#,
            r#"x "\x16\x03" 400"#,
            "{",
        ] {
            assert_eq!(asked(unusable), None, "{unusable}");
        }
    }
}
