//! What single decisions cost: `just bench parts [key|freshness|negotiation|hit]`.
//!
//! Processor time of the thread, so that other programs disturb little: the least of many rounds, and
//! their median.

mod route;

use std::hint::black_box;
use std::time::SystemTime;

use config::cache::CacheSettings;
use config::content_coding::ContentCodingSettings;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
use http::{HeaderMap, HeaderValue, StatusCode};
use middleware::cache::benched::{Keys, freshness};
use middleware::content_coding::negotiate::{Content, decide};
use middleware::content_coding::reading::{Asked, Reading};
use middleware::{Request, Response};

use self::route::{App, Route, cpu};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut wanted = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let wanted = wanted.next();
    // As `cargo test --benches` starts it: only that it runs is of interest.
    let rounds = if std::env::args().any(|word| word == "--bench") {
        ROUNDS
    } else {
        1
    };
    for (name, measure) in PARTS {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            measure(name, rounds);
        }
    }
}

fn key(name: &str, rounds: usize) {
    let route = Route::new(1 << 20, APP);
    for (kind, path, drop) in [
        ("plain", "/some/path", vec![]),
        ("with a query", "/some/path?with=query&and=more", vec![]),
        (
            "a query sorted and thinned",
            "/some/path?with=query&utm_source=x&and=more",
            vec!["utm_*".to_owned()],
        ),
    ] {
        let mut settings = CacheSettings::default();
        settings.key.sort_query = !drop.is_empty();
        settings.key.drop = drop;
        let mut keys = Keys::of(&settings);
        let request = route.request(path);
        tell(name, kind, rounds, || {
            black_box(keys.hash(black_box(&request)));
        });
    }
}

fn freshness_of(name: &str, rounds: usize) {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
    let date = HeaderValue::from_static("Fri, 15 Jan 2027 08:00:00 GMT");
    let age = HeaderValue::from_static("17");
    let control = HeaderValue::from_static("public, max-age=3600, stale-while-revalidate=60");
    let directives =
        HeaderMap::from_iter([(CACHE_CONTROL, control), (DATE, date.clone()), (AGE, age)]);
    let later = HeaderValue::from_static("Fri, 15 Jan 2027 09:00:00 GMT");
    let expires = HeaderMap::from_iter([(EXPIRES, later), (DATE, date)]);
    for (kind, fields) in [("by directives", directives), ("by Expires", expires)] {
        assert!(freshness(&fields, now).is_some());
        tell(name, kind, rounds, || {
            black_box(freshness(black_box(&fields), now));
        });
    }
}

fn negotiation(name: &str, rounds: usize) {
    let route = Route::new(1 << 20, APP);
    let request = route.request("/some/path");
    let settings = ContentCodingSettings::default();
    let fields = HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    )]);
    let content = Content {
        status: StatusCode::OK,
        read: Reading::of(&fields),
        length: Some(16 << 10),
        shared: true,
    };
    tell(name, "of a browser's request", rounds, || {
        let asked = Asked::of(black_box(&request));
        black_box(decide(&settings, &asked, content));
    });
}

fn hit(name: &str, rounds: usize) {
    let mut route = Route::new(64 << 20, APP);
    drop(route.ask(route.request("/some/path?with=query")));
    tell_batches(name, "its request and answer dropped", rounds, |requests| {
        requests.extend((0..BATCH).map(|_| route.request("/some/path?with=query")));
        let begun = cpu();
        for request in requests.drain(..) {
            drop::<Response>(black_box(route.ask(request)));
        }
        cpu() - begun
    });
}

/// Measures `once`, a batch of it in each round.
fn tell(part: &str, kind: &str, rounds: usize, mut once: impl FnMut()) {
    tell_batches(part, kind, rounds, |_| {
        let begun = cpu();
        for _ in 0..BATCH {
            once();
        }
        cpu() - begun
    });
}

fn tell_batches(
    part: &str,
    kind: &str,
    rounds: usize,
    mut batch: impl FnMut(&mut Vec<Request>) -> std::time::Duration,
) {
    let mut requests = Vec::with_capacity(BATCH);
    let mut all: Vec<f64> = (0..rounds)
        .map(|_| batch(&mut requests).as_nanos() as f64 / BATCH as f64)
        .collect();
    all.sort_by(f64::total_cmp);
    let (least, median) = (all[0], all[rounds / 2]);
    println!("{part:<12} {kind:<32} {median:>8.1} ns (least {least:.1})");
}

type Part = (&'static str, fn(&str, usize));

const PARTS: [Part; 4] = [
    ("key", key),
    ("freshness", freshness_of),
    ("negotiation", negotiation),
    ("hit", hit),
];
const APP: App = App {
    has_tags: false,
    length: 1024,
};
const ROUNDS: usize = 201;
/// The clock of processor time is coarse: a round takes a millisecond or so.
const BATCH: usize = 2000;
