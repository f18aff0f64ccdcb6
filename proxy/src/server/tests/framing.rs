//! Heads and lengths that parsers could disagree about, and what HTTP/1 owes its old clients.

use middleware::metrics::Event;

use super::harness::Server;

#[test]
fn malformed_heads_are_refused_counted_and_nothing_after_them_is_read() {
    let server = Server::start();
    let cases = [
        (
            "two lengths that differ",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
        ),
        ("a signed length", "Content-Length: +1\r\n"),
        ("a list of lengths", "Content-Length: 1, 2\r\n"),
        ("obsolete folding", "X: 1\r\n 2\r\n"),
        ("a bare CR", "X: 1\r2\r\n"),
        ("a space before the colon", "X : 1\r\n"),
        ("an illegal name", "X(y): 1\r\n"),
        ("an empty name", ": 1\r\n"),
        ("a NUL", "X: \0\r\n"),
        ("no colon", "X\r\n"),
        (
            "a coding that is not chunked",
            "Transfer-Encoding: gzip\r\n",
        ),
        (
            "chunked, but not last",
            "Transfer-Encoding: chunked, gzip\r\n",
        ),
    ];
    for (about, fields) in cases {
        let answer = server.exchange(
            format!("POST /head HTTP/1.1\r\nHost: a\r\n{fields}\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
                .as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 400 "), "{about}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{about}: {answer}");
    }
    assert_eq!(server.echo.seen(), [""; 0]);
    server.wait_until_counted(Event::RequestMalformed, cases.len() as u64);
}

#[test]
fn malformed_request_lines_are_refused() {
    let server = Server::start();
    for line in [
        "GET /",
        "GET / HTTP/1.2.3",
        "GET / HTTP/2.0",
        "GET  / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET /a b HTTP/1.1",
    ] {
        let answer = server.exchange(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
    }
    assert_eq!(server.echo.seen(), [""; 0]);
}

#[test]
fn length_beside_chunked_has_one_framing_and_closes() {
    let server = Server::start();
    let answer = server.exchange(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.contains("hello"), "{answer}");
    assert_eq!(server.echo.seen(), ["POST /echo"]);
}

#[test]
fn a_bad_chunk_breaks_the_request_and_nothing_after_it_is_read() {
    let server = Server::start();
    let answer = server.exchange(
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\
          GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(server.echo.seen(), ["POST /read"]);
}

#[test]
fn a_bare_line_feed_ends_a_line_and_only_once() {
    // RFC 9112 §2.2: a recipient MAY recognise a single LF as a line terminator. Hyper does; what
    // matters is that it is settled before anybody else sees the request.
    let server = Server::start();
    let answer = server.exchange(b"GET /one HTTP/1.1\nHost: a\nConnection: close\n\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.echo.seen(), ["GET /one"]);
}

#[test]
fn http_1_0_gets_its_version_no_chunks_and_a_close() {
    let server = Server::start();
    let answer = server.exchange(b"GET /echo HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let answer = server.exchange(b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(
        !answer.to_ascii_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
}

#[test]
fn too_many_or_too_large_fields_are_431() {
    let server = Server::with(|limits| {
        limits.fields_count = 10;
        limits.fields_size = 1000;
    });
    let many = "A: b\r\n".repeat(10);
    let answer = server.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let large = "x".repeat(1000);
    let answer =
        server.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nA: {large}\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // Far more than is read: the answer gets through although the client is still sending.
    let huge = "x".repeat(4 << 20);
    let answer =
        server.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nA: {huge}\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(server.echo.seen(), [""; 0]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let answer = server.exchange(
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
          POST /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\ntwo",
    );
    assert!(
        answer.find("one").unwrap() < answer.find("two").unwrap(),
        "{answer}"
    );
    assert_eq!(server.echo.seen(), ["POST /1", "POST /2"]);
}
