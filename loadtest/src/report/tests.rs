use std::collections::BTreeMap;

use super::*;
use crate::compare;
use crate::figures::{Latency, SHARES, Tick};

/// A report of ten rounds of two targets, Pillion's `factor` times as slow as usual.
pub(crate) fn sample(factor: f64) -> Report {
    let rounds = |slowness: f64, hits: Option<f64>| -> Vec<Round> {
        (0..10u32)
            .map(|number| {
                let slowness = slowness * (1.0 + f64::from(number % 5) / 200.0);
                Round {
                    engine: "own".to_owned(),
                    seconds: 1.0,
                    requests: (10_000.0 / slowness) as u64,
                    latency: Latency {
                        quantiles: SHARES
                            .map(|share| (share, slowness * 0.001 / (1.0 - share)))
                            .into(),
                        ..Latency::default()
                    },
                    body_bytes: 1_000_000,
                    statuses: BTreeMap::from([(200, 10_000)]),
                    cpu: BTreeMap::from([("app".to_owned(), 0.1)]),
                    hit_ratio: hits,
                    upstream_requests: Some(100.0),
                    timeline: vec![Tick {
                        at: f64::from(number),
                        cpu: 0.5,
                        resident: 1 << 24,
                        ..Tick::default()
                    }],
                    ..Round::default()
                }
            })
            .collect()
    };
    let measured = |name: &str, rounds| Measured {
        name: name.to_owned(),
        rounds,
    };
    let targets = vec![
        measured("pillion", rounds(factor, Some(0.99))),
        measured("direct", rounds(5.0 * factor, None)),
    ];
    let [pillion, direct] = targets.as_slice() else {
        unreachable!("two were made")
    };
    let figures = compare::pairs(&direct.rounds, &pillion.rounds, 0.05);
    Report {
        version: VERSION,
        made: 1_795_242_600,
        command: "pillion loadtest --app '<b>&'".to_owned(),
        machine: Machine::this(),
        load: Load {
            name: "shop <script>".to_owned(),
            about: "Pages & more.".to_owned(),
            engine: "own".to_owned(),
            connections: 50,
            parallel: 1,
            rate: None,
            seconds: 1.0,
            rounds: 10,
            http: Http::One,
            tls: false,
        },
        comparisons: vec![Comparison {
            reference: "direct".to_owned(),
            subject: "pillion".to_owned(),
            threshold: 0.05,
            overall: compare::overall(&figures, false),
            figures,
        }],
        targets,
        samples: Vec::new(),
        warnings: vec!["<img onerror>".to_owned()],
    }
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = html::of(&sample(1.0));
    for foreign in [
        "src=", "href=", "url(", "@import", "http://", "https://", "fetch(",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.matches("<svg").count() >= 8, "charts are drawn");
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn what_others_wrote_is_no_markup() {
    let page = html::of(&sample(1.0));
    assert!(!page.contains("<b>&'") && !page.contains("<img"), "escaped");
    assert!(page.contains("shop &lt;script&gt;"));
}

#[test]
fn the_verdict_comes_first_in_words() {
    let report = sample(1.0);
    let text = report.markdown();
    assert!(
        text.contains("**pillion against direct: better. requests per second × 5.0"),
        "{text}"
    );
    assert!(text.contains("| Latency p99 |"), "{text}");
    assert!(text.contains("| Hit ratio | 99.0 % | – |"), "{text}");
}

#[test]
fn a_report_is_read_again() {
    let report = sample(1.0);
    let path = std::env::temp_dir().join(format!("report-{}.json", std::process::id()));
    fs::write(&path, serde_json::to_string(&report).expect("it is data")).expect("written");
    let again = Report::read(&path).expect("ours");
    assert_eq!(again.markdown(), report.markdown());
    fs::write(&path, "{}").expect("written");
    assert!(
        Report::read(&path)
            .expect_err("not ours")
            .to_string()
            .contains("no report")
    );
    fs::remove_file(path).expect("ours");
}
