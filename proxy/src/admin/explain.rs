//! `/explain`: what would become of a request, which rule says so, and what would change it.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use config::mode::Mode;
use config::route::RouteSettings;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, HeaderMap};
use http::request::Parts;
use middleware::Request;
use middleware::cache::explain::{Explanation, Last, Would};
use middleware::cache::ghost::observed::Observation;
use middleware::cache::journal::{Done, Record};
use middleware::cache::stored::StoredResponse;
use middleware::content_coding::negotiate::Content;
use middleware::explanation::{Part, Step};
use middleware::fields::entity_tag;
use serde::Serialize;

use super::reply::{self, Reply};
use super::{Admin, LaterReply, query, question};
use crate::explain::{again, coding};
use crate::routing;

/// Answers about the request of the query, or about one that was answered lately. Nothing is forwarded
/// and nothing changes.
pub(super) fn explain<'a>(admin: &'a Admin, head: &'a Parts, _: &'a Bytes) -> LaterReply<'a> {
    Box::pin(explained(admin, head))
}

async fn explained(admin: &Admin, head: &Parts) -> Reply {
    let asked = head.uri.query();
    let now = admin.shared.clock.now();
    if let Some(id) = query::value(asked, "id") {
        return match About::lately(admin, &id) {
            Some(about) if wants_text(asked, &head.headers) => reply::text(about.to_string()),
            Some(about) => reply::json(StatusCode::OK, &about),
            None => reply::problem(StatusCode::NOT_FOUND, UNKNOWN),
        };
    }
    let answer = match question::request(asked, &admin.authority, now) {
        Ok((request, _)) => Answer::about(admin, request).await,
        Err(detail) => Err(detail),
    };
    match answer {
        Err(detail) => reply::problem(StatusCode::BAD_REQUEST, &detail),
        Ok(answer) if wants_text(asked, &head.headers) => reply::text(answer.to_string()),
        Ok(answer) => reply::json(StatusCode::OK, &answer),
    }
}

/// The latest decisions, each with what the rules make of it by the settings in force.
pub(super) fn recent(admin: &Admin, _: &Parts, _: &Bytes) -> Reply {
    let now = admin.shared.clock.now();
    let records = admin.shared.cache.recent();
    let judged = records.iter().map(|record| Recent {
        judged: again::judge(record, &admin.settings, now),
        record,
    });
    reply::json(StatusCode::OK, &judged.collect::<Vec<_>>())
}

/// One line of [`recent`].
#[derive(Debug, Serialize)]
struct Recent<'a> {
    record: &'a Record,
    judged: Option<again::Verdict>,
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
    /// What would be sent: a coding, or `identity`; nothing is known where nothing is stored.
    content_coding: Option<&'static str>,
    /// All decisions in the order of the request's way.
    chain: Vec<Step>,
    #[serde(flatten)]
    cache: Explanation,
}

impl Answer {
    async fn about(admin: &Admin, mut request: Request) -> Result<Self, String> {
        let route = routing::find(&admin.settings, &request)
            .ok_or("No route takes this request.")?
            .clone();
        let accepts = coding::Asked::of(&request);
        // As the cache sees it: the layers above have read what concerns codings, and taken it off.
        request.headers_mut().remove(ACCEPT_ENCODING);
        entity_tag::strip_coding(request.headers_mut());
        let cache = &admin.shared.cache;
        let stored = cache.selected(&request, &route.cache);
        let mut explanation = cache.explain(&request, &route.cache, &route.name);
        // A tier is asked only where memory cannot answer.
        if !matches!(explanation.would, Would::Hit | Would::Stale) {
            let (steps, would) = cache.explain_below(&request, &route.cache).await;
            explanation.chain.extend(steps);
            explanation.would = would.unwrap_or(explanation.would);
        }
        let coded = stored.map(|stored| {
            let settings = &route.content_coding;
            let content = content(&stored);
            coding::step(
                &route.name,
                settings,
                &accepts,
                content,
                &stored.fields.map(),
            )
        });
        let (content_coding, coded) = coded.unzip();
        let routing = format!("{} → {}", route.name, route.upstream);
        let mut chain = vec![Step::said(Part::Routing, routing)];
        chain.append(&mut explanation.chain);
        let observed = cache.observed(&request, &route.cache);
        chain.extend(observed.map(observing));
        chain.extend(coded);
        chain.extend(only_observed(&route));
        Ok(Self {
            summary: summary(explanation.would),
            route: route.name.to_string(),
            upstream: route.upstream.to_string(),
            content_coding,
            chain,
            cache: explanation,
        })
    }
}

