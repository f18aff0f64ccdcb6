//! Listeners: TCP, Unix, TLS, PROXY protocol; and clear words where one cannot be had.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use config::listen::{ListenAddress, ListenSettings, TlsFiles};
use middleware::metrics::Event;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::harness::{Client, Folder, PATIENCE, Server, plain, wait_until};

const CLOSE: &str = "GET /facts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn listening(address: ListenAddress) -> Result<Server, crate::StartError> {
    let settings = ListenSettings { address, ..plain() };
    Server::listening(&[settings], |_| {})
}

fn unix(path: PathBuf) -> ListenAddress {
    ListenAddress::Unix { path, mode: 0o640 }
}

fn refusal(server: Result<Server, crate::StartError>) -> String {
    server.err().expect("it does not start").to_string()
}

#[test]
fn every_core_has_a_queue_on_the_same_port() {
    let server = Server::start();
    for _ in 0..32 {
        assert!(
            server
                .exchange(CLOSE.as_bytes())
                .starts_with("HTTP/1.1 200 ")
        );
    }
    assert_eq!(server.counted(Event::ConnectionAccepted), 32);
}

#[test]
fn an_unspecified_ipv6_address_takes_ipv4_and_calls_it_so() {
    let server = listening(ListenAddress::Tcp("[::]:0".parse().unwrap())).unwrap();
    let port = server.address().port();
    for (host, shown) in [("127.0.0.1", "127.0.0.1:"), ("[::1]", "[::1]:")] {
        let mut client = Client::connect(format!("{host}:{port}").parse().unwrap());
        client.send(CLOSE);
        let answer = client.read_to_end();
        assert!(answer.contains(&format!("Ip({shown}")), "{answer}");
    }
}

#[test]
fn a_port_in_use_is_said_in_a_sentence() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let refusal = refusal(listening(ListenAddress::Tcp(address)));
    assert!(
        refusal.starts_with(&format!("Cannot listen on {address}: the port is in use")),
        "{refusal}"
    );
}

#[test]
fn a_port_is_not_shared_with_another_pillion() {
    let server = Server::start();
    let refusal = refusal(listening(ListenAddress::Tcp(server.address())));
    assert!(refusal.contains("the port is in use"), "{refusal}");
}

#[test]
fn a_unix_socket_has_its_mode_and_its_file_goes_with_it() {
    let folder = Folder::new();
    let path = folder.path().join("a.sock");
    let server = listening(unix(path.clone())).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    for _ in 0..8 {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(CLOSE.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("Unix None Http"), "{answer}");
    }
    server.stop(Duration::from_secs(1));
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_but_not_a_live_one_and_not_a_file() {
    let folder = Folder::new();
    let path = folder.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    let server = listening(unix(path.clone())).unwrap();
    let second = refusal(listening(unix(path.clone())));
    assert!(second.contains("another program listens there"), "{second}");
    drop(server);
    let file = folder.path().join("precious");
    fs::write(&file, "content").unwrap();
    let third = refusal(listening(unix(file.clone())));
    assert!(
        third.contains("a file that is no socket is in the way"),
        "{third}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    let nowhere = refusal(listening(unix(folder.path().join("no/where.sock"))));
    assert!(
        nowhere.contains("its directory does not exist"),
        "{nowhere}"
    );
    let long = refusal(listening(unix(folder.path().join("x".repeat(120)))));
    assert!(long.contains("too long"), "{long}");
}

#[test]
fn a_successor_s_socket_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path().join("a.sock");
    let server = listening(unix(path.clone())).unwrap();
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    server.stop(Duration::from_secs(1));
    assert!(path.exists());
}

#[test]
fn a_socket_that_systemd_did_not_pass_is_named() {
    let refusal = refusal(listening(ListenAddress::Systemd("web".into())));
    assert!(
        refusal.contains("systemd passed no socket named \"web\""),
        "{refusal}"
    );
}

/// The part of [`sockets_from_systemd_are_taken_by_name`] that runs in a process of its own.
#[test]
#[ignore = "started by another test"]
fn child_of_systemd() {
    let listen = ["unix", "tcp"].map(|name| ListenSettings {
        address: ListenAddress::Systemd(name.into()),
        ..plain()
    });
    let server = Server::listening(&listen, |_| {}).expect("both sockets were passed");
    refusal(listening(ListenAddress::Systemd("tcp".into())));
    server.echo.wait_for(2);
    server.echo.gate.permits.add_permits(2);
    server.stop(PATIENCE);
}

#[test]
fn sockets_from_systemd_are_taken_by_name() {
    let folder = Folder::new();
    let path = folder.path().join("a.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    // The shell does what systemd does: descriptors from 3 on, and their receiver's number.
    let passing = "exec 3<&0 4<&1 <&- >&2; \
        LISTEN_FDS=2 LISTEN_FDNAMES=tcp:unix LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", passing])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "server::tests::listeners::child_of_systemd"])
        .args(["--ignored", "--nocapture"])
        .stdin(OwnedFd::from(tcp))
        .stdout(OwnedFd::from(unix))
        .spawn()
        .unwrap();
    let wait = "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut over_tcp = Client::connect(address);
    over_tcp.send(wait);
    let mut over_unix = UnixStream::connect(&path).unwrap();
    over_unix.set_read_timeout(Some(PATIENCE)).unwrap();
    over_unix.write_all(wait.as_bytes()).unwrap();
    assert!(over_tcp.read_to_end().ends_with("waited"));
    let mut answer = String::new();
    over_unix.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("waited"), "{answer}");
    assert!(child.wait().unwrap().success());
    assert!(path.exists(), "the file is systemd's");
}

