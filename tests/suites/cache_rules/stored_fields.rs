//! What is stored and replayed (RFC 9111 §3.1), and how much of it (RFC 9110 §8.6).

use std::time::Duration;

use http::Method;
use tests::client::request;
use tests::{Proxy, RawUpstream, raw_exchange};

use super::{Fields, World};

#[tokio::test]
async fn every_field_is_replayed_but_those_of_a_connection() {
    let world = World::new().await;
    world.says(
        200,
        &[
            ("cache-control", "max-age=60, unknown=\"x\""),
            ("x-unknown", "1"),
            ("x-unknown", "2"),
            ("x-empty", ""),
            ("link", "</a>; rel=next"),
            ("link", "</b>; rel=prev"),
            ("strict-transport-security", "max-age=1"),
            ("pragma", "no-cache"),
            ("warning", "199 - \"x\""),
            ("date", "@-5"),
            ("connection", "x-listed"),
            ("x-listed", "gone"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
        ],
        "content",
    );
    let first = world.get("/", &[]).await;
    let second = world.get("/", &[]).await;
    assert_eq!(world.upstream.count(), 1);
    for name in [
        "x-unknown",
        "x-empty",
        "link",
        "strict-transport-security",
        "pragma",
        "warning",
        "date",
    ] {
        let lines = |answer: &tests::Fetched| -> Vec<_> {
            answer.headers.get_all(name).iter().cloned().collect()
        };
        assert!(!lines(&first).is_empty(), "{name}");
        assert_eq!(lines(&first), lines(&second), "{name}");
    }
    for name in [
        "x-listed",
        "keep-alive",
        "proxy-connection",
        "proxy-authentication-info",
        "proxy-authorization",
        "te",
        "upgrade",
    ] {
        assert!(!second.headers.contains_key(name), "{name} in {second:?}");
    }
    assert!(!second.headers.contains_key("proxy-authenticate"));
}

#[tokio::test]
async fn age_is_received_plus_resident_time_and_date_stays() {
    let world = World::new().await;
    world.says(
        200,
        &[
            ("cache-control", "max-age=600"),
            ("age", "100"),
            ("date", "@-10"),
        ],
        "x",
    );
    let first = world.get("/", &[]).await;
    for (step, least) in [(0, 100), (50, 150), (50, 200)] {
        world.advance(step);
        let hit = world.get("/", &[]).await;
        let age: u64 = hit.header("age").parse().expect("a number");
        assert!((least..least + 5).contains(&age), "{age}");
        assert_eq!(hit.headers.get_all("age").iter().count(), 1);
        assert_eq!(hit.header("date"), first.header("date"));
    }
}

#[tokio::test]
async fn members_of_cache_status_from_upstream_stay_before_ours() {
    let world = World::new().await;
    world.says(
        200,
        &[
            ("cache-control", "max-age=60"),
            ("cache-status", "inner; hit; ttl=9"),
        ],
        "x",
    );
    let fetched = world.get("/", &[]).await;
    let hit = world.get("/", &[]).await;
    let told = |answer: &tests::Fetched| -> String {
        let lines: Vec<_> = answer
            .headers
            .get_all("cache-status")
            .iter()
            .map(|line| line.to_str().expect("ASCII").to_owned())
            .collect();
        lines.join(", ")
    };
    let (fetched, hit) = (told(&fetched), told(&hit));
    assert!(
        fetched.starts_with("inner; hit; ttl=9, pillion; fwd=uri-miss; fwd-status=200"),
        "{fetched}"
    );
    assert!(
        hit.starts_with("inner; hit; ttl=9, pillion; hit; ttl="),
        "{hit}"
    );
}

#[tokio::test]
async fn cache_status_says_what_was_done() {
    const FRESH: Fields = &[
        ("cache-control", "max-age=60, stale-if-error=60"),
        ("etag", "\"a\""),
    ];
    let world = World::new().await;
    let told = async |fields| {
        world
            .get("/", fields)
            .await
            .header("cache-status")
            .to_owned()
    };
    world.says(200, FRESH, "x");
    let miss = told(&[]).await;
    assert!(
        miss.contains("fwd=uri-miss") && miss.contains("stored") && miss.contains("ttl=60"),
        "{miss}"
    );
    world.advance(20);
    let hit = told(&[]).await;
    assert!(
        hit.starts_with("pillion; hit; ttl=40") || hit.starts_with("pillion; hit; ttl=39"),
        "{hit}"
    );
    let asked = told(&[("cache-control", "no-cache")]).await;
    assert!(
        asked.contains("fwd=request") && asked.contains("fwd-status=304"),
        "{asked}"
    );
    world.advance(61);
    let stale = told(&[]).await;
    assert!(
        stale.contains("fwd=stale") && stale.contains("fwd-status=304"),
        "{stale}"
    );
    world.advance(70);
    world.says(503, &[], "");
    let error = told(&[]).await;
    assert!(
        error.contains("fwd=stale; fwd-status=503; ttl=-") && error.contains("stale-if-error"),
        "{error}"
    );
}

#[tokio::test]
async fn more_than_was_declared_is_cut_off_and_the_connection_is_not_used_again() {
    let upstream = RawUpstream::replying(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    )
    .await;
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
    for target in ["/", "/", "/other"] {
        assert_eq!(proxy.get(target).await.text(), "good");
    }
}

#[tokio::test]
async fn less_than_was_declared_is_broken_off_and_not_stored() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 99999\r\n\r\nshort",
    ] {
        let upstream = RawUpstream::replying(answer).await;
        let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
        for _ in 0..2 {
            let mut client = proxy.client().await;
            let answer = client.exchange(request(Method::GET, "/", &[], "")).await;
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 502));
        }
        assert_eq!(upstream.received().len(), 2, "nothing of it is stored");
    }
}

#[tokio::test]
async fn trailers_are_not_merged_into_the_header_section() {
    let upstream = RawUpstream::replying(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Late: 1\r\nSet-Cookie: a=b\r\n\r\n",
    )
    .await;
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
    for _ in 0..2 {
        let answer = proxy.get("/").await;
        assert_eq!(answer.text(), "body");
        assert!(
            !answer.headers.contains_key("x-late") && !answer.headers.contains_key("set-cookie")
        );
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_told_of_not_dropped() {
    let proxy = Proxy::configured("[upstream.app]\nurl = \"http://127.0.0.1:1\"\n").await;
    let bytes = tests::within(
        "an answer",
        raw_exchange(
            proxy.address,
            b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        ),
    )
    .await;
    assert!(
        bytes.starts_with(b"HTTP/1.1 502"),
        "{}",
        bytes.escape_ascii()
    );
    proxy.advance(Duration::from_secs(1));
}
