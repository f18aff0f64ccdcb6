//! Requests that parsers could disagree about: refused, or settled in one way for all.

use tests::{Proxy, Upstream, raw_exchange, reply};

async fn proxy() -> (Upstream, Proxy) {
    let upstream = Upstream::start(async |seen: tests::Seen| reply(200).body(seen.body)).await;
    let proxy = Proxy::before(&upstream).await;
    (upstream, proxy)
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_the_connection_closed() {
    let (upstream, proxy) = proxy().await;
    for (about, raw) in [
        ("no Host", "GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a bad Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (
            "a Host with userinfo",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        ),
        (
            "absolute-form against Host",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "a list of lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nab",
        ),
        (
            "a signed length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        ),
        (
            "a negative length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
        ),
        (
            "an unknown transfer coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: rot13\r\n\r\n",
        ),
        (
            "chunked not last",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "obsolete folding",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
        ),
        ("a bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n"),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        ),
        (
            "an illegal name",
            "GET / HTTP/1.1\r\nHost: a\r\nX(y): 1\r\n\r\n",
        ),
        ("a NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
        ("no version", "GET /\r\nHost: a\r\n\r\n"),
        (
            "a bad chunk size",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ),
    ] {
        // Whatever follows must not be taken for a request.
        let with_tail = format!("{raw}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = raw_exchange(proxy.address, with_tail.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400") || text.starts_with("HTTP/1.1 501"),
            "{about}: {text}"
        );
        assert_eq!(
            text.matches("HTTP/1.1 ").count().min(2),
            usize::from(!text.is_empty()),
            "{about}: {text}"
        );
    }
    let smuggled = upstream
        .seen()
        .into_iter()
        .find(|seen| seen.target.contains("smuggled"));
    assert!(smuggled.is_none(), "{smuggled:?}");
}

#[tokio::test]
async fn content_length_beside_transfer_encoding_has_one_framing_upstream_and_nothing_after_it() {
    let (upstream, proxy) = proxy().await;
    let raw = "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
               5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = raw_exchange(proxy.address, raw.as_bytes()).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.matches("HTTP/1.1 ").count() <= 1, "{text}");
    let seen = upstream.seen();
    assert!(seen.len() <= 1, "{seen:?}");
    if let Some(one) = seen.first() {
        assert_eq!(one.body, "hello");
        let both = one.headers.contains_key("content-length")
            && one.headers.contains_key("transfer-encoding");
        assert!(!both, "{one:?}");
    }
}

#[tokio::test]
async fn a_bare_line_feed_ends_a_line_for_all_or_for_none() {
    let (upstream, proxy) = proxy().await;
    let raw = "GET /one HTTP/1.1\nHost: a\nX-A: b\nConnection: close\n\n";
    let answer = raw_exchange(proxy.address, raw.as_bytes()).await;
    let text = String::from_utf8_lossy(&answer);
    if text.starts_with("HTTP/1.1 200") {
        let seen = upstream.last();
        assert_eq!(
            (
                seen.target.as_str(),
                seen.header("x-a"),
                seen.header("host")
            ),
            ("/one", "b", "a")
        );
        assert_eq!(upstream.count(), 1);
    } else {
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
        assert_eq!(upstream.count(), 0);
    }
}

#[tokio::test]
async fn http_1_0_clients_get_no_chunks_and_a_closed_connection() {
    let upstream = Upstream::start(async |_| {
        let (sender, answer) = reply(200).stream();
        sender
            .send(Ok(http_body::Frame::data("streamed".into())))
            .expect("it is read");
        answer
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let answer = raw_exchange(proxy.address, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(
        text.starts_with("http/1.0 200") || text.starts_with("http/1.1 200"),
        "{text}"
    );
    assert!(!text.contains("transfer-encoding"), "{text}");
    assert!(text.ends_with("\r\n\r\nstreamed"), "{text}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(async |seen: tests::Seen| reply(200).body(seen.target)).await;
    let proxy = Proxy::before(&upstream).await;
    let raw =
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw_exchange(proxy.address, raw.as_bytes()).await;
    let text = String::from_utf8_lossy(&answer);
    let (one, two) = (text.find("/1"), text.find("/2"));
    assert!(one.is_some() && one < two, "{text}");
}
