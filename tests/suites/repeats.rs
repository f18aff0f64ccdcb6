//! Hits that are answered beneath HTTP, in the words in which they were answered before: nobody can tell.

use std::time::Duration;

use http::Method;
use tests::client::request;
use tests::proxy::Folder;
use tests::tls::Certificate;
use tests::{Proxy, Seen, Upstream, reply, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// A client that says each request in bytes, and reads its answer.
struct Raw<S> {
    stream: S,
    unread: Vec<u8>,
}

/// An answer, its name taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    head: String,
    name: String,
    content: Vec<u8>,
}

impl Said {
    fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|line| line.0 == name).map_or("", |line| line.1)
    }
}

impl Raw<TcpStream> {
    async fn to(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address).await.expect("it listens");
        // Each piece is sent by itself.
        stream.set_nodelay(true).expect("a socket");
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    fn over(stream: S) -> Self {
        let unread = Vec::new();
        Self { stream, unread }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it reads");
        self.stream.flush().await.expect("it reads");
    }

    async fn ask(&mut self, bytes: &str) -> Said {
        self.send(bytes.as_bytes()).await;
        self.answer(true).await
    }

    /// Reads the next answer.
    async fn answer(&mut self, has_content: bool) -> Said {
        let head = loop {
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break self.unread.drain(..end + 4).collect::<Vec<_>>(),
                None => self.more().await,
            }
        };
        let head = String::from_utf8(head).expect("text");
        let mut said = Said {
            name: String::new(),
            content: Vec::new(),
            head,
        };
        said.name = said.field("x-request-id").to_owned();
        let length = match said.field("content-length") {
            length if has_content && !said.head.starts_with("HTTP/1.1 304") => length.parse(),
            _ => Ok(0_usize),
        };
        let length = length.expect("a length");
        while self.unread.len() < length {
            self.more().await;
        }
        said.content = self.unread.drain(..length).collect();
        said.head = said.head.replace(&said.name, "NAME");
        said
    }

    async fn more(&mut self) {
        let read = within("an answer", self.stream.read_buf(&mut self.unread)).await;
        assert!(read.expect("it answers") > 0, "it stays open");
    }
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// Says of each path what it is, and for a minute.
async fn telling() -> Upstream {
    Upstream::start(async |seen: Seen| {
        let content = format!("{} {}", seen.target, seen.header("accept-language"));
        reply(200)
            .header("cache-control", "max-age=60")
            .header("vary", "accept-language")
            .header("etag", &format!("\"{}\"", seen.target))
            .body(format!("{content:-<200}"))
    })
    .await
}

async fn repeated(proxy: &Proxy) -> f64 {
    let count = proxy.metric("pillion_repeated_total ").await;
    count.expect("it is there")
}

/// Asks until the answer comes in the words of another.
async fn learnt<S>(client: &mut Raw<S>, proxy: &Proxy, head: &str) -> Said
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let learning = async {
        loop {
            let before = repeated(proxy).await;
            let said = client.ask(head).await;
            if repeated(proxy).await > before {
                return said;
            }
        }
    };
    within("an answer that is repeated", learning).await
}

#[tokio::test]
async fn a_repeated_answer_is_what_http_would_have_said() {
    let upstream = telling().await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    let english = get("/a", "Accept-Language: en\r\n");
    let heads = [
        get("/a", ""),
        get("/b", ""),
        get("/a", "Accept-Language: de\r\n"),
        english.clone(),
        get("/a", "Accept-Encoding: br\r\nAccept-Language: en\r\n"),
        get("/a", "If-None-Match: \"/a\"\r\nAccept-Language: en\r\n"),
        get("/a", "Connection: keep-alive\r\n"),
    ];
    for head in &heads {
        let mut client = Raw::to(&proxy).await;
        client.ask(head).await;
        let said = learnt(&mut client, &proxy, head).await;
        // With one byte more it is HTTP's.
        let other = head.replace("Host: a", "Host:  a");
        let expected = Raw::to(&proxy).await.ask(&other).await;
        let but_age = |said: &Said| {
            let lines = said.head.lines().filter(|line| !line.starts_with("age:"));
            let lines = lines.map(|line| line.split("ttl=").next().map(str::to_owned));
            (lines.collect::<Vec<_>>(), said.content.clone())
        };
        assert_eq!(but_age(&said), but_age(&expected), "{head}");
        assert_ne!(said.name, expected.name);
        assert_eq!(said.name.len(), 32);
    }
    let mut client = Raw::to(&proxy).await;
    let said = learnt(&mut client, &proxy, &english).await;
    assert_eq!(said.content, format!("{:-<200}", "/a en").into_bytes());
}

