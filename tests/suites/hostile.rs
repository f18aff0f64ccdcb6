//! Clients and upstreams that mean harm, byte by byte and frame by frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, frame,
    literal,
};
use tests::raw::read_head;
use tests::{Proxy, RawUpstream, Seen, Upstream, raw_exchange, reply, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn echo() -> (Upstream, Proxy) {
    let upstream = Upstream::start(async |seen: Seen| reply(200).body(seen.body)).await;
    let proxy = Proxy::before(&upstream).await;
    (upstream, proxy)
}

async fn before(upstream: &RawUpstream, toml: &str) -> Proxy {
    let url = upstream.url();
    Proxy::configured(&format!("{toml}\n[upstream.app]\nurl = {url:?}\n")).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a");
const PATH: (&str, &str) = (":path", "/");

#[tokio::test]
async fn http_2_heads_that_would_mean_something_else_in_http_1_go_nowhere() {
    let (upstream, proxy) = echo().await;
    let with = |field| vec![METHOD, SCHEME, AUTHORITY, PATH, field];
    let asking = |path| vec![METHOD, SCHEME, AUTHORITY, (":path", path)];
    let at = |authority| vec![METHOD, SCHEME, (":authority", authority), PATH];
    for fields in [
        with(("x", "a\r\nGET /smuggled HTTP/1.1")),
        with(("x", "a\nb")),
        with(("x", "a\rb")),
        with(("x", "a\0b")),
        with(("x\r\ny", "a")),
        with(("x y", "a")),
        with(("x:y", "a")),
        with(("", "a")),
        with(("X", "a")),
        with(("transfer-encoding", "chunked")),
        with(("connection", "x")),
        with(("upgrade", "websocket")),
        with(("keep-alive", "timeout=5")),
        with(("proxy-connection", "x")),
        with(("te", "gzip")),
        with(("content-length", "5")),
        with(("content-length", "+0")),
        with(("content-length", "0, 0")),
        with(("host", "b")),
        with((":path", "/two")),
        with((":method", "POST")),
        with((":authority", "b")),
        with((":status", "200")),
        with((":unknown", "x")),
        vec![METHOD, SCHEME, AUTHORITY],
        vec![SCHEME, AUTHORITY, PATH],
        vec![METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        vec![METHOD, SCHEME, PATH],
        vec![("method", "GET"), SCHEME, AUTHORITY, PATH],
        vec![
            (":method", "GET / HTTP/1.1\r\nX: y"),
            SCHEME,
            AUTHORITY,
            PATH,
        ],
        vec![(":method", "CONNECT"), AUTHORITY],
        vec![
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            SCHEME,
            AUTHORITY,
            PATH,
        ],
        vec![METHOD, (":scheme", "http://b/?"), AUTHORITY, PATH],
        vec![METHOD, (":scheme", "file"), AUTHORITY, PATH],
        asking(""),
        asking("*"),
        asking("x"),
        asking("/a b"),
        asking("/ HTTP/1.1\r\nX: y"),
        asking("/a\tb"),
        asking("/\u{e9}"),
        asking("http://b/"),
        asking("@b/"),
        at(""),
        at("u@a"),
        at("a/b"),
        at("a b"),
        at("a\r\nx: y"),
        at("a, b"),
    ] {
        let mut client = Frames::connect(proxy.address, &[]).await;
        client.headers(1, END_STREAM, &fields).await;
        // A well-formed request behind it is answered, or the whole connection refused.
        client.get(3, "/after").await;
        within("an answer", client.find(HEADERS, 3)).await;
        let seen = upstream.seen();
        let wrong = seen.iter().find(|seen| seen.target != "/after");
        assert!(wrong.is_none(), "{fields:?}: {wrong:?}");
    }
    assert!(upstream.count() > 0);
}

#[tokio::test]
async fn http_2_content_of_another_length_than_declared_is_no_whole_request() {
    let (upstream, proxy) = echo().await;
    for (declared, content) in [
        ("5", "abc"),
        ("3", "abcGET /smuggled HTTP/1.1\r\n\r\n"),
        ("0", "x"),
    ] {
        let mut client = Frames::connect(proxy.address, &[]).await;
        let fields = [
            (":method", "POST"),
            SCHEME,
            AUTHORITY,
            PATH,
            ("content-length", declared),
        ];
        // In one write: were the content late, the upstream would have seen the head, as it should.
        let head = frame(HEADERS, END_HEADERS, 1, &literal(&fields));
        let content = frame(DATA, END_STREAM, 1, content.as_bytes());
        client.bytes(&[head, content].concat()).await;
        client.get(3, "/after").await;
        within("an answer", client.find(HEADERS, 3)).await;
    }
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.target == "/after"), "{seen:?}");
}

#[tokio::test]
async fn split_cookies_are_one_line_in_http_1() {
    let (upstream, proxy) = echo().await;
    let mut client = Frames::connect(proxy.address, &[]).await;
    let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    let fields = [&[METHOD, SCHEME, AUTHORITY, PATH][..], &cookies].concat();
    client.headers(1, END_STREAM, &fields).await;
    within("an answer", client.find(HEADERS, 1)).await;
    let seen = upstream.last();
    assert_eq!(seen.headers.get_all("cookie").iter().count(), 1, "{seen:?}");
    assert_eq!(seen.header("cookie"), "a=1; b=2; c=3");
}

/// Answers every request with its own bytes as they came, on one connection after the other.
async fn mirror() -> RawUpstream {
    RawUpstream::start(|mut stream| async move {
        let mut all = read_head(&mut stream).await;
        let mut rest = [0; 4096];
        while !all.ends_with(b"\r\n\r\n")
            || all.windows(5).filter(|five| five == b"\r\n0\r\n").count() == 0
        {
            match stream.read(&mut rest).await {
                Ok(count) if count > 0 => all.extend_from_slice(&rest[..count]),
                _ => break,
            }
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.ok();
        all
    })
    .await
}

const FORBIDDEN_TRAILERS: [(&str, &str); 8] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x_forwarded_for", "127.0.0.1"),
    ("authorization", "Basic YTpi"),
    ("cookie", "admin=1"),
    ("host", "evil.example"),
    ("content-length", "0"),
    ("forwarded", "for=127.0.0.1"),
    ("x-request-id", "mine"),
];

#[tokio::test]
async fn trailers_of_a_request_bring_nothing_that_was_taken_from_its_head() {
    let upstream = mirror().await;
    let proxy = before(&upstream, "").await;
    // HTTP/2.
    let names: Vec<&str> = FORBIDDEN_TRAILERS.iter().map(|(name, _)| *name).collect();
    let announced = format!("{}, x-sum", names.join(", "));
    let mut client = Frames::connect(proxy.address, &[]).await;
    let fields = [
        (":method", "POST"),
        SCHEME,
        AUTHORITY,
        PATH,
        ("trailer", announced.as_str()),
    ];
    client.headers(1, 0, &fields).await;
    client.send(DATA, 0, 1, b"content").await;
    let trailers = [&FORBIDDEN_TRAILERS[..], &[("x-sum", "1")]].concat();
    client.headers(1, END_STREAM, &trailers).await;
    within("an answer", client.find(HEADERS, 1)).await;
    // HTTP/1.1.
    let mut raw = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: {announced}\r\n\r\n7\r\ncontent\r\n0\r\n"
    );
    for (name, value) in &trailers {
        raw.push_str(&format!("{name}: {value}\r\n"));
    }
    raw.push_str("\r\n");
    raw_exchange(proxy.address, raw.as_bytes()).await;
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    for bytes in received {
        let all = text(&bytes).to_ascii_lowercase();
        let (_, content) = all.split_once("\r\n\r\n").expect("a head");
        assert!(content.contains("content"), "{all}");
        assert!(content.contains("x-sum: 1"), "harmless ones pass: {all}");
        for (name, _) in FORBIDDEN_TRAILERS {
            assert!(!content.contains(&format!("{name}:")), "{name} in {all}");
        }
    }
}

