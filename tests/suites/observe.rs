//! `mode = "observe"`: what would be done is told, and nothing is done.

use http::Method;
use tests::client::request;
use tests::proxy::Folder;
use tests::raw::read_head;
use tests::{Proxy, RawUpstream, fetch, raw_exchange, within};
use tokio::io::AsyncWriteExt;

/// Every feature that may change an answer.
const FEATURES: [&str; 4] = ["cache", "conditional", "content_coding", "etag"];

/// All of them off, all of them observing, or only one of them observing and the others off.
fn tables(observing: &[&str]) -> String {
    let table = |feature: &&str| match observing.contains(feature) {
        true => format!("[{feature}]\nmode = \"observe\"\n"),
        false => format!("[{feature}]\nenabled = false\n"),
    };
    FEATURES.iter().map(table).collect()
}

/// An app that answers by target, one request a connection.
async fn app() -> RawUpstream {
    RawUpstream::start(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut answer = answer(target);
        if method == "HEAD" {
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            answer.truncate(end.expect("a head") + 4);
        }
        stream.write_all(&answer).await.ok();
        stream.shutdown().await.ok();
        head
    })
    .await
}

fn answer(target: &str) -> Vec<u8> {
    let page = "<p>Some text that shrinks.</p>".repeat(100);
    let whole = |fields: &str, content: &str| {
        let length = content.len();
        format!("HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{content}").into_bytes()
    };
    let chunked = |fields: &str, content: &str| {
        format!("HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{fields}\r\n{:x}\r\n{content}\r\n0\r\n\r\n", content.len()).into_bytes()
    };
    match target {
        "/cached" => whole(
            "cache-control: max-age=2147483648\r\ncontent-type: text/html\r\n",
            &page,
        ),
        "/tagged" => whole("etag: \"a\"\r\ncontent-type: text/css\r\n", &page),
        "/chunked" => chunked("content-type: text/html\r\n", &page),
        "/cookie" => whole("set-cookie: a=b\r\ncontent-type: text/html\r\n", &page),
        "/events" => chunked("content-type: text/event-stream\r\n", "data: x\n\n"),
        "/coded" => whole("content-encoding: gzip\r\n", "not really gzip"),
        "/short" => {
            b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\nconnection: close\r\ncontent-length: 100\r\n\r\nbroken".to_vec()
        }
        "/missing" => {
            b"HTTP/1.1 404 Not Found\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno".to_vec()
        }
        "/same" => {
            b"HTTP/1.1 304 Not Modified\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\nconnection: close\r\netag: \"a\"\r\n\r\n".to_vec()
        }
        _ => whole("content-type: text/html\r\n", &page),
    }
}

/// Method, target and further fields.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("GET", "/", ""),
    ("GET", "/", ""),
    ("GET", "/", "accept-encoding: br, gzip\r\n"),
    (
        "GET",
        "/",
        "if-none-match: W/\"~0123456789abcdef0123456789abcdef\"\r\nif-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ),
    ("GET", "/cached", ""),
    ("GET", "/cached", "accept-encoding: zstd\r\n"),
    ("GET", "/cached", "cache-control: no-cache\r\n"),
    ("HEAD", "/cached", ""),
    ("GET", "/cached", "cookie: a=b\r\naccept-encoding: gzip\r\n"),
    ("GET", "/cached", "range: bytes=0-3\r\n"),
    ("GET", "/cached", "range: bytes=9999999-\r\n"),
    ("POST", "/cached", "content-length: 0\r\n"),
    ("GET", "/cached", "cache-control: only-if-cached\r\n"),
    ("GET", "/tagged", "if-none-match: \"a\"\r\n"),
    (
        "GET",
        "/tagged",
        "if-none-match: \"a~br\"\r\naccept-encoding: br\r\n",
    ),
    ("GET", "/tagged", "range: bytes=0-3, 10-20\r\n"),
    ("GET", "/chunked", "accept-encoding: br\r\n"),
    ("GET", "/chunked", ""),
    ("GET", "/cookie", "accept-encoding: br\r\n"),
    ("GET", "/events", "accept-encoding: br\r\n"),
    ("GET", "/coded", "accept-encoding: identity\r\n"),
    ("GET", "/short", ""),
    ("GET", "/missing", ""),
    ("GET", "/same", "if-none-match: \"a\"\r\n"),
];

/// What client and app saw of all requests, one after the other. What is drawn anew for each
/// request or process is told by a trusted peer (the request's name) or left out (trace, pseudonym).
async fn seen(tables: &str) -> Vec<(String, String)> {
    let app = app().await;
    let url = app.url();
    let proxy = Proxy::configured(&format!(
        "threads = 1\n[forwarding]\ntrusted = [\"127.0.0.0/8\"]\n{tables}[upstream.app]\nurl = {url:?}\n"
    ))
    .await;
    let mut all = Vec::new();
    for (number, (method, target, fields)) in REQUESTS.iter().enumerate() {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: example.test\r\nconnection: close\r\nx-request-id: r{number}\r\n{fields}\r\n"
        );
        let answer = raw_exchange(proxy.address, request.as_bytes()).await;
        let came = async {
            while app.received().len() <= all.len() {
                tokio::task::yield_now().await;
            }
        };
        within("the app's side", came).await;
        let received = app.received().pop().expect("a request");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let is_drawn = |line: &&str| {
                !(line.starts_with("traceparent:") || line.starts_with("via: 1.1 pillion-"))
            };
            text.split_inclusive("\r\n").filter(is_drawn).collect()
        };
        all.push((text(&answer), text(&received)));
    }
    all
}