#[tokio::test]
async fn a_purge_or_a_write_is_seen_by_the_next_request() {
    let upstream = Upstream::start({
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        move |seen: Seen| {
            let count = count.clone();
            async move {
                let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let lifetime = if seen.method == Method::GET {
                    "max-age=60"
                } else {
                    "no-store"
                };
                reply(200)
                    .header("cache-control", lifetime)
                    .header("surrogate-key", "pages")
                    .body(number.to_string())
            }
        }
    })
    .await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    let (head, mut client) = (get("/a", ""), Raw::to(&proxy).await);
    for query in [
        "url=http://a/a",
        "tag=pages",
        "url=http://a/a&soft",
        "tag=pages&soft",
        "POST",
    ] {
        client.ask(&head).await;
        let said = learnt(&mut client, &proxy, &head).await;
        let old: u32 = String::from_utf8(said.content).unwrap().parse().unwrap();
        if query == "POST" {
            proxy
                .send(request(Method::POST, "/a", &[("host", "a")], ""))
                .await;
        } else {
            let admin = proxy.admin.expect("an admin listener");
            let order = request(Method::POST, &format!("/purge?{query}"), &[], "");
            assert_eq!(tests::fetch(admin, order).await.status, 200, "{query}");
        }
        let said = client.ask(&head).await;
        let new: u32 = String::from_utf8(said.content).unwrap().parse().unwrap();
        assert!(new > old, "{query}: {new}");
    }
}

#[tokio::test]
async fn age_goes_on_and_freshness_ends() {
    let upstream = telling().await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    let (head, mut client) = (get("/a", ""), Raw::to(&proxy).await);
    client.ask(&head).await;
    for age in [10, 40] {
        let said = learnt(&mut client, &proxy, &head).await;
        let before: u64 = said.field("age").parse().expect("an age");
        proxy.advance(Duration::from_secs(age));
        let said = client.ask(&head).await;
        let after: u64 = said.field("age").parse().expect("an age");
        assert!(
            (before + age..before + age + 5).contains(&after),
            "{before} {after}"
        );
    }
    learnt(&mut client, &proxy, &head).await;
    assert_eq!(upstream.count(), 1);
    proxy.advance(Duration::from_secs(20));
    client.ask(&head).await;
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn each_repetition_has_a_line_and_counts() {
    let upstream = telling().await;
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let toml = format!(
        "{ADMIN}[request_log]\nformat = \"json\"\npath = {path:?}\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    let head = get("/a?q=1", "User-Agent: me\r\n");
    let mut client = Raw::to(&proxy).await;
    let mut names = vec![client.ask(&head).await.name];
    for _ in 0..5 {
        let learning = async {
            let before = repeated(&proxy).await;
            while repeated(&proxy).await == before {
                names.push(client.ask(&head).await.name);
            }
        };
        within("an answer that is repeated", learning).await;
    }
    let written = tests::lines(&path, names.len()).await;
    let lines: Vec<serde_json::Value> = written
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), names.len());
    for (line, name) in lines.iter().zip(&names) {
        assert_eq!(line["id"], **name);
        assert_eq!(line["target"], "/a?q=1");
        assert_eq!(line["agent"], "me");
        assert_eq!(line["client"], "127.0.0.1");
        assert_eq!(line["status"], 200);
        assert_eq!(line["bytes"], 200);
    }
    assert!(
        lines[1..].iter().all(|line| line["outcome"] == "hit"),
        "{written:?}"
    );
    let metrics = proxy.metrics().await;
    let counted = metrics.lines().filter(|line| {
        line.starts_with("pillion_http_requests_total{") && line.contains("outcome=\"hit\"")
    });
    let counts = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    assert_eq!(counts.sum::<usize>(), names.len() - 1);
}

#[tokio::test]
async fn what_peers_are_believed_about_is_asked_each_time() {
    let upstream = telling().await;
    let trusting = format!("{ADMIN}[forwarding]\ntrusted = [\"127.0.0.1\"]\n");
    let proxy = Proxy::with(&upstream, &trusting).await;
    let head = get(
        "/a",
        "X-Forwarded-For: 192.0.2.1\r\nX-Request-Id: theirs\r\n",
    );
    let mut client = Raw::to(&proxy).await;
    for _ in 0..20 {
        assert_eq!(client.ask(&head).await.name, "theirs");
    }
    assert!(repeated(&proxy).await < 1.0);
}

#[tokio::test]
async fn clients_that_close_get_their_close() {
    let upstream = telling().await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    let closing = [
        get("/a", "Connection: close\r\n"),
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(),
    ];
    for head in closing {
        for _ in 0..10 {
            let mut client = Raw::to(&proxy).await;
            client.ask(&head).await;
            let mut rest = Vec::new();
            let closed = within("the end", client.stream.read_to_end(&mut rest)).await;
            assert_eq!(closed.expect("an end"), 0);
        }
    }
    assert!(repeated(&proxy).await < 1.0);
}