#[tokio::test]
async fn trailers_of_an_answer_set_no_cookies() {
    let upstream = RawUpstream::replying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: set-cookie, x-sum\r\n\r\n\
          2\r\nhi\r\n0\r\nSet-Cookie: a=b\r\nContent-Length: 1\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let proxy = before(&upstream, "").await;
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te, close\r\n\r\n";
    let answer = text(&raw_exchange(proxy.address, ask).await).to_ascii_lowercase();
    assert!(answer.contains("x-sum: 1"), "{answer}");
    assert!(!answer.contains("a=b"), "{answer}");
}

#[tokio::test]
async fn http_2_is_not_smuggled_through_an_upgrade() {
    let (upstream, proxy) = echo().await;
    for upgrade in ["h2c", "H2C", "h2c, ,", " h2c "] {
        let raw = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
             Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        let answer = text(&raw_exchange(proxy.address, raw.as_bytes()).await);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = upstream.last();
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(!seen.headers.contains_key(name), "{upgrade}: {seen:?}");
        }
    }
    // Among others, it alone is left out.
    let raw = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
               Upgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    raw_exchange(proxy.address, raw.as_bytes()).await;
    let seen = upstream.last();
    assert_eq!(seen.header("upgrade"), "websocket");
    assert!(!seen.headers.contains_key("http2-settings"), "{seen:?}");
}