#[test]
fn the_proxy_protocol_tells_the_client_and_is_required() {
    let listen = ListenSettings {
        proxy_protocol: true,
        ..plain()
    };
    let server = Server::listening(&[listen], |_| {}).unwrap();
    let v2 = |command: u8, rest: &[u8]| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.push(command);
        header.extend_from_slice(rest);
        header
    };
    let v4 = [0x11, 0, 12, 192, 0, 2, 9, 198, 51, 100, 1, 0, 7, 0, 80];
    for (header, expected) in [
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n".to_vec(),
            "Ip(192.0.2.7:5000)",
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n".to_vec(),
            "Ip([2001:db8::7]:5000)",
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 5000 80\r\n".to_vec(),
            "Ip(192.0.2.7:5000)",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "Ip(127.0.0.1:"),
        (v2(0x21, &v4), "Ip(192.0.2.9:7)"),
        (v2(0x20, &v4), "Ip(127.0.0.1:"),
    ] {
        let answer = server.exchange(&[&header, CLOSE.as_bytes()].concat());
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
    let mut without = server.connect();
    without.send(CLOSE);
    assert_eq!(without.read_until_gone(), "");
    server.wait_until_counted(Event::ConnectionProxyHeader, 1);
    assert_eq!(server.echo.seen().len(), 6);
}

/// A new certificate for `localhost` in `folder`, and what a client trusts it by.
fn certificate(folder: &Folder) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

fn tls(
    server: &Server,
    root: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> std::io::Result<StreamOwned<ClientConnection, std::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect().0);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn over_tls(files: TlsFiles) -> Result<Server, crate::StartError> {
    let listen = ListenSettings {
        tls: Some(files),
        ..plain()
    };
    Server::listening(&[listen], |_| {})
}

#[test]
fn tls_clients_choose_by_alpn() {
    let folder = Folder::new();
    let (files, root) = certificate(&folder);
    let server = over_tls(files).unwrap();
    assert!(server.bound[0].tls);
    for alpn in [&[][..], &[b"http/1.1".as_slice()]] {
        let mut stream = tls(&server, &root, alpn).unwrap();
        stream.write_all(CLOSE.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a close_notify");
        assert!(answer.ends_with("Https"), "{answer}");
    }
    let h2 = tls(&server, &root, &[b"h2", b"http/1.1"]).unwrap();
    assert_eq!(h2.conn.alpn_protocol(), Some(&b"h2"[..]));
    let mut plain = server.connect();
    plain.send(CLOSE);
    assert!(!plain.read_until_gone().contains("HTTP"));
    server.wait_until_counted(Event::ConnectionTlsFailed, 1);
}

#[test]
fn a_refused_upload_over_tls_gets_its_answer() {
    let folder = Folder::new();
    let (files, root) = certificate(&folder);
    let server = over_tls(files).unwrap();
    let mut stream = tls(&server, &root, &[]).unwrap();
    let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..1024 {
        stream.write_all(&[b'x'; 1024]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a close_notify");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_changed_certificate_is_taken_over_and_a_bad_one_is_not() {
    let folder = Folder::new();
    let (files, old) = certificate(&folder);
    let server = over_tls(files.clone()).unwrap();
    tls(&server, &old, &[]).expect("the first certificate");
    // As Kubernetes and certbot do it: written elsewhere, then renamed into place.
    let elsewhere = Folder::new();
    let (made, new) = certificate(&elsewhere);
    fs::rename(&made.key, &files.key).unwrap();
    fs::rename(&made.certificate, &files.certificate).unwrap();
    let loaded = || server.counted(Event::CertificateLoaded);
    wait_until("the second one is loaded", || loaded() > 0);
    tls(&server, &new, &[]).expect("the second certificate");
    tls(&server, &old, &[]).expect_err("the first one is gone");
    // A key that belongs to another certificate.
    let (made, _) = certificate(&elsewhere);
    let refused = server.counted(Event::CertificateRefused);
    fs::rename(&made.key, &files.key).unwrap();
    let refusals = || server.counted(Event::CertificateRefused);
    wait_until("the key is refused", || refusals() > refused);
    tls(&server, &new, &[]).expect("the second certificate is still there");
}

#[test]
fn certificates_that_cannot_be_used_are_said_in_a_sentence() {
    let folder = Folder::new();
    let (files, _) = certificate(&folder);
    let other = Folder::new();
    let (others, _) = certificate(&other);
    let missing = folder.path().join("missing.pem");
    for (certificate, key, expected) in [
        (&missing, &files.key, "Cannot read"),
        (&files.key, &files.key, "holds no certificate"),
        (
            &files.certificate,
            &files.certificate,
            "holds no usable private key",
        ),
        (
            &files.certificate,
            &others.key,
            "does not belong to the certificate",
        ),
    ] {
        let files = TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let refusal = refusal(over_tls(files));
        assert!(refusal.contains(expected), "{refusal}");
    }
}
