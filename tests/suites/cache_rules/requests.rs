//! Request directives (RFC 9111 §5.2.1), methods and keys.

use http::Method;

use super::{Fields, World, check, check_with, fetched, reused, validated};

const FRESH: Fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];

#[tokio::test]
async fn clients_ask_for_what_is_new_enough() {
    check(&[
        validated("no-cache", FRESH).then(&[("cache-control", "no-cache")]),
        validated("Pragma without Cache-Control", FRESH).then(&[("pragma", "no-cache")]),
        reused("Pragma beside it is ignored", FRESH)
            .then(&[("pragma", "no-cache"), ("cache-control", "x")]),
        validated("max-age", FRESH)
            .after(20)
            .then(&[("cache-control", "max-age=10")]),
        reused("of which there is enough", FRESH)
            .after(5)
            .then(&[("cache-control", "max-age=10")]),
        validated("max-age=0", FRESH)
            .after(1)
            .then(&[("cache-control", "max-age=0")]),
        validated(
            "Age counts",
            &[
                ("cache-control", "max-age=60"),
                ("age", "20"),
                ("etag", "\"a\""),
            ],
        )
        .then(&[("cache-control", "max-age=10")]),
        validated("min-fresh", FRESH)
            .after(20)
            .then(&[("cache-control", "min-fresh=50")]),
        reused("of which there is enough", FRESH)
            .after(5)
            .then(&[("cache-control", "min-fresh=50")]),
        validated(
            "Age counts",
            &[
                ("cache-control", "max-age=60"),
                ("age", "20"),
                ("etag", "\"a\""),
            ],
        )
        .then(&[("cache-control", "min-fresh=50")]),
        fetched("no-store", FRESH).then(&[("cache-control", "no-store")]),
        fetched("stores nothing", FRESH).first(&[("cache-control", "no-store")]),
        reused("unknown ones are ignored", FRESH).then(&[("cache-control", "x=1, y")]),
        reused("only-if-cached", FRESH).then(&[("cache-control", "only-if-cached")]),
    ])
    .await;
    let ignored: Vec<_> = ["no-cache", "max-age=0", "no-store", "min-fresh=1000"]
        .into_iter()
        .map(|directive| {
            let fields: Fields = Box::leak(Box::new([("cache-control", directive)]));
            reused("a route may ignore them", FRESH)
                .after(1)
                .then(fields)
        })
        .collect();
    check_with("[cache]\nclient_directives = \"ignore\"\n", &ignored).await;
}

#[tokio::test]
async fn only_if_cached_never_reaches_the_upstream() {
    let world = World::new().await;
    let (answer, seen) = world
        .sees(world.get("/", &[("cache-control", "only-if-cached")]))
        .await;
    assert_eq!((answer.status.as_u16(), seen.len()), (504, 0));
    world.says(200, FRESH, "x");
    world.get("/", &[]).await;
    world.advance(61);
    let (answer, seen) = world
        .sees(world.get("/", &[("cache-control", "only-if-cached")]))
        .await;
    assert_eq!((answer.status.as_u16(), seen.len()), (504, 0), "stale");
}

#[tokio::test]
async fn a_request_s_no_store_leaves_what_is_stored() {
    let world = World::new().await;
    world.says(200, FRESH, "old");
    world.get("/", &[]).await;
    world.says(200, FRESH, "new");
    assert_eq!(
        world
            .get("/", &[("cache-control", "no-store")])
            .await
            .text(),
        "new"
    );
    assert_eq!(world.get("/", &[]).await.text(), "old");
}

