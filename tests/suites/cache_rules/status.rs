//! `Cache-Status` (RFC 9211).

use http::Method;

use super::{Fields, World};

const CC: &str = "cache-control";
const FRESH: Fields = &[(CC, "max-age=60"), ("etag", "\"a\"")];

fn members(answer: &tests::Fetched) -> Vec<String> {
    let lines = answer.headers.get_all("cache-status").iter();
    lines
        .map(|line| line.to_str().expect("ASCII").to_owned())
        .collect()
}

/// Each row: what the upstream says, what the client says, how long after the row before, and our member.
#[tokio::test]
async fn one_member_says_what_was_done() {
    let world = World::new().await;
    const RELOAD: Fields = &[(CC, "no-cache")];
    const SWR: Fields = &[
        (
            CC,
            "max-age=60, stale-if-error=600, stale-while-revalidate=10",
        ),
        ("etag", "\"a\""),
    ];
    for (path, status, fields, asks, after, expected) in [
        (
            "/",
            200,
            FRESH,
            &[][..],
            0,
            "pillion; fwd=uri-miss; fwd-status=200; ttl=60; stored",
        ),
        ("/", 200, FRESH, &[], 20, "pillion; hit; ttl=40"),
        (
            "/",
            200,
            FRESH,
            RELOAD,
            0,
            "pillion; fwd=request; fwd-status=304; ttl=60; stored; detail=client-no-cache",
        ),
        (
            "/",
            200,
            FRESH,
            &[],
            70,
            "pillion; fwd=stale; fwd-status=304; ttl=60; stored; detail=stale",
        ),
        (
            "/b",
            404,
            FRESH,
            &[],
            0,
            "pillion; fwd=uri-miss; fwd-status=404; ttl=60; stored",
        ),
        (
            "/c",
            200,
            &[(CC, "no-store")],
            &[],
            0,
            "pillion; fwd=uri-miss; fwd-status=200; detail=no-store",
        ),
        (
            "/d",
            200,
            SWR,
            &[],
            0,
            "pillion; fwd=uri-miss; fwd-status=200; ttl=60; stored",
        ),
        (
            "/d",
            500,
            &[],
            &[],
            65,
            "pillion; hit; ttl=-5; detail=stale-while-revalidate",
        ),
        (
            "/d",
            500,
            &[],
            &[],
            35,
            "pillion; fwd=stale; fwd-status=500; ttl=-40; detail=stale-if-error",
        ),
        (
            "/e",
            200,
            &[(CC, "max-age=60"), ("vary", "x-a")],
            &[("x-a", "1")],
            0,
            "pillion; fwd=uri-miss; fwd-status=200; ttl=60; stored",
        ),
        (
            "/e",
            200,
            &[(CC, "max-age=60"), ("vary", "x-a")],
            &[("x-a", "2")],
            0,
            "pillion; fwd=vary-miss; fwd-status=200; ttl=60; stored; detail=vary-mismatch",
        ),
        (
            "/f",
            200,
            FRESH,
            &[("if-match", "\"a\"")],
            0,
            "pillion; fwd=bypass; fwd-status=200; detail=precondition",
        ),
    ] {
        world.advance(after);
        world.says(status, fields, "x");
        let answer = world.get(path, asks).await;
        assert_eq!(members(&answer), [expected], "{path} {asks:?}");
    }
    let posted = world.send(Method::POST, "/", &[]).await;
    assert_eq!(members(&posted), ["pillion; fwd=method; fwd-status=200"]);
}

/// RFC 9211 §2: caches nearer to the upstream come first, and keep what they said.
#[tokio::test]
async fn members_of_the_upstream_are_kept_before_ours() {
    let world = World::new().await;
    const SAID: Fields = &[
        (CC, "max-age=60"),
        ("cache-status", "one; hit, two; fwd=miss"),
        (
            "cache-status",
            "pillion; fwd=bypass; detail=\"another one\"",
        ),
    ];
    for (method, ours) in [
        (
            Method::GET,
            "pillion; fwd=uri-miss; fwd-status=200; ttl=60; stored",
        ),
        (Method::GET, "pillion; hit; ttl=60"),
        (Method::HEAD, "pillion; hit; ttl=60"),
        (Method::POST, "pillion; fwd=method; fwd-status=200"),
    ] {
        world.says(200, SAID, "x");
        let answer = world.send(method.clone(), "/", &[]).await;
        let expected = [SAID[1].1, SAID[2].1, ours];
        assert_eq!(members(&answer), expected, "{method}");
    }
}

/// RFC 9211 §2.7.
#[tokio::test]
async fn the_key_is_told_where_the_operator_wants_it() {
    let toml = "[cache]\nstatus_key = true\nkey = { drop = ['utm_*'], headers = ['x-tenant'], cookies = ['lang'] }\n";
    let world = World::with(toml).await;
    let fields: Fields = &[
        ("host", "Example.com"),
        ("x-tenant", "a\"b"),
        ("cookie", "lang=de; secret=7"),
    ];
    for _ in 0..2 {
        world.says(
            200,
            &[(CC, "public, max-age=60"), ("cache-status", "one; hit")],
            "x",
        );
        let answer = world.get("/p?a=1", fields).await;
        let members = members(&answer);
        assert_eq!(members[0], "one; hit");
        let key = "; key=\"http://example.com/p?a=1; x-tenant: a\\\"b; cookie lang: 1 sent\"";
        assert!(members[1].ends_with(key), "{members:?}");
        assert!(!members[1].contains("de;") && !members[1].contains("secret"));
    }
    world.says(200, &[], "");
    let posted = world.send(Method::POST, "/", &[]).await;
    assert_eq!(members(&posted), ["pillion; fwd=method; fwd-status=200"]);
    let world = World::new().await;
    world.says(200, FRESH, "x");
    assert!(!members(&world.get("/", &[]).await)[0].contains("key"));
}
