//! A POST whose answer is what a GET would get (RFC 9110 §9.3.3).

use http::Method;

use super::{Fields, World};

const OWN: Fields = &[
    ("cache-control", "max-age=60"),
    ("content-location", "/form?a=1"),
];

/// Posts to `/form?a=1`, asks for it with GET, and says whether the answer to the POST was reused.
async fn is_reused(status: u16, fields: Fields, posts: Fields, gets: Fields) -> bool {
    let world = World::new().await;
    world.says(status, fields, "posted");
    let posted = world.send(Method::POST, "/form?a=1", posts).await;
    assert_eq!((posted.status.as_u16(), posted.text()), (status, "posted"));
    world.says(200, &[], "got");
    let (answer, seen) = world.sees(world.get("/form?a=1", gets)).await;
    let stored = posted.header("cache-status").contains("; stored");
    match seen.is_empty() {
        true => {
            assert_eq!(answer.text(), "posted");
            assert!(stored, "{posted:?}");
            assert!(answer.header("cache-status").contains("hit"));
        }
        false => assert_eq!(answer.text(), "got"),
    }
    seen.is_empty()
}

#[tokio::test]
async fn explicit_freshness_and_its_own_content_location_serve_later_gets() {
    let rows: [(u16, Fields, bool); 17] = [
        (200, OWN, true),
        (
            200,
            &[("expires", "@+60"), ("content-location", "/form?a=1")],
            true,
        ),
        (
            200,
            &[
                ("cache-control", "s-maxage=60"),
                ("content-location", "?a=1"),
            ],
            true,
        ),
        (
            200,
            &[
                ("cdn-cache-control", "max-age=60"),
                ("content-location", "form?a=1"),
            ],
            true,
        ),
        (200, &[("cache-control", "max-age=60")], false),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("content-location", "/form"),
            ],
            false,
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("content-location", "/form?a=2"),
            ],
            false,
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("content-location", "/form?a=1&"),
            ],
            false,
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("content-location", "http://elsewhere.test/form?a=1"),
            ],
            false,
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("content-location", "/form?a=1"),
                ("content-location", "/form?a=1"),
            ],
            false,
        ),
        // Heuristics and a lifetime of zero are not explicit freshness.
        (
            200,
            &[
                ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
                ("content-location", "/form?a=1"),
            ],
            false,
        ),
        (200, &[("content-location", "/form?a=1")], false),
        (
            200,
            &[
                ("cache-control", "no-cache"),
                ("etag", "\"a\""),
                ("content-location", "/form?a=1"),
            ],
            false,
        ),
        (
            200,
            &[
                ("cache-control", "private, max-age=60"),
                ("content-location", "/form?a=1"),
            ],
            false,
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("set-cookie", "a=b"),
                ("content-location", "/form?a=1"),
            ],
            false,
        ),
        (201, OWN, false),
        (404, OWN, false),
    ];
    for (status, fields, expected) in rows {
        assert_eq!(
            is_reused(status, fields, &[], &[]).await,
            expected,
            "{status} {fields:?}"
        );
    }
}

#[tokio::test]
async fn the_requests_own_fields_count_as_for_a_get() {
    let varied: Fields = &[
        ("cache-control", "max-age=60"),
        ("content-location", "/form?a=1"),
        ("vary", "x-a"),
    ];
    let public: Fields = &[
        ("cache-control", "public, max-age=60"),
        ("content-location", "/form?a=1"),
    ];
    let rows: [(Fields, Fields, Fields, bool); 8] = [
        (varied, &[("x-a", "1")], &[("x-a", "1")], true),
        (varied, &[("x-a", "1")], &[("x-a", "2")], false),
        (OWN, &[("cookie", "a=b")], &[], false),
        (public, &[("cookie", "a=b")], &[], true),
        (OWN, &[("authorization", "Basic YTpi")], &[], false),
        (public, &[("authorization", "Basic YTpi")], &[], true),
        (OWN, &[("cache-control", "no-store")], &[], false),
        (OWN, &[("x-http-method-override", "PUT")], &[], false),
    ];
    for (fields, posts, gets, expected) in rows {
        assert_eq!(
            is_reused(200, fields, posts, gets).await,
            expected,
            "{fields:?} {posts:?}"
        );
    }
}

#[tokio::test]
async fn it_takes_the_place_of_what_was_stored_and_answers_no_post() {
    let world = World::new().await;
    world.says(200, &[("cache-control", "max-age=600")], "old");
    world.get("/form?a=1", &[]).await;
    world.says(200, OWN, "posted");
    world.send(Method::POST, "/form?a=1", &[]).await;
    world.says(200, OWN, "posted again");
    let (answer, seen) = world.sees(world.get("/form?a=1", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("posted", 0));
    let (head, seen) = world.sees(world.send(Method::HEAD, "/form?a=1", &[])).await;
    assert_eq!((head.header("content-length"), seen.len()), ("6", 0));
    let (answer, seen) = world.sees(world.send(Method::POST, "/form?a=1", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("posted again", 1));
    assert_eq!(
        answer.header("cache-status"),
        "pillion; fwd=method; fwd-status=200; ttl=60; stored"
    );
    assert_eq!(world.get("/form?a=1", &[]).await.text(), "posted again");
    world.says(204, &[], "");
    world.send(Method::DELETE, "/form?a=1", &[]).await;
    world.says(404, &[], "gone");
    assert_eq!(world.get("/form?a=1", &[]).await.text(), "gone");
}

#[tokio::test]
async fn nothing_is_kept_where_the_cache_is_off() {
    let world = World::with("cache = { enabled = false }").await;
    world.says(200, OWN, "posted");
    world.send(Method::POST, "/form?a=1", &[]).await;
    let (_, seen) = world.sees(world.get("/form?a=1", &[])).await;
    assert_eq!(seen.len(), 1);
}
