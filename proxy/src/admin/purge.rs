//! `POST /purge`: forget what is stored.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http::uri::Authority;
use middleware::cache::{MOST_SEGMENTS, MOST_SHOWN, Purge, Rehearsal, What};
use middleware::metrics::Event;
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::purged::{Purged, stored};
use super::question::Target;
use super::reply::{self, Reply};
use super::{Admin, query};
use crate::tiers::LowerTiers;

/// Purges what is asked for and says how many stored responses that were, where it is known, and which
/// instances have done so; or says what it would purge. Answers when the purge does not get lost any more.
pub(super) async fn purge(admin: &Admin, head: &Parts, content: &Bytes) -> Reply {
    let wants_text = reply::wants_text(&head.headers);
    let order = match Order::read(head.uri.query(), content, &admin.authority) {
        Ok(order) => order,
        Err(detail) => return reply::problem(StatusCode::BAD_REQUEST, &detail),
    };
    let cache = &admin.shared.cache;
    if order.is_rehearsal {
        return match cache.would_purge(&order.what) {
            Ok(found) => order.rehearsed(&found, wants_text),
            Err(error) => reply::problem(StatusCode::BAD_REQUEST, &error.to_string()),
        };
    }
    match cache.purge_noted(&order.what, order.purge) {
        Ok((count, tickets)) => {
            admin.shared.metrics.count(Event::Purge);
            let bus = admin.shared.tiers.as_ref().and_then(LowerTiers::bus);
            let report = async {
                match bus {
                    Some(bus) => Some(bus.report(&tickets, ACKNOWLEDGED).await),
                    None => None,
                }
            };
            let (is_recorded, report) = tokio::join!(cache.settled(), report);
            let purged = Purged {
                named: &order.named,
                is_soft: order.is_soft(),
                count,
                is_recorded,
                report,
            };
            let everywhere = purged.is_everywhere();
            info!(
                what = purged.named,
                soft = purged.is_soft,
                count,
                recorded = is_recorded,
                everywhere,
                "Purged."
            );
            purged.reply(wants_text)
        }
        Err(error) => reply::problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// What is to be purged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    what: What,
    /// `what` for people.
    named: String,
    purge: Purge,
    /// Whether only to say what would be purged.
    is_rehearsal: bool,
}

/// The order as the request's content.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    url: Option<String>,
    tags: Vec<String>,
    groups: Vec<String>,
    /// Whose `groups`.
    origin: Option<String>,
    prefix: Option<String>,
    pattern: Option<String>,
    all: bool,
    /// Kept, but validated before its next use.
    soft: bool,
    dry_run: bool,
}

impl Order {
    /// From the query, or else from the content.
    fn read(asked: Option<&str>, content: &[u8], authority: &Authority) -> Result<Self, String> {
        let written = if asked.unwrap_or_default().is_empty() && !content.is_empty() {
            serde_json::from_slice(content)
                .map_err(|error| format!("The content is no order ({error}). {USAGE}"))?
        } else {
            Written::of_query(asked)?
        };
        let (what, named) = written.what(authority)?;
        Ok(Self {
            what,
            named,
            purge: if written.soft {
                Purge::Soft
            } else {
                Purge::Hard
            },
            is_rehearsal: written.dry_run,
        })
    }

    fn is_soft(&self) -> bool {
        self.purge == Purge::Soft
    }

    fn rehearsed(&self, found: &Rehearsal, wants_text: bool) -> Reply {
        let Rehearsal { responses, urls } = found;
        if !wants_text {
            return reply::json(
                StatusCode::OK,
                &json!({
                    "would_purge": self.named,
                    "soft": self.is_soft(),
                    "responses": responses,
                    "urls": urls,
                }),
            );
        }
        let mut text = format!("Would purge {}: {}.\n", self.named, stored(*responses));
        for url in urls {
            text.push_str(&format!("  {url}\n"));
        }
        if urls.len() == MOST_SHOWN {
            text.push_str("  and perhaps more\n");
        }
        reply::text(text)
    }
}

