//! Answers that get through to the last byte, or break visibly; half-closed clients; tunnels.

use std::net::Shutdown;

use super::harness::{LARGE, Server};

#[test]
fn an_answer_before_the_upload_is_read_gets_through() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(format!(
        "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    // A client that writes its upload before it reads anything. Were the connection simply closed,
    // a reset would meet it here, and destroy the answer.
    for _ in 0..(4 << 20) / 1024 {
        client.send([b'x'; 1024]);
    }
    let answer = client.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert!(answer.ends_with("too much"), "{answer}");
}

#[test]
fn a_small_upload_that_nobody_reads_keeps_the_connection() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert!(client.read_until("too much").starts_with("HTTP/1.1 413 "));
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nagain");
    assert!(client.read_until("again").starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_answer_that_breaks_has_no_end() {
    let server = Server::start();
    let mut client = server.connect();
    client.get("/broken");
    let answer = client.read_until_gone();
    assert!(answer.contains("some"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn a_client_that_half_closes_gets_its_answer() {
    let server = Server::start();
    for (about, request) in [
        ("without content", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "with content",
            "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        ),
    ] {
        let mut client = server.connect();
        client.send(request);
        client.0.shutdown(Shutdown::Write).unwrap();
        server.echo.wait_for(1);
        server.echo.gate.permits.add_permits(1);
        let answer = client.read_to_end();
        assert!(answer.ends_with("waited"), "{about}: {answer}");
    }
    let mut client = server.connect();
    client.get("/large");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert!(client.read_to_end().len() > LARGE);
}

#[test]
fn content_that_ends_early_is_an_error_for_its_reader() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhi");
    client.0.shutdown(Shutdown::Write).unwrap();
    let answer = client.read_until_gone();
    assert!(!answer.contains("200"), "{answer}");
}

#[test]
fn expect_100_continue_is_answered_when_the_content_is_wanted() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(
        "POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    assert_eq!(
        client.read_until("\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("hi");
    assert!(client.read_until("hi").starts_with("HTTP/1.1 200 "));

    let mut client = server.connect();
    client.send(
        "POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    assert!(client.read_until("too much").starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_tunnel_passes_bytes_and_a_half_close() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly",
    );
    assert!(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    assert_eq!(client.read_until("early"), "early");
    client.send("late");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end(), "late");
}
