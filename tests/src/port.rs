//! A port of one's own: between its choice and its use, and between a server's end and its next start, nobody
//! else gets it.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of 127.0.0.1. It is bound, and nobody listens on it, so connections are refused until somebody does; the
/// kernel gives it to nobody who asks for any port, and servers that reuse addresses, as all do, get it.
#[derive(Debug)]
pub struct Port(TcpSocket);

impl Port {
    /// One that was free.
    ///
    /// # Panics
    /// If there is none.
    pub fn reserve() -> Self {
        Self(bound(([127, 0, 0, 1], 0).into()))
    }

    /// 127.0.0.1 with this port.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }
}

/// A socket that will listen at `address`.
///
/// # Panics
/// If somebody else has it.
pub fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket of ours");
    socket.bind(address).expect("nobody else's port");
    socket
}
