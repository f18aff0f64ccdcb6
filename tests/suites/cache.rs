//! The shared cache: what the client gets, what the upstream sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use http_body::Frame;
use tests::client::request;
use tests::{Proxy, Seen, Upstream, reply, within};
use tokio::sync::Semaphore;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_fresh_response_is_served_with_age_and_cache_status() {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("cache-control", "max-age=60")
            .header("x-custom", "kept")
            .body("hello")
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let first = proxy.get("/a?b=c").await;
    assert_eq!(first.text(), "hello");
    let status = first.header("cache-status");
    assert!(status.starts_with("pillion; fwd=uri-miss"), "{status}");
    assert!(status.contains("stored"), "{status}");
    proxy.advance(secs(10));
    let second = proxy.get("/a?b=c").await;
    assert_eq!(second.text(), "hello");
    assert!(
        second.header("cache-status").starts_with("pillion; hit"),
        "{second:?}"
    );
    assert_eq!(second.header("x-custom"), "kept");
    let age: u64 = second.header("age").parse().expect("an Age");
    assert!((10..=25).contains(&age), "{age}");
    assert_eq!(second.headers.get_all("age").iter().count(), 1);
    assert_eq!(
        first.header("date"),
        second.header("date"),
        "the stored Date is replayed"
    );
    assert_eq!(upstream.count(), 1);
    // Once stale it is not reused without the upstream's word.
    proxy.advance(secs(60));
    proxy.get("/a?b=c").await;
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn without_explicit_freshness_or_last_modified_nothing_is_reused() {
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    let again = proxy.get("/").await;
    assert!(again.header("cache-status").contains("fwd="), "{again:?}");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_stored_get_answers_head_and_different_queries_differ() {
    let upstream = Upstream::start(async |seen: Seen| {
        reply(200)
            .header("cache-control", "max-age=60")
            .body(seen.target)
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    assert_eq!(proxy.get("/x?1").await.text(), "/x?1");
    assert_eq!(proxy.get("/x?2").await.text(), "/x?2");
    let head = proxy.send(request(Method::HEAD, "/x?1", &[], "")).await;
    assert_eq!(
        (head.status.as_u16(), head.header("content-length")),
        (200, "4")
    );
    assert!(head.header("cache-status").contains("hit"));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_stale_response_is_validated_and_freshened() {
    let upstream = Upstream::start(async |seen: Seen| {
        if seen.header("if-none-match") == "\"v1\"" {
            reply(304)
                .header("etag", "\"v1\"")
                .header("cache-control", "max-age=60")
                .header("x-new", "1")
                .empty()
        } else {
            reply(200)
                .header("etag", "\"v1\"")
                .header("cache-control", "max-age=60")
                .body("content")
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    proxy.advance(secs(61));
    let validated = proxy.get("/").await;
    assert_eq!(
        (validated.status.as_u16(), validated.text()),
        (200, "content")
    );
    assert_eq!(
        validated.header("x-new"),
        "1",
        "fields of the 304 replace stored ones"
    );
    assert_eq!(upstream.count(), 2);
    let hit = proxy.get("/").await;
    assert!(
        hit.header("cache-status").contains("hit"),
        "freshness restarts: {hit:?}"
    );
    assert_eq!(hit.header("x-new"), "1");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn stale_while_revalidate_serves_at_once_and_refreshes_once() {
    let gate = Arc::new(Semaphore::new(1));
    let count = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let (gate, count) = (gate.clone(), count.clone());
        move |_| {
            let (gate, count) = (gate.clone(), count.clone());
            async move {
                gate.acquire().await.expect("open").forget();
                let number = count.fetch_add(1, Ordering::SeqCst);
                reply(200)
                    .header("cache-control", "max-age=10, stale-while-revalidate=60")
                    .body(format!("version {number}"))
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    assert_eq!(proxy.get("/").await.text(), "version 0");
    proxy.advance(secs(20));
    // The upstream hangs, yet nobody waits.
    let answers = join_all((0..20).map(|_| proxy.get("/"))).await;
    assert!(answers.iter().all(|answer| answer.text() == "version 0"));
    upstream.wait_for(2).await;
    assert_eq!(upstream.count(), 2, "one background validation");
    gate.add_permits(1);
    let refreshed = async {
        while proxy.get("/").await.text() != "version 1" {
            tokio::task::yield_now().await;
        }
    };
    within("the refreshed response", refreshed).await;
    assert_eq!(upstream.count(), 2);
    // Not past lifetime + window.
    proxy.advance(secs(100));
    gate.add_permits(1);
    assert_eq!(proxy.get("/").await.text(), "version 2");
}

#[tokio::test]
async fn stale_if_error_covers_5xx_and_dropped_connections_and_must_revalidate_forbids_it() {
    for (control, served) in [
        ("max-age=10, stale-if-error=600", true),
        ("max-age=10, must-revalidate, stale-if-error=600", false),
    ] {
        let failing = Arc::new(AtomicUsize::new(0));
        let upstream = Upstream::start({
            let failing = failing.clone();
            move |_| {
                let failing = failing.load(Ordering::SeqCst) > 0;
                async move {
                    if failing {
                        reply(503).body("down")
                    } else {
                        reply(200).header("cache-control", control).body("good")
                    }
                }
            }
        })
        .await;
        let proxy = Proxy::before(&upstream).await;
        proxy.get("/").await;
        proxy.advance(secs(20));
        failing.store(1, Ordering::SeqCst);
        let answer = proxy.get("/").await;
        assert_eq!(
            answer.text(),
            if served { "good" } else { "down" },
            "{control}"
        );
        let _port = upstream.close().await;
        let gone = proxy.get("/").await;
        assert_eq!(
            gone.status.as_u16(),
            if served { 200 } else { 502 },
            "{control}"
        );
    }
}

#[tokio::test]
async fn two_hundred_cold_requests_reach_the_upstream_once() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.expect("open").forget();
                reply(200)
                    .header("cache-control", "max-age=60")
                    .body("x".repeat(100_000))
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let clients = join_all((0..200).map(|_| proxy.get("/")));
    let metrics = &proxy.running().shared().metrics;
    let release = async {
        upstream.wait_for(1).await;
        let all = async {
            while metrics.in_flight() < 200 {
                tokio::task::yield_now().await;
            }
        };
        within("all requests", all).await;
        gate.add_permits(200);
    };
    let (answers, ()) = tokio::join!(clients, release);
    assert!(answers.iter().all(|answer| answer.body.len() == 100_000));
    assert_eq!(upstream.count(), 1);
    let collapsed = answers
        .iter()
        .filter(|answer| answer.header("cache-status").contains("collapsed"))
        .count();
    // A core may have counted a request that it has not yet looked at.
    assert!(
        (190..200).contains(&collapsed),
        "{collapsed} {}",
        answers[0].header("cache-status")
    );
}

#[tokio::test]
async fn followers_read_while_the_leader_s_fill_is_under_way() {
    let (pieces, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::start(move |_| {
        let (sender, answer) = reply(200)
            .header("cache-control", "max-age=60")
            .header("content-length", "10")
            .stream();
        pieces.send(sender).expect("the test waits");
        async move { answer }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let mut leader = proxy.client().await;
    let first = leader
        .send(request(Method::GET, "/", &[], ""))
        .await
        .expect("a head");
    let piece = taken.recv().await.expect("asked");
    piece
        .send(Ok(Frame::data("01234".into())))
        .expect("it is read");
    let mut follower = proxy.client().await;
    let second = within(
        "the follower's head",
        follower.send(request(Method::GET, "/", &[], "")),
    )
    .await
    .expect("a head");
    // The leader's client goes; the fill goes on for the follower.
    drop((first, leader));
    piece
        .send(Ok(Frame::data("56789".into())))
        .expect("it is read");
    drop(piece);
    let body = http_body_util::BodyExt::collect(second.into_body());
    let body = within("the follower's content", body)
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, "0123456789");
    assert_eq!(upstream.count(), 1);
    let hit = proxy.get("/").await;
    assert!(hit.header("cache-status").contains("hit"), "{hit:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_reaches_the_client_so_and_is_not_stored() {
    let upstream = tests::RawUpstream::replying(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nonly this",
    )
    .await;
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
    for _ in 0..2 {
        let mut client = proxy.client().await;
        let answer = client.exchange(request(Method::GET, "/", &[], "")).await;
        let broken = answer.map_or(true, |answer| answer.status == 502);
        assert!(broken, "a truncated answer is not complete");
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn unsafe_methods_invalidate_their_target_and_errors_do_not() {
    let upstream = Upstream::start(async |seen: Seen| match seen.method.as_str() {
        "GET" => reply(200).header("cache-control", "max-age=600").body("x"),
        "DELETE" => reply(500).body("no"),
        _ => reply(204).header("location", "/other").empty(),
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/item").await;
    proxy.get("/other").await;
    proxy.send(request(Method::DELETE, "/item", &[], "")).await;
    assert!(
        proxy
            .get("/item")
            .await
            .header("cache-status")
            .contains("hit")
    );
    proxy.send(request(Method::PUT, "/item", &[], "new")).await;
    assert!(
        proxy
            .get("/item")
            .await
            .header("cache-status")
            .contains("fwd")
    );
    assert!(
        proxy
            .get("/other")
            .await
            .header("cache-status")
            .contains("fwd"),
        "Location as well"
    );
}

#[tokio::test]
async fn the_upstream_is_asked_for_identity_without_range_only_where_the_answer_may_be_stored() {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("content-type", "text/plain")
            .body("y".repeat(3000))
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy
        .get_with("/", &[("accept-encoding", "br, gzip")])
        .await;
    assert!(["", "identity"].contains(&upstream.last().header("accept-encoding")));
    let fields = [
        ("accept-encoding", "br, gzip"),
        ("if-none-match", "\"mine\""),
    ];
    proxy.send(request(Method::POST, "/", &fields, "x")).await;
    assert_eq!(
        upstream.last().header("accept-encoding"),
        "br, gzip",
        "a bypass forwards untouched"
    );
    assert_eq!(upstream.last().header("if-none-match"), "\"mine\"");
}

#[tokio::test]
async fn a_client_s_precondition_goes_upstream_while_nothing_is_stored() {
    let upstream = Upstream::start(async |seen: Seen| {
        if seen.header("if-none-match") == "\"v1\"" {
            reply(304)
                .header("etag", "\"v1\"")
                .header("cache-control", "max-age=60")
                .empty()
        } else {
            reply(200)
                .header("etag", "\"v1\"")
                .header("cache-control", "max-age=60")
                .body("content")
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let not_modified = proxy.get_with("/", &[("if-none-match", "\"v1\"")]).await;
    assert_eq!(not_modified.status, 304);
    let other = proxy.get("/").await;
    assert_eq!(
        (other.status.as_u16(), other.text()),
        (200, "content"),
        "a 304 goes to its client alone"
    );
    // Stored now: answered here.
    assert_eq!(
        proxy
            .get_with("/", &[("if-none-match", "W/\"v1\"")])
            .await
            .status,
        304
    );
    assert_eq!(upstream.count(), 2);
}

/// After a restart, every browser comes back with copies: they go on getting 304s, and yet the cache fills.
#[tokio::test]
async fn browsers_that_come_back_fill_an_empty_cache() {
    let upstream = Upstream::start(async |seen: Seen| {
        let status = if seen.header("if-none-match") == "\"v1\"" {
            304
        } else {
            200
        };
        let answer = reply(status)
            .header("etag", "\"v1\"")
            .header("cache-control", "max-age=60");
        if status == 304 {
            answer.empty()
        } else {
            answer.body("content")
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for _ in 0..4 {
        let answer = proxy.get_with("/", &[("if-none-match", "\"v1\"")]).await;
        assert_eq!(answer.status, 304);
    }
    assert_eq!(
        upstream.count(),
        2,
        "a 304, and then the whole; the rest is from the cache"
    );
}

#[tokio::test]
async fn clients_directives_are_obeyed_and_a_route_may_ignore_them() {
    for (toml, fresh) in [
        ("", false),
        ("[cache]\nclient_directives = \"ignore\"", true),
    ] {
        let upstream =
            Upstream::start(async |_| reply(200).header("cache-control", "max-age=60").body("x"))
                .await;
        let proxy = Proxy::with(&upstream, toml).await;
        let only = proxy
            .get_with("/", &[("cache-control", "only-if-cached")])
            .await;
        assert_eq!(only.status.as_u16(), if fresh { 200 } else { 504 });
        proxy.get("/").await;
        let before = upstream.count();
        proxy.get_with("/", &[("cache-control", "no-cache")]).await;
        assert_eq!(upstream.count() - before, usize::from(!fresh));
    }
}

#[tokio::test]
async fn a_purge_during_a_fetch_keeps_its_answer_out() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.expect("open").forget();
                reply(200)
                    .header("cache-control", "max-age=600")
                    .body("old")
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let host = proxy.address.to_string();
    let purge = async {
        upstream.wait_for(1).await;
        proxy.running().shared().cache.purge_uri(
            middleware::facts::Scheme::Http,
            &host,
            &http::Uri::from_static("/page"),
            middleware::cache::Purge::Hard,
        );
        gate.add_permits(10);
    };
    let (answer, ()) = tokio::join!(proxy.get("/page"), purge);
    assert_eq!(answer.text(), "old");
    let next = proxy.get("/page").await;
    assert!(next.header("cache-status").contains("fwd"), "{next:?}");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn http_2_clients_share_what_http_1_clients_stored() {
    let upstream =
        Upstream::start(async |_| reply(200).header("cache-control", "max-age=60").body("x")).await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    let stream = tokio::net::TcpStream::connect(proxy.address)
        .await
        .expect("it listens");
    let mut two = tests::Client::over_h2(stream, proxy.address.to_string()).await;
    let answer = two.get_with("/", &[]).await;
    assert!(answer.header("cache-status").contains("hit"), "{answer:?}");
    assert_eq!(upstream.count(), 1);
}
