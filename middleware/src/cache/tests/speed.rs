//! What a hit costs.
#![cfg(target_os = "linux")]

use std::time::Duration;

use tower::Service;

use crate::cache::testing::{World, at_once, reply};

/// Run alone, in release: `cargo test --release -p middleware --lib -- --ignored --nocapture speed`
#[test]
#[ignore = "measures, and means nothing in a debug build"]
fn a_hit_costs_about_a_microsecond_with_its_request_and_answer_dropped() {
    let fields = [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "public, max-age=3600"),
        ("etag", "\"0123456789abcdef\""),
        ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("vary", "accept-encoding"),
        ("x-frame-options", "deny"),
        ("x-custom", "something"),
    ];
    let world = World::new(move |_, _| at_once(reply(200, &fields, "x".repeat(1024))));
    let asked = [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-language", "en-US,en;q=0.5"),
        ("cookie", "session=0123456789abcdef"),
        ("sec-fetch-site", "same-origin"),
    ];
    let mut cache = world.cache.clone();
    let first = cache.call(world.request("GET", "/some/path?with=query", &[]));
    assert!(first.try_ready().is_ok());
    let mut total = Duration::ZERO;
    const ROUNDS: u32 = 200;
    const EACH: u32 = 1000;
    for _ in 0..ROUNDS {
        let requests: Vec<_> = (0..EACH)
            .map(|_| world.request("GET", "/some/path?with=query", &asked))
            .collect();
        let start = cpu();
        for request in requests {
            drop(cache.call(request));
        }
        total += cpu() - start;
    }
    println!("{:?} each", total / (ROUNDS * EACH));
    assert_eq!(world.seen().len(), 1);
}

/// What this thread has spent, whatever else the machine does.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