#[tokio::test]
async fn what_an_upstream_sends_behind_its_answer_is_nobody_elses() {
    let upstream = RawUpstream::start(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return head;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine\
                           HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
            stream.write_all(answer).await.ok();
        }
    })
    .await;
    let proxy = before(&upstream, "").await;
    for _ in 0..50 {
        let fetched = proxy.get("/").await;
        let content = fetched.text();
        assert!(
            content == "mine" || fetched.status == 502,
            "{} {content}",
            fetched.status
        );
    }
}

#[tokio::test]
async fn an_upstreams_ambiguous_framing_becomes_one_or_none() {
    for (about, head, content) in [
        (
            "two lengths",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "abc",
        ),
        ("a list of lengths", "Content-Length: 2, 3\r\n", "abc"),
        ("a negative length", "Content-Length: -2\r\n", "abc"),
        ("a signed length", "Content-Length: +2\r\n", "abc"),
        (
            "a length beside chunks",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "chunked not last",
            "Transfer-Encoding: chunked, identity\r\n",
            "2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "a folded line",
            "X: a\r\n Content-Length: 1\r\nContent-Length: 2\r\n",
            "ab",
        ),
        (
            "a bare CR",
            "X: a\rContent-Length: 1\r\nContent-Length: 2\r\n",
            "ab",
        ),
        ("a NUL", "X: a\0\r\nContent-Length: 2\r\n", "ab"),
        (
            "a space before the colon",
            "Content-Length : 1\r\nContent-Length: 2\r\n",
            "ab",
        ),
        (
            "a huge chunk",
            "Transfer-Encoding: chunked\r\n",
            "ffffffffffffffff1\r\nab\r\n0\r\n\r\n",
        ),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n{content}");
        let answer: &'static [u8] = Box::leak(answer.into_bytes().into_boxed_slice());
        let upstream = RawUpstream::replying(answer).await;
        let proxy = before(&upstream, "").await;
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let seen = text(&raw_exchange(proxy.address, ask).await).to_ascii_lowercase();
        let (fields, _) = seen.split_once("\r\n\r\n").expect("an answer");
        assert_eq!(seen.matches("http/1.1 ").count(), 1, "{about}: {seen}");
        let lengths = fields.matches("\r\ncontent-length:").count();
        let codings = fields.matches("\r\ntransfer-encoding:").count();
        assert!(lengths + codings <= 1, "{about}: {seen}");
        assert!(
            !fields.contains('\0') && !fields.replace("\r\n", "").contains('\r'),
            "{about}: {seen}"
        );
    }
}