fn assert_same(off: &[(String, String)], observed: &[(String, String)], which: &str) {
    assert_eq!(off.len(), observed.len());
    for (((client, app), (client_too, app_too)), asked) in off.iter().zip(observed).zip(REQUESTS) {
        assert_eq!(client, client_too, "{which}: the client, {asked:?}");
        assert_eq!(app, app_too, "{which}: the app, {asked:?}");
    }
}

#[tokio::test]
async fn nothing_changes_byte_for_byte() {
    let off = seen(&tables(&[])).await;
    assert!(
        off.iter()
            .all(|(client, _)| client.starts_with("HTTP/1.1 "))
    );
    assert_same(&off, &seen(&tables(&FEATURES)).await, "all");
    for feature in FEATURES {
        assert_same(&off, &seen(&tables(&[feature])).await, feature);
    }
}

#[tokio::test]
async fn what_would_be_done_is_counted_and_logged() {
    let app = app().await;
    let folder = Folder::new();
    let log = folder.path().join("access.log");
    let toml = format!(
        "threads = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[request_log]\nformat = \"json\"\npath = {log:?}\n\
         {}[upstream.app]\nurl = {:?}\n",
        tables(&FEATURES),
        app.url()
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    let ask = async |method: &str, target: &str, fields: &[(&str, &str)]| {
        let method: Method = method.parse().expect("a method");
        proxy.send(request(method, target, fields, "")).await
    };
    let mut expected = Vec::new();
    for (method, target, fields, would) in [
        ("GET", "/cached", &[][..], r#"{"cache":"store"}"#),
        ("GET", "/cached", &[], r#"{"cache":"hit"}"#),
        ("HEAD", "/cached", &[], r#"{"cache":"hit"}"#),
        (
            "GET",
            "/cached",
            &[("cache-control", "no-cache")],
            r#"{"cache":"validate"}"#,
        ),
        (
            "GET",
            "/cached",
            &[("accept-encoding", "gzip")],
            r#"{"cache":"hit","content_coding":"gzip"}"#,
        ),
        ("GET", "/", &[], r#"{"cache":"pass"}"#),
        (
            "GET",
            "/tagged",
            &[("if-none-match", "W/\"a\"")],
            r#"{"cache":"pass","conditional":"not-modified"}"#,
        ),
        (
            "GET",
            "/tagged",
            &[("range", "bytes=0-3")],
            r#"{"cache":"pass","conditional":"partial"}"#,
        ),
        (
            "GET",
            "/tagged",
            &[("range", "bytes=999999-")],
            r#"{"cache":"pass","conditional":"unsatisfiable"}"#,
        ),
        (
            "GET",
            "/cookie",
            &[("accept-encoding", "br"), ("cookie", "a=b")],
            r#"{"cache":"pass","content_coding":"withhold"}"#,
        ),
        ("POST", "/cached", &[], "null"),
        ("GET", "/cached", &[], r#"{"cache":"store"}"#),
    ] {
        let answer = ask(method, target, fields).await;
        assert_eq!(answer.status, 200, "{target}");
        let status = "pillion; fwd=bypass; fwd-status=200; detail=disabled";
        assert_eq!(answer.header("cache-status"), status);
        expected.push(would);
    }
    assert_eq!(
        app.received().len(),
        expected.len(),
        "all of them are forwarded"
    );
    let told = tests::lines(&log, expected.len()).await;
    for (line, would) in told.iter().zip(&expected) {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let mut found = line["would"].clone();
        if let Some(found) = found.as_object_mut() {
            found.remove("etag");
        }
        assert_eq!(found.to_string(), **would, "{line}");
    }
    let metrics = proxy.metrics().await;
    for (feature, would, count) in [
        ("cache", "store", 2),
        ("cache", "hit", 3),
        ("cache", "validate", 1),
        ("cache", "pass", 5),
        ("conditional", "not-modified", 1),
        ("conditional", "partial", 1),
        ("conditional", "unsatisfiable", 1),
        ("content_coding", "gzip", 1),
        ("content_coding", "withhold", 1),
    ] {
        let series =
            format!("pillion_observed_total{{feature=\"{feature}\",would=\"{would}\"}} {count}\n");
        assert!(
            metrics.contains(&series),
            "{series} in\n{}",
            metrics
                .lines()
                .filter(|line| line.contains("observed"))
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
    // Content that comes too late for a tag is not counted, so on a busy machine there may be fewer.
    let counted = |would: &str| -> u64 {
        let series = format!("pillion_observed_total{{feature=\"etag\",would=\"{would}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.and_then(|count| count.parse().ok()).expect("a count")
    };
    assert!(
        (1..=3).contains(&counted("tag")),
        "three contents without a tag"
    );
    assert!(
        (1..=4).contains(&counted("match")),
        "asked for again four times"
    );
}

#[tokio::test]
async fn explain_tells_what_an_observing_cache_would_do() {
    let app = app().await;
    let toml = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[cache]\nmode = \"observe\"\n[upstream.app]\nurl = {:?}\n",
        app.url()
    );
    let proxy = Proxy::configured(&toml).await;
    proxy.get("/cached").await;
    let admin = proxy.admin.expect("an admin listener");
    let asked = request(Method::GET, "/explain?url=/cached&format=text", &[], "");
    let told = fetch(admin, asked).await;
    let sentence = "It would answer from what it would have stored.";
    assert!(told.text().contains(sentence), "{}", told.text());
    assert!(told.text().contains("mode = \"apply\""), "{}", told.text());
}
