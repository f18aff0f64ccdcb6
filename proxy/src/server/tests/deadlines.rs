//! Slow and silent clients. Times are short but real: the deadlines are the kernel's and tokio's. They are long
//! enough for what must happen within them, however busy the machine.

use std::thread::sleep;
use std::time::Duration;

use middleware::metrics::{Event, Level};

use super::harness::{Server, plain, wait_until};

const SHORT: Duration = Duration::from_secs(1);

/// What is said to who began a head.
const TIMEOUT: &str =
    "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

fn hasty() -> Server {
    Server::with(|limits| {
        limits.header_time = SHORT;
        limits.idle = Duration::from_secs(3600);
    })
}

#[test]
fn silence_before_the_first_request_is_cut() {
    for (first, told) in [
        ("", ""),
        ("PRI * HT", ""),
        ("G", TIMEOUT),
        ("GET / HTTP/1.1\r\nHost: a\r\n", TIMEOUT),
    ] {
        let server = hasty();
        let mut client = server.connect();
        client.send(first);
        assert_eq!(client.read_until_gone(), told, "{first:?}");
        server.wait_until_counted(Event::ConnectionSlow, 1);
    }
}

#[test]
fn a_head_that_drips_is_cut() {
    let server = hasty();
    let mut client = server.connect();
    let drip = {
        let mut stream = client.0.try_clone().unwrap();
        std::thread::spawn(move || {
            use std::io::Write;
            // Each byte is progress, and none of them helps.
            while stream.write_all(b"x").is_ok() {
                sleep(SHORT / 10);
            }
        })
    };
    let told = client.read_until_gone();
    // A byte that comes too late makes the kernel reset what was said.
    assert!(["", TIMEOUT].contains(&told.as_str()), "{told}");
    drip.join().unwrap();
}

#[test]
fn a_second_head_has_the_same_time() {
    let server = hasty();
    let mut client = server.connect();
    client.get("/echo");
    client.read_until("\r\n\r\n");
    client.send("GET / HT");
    assert_eq!(client.read_until_gone(), TIMEOUT);
}

#[test]
fn an_idle_connection_is_closed_and_one_that_waits_is_not() {
    let server = Server::with(|limits| limits.idle = SHORT);
    let mut waiting = server.connect();
    waiting.get("/wait");
    server.echo.wait_for(1);
    let mut idle = server.connect();
    idle.get("/echo");
    idle.read_until("\r\n\r\n");
    assert_eq!(idle.read_to_end(), "");
    server.echo.gate.permits.add_permits(1);
    waiting.read_until("waited");
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let server = Server::with(|limits| limits.idle = SHORT);
    let mut client = server.connect();
    client.get("/large");
    // Nothing is read until the server has given up.
    let open = || server.metrics.level(Level::Connections);
    wait_until("the connection is cut", || open() == 0);
    client.read_until_gone();
}

#[test]
fn a_handshake_and_a_proxy_header_are_a_part_of_the_time() {
    let mut listen = plain();
    listen.proxy_protocol = true;
    let server = Server::listening(&[listen], |limits| limits.header_time = SHORT).unwrap();
    let mut client = server.connect();
    client.send("PROXY TC");
    assert_eq!(client.read_until_gone(), "");
}

#[test]
fn connections_over_the_limit_wait() {
    let server = Server::with(|limits| limits.connections = 1);
    let mut first = server.connect();
    first.get("/wait");
    server.echo.wait_for(1);
    // Several, so that both cores have some.
    let mut others: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for other in &mut others {
        other.send("GET /later HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    let held = || server.counted(Event::ConnectionOverLimit);
    wait_until("others are held", || held() > 0);
    assert_eq!(server.echo.seen(), ["GET /wait"]);
    server.echo.gate.permits.add_permits(1);
    first.read_until("waited");
    drop(first);
    for mut other in others {
        assert!(other.read_to_end().starts_with("HTTP/1.1 200 "));
    }
}
