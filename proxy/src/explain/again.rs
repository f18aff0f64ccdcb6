//! What a configuration makes of what was decided lately. Pure: for the admin listener, which judges by
//! the configuration in force, and for the command line, which judges by another.

use config::Settings;
use config::route::RouteSettings;
use http::StatusCode;
use middleware::Request;
use middleware::cache::explain::Would;
use middleware::cache::journal::Record;
use middleware::cache::rejudge::{Judged, Kept};
use middleware::clock::Now;
use middleware::content_coding::negotiate::Content;
use middleware::content_coding::reading::Reading;
use middleware::explanation::Step;
use serde::{Deserialize, Serialize};

use super::coding;
use crate::routing;

/// What one configuration makes of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The route that it takes.
    pub route: String,
    /// What the cache does with it and with the answer.
    pub cache: Judged,
    /// The coding it is sent in, or `identity` and the rule; `None` where no content is known of.
    pub coding: Option<String>,
}

/// Judges `record` by `settings`; `None` where too much of it was left out to be judged.
pub fn judge(record: &Record, settings: &Settings, now: Now) -> Option<Verdict> {
    let request = record.to_request(now)?;
    let route = routing::find(settings, &request)?;
    let cache = record.judged(&request, &route.cache);
    let coded = coded(record, &request, &cache, route);
    Some(Verdict {
        route: route.name.to_string(),
        cache,
        coding: coded.map(|(coding, step)| match step.rule {
            Some(rule) => format!("{coding} ({rule})"),
            None => coding.to_owned(),
        }),
    })
}

/// How the answer to `record` is coded on `route`, and why.
pub fn coding(record: &Record, route: &RouteSettings, now: Now) -> Option<(&'static str, Step)> {
    let request = record.to_request(now)?;
    let judged = record.judged(&request, &route.cache);
    coded(record, &request, &judged, route)
}

fn coded(
    record: &Record,
    request: &Request,
    judged: &Judged,
    route: &RouteSettings,
) -> Option<(&'static str, Step)> {
    // What the upstream said is what was sent, unless it only confirmed what is stored.
    let answer = record.answer.as_ref().filter(|answer| answer.status != 304);
    let (status, fields, length) = match (answer, &record.stored) {
        (Some(answer), _) => (answer.status, &answer.fields, answer.length),
        (None, Some(held)) => (held.status, &held.fields, Some(held.length)),
        (None, None) => return None,
    };
    let fields = fields.to_fields();
    let is_stored = matches!(judged.storing, Some(Kept::Stored(..)));
    let content = Content {
        status: StatusCode::from_u16(status).ok()?,
        read: Reading::of(&fields),
        length,
        shared: is_stored || matches!(judged.would, Would::Hit | Would::Stale),
    };
    let asked = coding::Asked::of(request);
    let settings = &route.content_coding;
    Some(coding::step(
        &route.name,
        settings,
        &asked,
        content,
        &fields,
    ))
}
