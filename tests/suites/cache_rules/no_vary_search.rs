//! `No-Vary-Search` and configured queries: what widens reuse, and nothing else does.

use http::Method;
use tests::client::request;
use tests::{Proxy, Seen, Upstream};

use super::{Fields, World, reply_with};

/// Answers with its target, and with the field that `x-says` of the target's path stands for.
async fn upstream(says: &'static str) -> Upstream {
    Upstream::start(move |seen: Seen| {
        let fields = match says {
            "" => reply_with(200, &[("cache-control", "max-age=60")]),
            says => {
                reply_with(200, &[("cache-control", "max-age=60")]).header("no-vary-search", says)
            }
        };
        async move { fields.body(seen.target) }
    })
    .await
}

/// Whether the second target is answered with what the first one brought.
async fn is_reused(toml: &str, says: &'static str, first: &str, second: &str) -> bool {
    let upstream = upstream(says).await;
    let proxy = Proxy::with(&upstream, toml).await;
    proxy.get(first).await;
    let answer = proxy.get(second).await;
    let is_reused = upstream.count() == 1;
    assert_eq!(answer.text(), if is_reused { first } else { second });
    assert_eq!(answer.header("cache-status").contains("; hit"), is_reused);
    is_reused
}

#[tokio::test]
async fn queries_are_one_as_far_as_the_upstream_says() {
    for (says, first, second, expected) in [
        ("", "/p?a=1", "/p?a=1&utm=2", false),
        ("params=(\"utm\")", "/p?a=1", "/p?a=1&utm=2", true),
        ("params=(\"utm\")", "/p?a=1&utm=1", "/p?utm=2&a=1", true),
        ("params=(\"utm\")", "/p?utm=1", "/p", true),
        ("params=(\"utm\")", "/p?a=1", "/p?a=2", false),
        ("params=(\"utm\")", "/p?a=1&b=2", "/p?b=2&a=1", false),
        (
            "params=(\"utm\")",
            "/p?a=1&utm=1",
            "/other?a=1&utm=1",
            false,
        ),
        ("key-order", "/p?a=1&b=2", "/p?b=2&a=1", true),
        ("key-order", "/p?a=1&b=2", "/p?a=1&b=2&utm=1", false),
        ("params", "/p?a=1", "/p?b=2", true),
        (
            "params, except=(\"id\")",
            "/p?id=1&a=1",
            "/p?b=2&id=1",
            true,
        ),
        ("params, except=(\"id\")", "/p?id=1", "/p?id=2", false),
        (
            "params=(\"utm\"), key-order=1",
            "/p?a=1",
            "/p?a=1&utm=2",
            false,
        ),
        (
            "params=(\"utm\"), except=(\"a\")",
            "/p?a=1",
            "/p?a=1&utm=2",
            false,
        ),
        ("params=(utm)", "/p?a=1", "/p?a=1&utm=2", false),
    ] {
        let found = is_reused("", says, first, second).await;
        assert_eq!(found, expected, "{says} {first} {second}");
    }
    for toml in [
        "cache = { no_vary_search = false }",
        "profile = \"conservative\"",
    ] {
        assert!(!is_reused(toml, "params", "/p?a", "/p?b").await, "{toml}");
    }
    let projected = "cache = { key = { headers = [\"x-a\"] } }";
    assert!(is_reused(projected, "params", "/p?a", "/p?b").await);
    // Both: what is configured first, what is said of the rest then.
    let thinned = "cache = { key = { drop = [\"fbclid\"] } }";
    assert!(is_reused(thinned, "params=(\"utm\")", "/p?a&utm=1&fbclid=2", "/p?a").await);
    assert!(!is_reused(thinned, "params=(\"utm\")", "/p?a&utm=1&fbclid=2", "/p?b").await);
}

#[tokio::test]
async fn a_hit_says_what_it_was_chosen_by() {
    let upstream = upstream("params=(\"utm\")").await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/p?utm=1").await;
    assert_eq!(
        proxy.get("/p?utm=2").await.header("cache-status"),
        "pillion; hit; ttl=60; detail=no-vary-search"
    );
}