/// What the cache would do where it only observes.
fn observing(observed: Observation) -> Step {
    Step {
        rule: observed.rule,
        ..Step::said(Part::Cache, observed.sentence)
    }
}

/// The other parts that only observe.
fn only_observed(route: &RouteSettings) -> impl Iterator<Item = Step> {
    let (coding, conditional) = (&route.content_coding, &route.conditional);
    let parts = [
        (
            coding.enabled && coding.mode == Mode::Observe,
            Part::ContentCoding,
            "Content codings are observed only: nothing is coded or decoded.",
        ),
        (
            conditional.enabled && conditional.mode == Mode::Observe,
            Part::Conditional,
            "Preconditions and ranges are observed only: they are the upstream's to judge.",
        ),
        (
            route.etag.enabled && route.etag.mode == Mode::Observe,
            Part::Conditional,
            "Entity tags are observed only: none is made.",
        ),
    ];
    let observed = parts.into_iter().filter(|(is_observed, ..)| *is_observed);
    observed.map(|(_, part, sentence)| Step::said(part, sentence))
}

/// What is told of a request that was answered.
#[derive(Debug, Serialize)]
struct About {
    request: String,
    id: String,
    route: String,
    /// Seconds ago.
    ago: u64,
    done: Done,
    content_coding: Option<&'static str>,
    chain: Vec<Step>,
}

impl About {
    fn lately(admin: &Admin, id: &str) -> Option<Self> {
        let recent = admin.shared.cache.recent();
        let record = recent.iter().find(|record| *record.id == *id)?;
        let mut routes = admin.settings.routes.iter();
        let route = routes.find(|route| *route.name == *record.route)?;
        let now = admin.shared.clock.now();
        let (coding, coded) = again::coding(record, route, now).unzip();
        let mut chain = vec![Step::said(
            Part::Routing,
            format!("{} → {}", route.name, route.upstream),
        )];
        let cache = &admin.shared.cache;
        chain.extend(cache.explain_record(record, &route.cache));
        chain.extend(coded);
        let since = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Self {
            request: format!("{} {}", record.method, record.url),
            id: record.id.to_string(),
            route: record.route.to_string(),
            ago: since
                .saturating_sub(Duration::from_millis(record.at))
                .as_secs(),
            done: record.done,
            content_coding: coding,
            chain,
        })
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        let did = match self.done {
            Done::Hit => "It was answered from the cache",
            Done::Stale(_) => "It was answered from the cache, with a stale response",
            Done::Collapsed => "It was answered together with another request",
            Done::GatewayTimeout => "It was answered with 504",
            Done::Bypassed(_) => "It was forwarded, and was no matter for the cache",
            Done::Stored(_) => "It was forwarded, and the answer stored",
            Done::NotStored(..) => "It was forwarded, and the answer not stored",
        };
        writeln!(f, "{did}, {} s ago.", self.ago)?;
        for step in &self.chain {
            step_lines(f, step)?;
        }
        Ok(())
    }
}