/// Whatever the order of requests and the cuts between writes: each answer is its own request's.
#[tokio::test]
async fn however_requests_are_cut_each_gets_its_own_answer() {
    let upstream = telling().await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    let known = [
        get("/a", ""),
        get("/b", ""),
        get("/c", "Accept-Encoding: gzip\r\n"),
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).expect("31 bits") % bound
    };
    let before = repeated(&proxy).await;
    for _ in 0..150 {
        let mut client = Raw::to(&proxy).await;
        for _ in 0..12 {
            // Mostly one head in one write, as clients do.
            let mut expected = Vec::new();
            let mut bytes = Vec::new();
            for _ in 0..[1, 1, 1, 1, 2, 3][next(6)] {
                let head = &known[next(known.len())];
                let path = head.split(' ').nth(1).expect("a target");
                match next(10) {
                    0 => {
                        let post = format!(
                            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{head}",
                            head.len()
                        );
                        bytes.extend_from_slice(post.as_bytes());
                    }
                    1 => bytes.extend_from_slice(head.replacen("GET", "HEAD", 1).as_bytes()),
                    _ => bytes.extend_from_slice(head.as_bytes()),
                }
                let has_content = bytes.windows(5).rev().all(|five| five != b"HEAD ");
                expected.push((path.to_owned(), has_content));
            }
            // What follows HEAD would be told by the last alone: these are asked for one by one.
            if expected.iter().any(|(_, has_content)| !has_content) && expected.len() > 1 {
                continue;
            }
            let cuts = [0, 0, 0, 1, 2][next(5)];
            let mut rest = &bytes[..];
            for _ in 0..cuts {
                let (piece, after) = rest.split_at(next(rest.len()));
                client.send(piece).await;
                tokio::task::yield_now().await;
                rest = after;
            }
            client.send(rest).await;
            for (path, has_content) in expected {
                let said = client.answer(has_content).await;
                assert!(said.head.starts_with("HTTP/1.1 200 OK\r\n"), "{said:?}");
                if has_content && said.field("content-encoding").is_empty() {
                    assert!(
                        said.content.starts_with(path.as_bytes()),
                        "{path}: {said:?}"
                    );
                }
                assert!(said.field("etag").contains(&path), "{path}: {said:?}");
            }
        }
    }
    assert!(repeated(&proxy).await > before, "some were repeated");
}

/// A client that does not read gets all of it when it does, over TCP as over TLS.
#[tokio::test]
async fn an_answer_that_finds_no_room_is_written_when_there_is_some() {
    let content = "0123456789abcdef".repeat(1 << 16);
    let upstream = {
        let content = content.clone();
        Upstream::start(move |_| {
            let content = content.clone();
            async move {
                reply(200)
                    .header("cache-control", "max-age=600, no-transform")
                    .body(content)
            }
        })
        .await
    };
    let folder = Folder::new();
    let certificate = Certificate::write(folder.path());
    let toml = format!(
        "{ADMIN}[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[listen.tls]\ncertificate = {:?}\nkey = {:?}\n[upstream.app]\nurl = {:?}\n",
        certificate.certificate, certificate.key, upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    let secure = proxy.running().addresses()[1].tcp().expect("TCP");
    let head = get("/a", "");
    for address in [proxy.address, secure] {
        let teacher: Box<dyn Stream> = match address == secure {
            true => Box::new(
                certificate
                    .connect(address, &[b"http/1.1"])
                    .await
                    .expect("TLS"),
            ),
            false => Box::new(TcpStream::connect(address).await.expect("it listens")),
        };
        let mut teacher = Raw::over(teacher);
        for round in 0..3 {
            let said = learnt(&mut teacher, &proxy, &head).await;
            assert!(
                said.content == content.as_bytes(),
                "{round}: the content is whole"
            );
        }
    }
    // With little room in its socket the client makes Pillion wait.
    for _ in 0..5 {
        let mut teacher = Raw::to(&proxy).await;
        learnt(&mut teacher, &proxy, &head).await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let slow = socket.connect(proxy.address).await.expect("it listens");
        let mut slow = Raw::over(slow);
        slow.send(head.as_bytes()).await;
        // Meanwhile others are answered, and what comes after it waits its turn.
        teacher.ask(&head).await;
        slow.send(get("/b", "").as_bytes()).await;
        for _ in 0..2 {
            let said = slow.answer(true).await;
            assert!(said.content == content.as_bytes(), "the content is whole");
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}
