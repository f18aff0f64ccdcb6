//! What a 304 changes (RFC 9111 §3.2, §4.3.4).

use tests::{Answer, Proxy, Seen, Upstream, reply};

use super::Fields;

/// Stores what the upstream says first, lets it become stale, and has it confirmed with `confirmed`.
async fn updated(stored: Fields, confirmed: Fields) -> (tests::Fetched, tests::Fetched, usize) {
    let with = |status, fields: Fields| {
        fields.iter().fold(reply(status), |reply, (name, value)| {
            reply.header(name, value)
        })
    };
    let upstream = Upstream::start(move |seen: Seen| {
        let asks = seen.header("if-none-match").to_owned() + seen.header("if-modified-since");
        let answer: Answer = match asks.is_empty() {
            true => with(200, stored)
                .header("cache-control", "max-age=10")
                .body("content"),
            false => with(304, confirmed).empty(),
        };
        async { answer }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    proxy.advance(std::time::Duration::from_secs(20));
    let validated = proxy.get("/").await;
    let later = proxy.get("/").await;
    (validated, later, upstream.count())
}

#[tokio::test]
async fn its_fields_replace_stored_ones_in_this_answer_and_later_ones() {
    let (now, later, count) = updated(
        &[
            ("etag", "\"a\""),
            ("x-one", "old"),
            ("x-kept", "old"),
            ("x-list", "1"),
            ("x-list", "2"),
            ("content-type", "text/plain"),
            ("content-language", "en"),
            ("content-security-policy", "default-src *"),
        ],
        &[
            ("etag", "\"a\""),
            ("cache-control", "max-age=60"),
            ("x-one", "new"),
            ("x-more", "new"),
            ("x-list", "3"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("content-range", "bytes 0-1/7"),
            ("content-security-policy", "default-src 'none'"),
            ("content-location", "/new"),
            ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ],
    )
    .await;
    for answer in [now, later] {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "content"));
        for (name, value) in [
            ("x-one", "new"),
            ("x-more", "new"),
            ("x-kept", "old"),
            ("x-list", "3"),
            ("content-type", "text/plain"),
            ("content-length", "7"),
            ("content-language", "en"),
            ("content-security-policy", "default-src 'none'"),
            ("content-location", "/new"),
            ("cache-control", "max-age=60"),
            ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
            assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}");
        }
        assert!(!answer.headers.contains_key("content-encoding"));
        assert!(!answer.headers.contains_key("content-range"));
    }
    assert_eq!(count, 2, "freshness starts anew");
}

#[tokio::test]
async fn freshness_starts_anew_by_stored_fields_too() {
    let (now, later, count) =
        updated(&[("etag", "\"a\""), ("age", "5")], &[("etag", "\"a\"")]).await;
    assert!(
        now.header("cache-status").contains("fwd-status=304"),
        "{now:?}"
    );
    assert!(later.header("cache-status").contains("hit"), "{later:?}");
    assert_eq!(
        (later.header("age"), count),
        ("0", 2),
        "an Age of old is forgotten"
    );
    let (_, later, count) = updated(
        &[("etag", "\"a\"")],
        &[
            ("etag", "\"a\""),
            ("age", "9"),
            ("cache-control", "max-age=60"),
        ],
    )
    .await;
    assert_eq!(
        (later.header("age"), count),
        ("9", 2),
        "one of the 304's counts"
    );
}

#[tokio::test]
async fn a_tag_may_come_may_weaken_and_never_becomes_another() {
    const OLD: (&str, &str) = ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT");
    for (stored, confirmed, tag, requests) in [
        (
            &[("etag", "\"a\"")][..],
            &[("etag", "W/\"a\"")][..],
            "W/\"a\"",
            2,
        ),
        (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], "W/\"a\"", 2),
        (&[("etag", "\"a\"")], &[], "\"a\"", 2),
        (&[("etag", "\"a\""), OLD], &[OLD], "\"a\"", 2),
        // It is told of other content, so what is stored is given up.
        (&[("etag", "\"a\"")], &[("etag", "\"b\"")], "\"a\"", 3),
    ] {
        let (now, later, count) = updated(stored, confirmed).await;
        assert_eq!(
            (now.text(), now.header("etag")),
            ("content", tag),
            "{confirmed:?}"
        );
        assert_eq!(
            (later.text(), later.header("etag")),
            ("content", tag),
            "{confirmed:?}"
        );
        assert_eq!(count, requests, "{stored:?} {confirmed:?}");
    }
}

#[tokio::test]
async fn a_304_that_forbids_storing_ends_it() {
    for control in ["no-store", "private", "private, max-age=60"] {
        let confirmed: Fields =
            Box::leak(Box::new([("etag", "\"a\""), ("cache-control", control)]));
        let (now, later, count) = updated(&[("etag", "\"a\"")], confirmed).await;
        assert_eq!(
            (now.text(), now.header("cache-control")),
            ("content", control)
        );
        assert_eq!(
            (later.text(), later.header("cache-control")),
            ("content", "max-age=10")
        );
        assert_eq!(count, 3, "{control}: fetched anew");
    }
}
