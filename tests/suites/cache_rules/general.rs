//! What is relayed whatever it is (RFC 9110 §5.1, §9.1), and what is not repaired on the way.

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use tests::client::request;
use tests::{Proxy, Upstream};

use super::{Fields, World, reply_with};

#[tokio::test]
async fn unknown_methods_and_fields_are_relayed_both_ways() {
    let world = World::new().await;
    world.says(
        299,
        &[
            ("x-from-app", "1"),
            ("x-from-app", "\"2\""),
            ("frob-policy", "a;b=\"c\""),
        ],
        "content",
    );
    for method in ["FROB", "PROPFIND", "M-SEARCH", "get", "QUERY"] {
        let method: Method = method.parse().expect("a method");
        let fields: Fields = &[("x-to-app", "1"), ("x-to-app", "2"), ("frob", "a, \"b,c\"")];
        let sent = request(method.clone(), "/x", fields, "some content");
        let (answer, seen) = world.sees(world.proxy.send(sent)).await;
        assert_eq!(
            (&seen[0].method, &*seen[0].body),
            (&method, &b"some content"[..])
        );
        let lines = |headers: &http::HeaderMap, name: &str| -> Vec<String> {
            let lines = headers.get_all(name).iter();
            lines
                .map(|line| line.to_str().expect("ASCII").to_owned())
                .collect()
        };
        assert_eq!(lines(&seen[0].headers, "x-to-app"), ["1", "2"]);
        assert_eq!(lines(&seen[0].headers, "frob"), ["a, \"b,c\""]);
        assert_eq!((answer.status.as_u16(), answer.text()), (299, "content"));
        assert_eq!(lines(&answer.headers, "x-from-app"), ["1", "\"2\""]);
        assert_eq!(lines(&answer.headers, "frob-policy"), ["a;b=\"c\""]);
    }
}

/// "Never repair malformed tags": what is no tag is the upstream's to make something of.
#[tokio::test]
async fn malformed_conditions_go_upstream_as_they_are() {
    let upstream = Upstream::start(|_| async { reply_with(200, &[]).body("content") }).await;
    let proxy = Proxy::before(&upstream).await;
    for tag in [
        &b"unquoted"[..],
        b"w/\"a\"",
        b"W\\\"a\"",
        b"W\"a\"",
        b"\"a",
        b"\"\xe9\"",
        b"\xff\xfe",
        b"\"a\" \"b\"",
        b",,\"a\"",
    ] {
        for name in ["if-none-match", "if-match"] {
            let mut sent = Request::get("/")
                .body(Full::new(Bytes::new()))
                .expect("a request");
            let value = HeaderValue::from_bytes(tag).expect("a field's value");
            sent.headers_mut().insert(name, value);
            let answer = proxy.send(sent).await;
            assert_eq!(answer.status, 200, "{}", tag.escape_ascii());
            let seen = upstream.last();
            assert_eq!(seen.headers[name].as_bytes(), tag, "{}", tag.escape_ascii());
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_ascii_stay_as_they_are() {
    let odd = HeaderValue::from_bytes(b"\"\xe9\xff\"").expect("a field's value");
    let upstream = Upstream::start({
        let odd = odd.clone();
        move |seen| {
            let is_same = seen.headers.get("if-none-match") == Some(&odd);
            let fields: Fields = &[("cache-control", "max-age=10"), ("vary", "x-a")];
            let mut answer = match is_same {
                true => reply_with(304, fields).empty(),
                false => reply_with(200, fields).body("content"),
            };
            answer.headers_mut().insert("etag", odd.clone());
            answer.headers_mut().insert("x-odd", odd.clone());
            async move { answer }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for step in [0, 1, 20] {
        proxy.advance(std::time::Duration::from_secs(step));
        let answer = proxy.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "content"));
        for name in ["etag", "x-odd"] {
            assert_eq!(answer.headers[name], odd, "{name}");
        }
    }
    assert_eq!(upstream.count(), 2);
    assert_eq!(upstream.last().headers["if-none-match"], odd, "verbatim");
    let mut asks = Request::get("/")
        .body(Full::new(Bytes::new()))
        .expect("a request");
    asks.headers_mut().insert("if-none-match", odd.clone());
    assert_eq!(proxy.send(asks).await.status, 304);
    let mut other = Request::get("/")
        .body(Full::new(Bytes::new()))
        .expect("a request");
    other.headers_mut().insert("x-a", odd.clone());
    assert!(
        proxy
            .send(other)
            .await
            .header("cache-status")
            .contains("vary-miss")
    );
    assert_eq!(upstream.last().headers["x-a"], odd);
}

#[tokio::test]
async fn a_hit_leaves_date_and_expires_alone() {
    let world = World::new().await;
    world.says(
        200,
        &[("date", "@-5"), ("expires", "@+600"), ("etag", "\"a\"")],
        "content",
    );
    let first = world.get("/", &[]).await;
    world.advance(100);
    let (hit, seen) = world.sees(world.get("/", &[])).await;
    assert!(seen.is_empty());
    for name in ["date", "expires"] {
        assert_eq!(hit.header(name), first.header(name), "{name}");
        assert_eq!(hit.headers.get_all(name).iter().count(), 1);
    }
}

#[tokio::test]
async fn once_stale_no_status_is_reused() {
    let world = World::new().await;
    for status in [200, 301, 404, 503] {
        let target = format!("/{status}");
        world.says(
            status,
            &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
            "old",
        );
        world.get(&target, &[]).await;
        world.advance(11);
        world.says(
            status,
            &[("cache-control", "max-age=10"), ("etag", "\"b\"")],
            "new",
        );
        let (answer, seen) = world.sees(world.get(&target, &[])).await;
        assert_eq!((answer.text(), seen.len()), ("new", 1), "{status}");
    }
}
