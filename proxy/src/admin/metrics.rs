//! `/metrics`: the catalogue, in the form that the scraper asks for.

use bytes::Bytes;
use http::HeaderValue;
use http::header::ACCEPT;
use http::request::Parts;
use middleware::metrics::Exposition;

use super::Admin;
use super::reply::{self, Reply};

/// Prometheus asks for OpenMetrics and gets it; who asks for nothing gets the classic text.
pub(super) fn scrape(admin: &Admin, head: &Parts, _: &Bytes) -> Reply {
    let accept = head.headers.get_all(ACCEPT).iter();
    let exposition = negotiate(accept.filter_map(|value: &HeaderValue| value.to_str().ok()));
    reply::typed(
        exposition.content_type(),
        admin.shared.metrics.encode(exposition),
    )
}

/// OpenMetrics where it is named and not liked less than plain text (RFC 9110 §12.5.1).
fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Exposition {
    let (mut open_metrics, mut classic) = (0.0_f32, 0.0_f32);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let liking = match parts.next().map(str::to_ascii_lowercase).as_deref() {
            Some("application/openmetrics-text") => &mut open_metrics,
            Some("text/plain" | "text/*" | "*/*") => &mut classic,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
        *liking = liking.max(weight.unwrap_or(1.0));
    }
    if open_metrics > 0.0 && open_metrics >= classic {
        Exposition::OpenMetrics
    } else {
        Exposition::Classic
    }
}

#[cfg(test)]
mod tests {
    use middleware::metrics::Exposition;

    use super::negotiate;

    #[test]
    fn the_form_that_is_liked_most() {
        // What Prometheus 2 and 3 send.
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, is_open_metrics) in [
            (vec![PROMETHEUS], true),
            (vec!["application/openmetrics-text"], true),
            (vec!["Application/OpenMetrics-Text; version=1.0.0"], true),
            (vec!["text/plain", "application/openmetrics-text"], true),
            (vec![], false),
            (vec!["*/*"], false),
            (vec!["text/html,*/*;q=0.8"], false),
            (vec!["application/openmetrics-text;q=0"], false),
            (vec!["application/openmetrics-text;q=0.2,text/plain"], false),
            (vec!["application/openmetrics-text;q=nonsense"], true),
        ] {
            let found = negotiate(accept.iter().copied());
            let found = matches!(found, Exposition::OpenMetrics);
            assert_eq!(found, is_open_metrics, "{accept:?}");
        }
    }
}
