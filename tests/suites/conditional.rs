//! 304 and 206.

use http::Method;
use tests::client::request;
use tests::{Proxy, Upstream, reply};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

async fn stored() -> (Upstream, Proxy) {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("cache-control", "max-age=600")
            .header("etag", "\"tag\"")
            .header("last-modified", MODIFIED)
            .header("content-type", "text/plain")
            .header("x-kept", "1")
            .body("0123456789")
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    (upstream, proxy)
}

#[tokio::test]
async fn a_hit_judges_preconditions_by_the_book() {
    let (upstream, proxy) = stored().await;
    let cases: [(&[(&str, &str)], u16); 9] = [
        (&[("if-none-match", "\"tag\"")], 304),
        (&[("if-none-match", "W/\"tag\"")], 304),
        (&[("if-none-match", "\"a\", \"b,c\", \"tag\"")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", MODIFIED)], 304),
        (
            &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")],
            304,
        ),
        (
            &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
            200,
        ),
        // If-None-Match outranks If-Modified-Since.
        (
            &[
                ("if-none-match", "\"other\""),
                ("if-modified-since", MODIFIED),
            ],
            200,
        ),
    ];
    for (fields, status) in cases {
        let answer = proxy.get_with("/", fields).await;
        assert_eq!(answer.status.as_u16(), status, "{fields:?}");
        if status == 304 {
            assert_eq!(answer.header("etag"), "\"tag\"");
            assert_eq!(answer.header("cache-control"), "max-age=600");
            assert!(!answer.header("date").is_empty() && answer.body.is_empty());
        }
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn ranges_are_cut_from_what_is_stored() {
    let (upstream, proxy) = stored().await;
    for (range, content, told) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let part = proxy.get_with("/", &[("range", range)]).await;
        assert_eq!(
            (part.status.as_u16(), part.text()),
            (206, content),
            "{range}"
        );
        assert_eq!(part.header("content-range"), told);
        assert_eq!(
            (part.header("etag"), part.header("x-kept")),
            ("\"tag\"", "1")
        );
    }
    let beyond = proxy.get_with("/", &[("range", "bytes=10-")]).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.header("content-range")),
        (416, "bytes */10")
    );
    let several = proxy.get_with("/", &[("range", "bytes=0-1,8-9")]).await;
    assert_eq!(several.status, 206);
    assert!(
        several
            .header("content-type")
            .starts_with("multipart/byteranges; boundary=")
    );
    assert!(several.text().contains("bytes 0-1/10") && several.text().contains("bytes 8-9/10"));
    let other = [("range", "bytes=0-3"), ("if-range", "\"other\"")];
    assert_eq!(proxy.get_with("/", &other).await.status, 200);
    let same = [("range", "bytes=0-3"), ("if-range", "\"tag\"")];
    assert_eq!(proxy.get_with("/", &same).await.status, 206);
    let weak = [("range", "bytes=0-3"), ("if-range", "W/\"tag\"")];
    assert_eq!(
        proxy.get_with("/", &weak).await.status,
        200,
        "If-Range compares strongly"
    );
    let head = proxy
        .send(request(Method::HEAD, "/", &[("range", "bytes=0-3")], ""))
        .await;
    assert_eq!(head.status, 200, "a range means nothing on HEAD");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn if_match_is_the_app_s_to_judge() {
    let (upstream, proxy) = stored().await;
    proxy.get_with("/", &[("if-match", "\"other\"")]).await;
    assert_eq!(upstream.count(), 2);
    assert_eq!(upstream.last().header("if-match"), "\"other\"");
}
