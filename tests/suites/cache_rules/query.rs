//! QUERY (RFC 10008): safe, idempotent, cacheable by its content.

use bytes::Bytes;
use http::Method;
use tests::client::request;
use tests::{Fetched, Proxy, Seen, Upstream, reply};

use super::{Fields, World, reply_with};

const FRESH: Fields = &[("cache-control", "max-age=60")];

/// An upstream that answers with the content that it was asked with and how often it was asked.
async fn echo(fields: Fields) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |seen: Seen| {
        let count = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let content = String::from_utf8_lossy(&seen.body).into_owned();
        let answer = match seen.header("if-none-match") == "\"q\"" {
            true => reply_with(304, fields).empty(),
            false => reply_with(200, fields).body(format!("{count} {} {content}", seen.method)),
        };
        async move { answer }
    })
    .await
}

async fn query(proxy: &Proxy, target: &str, fields: Fields, content: &str) -> Fetched {
    let content = Bytes::copy_from_slice(content.as_bytes());
    proxy
        .send(request(Method::QUERY, target, fields, content))
        .await
}

#[tokio::test]
async fn the_content_and_its_metadata_are_part_of_the_key() {
    let upstream = echo(FRESH).await;
    let proxy = Proxy::before(&upstream).await;
    const JSON: Fields = &[("content-type", "application/json")];
    let first = query(&proxy, "/q", JSON, "one").await;
    assert_eq!(first.text(), "1 QUERY one");
    assert!(first.header("cache-status").contains("fwd=uri-miss"));
    let again = query(&proxy, "/q", JSON, "one").await;
    assert_eq!(again.text(), "1 QUERY one");
    assert!(again.header("cache-status").contains("; hit"), "{again:?}");
    let others: [(&str, Fields, &str); 7] = [
        ("/q", JSON, "two"),
        ("/q", JSON, ""),
        ("/q", &[("content-type", "text/plain")], "one"),
        ("/q", &[], "one"),
        (
            "/q",
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            "one",
        ),
        (
            "/q",
            &[
                ("content-type", "application/json"),
                ("content-language", "de"),
            ],
            "one",
        ),
        ("/q?a", JSON, "one"),
    ];
    for (count, (target, fields, content)) in others.into_iter().enumerate() {
        let other = query(&proxy, target, fields, content).await;
        assert_eq!(other.text(), format!("{} QUERY {content}", count + 2));
    }
    let get = proxy.get("/q").await;
    assert_eq!(get.text(), "9 GET ", "nor is it a GET's");
    assert_eq!(query(&proxy, "/q", JSON, "").await.text(), "3 QUERY ");
}

