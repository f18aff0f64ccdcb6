//! Pains of bytes on their way: held streams, cut tunnels, bodies in memory.

use std::io;

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::BodyExt;
use tests::binary::Binary;
use tests::client::request;
use tests::{Client, Proxy, Upstream, reply, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// #3: streams stall behind the compressor or a buffer; sparse feeds hold even the head.
#[tokio::test]
async fn pain_3_heads_and_events_are_relayed_at_once() {
    for (media, coding) in [
        ("text/event-stream", "br"),
        ("application/x-ndjson", "gzip"),
        ("application/grpc", "identity"),
        ("text/html", "zstd"),
    ] {
        let (pieces, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::start(move |_| {
            let (sender, answer) = reply(200).header("content-type", media).stream();
            pieces.send(sender).expect("the test waits");
            async move { answer }
        })
        .await;
        let proxy = Proxy::before(&upstream).await;
        let mut client = proxy.client().await;
        let sent = client.send(request(
            Method::GET,
            "/feed",
            &[("accept-encoding", coding)],
            "",
        ));
        // The head comes though there is not a byte of content yet.
        let answer = within("the head", sent).await.expect("a head");
        let coded = answer.headers().get("content-encoding").cloned();
        let mut body = answer.into_body();
        let piece = taken.recv().await.expect("the upstream was asked");
        let mut wire = Vec::new();
        for number in 0..3 {
            let text = format!("data: event {number} of a feed that says little\n\n");
            piece
                .send(Ok(Frame::data(Bytes::from(text.clone()))))
                .expect("it is read");
            // Each event arrives before the next one is sent.
            let expected = number + 1;
            loop {
                let frame = within("an event", body.frame())
                    .await
                    .expect("more")
                    .expect("no error");
                wire.extend_from_slice(&frame.into_data().expect("data"));
                if events(coded.as_ref(), &wire) >= expected {
                    break;
                }
            }
        }
        if media != "text/html" {
            assert_eq!(
                coded, None,
                "named streams are not coded unless the operator says so"
            );
        }
        drop(piece);
    }
}

/// How many events can be read from what came so far.
fn events(coding: Option<&http::HeaderValue>, wire: &[u8]) -> usize {
    use std::io::Read;
    let mut plain = Vec::new();
    match coding.map(|coding| coding.to_str().expect("text")) {
        None => plain.extend_from_slice(wire),
        // Ends early, since the rest is still to come.
        Some("zstd") => drop(
            zstd::stream::read::Decoder::new(wire)
                .expect("a decoder")
                .read_to_end(&mut plain),
        ),
        Some(other) => panic!("unexpected coding {other}"),
    }
    String::from_utf8_lossy(&plain).matches("\n\n").count()
}

/// #18: stopping drops every tunnel at once, or hangs for ever.
#[tokio::test]
async fn pain_18_a_stop_ends_in_time_with_tunnels_and_streams_open() {
    let (pieces, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::start(move |_| {
        let (sender, answer) = reply(200)
            .header("content-type", "text/event-stream")
            .stream();
        pieces.send(sender).expect("the test waits");
        async move { answer }
    })
    .await;
    let echo = tests::RawUpstream::start(|mut stream| async move {
        let head = tests::raw::read_head(&mut stream).await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(answer).await.expect("Pillion reads");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
        head
    })
    .await;
    let proxy = Proxy::configured(&format!(
        "drain = \"12s\"\n[upstream.app]\nurl = {:?}\n[upstream.echo]\nurl = {:?}\n\
         [[route]]\nmatch = \"/echo\"\nupstream = \"echo\"\n",
        upstream.url,
        echo.url()
    ))
    .await;

    let mut tunnel = TcpStream::connect(proxy.address)
        .await
        .expect("Pillion listens");
    let ask = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    tunnel.write_all(ask).await.expect("Pillion reads");
    let head = within("the switch", tests::raw::read_head(&mut tunnel)).await;
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    tunnel.write_all(b"ping").await.expect("the tunnel is open");
    let mut pong = [0; 4];
    within("the echo", tunnel.read_exact(&mut pong))
        .await
        .expect("the echo");
    assert_eq!(&pong, b"ping");

    let mut client = proxy.client().await;
    let stream = client
        .send(request(Method::GET, "/events", &[], ""))
        .await
        .expect("a head");
    let mut events = stream.into_body();
    let piece = taken.recv().await.expect("the upstream was asked");
    piece
        .send(Ok(Frame::data(Bytes::from("data: 1\n\n"))))
        .expect("it is read");
    within("an event", events.frame())
        .await
        .expect("an event")
        .expect("an event");

    let mut idle = TcpStream::connect(proxy.address)
        .await
        .expect("Pillion listens");
    let meanwhile = async {
        // Idle connections go first: the stop has begun.
        let ended = within("the end of what is idle", idle.read_u8()).await;
        assert!(ended.is_err());
        tunnel.write_all(b"ping").await.expect("it is still open");
        let echo = within("the echo", tunnel.read_exact(&mut pong)).await;
        echo.expect("a tunnel has time left when the stop begins");
        piece
            .send(Ok(Frame::data(Bytes::from("data: 2\n\n"))))
            .expect("it is read");
        within("an event", events.frame())
            .await
            .expect("an event")
            .expect("a stream has time left when the stop begins");
    };
    // PATIENCE is much longer than the drain; a hang would be noticed.
    tokio::join!(within("the stop", proxy.stop()), meanwhile);
    assert_eq!(
        within("the end", tunnel.read(&mut pong)).await.unwrap_or(0),
        0
    );
    let rest = within("the end of the stream", events.collect()).await;
    assert!(rest.is_err(), "an unfinished stream does not look finished");
}

/// #24: whole bodies in memory, `HEAD` turned into `GET`, a range that triggers a full download.
#[tokio::test]
async fn pain_24_bodies_are_streamed_and_methods_and_ranges_kept() {
    let (pieces, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::start(move |seen| {
        let pieces = pieces.clone();
        async move {
            match (seen.method.as_str(), seen.header("range")) {
                ("HEAD", _) => reply(200).header("content-length", "1000000").empty(),
                ("GET", "bytes=5-9") => reply(206)
                    .header("content-range", "bytes 5-9/1000000")
                    .header("cache-control", "max-age=600")
                    .body("56789"),
                _ => {
                    let (sender, answer) = reply(200).stream();
                    pieces.send(sender).expect("the test waits");
                    answer
                }
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;

    let head = proxy.send(request(Method::HEAD, "/big", &[], "")).await;
    assert_eq!(
        (upstream.last().method, head.header("content-length")),
        (Method::HEAD, "1000000")
    );

    let asked = [("range", "bytes=5-9")];
    let part = within("the part", proxy.get_with("/big", &asked)).await;
    assert_eq!((part.status.as_u16(), part.text()), (206, "56789"));
    assert_eq!(upstream.last().header("range"), "bytes=5-9");

    // A body far larger than any buffer passes, and nothing of it stays in a process that does nothing else.
    let folder = tests::proxy::Folder::new();
    let file = folder.path().join("pillion.toml");
    let toml = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nenabled = false\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    );
    std::fs::write(&file, toml).expect("a writable folder");
    let binary = Binary::start(&["run", "--config", &file.display().to_string()]);
    let mut client = Client::connect(binary.address("http://").await).await;
    let asked = client.send(request(Method::GET, "/endless", &[], ""));
    let answer = within("the head", asked).await.expect("a head");
    let mut body = answer.into_body();
    let sender = taken.recv().await.expect("the upstream was asked");
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    let before = resident(binary.child.id());
    for _ in 0..200 {
        sender
            .send(Ok(Frame::data(chunk.clone())))
            .expect("it is read");
        let mut came = 0;
        while came < chunk.len() {
            let frame = within("content", body.frame())
                .await
                .expect("more")
                .expect("no error");
            came += frame.into_data().expect("data").len();
        }
    }
    let grown = resident(binary.child.id()).saturating_sub(before);
    assert!(
        grown < 32 << 20,
        "200 MiB passed through and {grown} bytes stayed"
    );
    // What breaks off at the upstream breaks off at the client.
    sender
        .send(Err(io::Error::other("gone")))
        .expect("it is read");
    assert!(
        within("the end", body.frame())
            .await
            .expect("an end")
            .is_err()
    );
}

/// #24, for clients that do not read: the upstream is slowed down to the client's pace.
#[tokio::test]
async fn pain_24_an_answer_waits_at_the_upstream_until_the_client_reads() {
    let (stalls, mut stalled) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tests::RawUpstream::start(move |mut stream| {
        let stalls = stalls.clone();
        async move {
            let head = tests::raw::read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n");
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("Pillion reads");
            let piece = vec![b'x'; 1 << 20];
            for sent in (0..ENDLESS).step_by(1 << 20) {
                let writing = stream.write_all(&piece);
                tokio::pin!(writing);
                // Nothing for so long: all buffers on the way are full.
                let pause = std::time::Duration::from_millis(500);
                let written = match tokio::time::timeout(pause, &mut writing).await {
                    Ok(written) => written,
                    Err(_) => {
                        stalls.send(sent).ok();
                        writing.await
                    }
                };
                written.expect("Pillion reads");
            }
            stalls.send(ENDLESS).ok();
            head
        }
    })
    .await;
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
    let mut client = proxy.client().await;
    let asked = client.send(request(Method::GET, "/endless", &[], ""));
    let answer = within("the head", asked).await.expect("a head");
    let sent = within("a pause", stalled.recv()).await.expect("a figure");
    assert!(
        sent < ENDLESS / 2,
        "{sent} bytes were taken that nobody reads"
    );
    // Counted and let go, or it would be this test that holds it.
    let mut body = answer.into_body();
    let mut came = 0;
    while let Some(frame) = within("content", body.frame()).await {
        came += frame
            .expect("no error")
            .into_data()
            .map_or(0, |data| data.len());
    }
    assert_eq!(came, ENDLESS);
}

/// Far more than sockets buffer.
const ENDLESS: usize = 128 << 20;

/// Resident memory of a process in bytes.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a figure");
    let kibibytes: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|figure| figure.parse().ok())
        .expect("a number");
    kibibytes << 10
}

/// #3, for uploads: the upstream sees the first byte of a request body before the last is sent.
#[tokio::test]
async fn pain_3_uploads_are_relayed_at_once() {
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tests::RawUpstream::start(move |mut stream| {
        let heads = heads.clone();
        async move {
            let head = tests::raw::read_head(&mut stream).await;
            let mut first = [0; 5];
            stream.read_exact(&mut first).await.expect("content");
            heads.send(first).expect("the test waits");
            let mut rest = [0; 5];
            stream.read_exact(&mut rest).await.expect("content");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await
                .expect("Pillion reads");
            head
        }
    })
    .await;
    let proxy = Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
    let mut stream = TcpStream::connect(proxy.address)
        .await
        .expect("Pillion listens");
    let start = b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst";
    stream.write_all(start).await.expect("Pillion reads");
    let first = within("the first half", seen.recv())
        .await
        .expect("the first half");
    assert_eq!(&first, b"first");
    stream.write_all(b"laste").await.expect("Pillion reads");
    let mut answer = [0; 12];
    within("the answer", stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}