/// Holds answers: each stream's content is larger than any window, and is counted while it is held.
async fn holding() -> (Upstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let upstream = Upstream::start(move |seen: Seen| {
        let is_large = seen.target.starts_with("/large");
        count.fetch_add(usize::from(is_large), Ordering::Relaxed);
        async move {
            if is_large {
                return reply(200).body(vec![b'x'; 4 << 20]);
            }
            reply(200).body("ok")
        }
    })
    .await;
    (upstream, asked)
}

#[tokio::test]
async fn streams_that_are_never_read_do_not_live_on_pings_and_other_streams() {
    for window in [0, 1, 65_535] {
        let (upstream, asked) = holding().await;
        let proxy = Proxy::with(&upstream, "[limits]\nheader_time = \"2s\"\nidle = \"2s\"").await;
        // SETTINGS_INITIAL_WINDOW_SIZE
        let mut client = Frames::connect(proxy.address, &[(4, window)]).await;
        for stream in 0..5 {
            client.get(1 + 2 * stream, "/large").await;
        }
        let mut stream = 11;
        let closed = async {
            // Always something moves.
            loop {
                client.send(PING, 0, 0, b"12345678").await;
                if !client.get(stream, "/small").await {
                    break;
                }
                stream += 2;
                let read = tokio::time::timeout(Duration::from_millis(50), async {
                    while client.next().await.is_some() {}
                });
                if read.await.is_ok() {
                    break;
                }
            }
        };
        within("the close", closed).await;
        assert_eq!(asked.load(Ordering::Relaxed), 5, "window {window}");
    }
}

#[tokio::test]
async fn a_slow_reader_of_one_stream_is_not_cut_while_it_reads() {
    let (upstream, _) = holding().await;
    let proxy = Proxy::with(&upstream, "[limits]\nidle = \"2s\"").await;
    let mut client = Frames::connect(proxy.address, &[]).await;
    client.get(1, "/large").await;
    let mut seen = 0;
    // Ten seconds, five times `idle`, a piece of 40 KiB at a time.
    for _ in 0..40 {
        for stream in [0, 1] {
            client.send(8, 0, stream, &40_960_u32.to_be_bytes()).await;
        }
        let read = tokio::time::timeout(Duration::from_millis(250), async {
            while let Some(frame) = client.next().await {
                assert!(![RST_STREAM, GOAWAY].contains(&frame.kind), "{frame:?}");
                seen += if frame.kind == DATA {
                    frame.payload.len()
                } else {
                    0
                };
            }
        });
        assert!(read.await.is_err(), "the connection stays");
    }
    assert!(seen > 40 * 40_960, "{seen}");
}