/// A rule is the response's own: what came without one, or with another, is not found by it.
#[tokio::test]
async fn a_response_is_found_by_its_own_rule_only() {
    let upstream = Upstream::start(|seen: Seen| async move {
        let fields: Fields = match &*seen.target {
            "/p?wide" | "/p?wide&x" => &[("no-vary-search", "params=(\"x\")")],
            "/p?wider" => &[("no-vary-search", "params=(\"y\")")],
            _ => &[],
        };
        let answer = reply_with(200, fields).header("cache-control", "max-age=60");
        answer.body(seen.target)
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for (target, expected) in [
        ("/p?plain", "/p?plain"),
        ("/p?wide", "/p?wide"),
        ("/p?wider", "/p?wider"),
        ("/p?wide&x", "/p?wide"),
        ("/p?wide&y", "/p?wide&y"),
        ("/p?wider&y", "/p?wider"),
        ("/p?wider&x", "/p?wider&x"),
        ("/p?plain&x", "/p?plain&x"),
        ("/p?plain&y", "/p?plain&y"),
        ("/p?plain", "/p?plain"),
        ("/q?wide&x", "/q?wide&x"),
    ] {
        assert_eq!(proxy.get(target).await.text(), expected, "{target}");
    }
}

#[tokio::test]
async fn the_latest_of_what_fits_is_served() {
    let world = World::new().await;
    world.says(200, &[("cache-control", "max-age=600")], "narrow");
    world.get("/p?a", &[]).await;
    world.advance(10);
    let wide: Fields = &[
        ("cache-control", "max-age=60"),
        ("no-vary-search", "params=(\"x\")"),
        ("etag", "\"a\""),
    ];
    world.says(200, wide, "wide");
    world.get("/p?a&x=1", &[]).await;
    assert_eq!(world.get("/p?a", &[]).await.text(), "wide");
    world.advance(100);
    let (answer, seen) = world.sees(world.get("/p?a&x=2", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("wide", 1));
    assert_eq!(seen[0].header("if-none-match"), "\"a\"");
    assert_eq!(
        seen[0].target, "/p?a&x=2",
        "what goes upstream is what was asked"
    );
    let (answer, seen) = world.sees(world.get("/p?a&x=3", &[])).await;
    assert_eq!(
        (answer.text(), seen.len()),
        ("wide", 0),
        "a 304 freshens for all"
    );
    // The upstream changes its mind.
    world.advance(100);
    world.says(200, &[("cache-control", "max-age=60")], "narrow again");
    world.get("/p?a&x=3", &[]).await;
    assert_eq!(world.get("/p?a&x=3", &[]).await.text(), "narrow again");
    let (_, seen) = world.sees(world.get("/p?a&x=4", &[])).await;
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn what_changes_one_query_changes_all_that_are_the_same() {
    for toml in ["", "cache = { key = { headers = [\"x-a\"] } }"] {
        let upstream = upstream("params=(\"x\")").await;
        let proxy = Proxy::with(&upstream, toml).await;
        for target in ["/p?a&x=1", "/p?b"] {
            proxy.get(target).await;
        }
        proxy
            .send(request(Method::DELETE, "/p?x=7&a", &[], ""))
            .await;
        assert_eq!(upstream.count(), 3);
        assert_eq!(proxy.get("/p?a&x=1").await.text(), "/p?a&x=1");
        assert_eq!(upstream.count(), 4, "{toml}");
        proxy.get("/p?b&x").await;
        assert_eq!(upstream.count(), 4, "another query stays: {toml}");
    }
}

#[tokio::test]
async fn requests_for_other_urls_do_not_wait_for_each_other() {
    let (release, gate) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |seen: Seen| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("a gate");
            reply_with(
                200,
                &[
                    ("cache-control", "max-age=60"),
                    ("no-vary-search", "params"),
                ],
            )
            .body(seen.target)
        }
    })
    .await;
    let proxy = std::sync::Arc::new(Proxy::before(&upstream).await);
    let asks = ["/p?a", "/p?b"].map(|target| {
        let proxy = proxy.clone();
        tokio::spawn(async move { (target, proxy.get(target).await) })
    });
    upstream.wait_for(2).await;
    release.send_replace(true);
    for ask in asks {
        let (target, answer) = ask.await.expect("an answer");
        assert_eq!(answer.text(), target);
    }
}

#[tokio::test]
async fn vary_still_chooses_and_credentials_still_count() {
    let world = World::new().await;
    let wide: Fields = &[
        ("cache-control", "max-age=60"),
        ("no-vary-search", "params"),
        ("vary", "x-a"),
    ];
    world.says(200, wide, "one");
    world.get("/p?1", &[("x-a", "1")]).await;
    world.says(200, wide, "two");
    assert_eq!(world.get("/p?2", &[("x-a", "2")]).await.text(), "two");
    assert_eq!(world.get("/p?3", &[("x-a", "1")]).await.text(), "one");
    assert_eq!(world.get("/p?4", &[("x-a", "2")]).await.text(), "two");
    world.says(200, wide, "private");
    world.get("/q?1", &[("cookie", "a=b")]).await;
    world.says(200, wide, "public");
    assert_eq!(world.get("/q?2", &[]).await.text(), "public");
}

#[tokio::test]
async fn configured_queries_are_one_and_others_are_not() {
    let sorted = "cache = { key = { query = \"sort\" } }";
    let thinned = "cache = { key = { drop = [\"utm_*\", \"id\"] } }";
    let both = "cache = { key = { query = \"sort\", drop = [\"utm_*\"] } }";
    for (toml, first, second, expected) in [
        (sorted, "/p?b=2&a=1", "/p?a=1&b=2", true),
        (sorted, "/p?a=1&a=2", "/p?a=2&a=1", false),
        (sorted, "/p?a=1", "/p?a=1&b=2", false),
        (sorted, "/p?a=1&b", "/p?b&a=1", true),
        (sorted, "/p?a=1%26b", "/p?a=1&b", false),
        (thinned, "/p?utm_x=1&a=1", "/p?a=1", true),
        (thinned, "/p?id=1", "/p", true),
        (thinned, "/p?a=1&b=2", "/p?b=2&a=1", false),
        (thinned, "/p?idx=1", "/p?idx=2", false),
        (thinned, "/p?utm=1", "/p?utm=2", false),
        (thinned, "/p?%69d=1", "/p?%69d=2", false),
        (thinned, "/p?a=id&b", "/p?b", false),
        (both, "/p?b&utm_y&a", "/p?a&b", true),
        ("", "/p?b=2&a=1", "/p?a=1&b=2", false),
        ("", "/p?", "/p", false),
    ] {
        let found = is_reused(toml, "", first, second).await;
        assert_eq!(found, expected, "{toml} {first} {second}");
    }
    // What goes upstream is what the client wrote.
    let upstream = upstream("").await;
    let proxy = Proxy::with(&upstream, both).await;
    proxy.get("/p?b&utm_y&a").await;
    assert_eq!(upstream.last().target, "/p?b&utm_y&a");
}