impl Written {
    fn of_query(asked: Option<&str>) -> Result<Self, String> {
        let mut written = Self::default();
        for (name, value) in query::pairs(asked) {
            match (name.as_str(), value.as_str()) {
                ("url", _) => once(&mut written.url, value, "url")?,
                ("tag", _) => written.tags.push(value),
                ("group", _) => written.groups.push(value),
                ("origin", _) => once(&mut written.origin, value, "origin")?,
                ("prefix", _) => once(&mut written.prefix, value, "prefix")?,
                ("pattern", _) => once(&mut written.pattern, value, "pattern")?,
                ("all", "" | "true") => written.all = true,
                ("soft", "" | "true") => written.soft = true,
                ("dry_run", "" | "true") => written.dry_run = true,
                ("all" | "soft" | "dry_run", "false") => {}
                _ => {
                    return Err(format!(
                        "There is no parameter {name} of this value. {USAGE}"
                    ));
                }
            }
        }
        Ok(written)
    }

    /// What is to be purged, for the cache and for people; one kind of it.
    fn what(&self, authority: &Authority) -> Result<(What, String), String> {
        let Self {
            url,
            tags,
            groups,
            origin,
            prefix,
            pattern,
            ..
        } = self;
        let kinds = usize::from(self.all)
            + usize::from(url.is_some())
            + usize::from(!tags.is_empty())
            + usize::from(!groups.is_empty())
            + usize::from(prefix.is_some())
            + usize::from(pattern.is_some());
        if kinds != 1 || (origin.is_some() && groups.is_empty()) {
            return Err(format!(
                "Name one URL, tags, groups, a prefix or a pattern, or all. {USAGE}"
            ));
        }
        if let Some(url) = url {
            let target = Target::parse(url, authority)?;
            let named = target.to_string();
            let what = What::Url {
                scheme: target.scheme,
                authority: target.authority.to_string(),
                uri: target.path.into(),
            };
            return Ok((what, named));
        }
        if !tags.is_empty() {
            return Ok((What::Tags(names(tags)?), format!("tag {}", tags.join(", "))));
        }
        if !groups.is_empty() {
            let origin = Target::parse(origin.as_deref().unwrap_or("/"), authority)?;
            let Target {
                scheme, authority, ..
            } = origin;
            let named = format!(
                "group {} of {}://{authority}",
                groups.join(", "),
                scheme.as_str()
            );
            let what = What::Groups {
                scheme,
                authority: authority.to_string(),
                names: names(groups)?,
            };
            return Ok((what, named));
        }
        if let Some(prefix) = prefix {
            return prefix_of(prefix, authority);
        }
        if let Some(pattern) = pattern {
            return Ok((What::Pattern(pattern.clone()), format!("pattern {pattern}")));
        }
        Ok((What::All, "everything".to_owned()))
    }
}

fn once(place: &mut Option<String>, value: String, name: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("Name one {name} at a time. {USAGE}")),
    }
}

/// Names of tags or groups that can be in a field.
fn names(names: &[String]) -> Result<Vec<String>, String> {
    match names.iter().any(|name| name.trim().is_empty()) {
        true => Err(format!("An empty name purges nothing. {USAGE}")),
        false => Ok(names.to_vec()),
    }
}

/// A path is for every host, a URL for its own.
fn prefix_of(text: &str, authority: &Authority) -> Result<(What, String), String> {
    let target = Target::parse(text, authority)?;
    let path = target.path.path();
    if target.path.query().is_some() {
        return Err(format!("A prefix is of a path, without a query. {USAGE}"));
    }
    if path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .count()
        > MOST_SEGMENTS
    {
        return Err(format!(
            "\"{text}\" has more than {MOST_SEGMENTS} segments; paths are told apart by as many. {USAGE}"
        ));
    }
    let host = (!text.starts_with('/')).then(|| target.authority.to_string());
    let what = What::Prefix {
        host,
        path: path.to_owned(),
    };
    Ok((what, format!("prefix {text}")))
}

