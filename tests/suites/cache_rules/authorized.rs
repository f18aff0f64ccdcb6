//! Credentials: `Authorization` (RFC 9111 §3.5), `Cookie`, `Set-Cookie`.

use super::{Case, Fields, World, check, check_with, fetched, reused};

const AUTH: Fields = &[("authorization", "Bearer one")];
const COOKIE: Fields = &[("cookie", "session=1")];

/// One table for both: what is said, and whether an answer to credentials may be everybody's.
fn table(credentials: Fields, rows: &[(&'static str, Fields, bool)]) -> Vec<Case> {
    let case = |(rule, fields, shared): &(&'static str, Fields, bool)| {
        let case = if *shared {
            reused(rule, fields)
        } else {
            fetched(rule, fields)
        };
        case.first(credentials)
    };
    rows.iter().map(case).collect()
}

#[tokio::test]
async fn an_answer_to_authorization_needs_the_upstreams_word() {
    let rows: &[(&str, Fields, bool)] = &[
        (
            "max-age is no such word",
            &[("cache-control", "max-age=60")],
            false,
        ),
        ("nor Expires", &[("expires", "@+60")], false),
        (
            "nor proxy-revalidate",
            &[("cache-control", "max-age=60, proxy-revalidate")],
            false,
        ),
        (
            "nor no-cache",
            &[("cache-control", "max-age=60, no-cache"), ("etag", "\"a\"")],
            false,
        ),
        (
            "nor what is quoted",
            &[("cache-control", "max-age=60, x=\"public\"")],
            false,
        ),
        (
            "nor immutable",
            &[("cache-control", "max-age=60, immutable")],
            false,
        ),
        (
            "nor targeted max-age",
            &[("cdn-cache-control", "max-age=60")],
            false,
        ),
        ("public", &[("cache-control", "max-age=60, public")], true),
        (
            "must-revalidate",
            &[("cache-control", "max-age=60, must-revalidate")],
            true,
        ),
        ("s-maxage", &[("cache-control", "s-maxage=60")], true),
    ];
    check(&table(AUTH, rows)).await;
    // Nobody else gets it, and neither does the same client.
    let same: Vec<_> = table(AUTH, &rows[..3])
        .into_iter()
        .map(|case| case.then(AUTH))
        .collect();
    check(&same).await;
}

#[tokio::test]
async fn an_answer_to_cookies_needs_the_upstreams_word() {
    check(&table(
        COOKIE,
        &[
            (
                "max-age is no such word",
                &[("cache-control", "max-age=60")],
                false,
            ),
            (
                "nor must-revalidate",
                &[("cache-control", "max-age=60, must-revalidate")],
                false,
            ),
            ("nor Expires", &[("expires", "@+60")], false),
            ("public", &[("cache-control", "max-age=60, public")], true),
            ("s-maxage", &[("cache-control", "s-maxage=60")], true),
            (
                "targeted control",
                &[("cdn-cache-control", "max-age=60")],
                true,
            ),
            (
                "not with Set-Cookie",
                &[
                    ("cache-control", "public, max-age=60"),
                    ("set-cookie", "a=b"),
                ],
                false,
            ),
        ],
    ))
    .await;
    check_with(
        "[cache]\ncookies = \"ignore\"\n",
        &table(
            COOKIE,
            &[(
                "where they have no say",
                &[("cache-control", "max-age=60")],
                true,
            )],
        ),
    )
    .await;
}

#[tokio::test]
async fn credentials_do_not_prevent_reuse_and_are_forwarded() {
    const FRESH: Fields = &[("cache-control", "max-age=60")];
    check(&[
        reused("a cookie", FRESH).then(COOKIE),
        reused("Authorization", FRESH).then(AUTH),
    ])
    .await;
    let world = World::new().await;
    world.says(200, &[], "x");
    world
        .get(
            "/",
            &[("authorization", "Basic eA=="), ("cookie", "a=b; c=d")],
        )
        .await;
    let seen = world.upstream.last();
    assert_eq!(
        (seen.header("authorization"), seen.header("cookie")),
        ("Basic eA==", "a=b; c=d")
    );
}

#[tokio::test]
async fn set_cookie_reaches_the_one_it_is_for_or_nobody() {
    const MINTED: Fields = &[
        ("cache-control", "public, s-maxage=60"),
        ("set-cookie", "id=1"),
    ];
    let world = World::new().await;
    world.says(200, MINTED, "x");
    assert_eq!(world.get("/", &[]).await.header("set-cookie"), "id=1");
    let (_, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!(seen.len(), 1);

    let world = World::with("[cache]\nset_cookie = \"strip\"\n").await;
    world.says(200, MINTED, "x");
    for expected in [1, 0] {
        let (answer, seen) = world.sees(world.get("/", &[])).await;
        assert!(!answer.headers.contains_key("set-cookie"));
        assert_eq!(seen.len(), expected);
    }

    let own: Fields = &[
        ("cache-control", "max-age=60, private=\"set-cookie\""),
        ("set-cookie", "id=1"),
    ];
    let world = World::new().await;
    world.says(200, own, "x");
    assert_eq!(world.get("/", &[]).await.header("set-cookie"), "id=1");
    let (answer, seen) = world.sees(world.get("/", &[])).await;
    assert!(seen.is_empty() && !answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_set_cookie_on_a_304_is_for_its_client_alone() {
    const STORED: Fields = &[("cache-control", "max-age=10"), ("etag", "\"a\"")];
    let world = World::new().await;
    world.says(200, STORED, "content");
    world.get("/", &[]).await;
    world.advance(20);
    world.says(
        200,
        &[
            ("cache-control", "max-age=10"),
            ("etag", "\"a\""),
            ("set-cookie", "id=1"),
        ],
        "content",
    );
    let first = world.get("/", &[]).await;
    assert_eq!(
        (first.text(), first.header("set-cookie")),
        ("content", "id=1")
    );
    world.says(200, STORED, "content");
    let (second, seen) = world.sees(world.get("/", &[])).await;
    assert!(!second.headers.contains_key("set-cookie"), "{second:?}");
    assert_eq!(seen.len(), 1, "what came with a cookie made nothing fresh");
}
