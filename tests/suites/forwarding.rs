//! What goes on to the upstream, and what does not.

use http::Method;
use tests::client::request;
use tests::{Proxy, Seen, Upstream, raw_exchange, reply};

async fn echo() -> Upstream {
    Upstream::start(async |_| {
        reply(200)
            .header("connection", "x-private")
            .header("x-private", "1")
            .header("x-public", "2")
            .body("ok")
    })
    .await
}

#[tokio::test]
async fn fields_of_a_connection_stay_with_it() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream).await;
    let fields = [
        ("connection", "keep-alive, x-mine"),
        ("keep-alive", "timeout=5"),
        ("x-mine", "secret"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("x-kept", "yes"),
    ];
    let answer = proxy.get_with("/", &fields).await;
    let seen = upstream.last();
    for gone in ["keep-alive", "x-mine", "proxy-connection", "te"] {
        assert_eq!(seen.header(gone), "", "{gone}");
    }
    assert_eq!(seen.header("x-kept"), "yes");
    assert_eq!(
        (answer.header("x-private"), answer.header("x-public")),
        ("", "2")
    );
    assert!(
        seen.header("via").contains("pillion"),
        "{}",
        seen.header("via")
    );
    assert!(
        answer.header("via").contains("pillion"),
        "{}",
        answer.header("via")
    );
}

#[tokio::test]
async fn what_a_stranger_says_about_the_client_is_replaced() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream).await;
    let claims = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-real-ip", "1.2.3.4"),
        ("x-request-id", "forged"),
    ];
    proxy.get_with("/", &claims).await;
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.header("x-forwarded-proto"), "http");
    assert_eq!(seen.header("x-forwarded-host"), proxy.address.to_string());
    assert_ne!(seen.header("x-real-ip"), "1.2.3.4");
    assert_ne!(seen.header("x-request-id"), "forged");
    assert_eq!(
        seen.header("host"),
        proxy.address.to_string(),
        "Host is the client's"
    );
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_believed_and_added_to() {
    let upstream = echo().await;
    let proxy = Proxy::with(&upstream, "[forwarding]\ntrusted = [\"127.0.0.0/8\"]").await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let claims = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "known-1"),
        ("traceparent", trace),
    ];
    let answer = proxy.get_with("/", &claims).await;
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), "1.2.3.4, 127.0.0.1");
    assert_eq!(seen.header("x-forwarded-proto"), "https");
    assert_eq!(seen.header("x-request-id"), "known-1");
    assert_eq!(answer.header("x-request-id"), "known-1");
    assert!(
        seen.header("traceparent")
            .starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    );
}

#[tokio::test]
async fn a_loop_is_noticed() {
    // Pillion in front of itself: its listener is its own upstream.
    let folder = tests::proxy::Folder::new();
    let socket = folder.path().join("loop.sock");
    let proxy = Proxy::configured_in(
        folder,
        &format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"unix:{0}\"\n[upstream.app]\nurl = \"unix:{0}\"\n",
            socket.display()
        ),
    )
    .await;
    let answer = proxy.get("/").await;
    assert_eq!(answer.status, 502);
    assert!(
        answer
            .header("proxy-status")
            .contains("proxy_loop_detected"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn max_forwards_counts_down_and_options_star_is_forwarded() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream).await;
    let zero = proxy
        .send(request(Method::OPTIONS, "/", &[("max-forwards", "0")], ""))
        .await;
    assert_eq!((zero.status.as_u16(), upstream.count()), (200, 0));
    proxy
        .send(request(Method::OPTIONS, "/", &[("max-forwards", "5")], ""))
        .await;
    assert_eq!(upstream.last().header("max-forwards"), "4");
    let raw = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw_exchange(proxy.address, raw).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(upstream.last().target, "*");
}

#[tokio::test]
async fn trace_and_connect_are_refused() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream).await;
    for raw in [
        &b"TRACE / HTTP/1.1\r\nHost: x\r\nCookie: secret\r\nConnection: close\r\n\r\n"[..],
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw_exchange(proxy.address, raw).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 405"), "{text}");
        assert!(!text.contains("secret"));
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn unknown_methods_and_coded_request_bodies_are_relayed_untouched() {
    let upstream = Upstream::start(async |seen: Seen| reply(200).body(seen.body)).await;
    let proxy = Proxy::before(&upstream).await;
    let method = Method::from_bytes(b"PROPFIND").expect("a method");
    let coded: &[u8] = &[0x1f, 0x8b, 8, 0, 1, 2, 3];
    let answer = proxy
        .send(request(
            method,
            "/x",
            &[("content-encoding", "gzip")],
            coded,
        ))
        .await;
    assert_eq!(answer.body, coded);
    assert_eq!(upstream.last().header("content-encoding"), "gzip");
    assert_eq!(upstream.last().method.as_str(), "PROPFIND");
}

#[tokio::test]
async fn an_absolute_form_target_is_understood() {
    let upstream = echo().await;
    let proxy = Proxy::before(&upstream).await;
    let raw =
        b"GET http://shop.example/a?b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let answer = raw_exchange(proxy.address, raw).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(
        (
            upstream.last().target.as_str(),
            upstream.last().header("host")
        ),
        ("/a?b", "shop.example")
    );
}
