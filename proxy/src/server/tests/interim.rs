//! Interim responses between the answers of one connection.

use std::io::Read;

use super::harness::{HINTS, LARGE, PATIENCE, Server};

/// The next request is in the service's hands although most of the answer before is still in HTTP's
/// write buffer: its content came to an end only after that answer had been given.
#[test]
fn none_is_written_while_the_answer_before_is_in_the_buffer() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    client.read_until("xxx");
    client.send("helloGET /hint HTTP/1.1\r\nHost: a\r\n\r\n");
    // It has come as far as the service, and the hints were given.
    server.echo.wait_until_seen(2);
    let mut rest = vec![0; LARGE - 3];
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    client.0.read_exact(&mut rest).expect("all of the answer");
    assert!(rest.iter().all(|byte| *byte == b'x'));
    let hints = client.read_until("\r\n\r\n");
    assert_eq!(hints.as_bytes(), HINTS);
    server.echo.gate.permits.add_permits(1);
    assert!(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    client.read_until("waited");
}

#[test]
fn a_client_that_does_not_read_them_is_not_waited_for_in_vain() {
    let server = Server::start();
    let mut client = server.connect();
    client.get("/hint");
    server.echo.wait_for(1);
    server.echo.gate.permits.add_permits(1);
    let all = client.read_until("waited");
    assert!(
        all.starts_with(&String::from_utf8_lossy(HINTS).into_owned()),
        "{all}"
    );
}
