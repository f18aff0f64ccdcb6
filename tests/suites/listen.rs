//! Listeners: TCP, Unix sockets, TLS, HTTP/2, PROXY protocol.

use std::os::unix::fs::PermissionsExt;

use tests::proxy::Folder;
use tests::tls::Certificate;
use tests::{Client, Proxy, Upstream, raw_exchange, reply, within};
use tokio::net::UnixStream;

async fn upstream() -> Upstream {
    Upstream::start(async |seen: tests::Seen| {
        reply(200).body(format!(
            "{} {}",
            seen.header("x-forwarded-for"),
            seen.header("x-forwarded-proto")
        ))
    })
    .await
}

#[tokio::test]
async fn several_listeners_of_all_kinds_serve_at_once() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let socket = folder.path().join("front.sock");
    let certificate = Certificate::write(folder.path());
    let proxy = Proxy::configured_in(
        folder,
        &format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"[::1]:0\"\n\
             [[listen]]\naddress = \"unix:{}\"\nmode = \"0660\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = {:?}, key = {:?} }}\n\
             [upstream.app]\nurl = {:?}\n",
            socket.display(),
            certificate.certificate,
            certificate.key,
            upstream.url
        ),
    )
    .await;
    let tcp: Vec<_> = proxy
        .running()
        .addresses()
        .iter()
        .filter_map(proxy::Bound::tcp)
        .collect();
    assert_eq!(tcp.len(), 3);
    assert_eq!(
        Client::connect(tcp[0])
            .await
            .get_with("/", &[])
            .await
            .text(),
        "127.0.0.1 http"
    );
    assert_eq!(
        Client::connect(tcp[1])
            .await
            .get_with("/", &[])
            .await
            .text(),
        "::1 http"
    );

    assert_eq!(
        std::fs::metadata(&socket)
            .expect("a socket")
            .permissions()
            .mode()
            & 0o777,
        0o660
    );
    let unix = UnixStream::connect(&socket).await.expect("it listens");
    let answer = Client::over(unix, "localhost".to_owned())
        .await
        .get_with("/", &[])
        .await;
    assert_eq!(answer.status, 200);

    for protocol in [&b"h2"[..], b"http/1.1"] {
        let tls = certificate
            .connect(tcp[2], &[protocol])
            .await
            .expect("a handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol));
        let mut client = match protocol {
            b"h2" => Client::over_h2(tls, "localhost".to_owned()).await,
            _ => Client::over(tls, "localhost".to_owned()).await,
        };
        assert_eq!(client.get_with("/", &[]).await.text(), "127.0.0.1 https");
    }
    proxy.stop().await;
    assert!(!socket.exists(), "the socket file goes with the listener");
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let first = Certificate::write(folder.path());
    let toml = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = {:?}, key = {:?} }}\n[upstream.app]\nurl = {:?}\n",
        first.certificate, first.key, upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    first
        .connect(proxy.address, &[])
        .await
        .expect("the first certificate");
    let second = Certificate::write(proxy.folder());
    let swapped = async {
        while second.connect(proxy.address, &[]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("the new certificate", swapped).await;
    // A broken file leaves the good one in place.
    std::fs::write(&second.certificate, "no certificate").expect("writable");
    for _ in 0..20 {
        second
            .connect(proxy.address, &[])
            .await
            .expect("the second certificate");
    }
}

#[tokio::test]
async fn proxy_protocol_tells_the_client_and_is_required_then() {
    let upstream = upstream().await;
    let proxy = Proxy::configured(&format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    ))
    .await;
    let http = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let v1 = [&b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n"[..], http].concat();
    let answer = raw_exchange(proxy.address, &v1).await;
    assert!(
        String::from_utf8_lossy(&answer).contains("192.0.2.7"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[192, 0, 2, 9, 198, 51, 100, 1, 0x13, 0x88, 0, 80],
        http,
    ]
    .concat();
    let answer = raw_exchange(proxy.address, &v2).await;
    assert!(
        String::from_utf8_lossy(&answer).contains("192.0.2.9"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let without = raw_exchange(proxy.address, http).await;
    assert!(without.is_empty(), "{}", String::from_utf8_lossy(&without));
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let upstream = upstream().await;
    let proxy = Proxy::before(&upstream).await;
    let folder = Folder::new();
    let file = folder.path().join("pillion.toml");
    let text = format!(
        "[[listen]]\naddress = \"{}\"\n[admin]\nenabled = false\n[upstream.app]\nurl = {:?}\n",
        proxy.address, upstream.url
    );
    std::fs::write(&file, text).expect("writable");
    let loaded = config::load(Some(&file), &config::Overrides::default(), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let error = proxy::start(loaded.settings, middleware::clock::Clock::system())
        .expect_err("the port is in use")
        .to_string();
    assert!(
        error.contains(&proxy.address.to_string()) && error.contains("in use"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let socket = folder.path().join("front.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a fresh socket"));
    let toml = format!(
        "[[listen]]\naddress = \"unix:{}\"\n[upstream.app]\nurl = {:?}\n",
        socket.display(),
        upstream.url
    );
    let _proxy = Proxy::configured_in(folder, &toml).await;
    let unix = UnixStream::connect(&socket).await.expect("it listens");
    assert_eq!(
        Client::over(unix, "a".to_owned())
            .await
            .get_with("/", &[])
            .await
            .status,
        200
    );
    let file = socket.with_extension("toml");
    std::fs::write(&file, toml).expect("writable");
    let loaded = config::load(Some(&file), &config::Overrides::default(), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let second = proxy::start(loaded.settings, middleware::clock::Clock::system());
    assert!(second.is_err(), "another process listens there");
    assert!(socket.exists());
}