/// What the layer that codes would see of a hit.
fn content(stored: &StoredResponse) -> Content {
    Content {
        status: stored.status,
        read: stored.reading(),
        length: Some(stored.length()),
        shared: true,
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
        for step in &self.chain {
            step_lines(f, step)?;
        }
        if let Some(tag) = cache
            .stored
            .as_ref()
            .and_then(|stored| stored.etag.as_ref())
        {
            line(f, "tag", &format!("{tag}, {}", made_by(tag)))?;
        }
        if let Some(last) = &cache.last {
            line(f, "last time", &what_happened(last))?;
        }
        line(f, "key", &cache.key.join(", "))
    }
}

/// One decision: what, by which rule and field, and each change that would flip it.
fn step_lines(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let rule = step.rule.map(|rule| format!(" ({rule})"));
    let sentence = format!("{}{}", step.sentence, rule.unwrap_or_default());
    line(f, name(step.part), &sentence)?;
    if let Some(field) = &step.field {
        line(f, "", &format!("{}: {}", field.name, field.value))?;
    }
    for (number, change) in step.advice.changes.iter().enumerate() {
        let label = if number == 0 { "  change" } else { "  or" };
        let text = change.to_string();
        for (number, text) in text.lines().enumerate() {
            line(f, if number == 0 { label } else { "" }, text)?;
        }
    }
    match step.advice.no_change {
        Some(why) => line(f, "  change", &format!("none. {why}")),
        None => Ok(()),
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Limits => "limits",
        Part::Routing => "routing",
        Part::Conditional => "conditional",
        Part::ContentCoding => "coding",
        Part::Cache => "cache",
        Part::Upstream => "upstream",
        Part::Storing => "storing",
    }
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
    format!("{ago} s ago: forwarded ({forwarded}), {answer}, {stored}")
}

/// What is said of a request that nothing is known of.
const UNKNOWN: &str = "Nothing is known of a request of this name. On each route some hundred forwarded \
     requests a second are remembered for a while, and some dozen hits; what was refused before it came to \
     a route is told by its answer and in the request log.";

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<11} {value}")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::ACCEPT;
    use middleware::cache::explain::{Explanation, Last, Would};
    use middleware::explanation::{Advice, Change, Field, Part, Step};

    use super::{Answer, made_by, summary, wants_text};

    #[test]
    fn sentences() {
        let nothing = Step {
            rule: Some("nothing-stored"),
            advice: Advice::none("It depends."),
            ..Step::said(Part::Cache, "Nothing is stored.")
        };
        let cookie = Step {
            rule: Some("set-cookie"),
            field: Some(Field {
                name: "set-cookie".to_owned(),
                value: "…".to_owned(),
            }),
            advice: Advice::any([
                Change::answer_without("Set-Cookie"),
                Change::config("/shop/*", [("cache.set_cookie", "\"strip\"".to_owned())]),
            ]),
            ..Step::said(Part::Storing, "The response sets a cookie.")
        };
        let answer = Answer {
            summary: summary(Would::Forward),
            route: "/shop/*".to_owned(),
            upstream: "app".to_owned(),
            content_coding: None,
            chain: vec![Step::said(Part::Routing, "/shop/* → app"), nothing, cookie],
            cache: Explanation {
                request: "GET http://localhost:8080/shop/1".to_owned(),
                key: vec!["http://localhost:8080/shop/1".to_owned()],
                would: Would::Forward,
                chain: Vec::new(),
                stored: None,
                variants: 0,
                last: Some(Last {
                    ago: 7,
                    forwarded: "nothing-stored",
                    status: Some(200),
                    stored: false,
                    not_stored: Some("set-cookie"),
                }),
            },
        };
        let expected = "\
GET http://localhost:8080/shop/1
It would be forwarded.
  routing     /shop/* → app
  cache       Nothing is stored. (nothing-stored)
    change    none. It depends.
  storing     The response sets a cookie. (set-cookie)
              set-cookie: …
    change    let the app send no Set-Cookie
    or        [[route]]
              match = \"/shop/*\"
              cache = { set_cookie = \"strip\" }
  last time   7 s ago: forwarded (nothing-stored), answered 200, not stored
  key         http://localhost:8080/shop/1
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
