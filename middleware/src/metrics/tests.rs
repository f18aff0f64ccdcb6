use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::facts::{CacheOutcome, CacheStatus, Fwd, Reason, UpstreamTiming};

fn hit() -> Finished<'static> {
    Finished {
        observed: crate::facts::Observed::NONE,
        route: Some("*"),
        path: "/users/17",
        method: &Method::GET,
        status: StatusCode::OK,
        cache: Some(status(CacheOutcome::Hit)),
        upstream: None,
        error: None,
        head: Duration::from_micros(3),
        total: Duration::from_micros(4),
        bytes: 100,
    }
}

fn status(outcome: CacheOutcome) -> CacheStatus {
    CacheStatus {
        outcome,
        fwd_status: None,
        stored: false,
        collapsed: false,
        ttl: None,
        reason: None,
    }
}

/// A catalogue in which everything has happened at least once.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    let (one, two) = (metrics.core(), metrics.core());
    one.record(&hit());
    two.record(&hit());
    two.record(&Finished {
        status: StatusCode::BAD_GATEWAY,
        cache: None,
        error: Some(ErrorKind::ConnectionRefused),
        ..hit()
    });
    one.record(&Finished {
        cache: Some(CacheStatus {
            reason: Some(Reason::Disabled),
            ..status(CacheOutcome::Fwd(Fwd::Bypass))
        }),
        upstream: Some(UpstreamTiming {
            first_byte: Duration::from_millis(3),
            ..UpstreamTiming::default()
        }),
        head: Duration::from_micros(3100),
        total: Duration::from_secs(60),
        ..hit()
    });
    Event::ALL.iter().for_each(|event| metrics.count(*event));
    metrics.observe(Sampled::CacheBudget, || 64e6);
    metrics.upstream(&Arc::from("app")).reused();
    metrics.set_config_hash(u64::MAX);
    metrics
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.strip_prefix(' ')?.parse().ok()
}

#[test]
fn cores_are_summed() {
    let text = busy().encode(Exposition::Classic);
    let series =
        r#"pillion_http_requests_total{route="/users/{id}",method="GET",code="200",outcome="hit"}"#;
    assert_eq!(value(&text, series), Some(2.0));
    let bytes = r#"pillion_http_response_bytes_total{route="/users/{id}",outcome="hit"}"#;
    assert_eq!(value(&text, bytes), Some(200.0));
    let lookups = r#"pillion_cache_lookups_total{tier="memory",result="bypass",reason="disabled"}"#;
    assert_eq!(value(&text, lookups), Some(1.0));
    let errors = r#"pillion_http_errors_total{error="connection_refused"}"#;
    assert_eq!(value(&text, errors), Some(1.0));
}

#[test]
fn overhead_is_what_the_upstream_did_not_take() {
    let text = busy().encode(Exposition::Classic);
    let below = |bound: &str| {
        let series =
            format!(r#"pillion_overhead_seconds_bucket{{le="{bound}",route="/users/{{id}}"}}"#);
        value(&text, &series)
    };
    // Two hits of 3 µs; and 100 µs beside the upstream's 3 ms.
    assert_eq!(below("0.00001"), Some(2.0));
    assert_eq!(below("0.0001"), Some(3.0));
    let upstream = r#"pillion_upstream_duration_seconds_sum{route="/users/{id}"}"#;
    assert_eq!(value(&text, upstream), Some(0.003));
}

#[test]
fn levels_fall_when_their_guard_is_dropped() {
    let metrics = Metrics::new();
    let guard = metrics.raise(Level::Connections);
    let elsewhere = metrics.raise(Level::Connections);
    assert_eq!(metrics.level(Level::Connections), 2);
    std::thread::spawn(move || drop(elsewhere)).join().unwrap();
    assert_eq!(metrics.level(Level::Connections), 1);
    drop(guard);
    assert_eq!(metrics.level(Level::Connections), 0);
}

#[test]
fn who_judged_a_304() {
    let metrics = Metrics::new();
    let core = metrics.core();
    let not_modified = Finished {
        status: StatusCode::NOT_MODIFIED,
        ..hit()
    };
    core.record(&not_modified);
    core.record(&Finished {
        cache: Some(CacheStatus {
            fwd_status: Some(StatusCode::NOT_MODIFIED),
            ..status(CacheOutcome::Fwd(Fwd::UriMiss))
        }),
        ..not_modified
    });
    core.record(&Finished {
        cache: Some(CacheStatus {
            fwd_status: Some(StatusCode::OK),
            ..status(CacheOutcome::Fwd(Fwd::UriMiss))
        }),
        ..not_modified
    });
    assert_eq!(metrics.total(Event::NotModifiedHere), 2);
    assert_eq!(metrics.total(Event::NotModifiedUpstream), 1);
}

#[test]
fn names_follow_the_template() {
    for metric in Metrics::documented() {
        let name = metric.name;
        assert!(
            name.starts_with("pillion_") || name.starts_with("process_"),
            "{name}: prefix"
        );
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == "counter",
            "{name}: counters and only they end in _total"
        );
        assert!(metric.help.ends_with('.'), "{name}: a sentence");
        for unit in ["_ms", "_millis", "_kb", "_mb", "_percent"] {
            assert!(!name.contains(unit), "{name}: base units");
        }
    }
}

#[test]
fn the_classic_text_names_counters_as_their_samples() {
    let text = busy().encode(Exposition::Classic);
    assert!(text.contains("\n# TYPE pillion_http_requests_total counter\n"));
    assert!(text.contains("\n# TYPE pillion_http_request_duration_seconds histogram\n"));
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    let open = busy().encode(Exposition::OpenMetrics);
    assert!(open.contains("\n# TYPE pillion_http_requests counter\n"));
    assert!(open.ends_with("# EOF\n"));
}

#[test]
fn promtool_accepts_the_classic_text() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("promtool is not installed; nothing was checked");
        return;
    };
    let mut input = promtool.stdin.take().unwrap();
    let text = busy().encode(Exposition::Classic);
    std::io::Write::write_all(&mut input, text.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert_eq!(complaints, "");
}

proptest! {
    /// Cardinality: whatever paths and methods clients invent, the number of series is bounded.
    #[test]
    fn series_are_bounded(paths in prop::collection::vec("/[ -~]{0,20}", 1..400)) {
        let metrics = Metrics::new();
        let core = metrics.core();
        for path in &paths {
            let method = Method::from_bytes(b"BREW").unwrap();
            core.record(&Finished { path, method: &method, ..hit() });
        }
        let text = metrics.encode(Exposition::Classic);
        let series = text.lines().filter(|line| line.starts_with("pillion_http_requests_total{"));
        prop_assert!(series.clone().count() <= 201);
        prop_assert!(series.clone().all(|line| line.contains(r#"method="other""#)), "{}", text);
    }
}