/// For all instances to say that they have done it.
const ACKNOWLEDGED: Duration = Duration::from_secs(1);
const USAGE: &str = "Write ?url=http://localhost:8080/page, ?tag=…, ?group=…&origin=http://localhost:8080, \
    ?prefix=/api/users, ?pattern=/shop/*, or ?all, with &soft to validate before the next use and &dry_run to only \
    be told; or the same as JSON: {\"url\": \"…\"}, {\"tags\": [\"…\"]}, {\"groups\": [\"…\"]}.";

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use middleware::cache::{Purge, What};
    use middleware::facts::Scheme;

    use super::{Order, Target};

    fn url(url: &str) -> What {
        let target = Target::parse(url, &Authority::from_static("127.0.0.1:8080")).unwrap();
        What::Url {
            scheme: target.scheme,
            authority: target.authority.to_string(),
            uri: target.path.into(),
        }
    }

    fn tags(tags: &[&str]) -> What {
        What::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    fn groups(scheme: Scheme, authority: &str) -> What {
        What::Groups {
            scheme,
            authority: authority.to_owned(),
            names: vec!["a b".to_owned()],
        }
    }

    fn prefix(host: Option<&str>, path: &str) -> What {
        What::Prefix {
            host: host.map(str::to_owned),
            path: path.to_owned(),
        }
    }

    #[test]
    fn orders() {
        let us = Authority::from_static("127.0.0.1:8080");
        let (hard, soft) = (Purge::Hard, Purge::Soft);
        for (query, content, expected) in [
            ("url=/page", "", Some((url("/page"), hard, false))),
            ("url=/page&soft", "", Some((url("/page"), soft, false))),
            (
                "url=/page&soft=false",
                "",
                Some((url("/page"), hard, false)),
            ),
            ("url=/page&dry_run", "", Some((url("/page"), hard, true))),
            ("all", "", Some((What::All, hard, false))),
            ("all=true", "", Some((What::All, hard, false))),
            ("all&soft", "", Some((What::All, soft, false))),
            (
                "tag=a&tag=b%20c",
                "",
                Some((tags(&["a", "b c"]), hard, false)),
            ),
            (
                "group=a+b",
                "",
                Some((groups(Scheme::Http, "127.0.0.1:8080"), hard, false)),
            ),
            (
                "group=a+b&origin=https://a.test",
                "",
                Some((groups(Scheme::Https, "a.test"), hard, false)),
            ),
            ("prefix=/a/b", "", Some((prefix(None, "/a/b"), hard, false))),
            (
                "prefix=a.test/b",
                "",
                Some((prefix(Some("a.test"), "/b"), hard, false)),
            ),
            (
                "prefix=http://a.test:8080",
                "",
                Some((prefix(Some("a.test:8080"), "/"), hard, false)),
            ),
            (
                "pattern=/a*b",
                "",
                Some((What::Pattern("/a*b".to_owned()), hard, false)),
            ),
            (
                "",
                r#"{"url":"http://a/b"}"#,
                Some((url("http://a/b"), hard, false)),
            ),
            (
                "",
                r#"{"url":"/b","soft":true}"#,
                Some((url("/b"), soft, false)),
            ),
            ("", r#"{"all":true}"#, Some((What::All, hard, false))),
            (
                "",
                r#"{"tags":["a"],"dry_run":true}"#,
                Some((tags(&["a"]), hard, true)),
            ),
            ("", "", None),
            ("", "{}", None),
            ("", "[]", None),
            ("", r#"{"url":"/a","all":true}"#, None),
            ("", r#"{"urls":["/a"]}"#, None),
            ("url=/a&all", "", None),
            ("url=/a&url=/b", "", None),
            ("url=/a&prefix=/b", "", None),
            ("url=/a&origin=http://a.test", "", None),
            ("url=ftp://a/b", "", None),
            ("tag=", "", None),
            ("tag=a&soft=perhaps", "", None),
            ("prefix=/a/b/c/d/e", "", None),
            ("prefix=/a?b", "", None),
            ("dry_run", "", None),
        ] {
            let found = Order::read(Some(query), content.as_bytes(), &us).ok();
            let found = found.map(|order| (order.what, order.purge, order.is_rehearsal));
            assert_eq!(found, expected, "{query} {content}");
        }
    }
}
