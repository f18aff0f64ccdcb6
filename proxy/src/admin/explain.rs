//! `/explain`: what would become of a request, which rule says so, and what would change it.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, HeaderMap};
use http::request::Parts;
use middleware::Request;
use middleware::cache::explain::{Explanation, Last, Rule, Stored, Would};
use middleware::fields::entity_tag;
use serde::Serialize;

use super::reply::{self, Reply};
use super::{Admin, coding, query, question};
use crate::routing;

/// Answers about the request of the query. Nothing is forwarded and nothing changes.
pub(super) fn explain(admin: &Admin, head: &Parts, _: &Bytes) -> Reply {
    let asked = head.uri.query();
    let now = admin.shared.clock.now();
    let answer = question::request(asked, &admin.authority, now)
        .and_then(|(request, _)| Answer::about(admin, request));
    match answer {
        Err(detail) => reply::problem(StatusCode::BAD_REQUEST, &detail),
        Ok(answer) if wants_text(asked, &head.headers) => reply::text(answer.to_string()),
        Ok(answer) => reply::json(StatusCode::OK, &answer),
    }
}

pub(super) fn wants_text(asked: Option<&str>, headers: &HeaderMap) -> bool {
    match query::value(asked, "format") {
        Some(format) => format == "text",
        None => reply::wants_text(headers),
    }
}

/// What is told.
#[derive(Debug, Serialize)]
struct Answer {
    /// The answer in one sentence.
    summary: &'static str,
    /// The pattern of the route, as written; `*` for the default.
    route: String,
    /// The upstream that it leads to.
    upstream: String,
    cache: Explanation,
    /// How what is stored would be coded for this client; nothing is known where nothing is stored.
    content_coding: Option<coding::Note>,
}

impl Answer {
    fn about(admin: &Admin, mut request: Request) -> Result<Self, String> {
        let route = routing::find(&admin.settings, &request)
            .ok_or("No route takes this request.")?
            .clone();
        let accepts = coding::Asked::of(&request);
        // As the cache sees it: the layers above have read what concerns codings, and taken it off.
        request.headers_mut().remove(ACCEPT_ENCODING);
        entity_tag::strip_coding(request.headers_mut());
        let cache = &admin.shared.cache;
        let stored = cache.selected(&request, &route.cache);
        let explanation = cache.explain(&request, &route.cache);
        Ok(Self {
            summary: summary(explanation.would),
            route: route.name.to_string(),
            upstream: route.upstream.to_string(),
            cache: explanation,
            content_coding: stored
                .map(|stored| coding::note(&route.content_coding, &accepts, &stored)),
        })
    }
}

fn summary(would: Would) -> &'static str {
    match would {
        Would::Hit => "It would be answered from the cache: a fresh response is stored.",
        Would::Stale => "It would be answered from the cache, with a stale response.",
        Would::Validate => "It would be forwarded, to validate what is stored.",
        Would::Forward => "It would be forwarded.",
        Would::GatewayTimeout => "It would be answered with 504.",
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = &self.cache;
        writeln!(f, "{}", cache.request)?;
        writeln!(f, "{}", self.summary)?;
        line(f, "route", &format!("{} → {}", self.route, self.upstream))?;
        for Rule { rule, sentence, .. } in &cache.because {
            line(f, "because", &format!("{sentence} ({rule})"))?;
        }
        for advice in cache.because.iter().filter_map(|rule| rule.advice) {
            line(f, "to change", advice)?;
        }
        if let Some(stored) = &cache.stored {
            line(f, "stored", &in_brief(stored))?;
            if let Some(tag) = &stored.etag {
                line(f, "tag", &format!("{tag}, {}", made_by(tag)))?;
            }
        }
        if let Some(last) = &cache.last {
            line(f, "last time", &what_happened(last))?;
        }
        if let Some(note) = &self.content_coding {
            line(f, "coding", &note.to_string())?;
        }
        line(f, "key", &cache.key.join(", "))
    }
}

fn in_brief(stored: &Stored) -> String {
    let Stored {
        status,
        length,
        age,
        lifetime,
        ..
    } = stored;
    let left = stored.ttl.max(0);
    // The name that JSON shows.
    let source = serde_json::to_value(stored.lifetime_from).unwrap_or_default();
    let source = source.as_str().unwrap_or("unknown");
    format!(
        "status {status}, {length} bytes, {age} s old, \
         fresh for {left} s of {lifetime} s (by {source})"
    )
}

/// Only our tags begin with a tilde.
fn made_by(tag: &str) -> &'static str {
    if tag.contains("\"~") {
        "made by Pillion"
    } else {
        "the app's"
    }
}

fn what_happened(last: &Last) -> String {
    let Last { ago, forwarded, .. } = last;
    let answer = match last.status {
        Some(status) => format!("answered {status}"),
        None => "no answer".to_owned(),
    };
    let stored = if last.stored { "stored" } else { "not stored" };
    format!(
        "{ago} s ago: forwarded ({}), {answer}, {stored}",
        forwarded.rule
    )
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<10} {value}")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::ACCEPT;
    use middleware::cache::explain::{Explanation, Last, Would};
    use middleware::cache::reason::Reason;

    use super::{Answer, made_by, summary, wants_text};

    #[test]
    fn sentences() {
        let answer = Answer {
            summary: summary(Would::Forward),
            route: "/shop/*".to_owned(),
            upstream: "app".to_owned(),
            cache: Explanation {
                request: "GET http://localhost:8080/shop/1".to_owned(),
                key: vec!["http://localhost:8080/shop/1".to_owned()],
                would: Would::Forward,
                because: vec![Reason::NothingStored.into(), Reason::SetCookie.into()],
                stored: None,
                variants: 0,
                last: Some(Last {
                    ago: 7,
                    forwarded: Reason::NothingStored.into(),
                    status: Some(200),
                    stored: false,
                    not_stored: Some(Reason::SetCookie.into()),
                }),
            },
            content_coding: None,
        };
        let expected = "\
GET http://localhost:8080/shop/1
It would be forwarded.
  route      /shop/* → app
  because    Nothing is stored for this cache key. (nothing-stored)
  because    The response sets a cookie, which would reach every client. (set-cookie)
  to change  let the app send no Set-Cookie here, or cache = { set_cookie = \"strip\" }
  last time  7 s ago: forwarded (nothing-stored), answered 200, not stored
  key        http://localhost:8080/shop/1
";
        assert_eq!(answer.to_string(), expected);
    }

    #[test]
    fn the_form_of_the_answer() {
        let accepting = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            headers
        };
        for (query, headers, is_text) in [
            ("url=/", HeaderMap::new(), false),
            ("url=/", accepting("text/plain"), true),
            ("url=/", accepting("Text/Plain; q=1, */*"), true),
            ("url=/", accepting("text/html,*/*"), false),
            ("url=/&format=text", accepting("application/json"), true),
            ("url=/&format=json", accepting("text/plain"), false),
        ] {
            assert_eq!(wants_text(Some(query), &headers), is_text, "{query}");
        }
    }

    #[test]
    fn whose_tag_it_is() {
        assert_eq!(made_by("W/\"~0123\""), "made by Pillion");
        assert_eq!(made_by("\"0123\""), "the app's");
    }
}
