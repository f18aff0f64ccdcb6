//! Conditional requests (RFC 9110 §13, RFC 9111 §4.3.1, §4.3.2).

use http::Method;

use super::{Fields, World, check, reused, validated};

const OLD: &str = "Thu, 01 Jan 2015 00:00:00 GMT";
const STORED: Fields = &[
    ("cache-control", "max-age=60"),
    ("etag", "\"a\""),
    ("last-modified", OLD),
    ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ("content-location", "/elsewhere"),
    ("vary", "x-a"),
    ("content-type", "text/plain"),
];

#[tokio::test]
async fn a_fresh_hit_judges_the_clients_condition() {
    let world = World::new().await;
    world.says(200, STORED, "content");
    world.get("/", &[]).await;
    let rows: [(Fields, bool); 15] = [
        (&[("if-none-match", "\"a\"")], true),
        (&[("if-none-match", "W/\"a\"")], true),
        (&[("if-none-match", "\"x\", \"y\",W/\"a\"")], true),
        (
            &[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")],
            true,
        ),
        (&[("if-none-match", "*")], true),
        (&[("if-none-match", "\"A\"")], false),
        (&[("if-none-match", "\"b\"")], false),
        // If-None-Match outranks If-Modified-Since both ways.
        (
            &[("if-none-match", "\"b\""), ("if-modified-since", OLD)],
            false,
        ),
        (
            &[
                ("if-none-match", "\"a\""),
                ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ],
            true,
        ),
        (&[("if-modified-since", OLD)], true),
        (
            &[("if-modified-since", "Fri, 02 Jan 2015 00:00:00 GMT")],
            true,
        ),
        (
            &[("if-modified-since", "Thursday, 01-Jan-15 00:00:00 GMT")],
            true,
        ),
        (&[("if-modified-since", "Thu Jan  1 00:00:00 2015")], true),
        (
            &[("if-modified-since", "Wed, 31 Dec 2014 23:59:59 GMT")],
            false,
        ),
        (&[("if-modified-since", "now")], false),
    ];
    for (fields, holds) in rows {
        let answer = world.get("/", fields).await;
        assert_eq!(answer.status == 304, holds, "{fields:?}");
        if holds {
            for name in [
                "etag",
                "cache-control",
                "date",
                "vary",
                "expires",
                "content-location",
                "age",
            ] {
                assert!(answer.headers.contains_key(name), "{name} in {answer:?}");
            }
            assert!(!answer.headers.contains_key("content-type"));
            assert!(answer.body.is_empty());
        } else {
            assert_eq!(answer.text(), "content");
        }
        let head = world.send(Method::HEAD, "/", fields).await;
        assert_eq!(head.status == 304, holds, "HEAD {fields:?}");
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn stored_validators_go_as_they_came() {
    for tag in [
        "\"a\"", "W/\"a\"", "unquoted", "w/\"a\"", "W\\\"a\"", "\"a b\"", "\"a,b\"", "\"a~br\"",
    ] {
        let world = World::new().await;
        let fields: Fields = Box::leak(Box::new([("cache-control", "max-age=10"), ("etag", tag)]));
        world.says(200, fields, "content");
        world.get("/", &[]).await;
        world.advance(20);
        let (answer, seen) = world.sees(world.get("/", &[])).await;
        assert_eq!(seen[0].header("if-none-match"), tag);
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "content"),
            "{tag}"
        );
        let (_, seen) = world.sees(world.get("/", &[])).await;
        assert!(seen.is_empty(), "{tag}: fresh again");
    }
}

#[tokio::test]
async fn validators_by_what_is_stored() {
    check(&[
        validated(
            "a tag",
            &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
        )
        .after(20),
        validated(
            "a date",
            &[("cache-control", "max-age=10"), ("last-modified", OLD)],
        )
        .after(20),
        reused("a client's own condition does not matter", STORED).then(&[("x-b", "c")]),
    ])
    .await;
    let world = World::new().await;
    world.says(200, STORED, "content");
    world.get("/", &[]).await;
    world.advance(100);
    let (answer, seen) = world
        .sees(world.get(
            "/",
            &[("if-none-match", "\"mine\""), ("if-modified-since", OLD)],
        ))
        .await;
    assert_eq!(seen[0].header("if-none-match"), "\"a\"");
    assert_eq!(seen[0].header("if-modified-since"), OLD);
    assert_eq!(answer.status, 200, "the client's own condition fails");
    world.advance(100);
    let (answer, seen) = world
        .sees(world.get("/", &[("if-none-match", "\"a\"")]))
        .await;
    assert_eq!(
        (answer.status.as_u16(), seen.len()),
        (304, 1),
        "and here it holds"
    );
}

#[tokio::test]
async fn a_date_that_the_app_knows_is_not_hidden_by_a_tag_of_ours() {
    let world = World::new().await;
    world.says(
        200,
        &[("cache-control", "max-age=10"), ("last-modified", OLD)],
        "content",
    );
    let tag = world.get("/", &[]).await.header("etag").to_owned();
    assert!(tag.starts_with("W/\"~"), "{tag}");
    world.advance(20);
    let (answer, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!(seen[0].header("if-modified-since"), OLD);
    assert!(!seen[0].headers.contains_key("if-none-match"), "{seen:?}");
    assert!(
        answer.header("cache-status").contains("fwd-status=304"),
        "{answer:?}"
    );
    assert_eq!((answer.text(), answer.header("etag")), ("content", &*tag));
}

#[tokio::test]
async fn a_304_to_a_clients_own_condition_is_its_own() {
    let world = World::new().await;
    world.says(200, STORED, "content");
    let (answer, seen) = world
        .sees(world.get("/", &[("if-none-match", "\"a\"")]))
        .await;
    assert_eq!(
        (answer.status.as_u16(), seen[0].header("if-none-match")),
        (304, "\"a\"")
    );
    let (answer, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("content", 1));
}

#[tokio::test]
async fn or_the_whole_is_fetched_and_the_304_made_here() {
    let world = World::with("cache = { preconditions = \"fetch\" }").await;
    let asks: Fields = &[("if-none-match", "\"a\""), ("if-modified-since", OLD)];
    world.says(200, STORED, "content");
    let (answer, seen) = world.sees(world.get("/", asks)).await;
    assert_eq!((answer.status.as_u16(), seen.len()), (304, 1));
    assert!(!seen[0].headers.contains_key("if-none-match"));
    assert!(!seen[0].headers.contains_key("if-modified-since"));
    let (answer, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("content", 0));
    // What is not stored anyway is not fetched whole twice.
    world.says(
        200,
        &[("cache-control", "private"), ("etag", "\"a\"")],
        "private",
    );
    for asked in ["", "\"a\"", "\"a\""] {
        let (answer, seen) = world.sees(world.get("/own", asks)).await;
        assert_eq!((answer.status.as_u16(), seen.len()), (304, 1));
        assert_eq!(seen[0].header("if-none-match"), asked);
    }
    // A HEAD would bring nothing.
    let (_, seen) = world.sees(world.send(Method::HEAD, "/head", asks)).await;
    assert_eq!(seen[0].header("if-none-match"), "\"a\"");
}

#[tokio::test]
async fn what_protects_updates_goes_upstream_always() {
    let world = World::new().await;
    world.says(200, STORED, "content");
    world.get("/", &[]).await;
    for (name, value) in [
        ("if-match", "\"a\""),
        ("if-match", "*"),
        ("if-match", "W\\\"x\""),
        ("if-unmodified-since", OLD),
    ] {
        let fields: Fields = Box::leak(Box::new([(name, value)]));
        world.says(412, &[("cache-control", "max-age=60")], "no");
        let (answer, seen) = world.sees(world.get("/", fields)).await;
        assert_eq!((answer.status.as_u16(), seen[0].header(name)), (412, value));
        assert_eq!(
            world.get("/", &[]).await.text(),
            "content",
            "nothing of it is stored"
        );
    }
}
