//! `POST /purge`: forget what is stored.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http::uri::Authority;
use middleware::cache::Purge;
use middleware::metrics::Event;
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::question::Target;
use super::reply::{self, Reply};
use super::{Admin, query};

/// Purges one URL, or everything, and says how many stored responses that were.
pub(super) fn purge(admin: &Admin, head: &Parts, content: &Bytes) -> Reply {
    let order = match Order::read(head.uri.query(), content, &admin.authority) {
        Ok(order) => order,
        Err(detail) => return reply::problem(StatusCode::BAD_REQUEST, &detail),
    };
    let cache = &admin.shared.cache;
    let (what, count) = match &order {
        Order::All => ("everything".to_owned(), cache.purge_all()),
        Order::One(target, purge) => {
            let authority = target.authority.as_str();
            let uri = target.path.clone().into();
            let count = cache.purge_uri(target.scheme, authority, &uri, *purge);
            (target.to_string(), count)
        }
    };
    admin.shared.metrics.count(Event::Purge);
    info!(what, count, "Purged.");
    if reply::wants_text(&head.headers) {
        let responses = if count == 1 { "response" } else { "responses" };
        return reply::text(format!("Purged {what}: {count} stored {responses}.\n"));
    }
    reply::json(
        StatusCode::OK,
        &json!({ "purged": what, "responses": count }),
    )
}

/// What is to be purged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    All,
    One(Target, Purge),
}

/// The order as the request's content.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Option<String>,
    #[serde(default)]
    all: bool,
    /// Kept, but validated before its next use.
    #[serde(default)]
    soft: bool,
}

impl Order {
    /// From the query, or else from the content.
    fn read(asked: Option<&str>, content: &[u8], authority: &Authority) -> Result<Self, String> {
        let mut written = Written::default();
        for (name, value) in query::pairs(asked) {
            match (name.as_str(), value.as_str()) {
                ("url", _) => written.url = Some(value),
                ("all", "" | "true") => written.all = true,
                ("soft", "" | "true") => written.soft = true,
                ("all" | "soft", "false") => {}
                _ => {
                    return Err(format!(
                        "There is no parameter {name} of this value. {USAGE}"
                    ));
                }
            }
        }
        if asked.unwrap_or_default().is_empty() && !content.is_empty() {
            written = serde_json::from_slice(content)
                .map_err(|error| format!("The content is no order ({error}). {USAGE}"))?;
        }
        match written {
            Written {
                url: None,
                all: true,
                soft: false,
            } => Ok(Self::All),
            Written {
                url: Some(url),
                all: false,
                soft,
            } => {
                let purge = if soft { Purge::Soft } else { Purge::Hard };
                Ok(Self::One(Target::parse(&url, authority)?, purge))
            }
            _ => Err(format!("Name one URL, or all. {USAGE}")),
        }
    }
}

const USAGE: &str = "Write ?url=http://localhost:8080/page, ?url=…&soft, ?all, or the same as JSON: {\"url\": \"…\"}.";

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use middleware::cache::Purge;

    use super::{Order, Target};

    #[test]
    fn orders() {
        let us = Authority::from_static("127.0.0.1:8080");
        let one = |url: &str, purge| Some(Order::One(Target::parse(url, &us).unwrap(), purge));
        for (query, content, expected) in [
            ("url=/page", "", one("/page", Purge::Hard)),
            ("url=/page&soft", "", one("/page", Purge::Soft)),
            ("url=/page&soft=false", "", one("/page", Purge::Hard)),
            ("all", "", Some(Order::All)),
            ("all=true", "", Some(Order::All)),
            (
                "",
                r#"{"url":"http://a/b"}"#,
                one("http://a/b", Purge::Hard),
            ),
            ("", r#"{"url":"/b","soft":true}"#, one("/b", Purge::Soft)),
            ("", r#"{"all":true}"#, Some(Order::All)),
            ("", "", None),
            ("", "{}", None),
            ("", "[]", None),
            ("", r#"{"url":"/a","all":true}"#, None),
            ("", r#"{"urls":["/a"]}"#, None),
            ("all&soft", "", None),
            ("url=/a&all", "", None),
            ("url=/a&prefix=/b", "", None),
            ("url=ftp://a/b", "", None),
        ] {
            let found = Order::read(Some(query), content.as_bytes(), &us).ok();
            assert_eq!(found, expected, "{query} {content}");
        }
    }
}
