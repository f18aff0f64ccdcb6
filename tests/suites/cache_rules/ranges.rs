//! Ranges (RFC 9110 §14, RFC 9111 §3.3, §4.3) and what they must not do to others.

use http::Method;

use super::{Fields, World};

const STORED: Fields = &[
    ("cache-control", "max-age=60"),
    ("etag", "\"a\""),
    ("content-type", "text/plain"),
    ("x-kept", "1"),
];

#[tokio::test]
async fn a_stored_complete_response_answers_ranges() {
    let world = World::new().await;
    world.says(200, STORED, "0123456789");
    world.get("/", &[]).await;
    for (range, status, content_range, content) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=4-2", 200, "", "0123456789"),
        ("items=0-1", 200, "", "0123456789"),
        ("bytes=0-5,3-9", 200, "", "0123456789"),
    ] {
        let fields: Fields = Box::leak(Box::new([("range", range)]));
        let answer = world.get("/", fields).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("content-range"),
                answer.text()
            ),
            (status, content_range, content),
            "{range}"
        );
        if status == 206 {
            assert_eq!(
                (answer.header("x-kept"), answer.header("etag")),
                ("1", "\"a\"")
            );
            assert!(answer.header("cache-status").contains("hit"));
        }
        let head = world.send(Method::HEAD, "/", fields).await;
        assert_eq!(head.status, 200, "ignored on HEAD");
    }
    let several = world.get("/", &[("range", "bytes=0-1,8-9")]).await;
    assert!(
        several
            .header("content-type")
            .starts_with("multipart/byteranges")
    );
    assert!(several.text().contains("bytes 8-9/10"));
    for (if_range, status) in [
        ("\"a\"", 206),
        ("W/\"a\"", 200),
        ("\"b\"", 200),
        ("\"a~br\"", 200),
    ] {
        let fields: Fields = Box::leak(Box::new([("range", "bytes=0-1"), ("if-range", if_range)]));
        assert_eq!(world.get("/", fields).await.status, status, "{if_range}");
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_miss_forwards_the_range_as_it_is() {
    let world = World::new().await;
    const PART: Fields = &[
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("content-range", "bytes 0-1/10"),
    ];
    world.says(206, PART, "01");
    let (answer, seen) = world.sees(world.get("/", &[("range", "bytes=0-1")])).await;
    assert_eq!(seen[0].header("range"), "bytes=0-1");
    assert_eq!((answer.status.as_u16(), answer.text()), (206, "01"));
    world.says(200, STORED, "0123456789");
    let (answer, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("0123456789", 1));
}

#[tokio::test]
async fn what_a_range_brought_on_is_nobody_elses() {
    for (status, fields) in [
        (206, &[("cache-control", "max-age=60")][..]),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("content-range", "bytes 0-1/10"),
            ],
        ),
        (
            416,
            &[
                ("cache-control", "max-age=60"),
                ("content-range", "bytes */10"),
            ],
        ),
        (416, &[("cache-control", "public, max-age=60")]),
        (400, &[("cache-control", "max-age=60")]),
        (500, &[("cache-control", "max-age=60")]),
    ] {
        let world = World::new().await;
        world.says(status, fields, "01");
        world.get("/", &[("range", "bytes=0-1")]).await;
        world.says(200, STORED, "0123456789");
        let answer = world.get("/", &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "0123456789"),
            "{status} {fields:?}"
        );
    }
}

#[tokio::test]
async fn a_whole_answer_to_a_range_is_stored() {
    let world = World::new().await;
    world.says(200, STORED, "0123456789");
    let answer = world.get("/", &[("range", "bytes=0-1")]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (206, "01"),
        "the upstream ignored it, we do not"
    );
    let (answer, seen) = world.sees(world.get("/", &[])).await;
    assert_eq!((answer.text(), seen.len()), ("0123456789", 0));
}

#[tokio::test]
async fn a_range_of_something_stale_validates_the_whole() {
    let world = World::new().await;
    world.says(200, STORED, "0123456789");
    world.get("/", &[]).await;
    world.advance(61);
    let (answer, seen) = world.sees(world.get("/", &[("range", "bytes=0-1")])).await;
    assert_eq!(seen[0].header("if-none-match"), "\"a\"");
    assert!(!seen[0].headers.contains_key("range"));
    assert_eq!((answer.status.as_u16(), answer.text()), (206, "01"));
}
