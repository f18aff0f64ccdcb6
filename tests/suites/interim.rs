//! Interim responses (RFC 9110 §15.2): live, to the one client that waits, and never again.

use std::sync::Arc;

use http::Method;
use tests::client::request;
use tests::raw::read_head;
use tests::{Client, Proxy, RawUpstream, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Early: 1\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Final: 1\r\n";

/// Answers each request with `hints` at once, and with `answer` when the test permits it.
async fn hinting(hints: &'static str, answer: &'static str) -> (RawUpstream, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = RawUpstream::start({
        let permits = permits.clone();
        move |mut stream| {
            let permits = permits.clone();
            async move {
                while !read_head(&mut stream).await.is_empty() {
                    stream.write_all(hints.as_bytes()).await.ok();
                    permits.acquire().await.expect("open").forget();
                    stream.write_all(answer.as_bytes()).await.ok();
                }
                Vec::new()
            }
        }
    })
    .await;
    (upstream, permits)
}

async fn before(upstream: &RawUpstream, tables: &str) -> Proxy {
    let url = upstream.url();
    Proxy::configured(&format!("{tables}\n[upstream.app]\nurl = {url:?}\n")).await
}

async fn connect(proxy: &Proxy, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    stream.write_all(bytes.as_bytes()).await.expect("it reads");
    stream
}

async fn head(stream: &mut TcpStream) -> String {
    let head = within("a head", read_head(stream)).await;
    String::from_utf8(head).expect("text").to_ascii_lowercase()
}

async fn content(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    let read = within("content", stream.read_exact(&mut content)).await;
    read.expect("all of it");
    content
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_103_comes_before_the_upstream_has_sent_its_final_head() {
    let hints =
        format!("{HINTS}Connection: x-mine\r\nX-Mine: 1\r\nServer-Timing: db;dur=5\r\n\r\n");
    let (upstream, permits) = hinting(hints.leak(), format!("{OK}\r\nok").leak()).await;
    let proxy = before(&upstream, "").await;
    let mut client = connect(&proxy, GET).await;
    let early = head(&mut client).await;
    assert!(early.starts_with("http/1.1 103 early hints\r\n"), "{early}");
    assert!(
        early.contains("link: </style.css>; rel=preload\r\n"),
        "{early}"
    );
    assert!(early.contains("via: 1.1 pillion\r\n"), "{early}");
    for withheld in ["x-mine", "connection", "server-timing"] {
        assert!(!early.contains(withheld), "{early}");
    }
    permits.add_permits(1);
    let last = head(&mut client).await;
    assert!(last.starts_with("http/1.1 200"), "{last}");
    // "their fields never leak into the final response"
    assert!(
        !last.contains("x-early") && !last.contains("link:"),
        "{last}"
    );
    assert!(last.contains("x-final: 1"), "{last}");
    assert_eq!(content(&mut client, 2).await, b"ok");
}

#[tokio::test]
async fn all_come_in_order_and_before_an_answer_that_came_with_them() {
    let all = "HTTP/1.1 102 Processing\r\nX-N: 1\r\n\r\n\
               HTTP/1.1 103 Whatever\r\nX-N: 2\r\n\r\n\
               HTTP/1.1 199 Unknown\r\nX-N: 3\r\n\r\n\
               HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (upstream, permits) = hinting(all, "").await;
    permits.add_permits(1000);
    let proxy = before(&upstream, "").await;
    let mut client = connect(&proxy, "").await;
    for _ in 0..50 {
        client.write_all(GET.as_bytes()).await.expect("it reads");
        for (status, number) in [("102", "1"), ("103", "2"), ("199", "3")] {
            let head = head(&mut client).await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
            assert!(head.contains(&format!("x-n: {number}\r\n")), "{head}");
        }
        assert!(head(&mut client).await.starts_with("http/1.1 200"));
        assert_eq!(content(&mut client, 2).await, b"ok");
    }
}

#[tokio::test]
async fn a_server_must_not_send_a_1xx_to_an_http_1_0_client() {
    let (upstream, permits) =
        hinting(format!("{HINTS}\r\n").leak(), format!("{OK}\r\nok").leak()).await;
    permits.add_permits(2);
    let proxy = before(&upstream, "").await;
    let ask = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let mut client = connect(&proxy, ask).await;
    let last = head(&mut client).await;
    assert!(last.contains(" 200 ok\r\n"), "{last}");
    assert_eq!(content(&mut client, 2).await, b"ok");
    // On the same connection in HTTP/1.1 they come.
    client.write_all(GET.as_bytes()).await.expect("it reads");
    assert!(head(&mut client).await.contains(" 103 "));
}

#[tokio::test]
async fn an_http_2_client_gets_the_answer_without_them() {
    let (upstream, permits) =
        hinting(format!("{HINTS}\r\n").leak(), format!("{OK}\r\nok").leak()).await;
    permits.add_permits(1);
    let proxy = before(&upstream, "").await;
    let stream = TcpStream::connect(proxy.address).await.expect("it listens");
    let mut client = Client::over_h2(stream, "a".to_owned()).await;
    let answer = client.get_with("/", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
    assert_eq!(answer.header("x-early"), "");
}

#[tokio::test]
async fn a_hit_replays_none_and_a_follower_gets_none() {
    let answer = format!("{OK}Cache-Control: max-age=60\r\n\r\nok");
    let (upstream, permits) = hinting(format!("{HINTS}\r\n").leak(), answer.leak()).await;
    let proxy = before(&upstream, "").await;
    let mut leader = connect(&proxy, GET).await;
    assert!(head(&mut leader).await.contains(" 103 "));
    let mut follower = connect(&proxy, GET).await;
    permits.add_permits(1);
    for client in [&mut leader, &mut follower] {
        let last = head(client).await;
        assert!(
            last.contains(" 200 ") && !last.contains("x-early"),
            "{last}"
        );
        assert_eq!(content(client, 2).await, b"ok");
    }
    for client in [&mut leader, &mut follower] {
        client.write_all(GET.as_bytes()).await.expect("it reads");
        let hit = head(client).await;
        assert!(hit.contains(" 200 ") && hit.contains("; hit"), "{hit}");
        assert!(!hit.contains("x-early"), "{hit}");
        assert_eq!(content(client, 2).await, b"ok");
    }
}

#[tokio::test]
async fn a_validation_passes_them_on_and_one_in_the_background_does_not() {
    let answer = format!(
        "{OK}Cache-Control: max-age=10, stale-while-revalidate=10\r\nETag: \"a\"\r\n\r\nok"
    );
    let (upstream, permits) = hinting(format!("{HINTS}\r\n").leak(), answer.leak()).await;
    permits.add_permits(3);
    let proxy = before(&upstream, "").await;
    let mut client = connect(&proxy, GET).await;
    assert!(head(&mut client).await.contains(" 103 "));
    assert!(head(&mut client).await.contains(" 200 "));
    content(&mut client, 2).await;
    // Validated while the client waits.
    proxy.advance(std::time::Duration::from_secs(30));
    client.write_all(GET.as_bytes()).await.expect("it reads");
    assert!(head(&mut client).await.contains(" 103 "));
    assert!(head(&mut client).await.contains("fwd=stale"));
    content(&mut client, 2).await;
    // Served stale; what the upstream says meanwhile is nobody's.
    proxy.advance(std::time::Duration::from_secs(15));
    client.write_all(GET.as_bytes()).await.expect("it reads");
    assert!(head(&mut client).await.contains("detail=stale"));
    content(&mut client, 2).await;
    loop {
        client.write_all(GET.as_bytes()).await.expect("it reads");
        let hit = head(&mut client).await;
        assert!(hit.contains(" 200 "), "{hit}");
        content(&mut client, 2).await;
        if !hit.contains("detail=stale") {
            break;
        }
    }
}

#[tokio::test]
async fn pipelined_requests_get_theirs_each_before_its_own_answer() {
    let (upstream, permits) =
        hinting(format!("{HINTS}\r\n").leak(), format!("{OK}\r\nok").leak()).await;
    let proxy = before(&upstream, "").await;
    let mut client = connect(&proxy, &GET.repeat(3)).await;
    for _ in 0..3 {
        assert!(head(&mut client).await.contains(" 103 "));
        permits.add_permits(1);
        assert!(head(&mut client).await.contains(" 200 "));
        assert_eq!(content(&mut client, 2).await, b"ok");
    }
}

/// The 103 of the second request comes while most of the first answer is still unread, be it stored
/// (in one piece, which hyper takes whole) or streamed.
#[tokio::test]
async fn none_is_written_into_the_answer_before() {
    const LONG: usize = 6 << 20;
    for stored in ["max-age=60", "no-store"] {
        let hinted = Arc::new(Semaphore::new(0));
        let upstream = RawUpstream::start({
            let hinted = hinted.clone();
            move |mut stream| {
                let hinted = hinted.clone();
                async move {
                    loop {
                        let head = read_head(&mut stream).await;
                        if head.is_empty() {
                            return Vec::new();
                        }
                        if head.starts_with(b"GET /long") {
                            let head = format!(
                                "HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\nCache-Control: {stored}\r\n\r\n"
                            );
                            stream.write_all(head.as_bytes()).await.ok();
                            stream.write_all(&vec![b'x'; LONG]).await.ok();
                        } else {
                            stream.write_all(HINTS.as_bytes()).await.ok();
                            stream.write_all(b"\r\n").await.ok();
                            hinted.add_permits(1);
                            stream.write_all(OK.as_bytes()).await.ok();
                            stream.write_all(b"\r\nok").await.ok();
                        }
                    }
                }
            }
        })
        .await;
        let proxy = before(&upstream, "").await;
        if stored == "max-age=60" {
            proxy.get("/long").await;
        }
        let both = format!("{}{GET}", GET.replace("/ ", "/long "));
        let mut client = connect(&proxy, &both).await;
        if stored == "max-age=60" {
            // hyper has taken all of the first answer, and may have begun the second request.
            tokio::time::timeout(std::time::Duration::from_millis(200), hinted.acquire())
                .await
                .map(|permit| permit.expect("open").forget())
                .ok();
        }
        assert!(head(&mut client).await.contains(" 200 "), "{stored}");
        let long = content(&mut client, LONG).await;
        assert!(long.iter().all(|byte| *byte == b'x'), "{stored}");
        assert!(head(&mut client).await.contains(" 103 "), "{stored}");
        assert!(head(&mut client).await.contains(" 200 "), "{stored}");
        assert_eq!(content(&mut client, 2).await, b"ok");
    }
}

#[tokio::test]
async fn their_number_is_bounded() {
    let many = format!("{HINTS}\r\n").repeat(50);
    let (upstream, permits) = hinting(many.leak(), format!("{OK}\r\nok").leak()).await;
    permits.add_permits(2);
    let proxy = before(&upstream, "").await;
    let mut client = connect(&proxy, "").await;
    for _ in 0..2 {
        client.write_all(GET.as_bytes()).await.expect("it reads");
        let mut count = 0;
        let last = loop {
            let head = head(&mut client).await;
            if !head.contains(" 103 ") {
                break head;
            }
            count += 1;
        };
        assert!(last.starts_with("http/1.1 200"), "{last}");
        assert_eq!(content(&mut client, 2).await, b"ok");
        assert_eq!(count, 32);
    }
}

#[tokio::test]
async fn a_long_one_is_let_go_and_a_malformed_one_ends_the_exchange() {
    let long = format!("{HINTS}X-Long: {}\r\n\r\n", "x".repeat(20 << 10));
    let (upstream, permits) = hinting(long.leak(), format!("{OK}\r\nok").leak()).await;
    permits.add_permits(1);
    let proxy = before(&upstream, "").await;
    let mut client = connect(&proxy, GET).await;
    assert!(head(&mut client).await.starts_with("http/1.1 200"));

    for injected in [
        "X-A: 1\rSet-Cookie: a=b\r\n",
        "X-A: 1\0\r\n",
        "X A: 1\r\n",
        " folded\r\n",
    ] {
        let malformed = format!("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n{injected}\r\n");
        let (upstream, permits) = hinting(malformed.leak(), format!("{OK}\r\nok").leak()).await;
        permits.add_permits(1);
        let proxy = before(&upstream, "").await;
        let mut client = connect(&proxy, GET).await;
        let answer = head(&mut client).await;
        assert!(answer.starts_with("http/1.1 502"), "{injected:?} {answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
}

#[tokio::test]
async fn the_100_of_an_expectation_stays_one_and_others_come_beside_it() {
    let upstream = RawUpstream::start(|mut stream| async move {
        let head = read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\nX-N: 1\r\n\r\n")
            .await
            .ok();
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .ok();
        let mut content = [0; 5];
        stream.read_exact(&mut content).await.ok();
        stream
            .write_all(b"HTTP/1.1 102 Processing\r\n\r\n")
            .await
            .ok();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .await
            .ok();
        stream.write_all(&content).await.ok();
        head
    })
    .await;
    let proxy = before(&upstream, "").await;
    let ask = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = connect(&proxy, ask).await;
    let mut early = [head(&mut client).await, head(&mut client).await];
    early.sort_unstable();
    assert_eq!(early[0], "http/1.1 100 continue\r\n\r\n");
    assert!(early[1].contains(" 103 "), "{early:?}");
    client.write_all(b"hello").await.expect("it reads");
    assert!(head(&mut client).await.contains(" 102 "));
    assert!(head(&mut client).await.contains(" 200 "));
    assert_eq!(content(&mut client, 5).await, b"hello");
}

#[tokio::test]
async fn a_101_with_a_103_before_it_is_still_a_tunnel() {
    let upstream = RawUpstream::start(|mut stream| async move {
        let head = read_head(&mut stream).await;
        stream
            .write_all(format!("{HINTS}\r\n").as_bytes())
            .await
            .ok();
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(answer).await.ok();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
        head
    })
    .await;
    let proxy = before(&upstream, "").await;
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let mut client = connect(&proxy, ask).await;
    assert!(head(&mut client).await.contains(" 103 "));
    assert!(head(&mut client).await.contains(" 101 "));
    client.write_all(b"hello").await.expect("it reads");
    assert_eq!(content(&mut client, 5).await, b"hello");
}

#[tokio::test]
async fn they_can_be_switched_off() {
    let (upstream, permits) =
        hinting(format!("{HINTS}\r\n").leak(), format!("{OK}\r\nok").leak()).await;
    permits.add_permits(1);
    let proxy = before(&upstream, "[forwarding]\ninterim = false").await;
    let mut client = connect(&proxy, GET).await;
    assert!(head(&mut client).await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_client_library_hears_them() {
    let (upstream, permits) =
        hinting(format!("{HINTS}\r\n").leak(), format!("{OK}\r\nok").leak()).await;
    let proxy = before(&upstream, "").await;
    let mut client = proxy.client().await;
    let mut ask = request(Method::GET, "/", &[], "");
    let permits_in_callback = permits.clone();
    // The upstream answers only once the client has heard.
    hyper::ext::on_informational(&mut ask, move |early| {
        assert_eq!(early.headers()["x-early"], "1");
        permits_in_callback.add_permits(1);
    });
    let answer = within("an answer", client.exchange(ask))
        .await
        .expect("whole");
    assert_eq!(answer.text(), "ok");
}
