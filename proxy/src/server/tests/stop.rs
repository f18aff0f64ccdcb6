//! What a stop finishes, what it tells clients, and what it does not wait for.

use std::net::TcpStream;
use std::time::Duration;

use super::harness::{PATIENCE, Server, wait_until};

#[test]
fn what_is_in_flight_is_finished_and_the_door_is_closed() {
    let server = Server::start();
    let address = server.address();
    let mut client = server.connect();
    client.get("/wait");
    server.echo.wait_for(1);
    let mut idle = server.connect();
    idle.get("/echo");
    idle.read_until("\r\n\r\n");
    let gate = server.echo.gate.clone();
    let stop = std::thread::spawn(move || server.stop(PATIENCE));
    assert_eq!(
        idle.read_to_end(),
        "",
        "an idle connection is closed at once"
    );
    let is_open = || TcpStream::connect(address).is_ok();
    wait_until("the door is closed", || !is_open());
    gate.permits.add_permits(1);
    let answer = client.read_to_end();
    assert!(
        answer.to_ascii_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert!(answer.ends_with("waited"), "{answer}");
    let stopped = stop.join().unwrap();
    assert!(stopped.drained);
    assert!(stopped.took < PATIENCE / 4, "{stopped:?}");
}

#[test]
fn connections_without_a_request_do_not_hold_a_stop() {
    let server = Server::start();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send("PRI * H");
    let mut served = server.connect();
    served.get("/echo");
    served.read_until("\r\n\r\n");
    let stopped = server.stop(PATIENCE);
    assert!(
        stopped.drained && stopped.took < PATIENCE / 4,
        "{stopped:?}"
    );
    silent.read_until_gone();
    half.read_until_gone();
}

#[test]
fn streams_and_tunnels_get_a_quarter_of_the_deadline() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.get("/stream");
    stream.read_until("first");
    let mut tunnel = server.connect();
    tunnel
        .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi");
    tunnel.read_until("\r\n\r\nhi");
    let drain = Duration::from_secs(8);
    let stopped = server.stop(drain);
    assert!(stopped.drained, "{stopped:?}");
    assert!(
        stopped.took >= drain / 4 && stopped.took < drain,
        "{stopped:?}"
    );
    stream.read_until_gone();
    tunnel.read_until_gone();
}

#[test]
fn what_does_not_finish_is_cut_at_the_deadline() {
    let server = Server::start();
    let mut client = server.connect();
    client.get("/wait");
    server.echo.wait_for(1);
    let drain = Duration::from_secs(1);
    let stopped = server.stop(drain);
    assert!(!stopped.drained);
    assert!(
        stopped.took >= drain && stopped.took < drain * 10,
        "{stopped:?}"
    );
    assert_eq!(client.read_until_gone(), "");
}

#[test]
fn connections_in_the_queue_are_served() {
    for _ in 0..20 {
        let server = Server::start();
        let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.get("/echo");
        }
        server.stop(PATIENCE);
        for mut client in clients {
            let answer = client.read_until_gone();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        }
    }
}