#[tokio::test]
async fn requests_taken_back_one_by_one_send_the_client_away() {
    let upstream = Upstream::start(async |seen: Seen| {
        if seen.target == "/wait" {
            std::future::pending::<()>().await;
        }
        reply(200).empty()
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let mut client = Frames::connect(proxy.address, &[]).await;
    let mut taken = 0;
    let gone = async {
        for number in 0..5_000_u32 {
            let stream = 1 + 4 * number;
            client.get(stream, "/wait").await;
            // Its answer comes only when the one before it is under way: this is no burst.
            client.send(PING, 0, 0, b"12345678").await;
            if client.find(PING, 0).await.is_none() {
                break;
            }
            client
                .send(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
                .await;
            taken += 1;
        }
    };
    within("the close", gone).await;
    assert!((100..2_000).contains(&taken), "{taken}");
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let (upstream, proxy) = echo().await;
    let mut client = Frames::connect(proxy.address, &[]).await;
    let fields = [METHOD, SCHEME, AUTHORITY, PATH];
    client.send(HEADERS, 0, 1, &literal(&fields)).await;
    let more = literal(&[("x", &"v".repeat(8 << 10))]);
    let mut sent = 0;
    while sent < 20_000 && client.send(CONTINUATION, 0, 1, &more).await {
        sent += 1;
    }
    assert!(sent < 20_000);
    // Empty ones count as well.
    let mut client = Frames::connect(proxy.address, &[]).await;
    client.send(HEADERS, 0, 1, &literal(&fields)).await;
    let mut sent = 0;
    while sent < 1_000_000 && client.send(CONTINUATION, 0, 1, b"").await {
        sent += 1;
    }
    assert!(sent < 1_000_000);
    assert_eq!(upstream.count(), 0);
    let mut client = Frames::connect(proxy.address, &[]).await;
    client
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &literal(&fields))
        .await;
    within("an answer", client.find(HEADERS, 1))
        .await
        .expect("others are served");
}

#[tokio::test]
async fn a_slow_head_is_told_so_and_silence_is_not() {
    let (_upstream, proxy) = {
        let upstream = Upstream::start(async |_| reply(200).body("ok")).await;
        let proxy = Proxy::with(&upstream, "[limits]\nheader_time = \"1s\"").await;
        (upstream, proxy)
    };
    for (begin, expected) in [
        ("", ""),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", "HTTP/1.1 408 "),
        ("PRI * HTTP/2.0\r\n\r\nSM", ""),
    ] {
        let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
        stream.write_all(begin.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        within("the close", stream.read_to_string(&mut answer))
            .await
            .expect("a clean close");
        assert!(answer.starts_with(expected), "{begin:?}: {answer}");
        assert_eq!(
            answer.is_empty(),
            expected.is_empty(),
            "{begin:?}: {answer}"
        );
    }
    // A second head, behind an answer.
    let mut stream = TcpStream::connect(proxy.address).await.expect("it listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("it reads");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("an answer");
    stream.write_all(b"GET / HT").await.expect("it reads");
    let mut answer = String::new();
    within("the close", stream.read_to_string(&mut answer))
        .await
        .expect("a clean close");
    assert!(answer.contains("okHTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn content_that_nobody_reads_is_not_the_next_request() {
    let upstream =
        Upstream::start(async |_| reply(200).header("cache-control", "max-age=60").body("ok"))
            .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/cached").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len();
    let large = 1 << 20;
    for head in [
        "GET /cached HTTP/1.1\r\nHost: a\r\n",
        "HEAD /cached HTTP/1.1\r\nHost: a\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n",
        "GET /cached HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n",
    ] {
        for content in [
            format!("Content-Length: {length}\r\n\r\n{smuggled}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"),
            format!("Content-Length: {large}\r\n\r\n{smuggled}"),
        ] {
            let raw = format!("{head}{content}");
            raw_exchange(proxy.address, raw.as_bytes()).await;
        }
    }
    let seen = upstream.seen();
    let smuggled = seen.iter().find(|seen| seen.target.contains("smuggled"));
    assert!(smuggled.is_none(), "{smuggled:?}");
}

#[tokio::test]
async fn content_of_a_get_does_not_choose_what_others_are_answered() {
    // Some apps read parameters from it ("fat GET"), which no cache key knows of.
    let upstream = Upstream::start(async |seen: Seen| {
        let content = [b"read ", &seen.body[..]].concat();
        reply(200)
            .header("cache-control", "max-age=60")
            .body(content)
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for framed in [
        "Content-Length: 4\r\n\r\nevil",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    ] {
        let raw = format!(
            "GET /page HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{framed}",
            proxy.address
        );
        let answer = text(&raw_exchange(proxy.address, raw.as_bytes()).await);
        assert!(answer.ends_with("read evil"), "{answer}");
        assert_eq!(proxy.get("/page").await.text(), "read ");
    }
}
