//! HEAD and what is stored for GET (RFC 9110 §9.3.2, RFC 9111 §4.3.5).

use http::Method;
use tests::{Fetched, Proxy, Seen, Upstream};

use super::{Fields, World, reply_with};

const OLD: &str = "Thu, 01 Jan 2015 00:00:00 GMT";
const STORED: Fields = &[
    ("cache-control", "max-age=10"),
    ("etag", "\"a\""),
    ("last-modified", OLD),
    ("x-news", "old"),
];

/// What a HEAD that the upstream answers so does to what a GET brought before.
struct After {
    head: Fetched,
    /// The request that the upstream saw.
    seen: Seen,
    later: Fetched,
    /// How many requests came for `later`.
    asked: usize,
}

async fn after(status: u16, fields: Fields, asks: Fields) -> After {
    let upstream = Upstream::start(move |seen: Seen| async move {
        if seen.method == Method::HEAD {
            return reply_with(status, fields).empty();
        }
        match seen.header("if-none-match") {
            "\"a\"" => reply_with(304, STORED).empty(),
            _ => reply_with(200, STORED).body("content"),
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    proxy.advance(std::time::Duration::from_secs(20));
    let request = tests::client::request(Method::HEAD, "/", asks, "");
    let head = proxy.send(request).await;
    let (seen, count) = (upstream.last(), upstream.count());
    let later = proxy.get("/").await;
    After {
        head,
        seen,
        later,
        asked: upstream.count() - count,
    }
}

#[tokio::test]
async fn a_head_on_what_is_stale_goes_upstream_as_head_and_freshens() {
    let fields = &[
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("content-length", "7"),
        ("x-news", "new"),
    ];
    let after = after(200, fields, &[]).await;
    assert_eq!(after.seen.method, Method::HEAD);
    assert!(!after.seen.headers.contains_key("if-none-match"));
    assert!(after.head.body.is_empty());
    assert_eq!(
        after.head.header("cache-status"),
        "pillion; fwd=stale; fwd-status=200; ttl=60; stored; detail=stale"
    );
    assert_eq!((after.later.text(), after.asked), ("content", 0));
    assert_eq!(after.later.header("x-news"), "new");
    assert_eq!(after.later.header("cache-control"), "max-age=60");
    assert_eq!(
        after.later.header("last-modified"),
        OLD,
        "what it omits stays"
    );
    assert!(after.later.header("cache-status").contains("hit; ttl=60"));
}

#[tokio::test]
async fn what_differs_is_not_believed() {
    let rows: [(u16, Fields); 9] = [
        (200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")]),
        (200, &[("cache-control", "max-age=60"), ("etag", "W/\"a\"")]),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("content-length", "8"),
            ],
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("last-modified", "Fri, 02 Jan 2015 00:00:00 GMT"),
            ],
        ),
        // Without any validator nothing is confirmed.
        (
            200,
            &[("cache-control", "max-age=60"), ("content-length", "7")],
        ),
        // Nor by what is no 200, or what must not be stored.
        (404, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]),
        (204, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]),
        (200, &[("cache-control", "no-store"), ("etag", "\"a\"")]),
        (200, &[("cache-control", "private"), ("etag", "\"a\"")]),
    ];
    for (status, fields) in rows {
        let after = after(status, fields, &[]).await;
        assert_eq!(after.head.status, status, "{fields:?}");
        assert!(
            !after.head.header("cache-status").contains("stored"),
            "{fields:?}"
        );
        assert_eq!(after.asked, 1, "{fields:?}");
        assert_eq!(after.later.text(), "content");
        assert_eq!(after.later.header("x-news"), "old");
    }
}

#[tokio::test]
async fn what_is_fresh_becomes_stale_by_a_head_that_contradicts() {
    let upstream = Upstream::start(|seen: Seen| async move {
        match &seen.method {
            &Method::HEAD => reply_with(200, &[("etag", "\"b\""), ("cache-control", "max-age=60")]),
            _ => reply_with(200, &[("etag", "\"a\""), ("cache-control", "max-age=600")]),
        }
        .body(if seen.method == Method::HEAD {
            ""
        } else {
            "content"
        })
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    let reload = [("cache-control", "no-cache")];
    let head = proxy
        .send(tests::client::request(Method::HEAD, "/", &reload, ""))
        .await;
    assert!(
        head.header("cache-status").ends_with("detail=head-differs"),
        "{head:?}"
    );
    let later = proxy.get("/").await;
    assert_eq!(upstream.count(), 3);
    assert_eq!(
        later.header("cache-status"),
        "pillion; fwd=stale; fwd-status=200; ttl=600; stored; detail=head-differs"
    );
    assert_eq!(upstream.last().header("if-none-match"), "\"a\"");
    assert!(proxy.get("/").await.header("cache-status").contains("hit"));
}

#[tokio::test]
async fn what_one_user_is_told_is_no_news_for_others() {
    for asks in [
        &[("cookie", "a=b")][..],
        &[("authorization", "Basic YTpi")],
        &[("cache-control", "no-store")],
        &[("x-http-method-override", "DELETE")],
    ] {
        let fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let after = after(200, fields, asks).await;
        assert_eq!(after.asked, 1, "{asks:?}");
        assert_eq!(after.later.header("x-news"), "old", "{asks:?}");
        assert!(
            !after.head.header("cache-status").contains("stored"),
            "{asks:?}"
        );
    }
}

#[tokio::test]
async fn the_clients_own_condition_is_judged_on_the_news() {
    let fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    for (tag, status) in [("\"a\"", 304), ("\"b\"", 200)] {
        let asks: Fields = Box::leak(Box::new([("if-none-match", tag), ("range", "bytes=0-1")]));
        let after = after(200, fields, asks).await;
        assert_eq!(after.head.status, status);
        assert!(!after.seen.headers.contains_key("if-none-match"));
        assert!(!after.seen.headers.contains_key("range"));
        assert_eq!(after.asked, 0);
    }
}

#[tokio::test]
async fn a_head_never_becomes_the_body_of_a_get() {
    let world = World::new().await;
    world.says(200, &[("cache-control", "max-age=60")], "content");
    let (head, seen) = world.sees(world.send(Method::HEAD, "/", &[])).await;
    assert_eq!((seen.len(), &seen[0].method), (1, &Method::HEAD));
    assert!(
        head.header("cache-status").ends_with("detail=head"),
        "{head:?}"
    );
    let (get, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!((get.text(), seen.len()), ("content", 1));
    let (head, seen) = world.sees(world.send(Method::HEAD, "/", &[])).await;
    assert_eq!((seen.len(), head.header("content-length")), (0, "7"));
    assert!(head.body.is_empty() && head.header("cache-status").contains("hit"));
}
