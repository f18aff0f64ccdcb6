//! Pains of operators: silent typos, exploding metrics, unexplained misses, leaking telemetry.

use http::Method;
use tests::client::{fetch, request};
use tests::{Proxy, Upstream, reply};

/// #19: typos in the configuration accepted for months.
#[test]
fn pain_19_every_typo_is_named_with_its_line_and_the_nearest_key() {
    let folder = tests::proxy::Folder::new();
    let file = folder.path().join("pillion.toml");
    let text = "[upstream.app]\nurl = \"http://127.0.0.1:3000\"\nconections = 4\n\n[cache]\nmax_bdy = \"1MiB\"\n\n[content_codng]\n";
    std::fs::write(&file, text).expect("a writable folder");
    let problems = config::load(Some(&file), &config::Overrides::default(), &|_| None)
        .expect_err("three typos")
        .to_string();
    for (typo, line, key) in [
        ("conections", 3, "connections"),
        ("max_bdy", 6, "max_body"),
        ("content_codng", 8, "content_coding"),
    ] {
        assert!(problems.contains(typo), "{problems}");
        assert!(
            problems.contains(&format!("pillion.toml:{line}")),
            "line {line}: {problems}"
        );
        assert!(problems.contains(&format!("`{key}`")), "{key}: {problems}");
    }
}

/// #21: metrics' cardinality blows up Prometheus or the proxy itself.
#[tokio::test]
async fn pain_21_clients_cannot_make_series() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        reply(if seen.target.contains("missing") {
            404
        } else {
            200
        })
        .body("x")
    })
    .await;
    let proxy = Proxy::with(&upstream, "[admin]\naddress = \"127.0.0.1:0\"").await;
    let mut client = proxy.client().await;
    for number in 0..600 {
        // Words, so that folding of ids does not hide what the cap must hold.
        let word: String = format!("{number:03}")
            .bytes()
            .map(|digit| char::from(digit + 49))
            .collect();
        client.get_with(&format!("/shop{word}/x"), &[]).await;
        client.get_with(&format!("/missing{word}"), &[]).await;
        let method =
            Method::from_bytes(format!("M{word}").to_uppercase().as_bytes()).expect("a token");
        client
            .exchange(request(method, "/x", &[], ""))
            .await
            .expect("an answer");
    }
    let metrics = proxy.metrics().await;
    let labels = |name: &str| {
        metrics
            .lines()
            .filter(|line| line.starts_with("pillion_http_requests_total{"))
            .filter_map(|line| line.split_once(&format!("{name}=\""))?.1.split_once('"'))
            .map(|(value, _)| value.to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (routes, methods) = (labels("route"), labels("method"));
    assert!(
        routes.len() <= 201 && routes.contains("other"),
        "{} routes",
        routes.len()
    );
    assert!(
        !routes.iter().any(|route| route.contains("missing")),
        "a scanner makes no series"
    );
    assert!(
        methods.contains("other") && methods.len() <= 10,
        "{methods:?}"
    );
    assert!(
        metrics.lines().any(|line| {
            line.starts_with("pillion_") && line.contains("overflow") && !line.ends_with(" 0")
        }),
        "what overflowed is counted"
    );
}

/// #22: "why was this not cached?" takes hours.
#[tokio::test]
async fn pain_22_one_url_tells_why_and_what_would_change_it() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        let answer = reply(200).header("content-type", "text/html");
        match seen.target.as_str() {
            "/silent" => answer,
            "/private" => answer.header("cache-control", "private, max-age=60"),
            "/cookie" => answer
                .header("cache-control", "max-age=60")
                .header("set-cookie", "a=1"),
            _ => answer.header("cache-control", "max-age=60"),
        }
        .body("x")
    })
    .await;
    let proxy = Proxy::with(&upstream, "[admin]\naddress = \"127.0.0.1:0\"").await;
    let admin = proxy.admin.expect("an admin listener");
    let host = proxy.address.to_string();
    for (target, word) in [
        ("/silent", "max-age"),
        ("/private", "private"),
        ("/cookie", "set_cookie"),
        ("/stored", "fresh"),
    ] {
        let first = proxy.get(target).await;
        assert!(
            first.header("cache-status").starts_with("pillion"),
            "{target}"
        );
        let ask = format!("/explain?method=GET&url=http://{host}{target}");
        let told = fetch(admin, request(Method::GET, &ask, &[], "")).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let told = told.text().to_ascii_lowercase();
        assert!(told.contains(word), "{target} names {word}: {told}");
        if target != "/stored" {
            let detail = first.header("cache-status").to_ascii_lowercase();
            let reason = detail
                .split("detail=")
                .nth(1)
                .unwrap_or_else(|| panic!("{target}: {detail}"));
            let reason = reason
                .split([';', ','])
                .next()
                .unwrap_or("")
                .trim_matches('"');
            assert!(
                told.contains(reason),
                "{target}: header and explanation agree on {reason}: {told}"
            );
        }
    }
}

/// #25: telemetry that hurts: `Server-Timing` leaks internals, and is replayed from the cache.
#[tokio::test]
async fn pain_25_server_timing_is_neither_shown_nor_replayed() {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("cache-control", "max-age=600")
            .header(
                "server-timing",
                "db;dur=12;desc=\"SELECT secret FROM users\"",
            )
            .header(
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            )
            .body("x")
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for _ in 0..2 {
        let answer = proxy.get("/").await;
        assert_eq!(answer.header("server-timing"), "");
    }
    let hit = proxy.get("/").await;
    assert!(hit.header("cache-status").contains("hit"));
    assert_eq!(
        hit.header("traceparent"),
        "",
        "a trace belongs to one request"
    );
    let told = upstream.last();
    assert!(
        told.header("traceparent").starts_with("00-"),
        "correlation travels in a header"
    );
}