#[tokio::test]
async fn what_is_longer_or_unwanted_is_forwarded_as_it_comes() {
    for (toml, content, is_stored) in [
        ("cache = { query_max_body = \"8B\" }", "12345678", true),
        ("cache = { query_max_body = \"8B\" }", "123456789", false),
        ("cache = { query_max_body = \"0B\" }", "1", false),
        ("cache = { enabled = false }", "1", false),
        ("profile = \"conservative\"", "1", false),
    ] {
        let upstream = echo(FRESH).await;
        let proxy = Proxy::with(&upstream, toml).await;
        for count in 1..=2 {
            let answer = query(&proxy, "/q", &[], content).await;
            let count = if is_stored { 1 } else { count };
            assert_eq!(answer.text(), format!("{count} QUERY {content}"), "{toml}");
        }
    }
    let upstream = echo(FRESH).await;
    let proxy = Proxy::with(&upstream, "cache = { query_max_body = \"8B\" }").await;
    let answer = query(&proxy, "/q", &[], "123456789").await;
    assert!(
        answer
            .header("cache-status")
            .ends_with("fwd=bypass; fwd-status=200; detail=query-content"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn it_is_stored_and_reused_by_the_rules_of_a_get() {
    let rows: [(Fields, Fields, Fields, bool); 8] = [
        (FRESH, &[], &[], true),
        (&[], &[], &[], false),
        (
            &[("cache-control", "no-store, max-age=60")],
            &[],
            &[],
            false,
        ),
        (&[("cache-control", "private, max-age=60")], &[], &[], false),
        (FRESH, &[("cookie", "a=b")], &[], false),
        (FRESH, &[("authorization", "Basic YTpi")], &[], false),
        (FRESH, &[], &[("cache-control", "no-cache")], false),
        (
            &[("cache-control", "max-age=60"), ("vary", "x-a")],
            &[("x-a", "1")],
            &[("x-a", "2")],
            false,
        ),
    ];
    for (fields, first, second, expected) in rows {
        let upstream = echo(fields).await;
        let proxy = Proxy::before(&upstream).await;
        query(&proxy, "/q", first, "one").await;
        query(&proxy, "/q", second, "one").await;
        assert_eq!(upstream.count() == 1, expected, "{fields:?} {first:?}");
    }
}

#[tokio::test]
async fn what_is_stale_is_validated_with_the_same_content() {
    let fields = &[
        ("cache-control", "max-age=10, stale-while-revalidate=100"),
        ("etag", "\"q\""),
    ];
    let upstream = echo(fields).await;
    let proxy = Proxy::before(&upstream).await;
    query(&proxy, "/q", &[("content-type", "a/b")], "one").await;
    proxy.advance(std::time::Duration::from_secs(20));
    let stale = query(&proxy, "/q", &[("content-type", "a/b")], "one").await;
    assert_eq!(stale.text(), "1 QUERY one");
    upstream.wait_for(2).await;
    let seen = upstream.last();
    assert_eq!((&seen.method, &*seen.body), (&Method::QUERY, &b"one"[..]));
    assert_eq!(seen.header("content-type"), "a/b");
    assert_eq!(seen.header("if-none-match"), "\"q\"");
    let fields = &[("if-none-match", "\"q\""), ("content-type", "a/b")];
    let answer = query(&proxy, "/q", fields, "one").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("etag")),
        (304, "\"q\"")
    );
}

#[tokio::test]
async fn what_changes_the_url_drops_all_its_queries() {
    let upstream = echo(FRESH).await;
    for toml in ["", "cache = { key = { headers = [\"x-a\"] } }"] {
        let proxy = Proxy::with(&upstream, toml).await;
        for content in ["one", "two"] {
            query(&proxy, "/q", &[], content).await;
        }
        query(&proxy, "/other", &[], "one").await;
        let before = upstream.count();
        proxy.send(request(Method::POST, "/q", &[], "")).await;
        for content in ["one", "two"] {
            query(&proxy, "/q", &[], content).await;
        }
        assert_eq!(upstream.count(), before + 3, "{toml}");
        query(&proxy, "/q", &[], "one").await;
        query(&proxy, "/other", &[], "one").await;
        assert_eq!(upstream.count(), before + 3, "{toml}");
    }
}

#[tokio::test]
async fn a_query_drops_nothing() {
    let world = World::new().await;
    world.says(200, FRESH, "content");
    world.get("/q", &[]).await;
    world.send(Method::QUERY, "/q", &[]).await;
    let (_, seen) = world.sees(world.get("/q", &[])).await;
    assert!(seen.is_empty());
}

#[tokio::test]
async fn only_the_same_content_is_waited_for() {
    let (release, gate) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |seen: Seen| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("a gate");
            reply(200)
                .header("cache-control", "max-age=60")
                .body(seen.body)
        }
    })
    .await;
    let proxy = std::sync::Arc::new(Proxy::before(&upstream).await);
    let asks: Vec<_> = ["one", "one", "two", "one", "two"]
        .map(|content| {
            let proxy = proxy.clone();
            tokio::spawn(async move { (content, query(&proxy, "/q", &[], content).await) })
        })
        .into();
    upstream.wait_for(2).await;
    release.send_replace(true);
    for ask in asks {
        let (content, answer) = ask.await.expect("an answer");
        assert_eq!(answer.text(), content);
    }
    assert_eq!(upstream.count(), 2);
}