#[tokio::test]
async fn what_makes_two_requests_the_same() {
    let world = World::new().await;
    // Each is another URL; the last words are of people who hope that a cache is not so exact.
    let targets = [
        "/a",
        "/a?",
        "/a?b",
        "/a?b=1",
        "/a?b=1&c=2",
        "/a?c=2&b=1",
        "/A",
        "/a/",
        "//a",
        "/a%20",
        "/a;.css",
        "/a/x.css",
        "/a%2fx.css",
        "/a?.css",
        "/a%3f",
        "/a/../a",
        "/a.css",
    ];
    for target in targets {
        world.says(200, FRESH, target);
        assert_eq!(world.get(target, &[]).await.text(), target);
    }
    world.says(200, FRESH, "other");
    for target in targets {
        assert_eq!(world.get(target, &[]).await.text(), target, "its own");
    }
    assert_eq!(world.upstream.count(), targets.len());
    let (answer, seen) = world.sees(world.get("/a", &[("host", "other.test")])).await;
    assert_eq!((answer.text(), seen.len()), ("other", 1), "another host");
}

#[tokio::test]
async fn configured_queries_are_the_same() {
    let world = World::with("[cache]\nkey = { query = \"sort\", drop = [\"utm_*\"] }\n").await;
    world.says(200, FRESH, "x");
    world.get("/?b=1&a=2&utm_source=mail", &[]).await;
    for (target, same) in [
        ("/?a=2&b=1", true),
        ("/?utm_x=y&b=1&a=2", true),
        ("/?a=1&b=2", false),
        ("/?a=2&b=1&b=2", false),
        ("/", false),
    ] {
        let (_, seen) = world.sees(world.get(target, &[])).await;
        assert_eq!(seen.is_empty(), same, "{target}");
    }
}

#[tokio::test]
async fn a_path_that_looks_static_opts_nothing_in() {
    // Web cache deception: only the upstream's word counts.
    let world = World::new().await;
    for target in [
        "/account/x.css",
        "/account;x.js",
        "/account%2fx.png",
        "/account/%2e%2e/static/x.jpg",
    ] {
        for fields in [
            &[("content-type", "text/css")][..],
            &[("cache-control", "private, max-age=60")],
        ] {
            world.says(200, fields, "mine");
            world.get(target, &[("cookie", "session=1")]).await;
            world.says(200, fields, "yours");
            assert_eq!(
                world.get(target, &[]).await.text(),
                "yours",
                "{target} {fields:?}"
            );
        }
    }
}

#[tokio::test]
async fn methods_other_than_get_are_neither_stored_nor_answered() {
    let world = World::new().await;
    for method in ["POST", "PUT", "OPTIONS", "FROB"] {
        let method: Method = method.parse().expect("a method");
        let target = format!("/{method}");
        for _ in 0..2 {
            world.says(200, FRESH, "x");
            let (answer, seen) = world.sees(world.send(method.clone(), &target, &[])).await;
            assert_eq!(seen.len(), 1, "{method}");
            assert_eq!(seen[0].method, method, "relayed as it is");
            assert!(
                answer.header("cache-status").contains("fwd=method"),
                "{answer:?}"
            );
        }
        let (_, seen) = world.sees(world.get(&target, &[])).await;
        assert_eq!(seen.len(), 1, "{method}: not stored for GET");
    }
}

#[tokio::test]
async fn head_reads_what_get_stored_and_never_writes_it() {
    let world = World::new().await;
    world.says(200, FRESH, "content");
    let head = world.send(Method::HEAD, "/", &[]).await;
    assert_eq!(head.status, 200);
    let (get, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!(
        (get.text(), seen.len()),
        ("content", 1),
        "HEAD stored nothing"
    );
    let (head, seen) = world.sees(world.send(Method::HEAD, "/", &[])).await;
    assert_eq!((head.header("content-length"), seen.len()), ("7", 0));
    world.advance(61);
    world.says(
        200,
        &[("cache-control", "max-age=60"), ("etag", "\"b\"")],
        "",
    );
    let (_, seen) = world.sees(world.send(Method::HEAD, "/", &[])).await;
    assert_eq!(seen[0].method, Method::HEAD, "a HEAD stays one");
    world.says(200, FRESH, "content");
    let (get, _) = world.sees(world.get("/", &[])).await;
    assert_eq!(get.text(), "content", "nothing empty was stored");
}
