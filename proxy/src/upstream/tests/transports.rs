use std::path::PathBuf;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpSocket;
use tokio_rustls::TlsAcceptor;

use super::*;

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // `localhost` is ::1 and 127.0.0.1; the app took only one of them.
    for is_six in [false, true] {
        // The same port of the other address is nobody's.
        let nobody = Nowhere::new();
        let port = nobody.port();
        let raw = if is_six {
            match TcpListener::bind(("::1", port)).await {
                Ok(listener) => Raw(listener),
                Err(_) => continue, // A machine without IPv6.
            }
        } else {
            Raw(nobody.0.listen(8).unwrap())
        };
        let settings = UpstreamSettings::new(vec![tcp("localhost", port, false, Protocol::Http1)]);
        let fixture = Fixture::new(settings);
        let mut upstream = fixture.upstream();
        let serve = async { raw.accept().await.serve(OK).await };
        let (answer, _) = tokio::join!(upstream.call(get("/")), serve);
        assert_eq!(answer.unwrap().status(), 200);
    }
}

/// A port on which nobody listens, and nobody will: it is bound.
struct Nowhere(TcpSocket);

impl Nowhere {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn endpoint(&self) -> EndpointAddress {
        tcp("127.0.0.1", self.port(), false, Protocol::Http1)
    }
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let nowhere = Nowhere::new();
    let closed = UpstreamSettings::new(vec![nowhere.endpoint()]);
    let nobody = tcp("no-such-host.invalid", 80, false, Protocol::Http1);
    let missing = EndpointAddress {
        transport: Transport::Unix(PathBuf::from("/nonexistent/socket")),
        protocol: Protocol::Http1,
        authority: "localhost".to_owned(),
    };
    for (settings, expected) in [
        (closed, ErrorKind::ConnectionRefused),
        (UpstreamSettings::new(vec![nobody]), ErrorKind::DnsError),
        (
            UpstreamSettings::new(vec![missing]),
            ErrorKind::ConnectionRefused,
        ),
    ] {
        let fixture = Fixture::new(settings);
        let error = fixture.upstream().call(get("/")).await.unwrap_err();
        assert_eq!(error.kind(), expected);
        assert!(error.may_retry(), "the upstream has seen nothing");
        assert_eq!(fixture.open(), 0);
    }
}

#[tokio::test]
async fn another_endpoint_is_tried_where_one_cannot_be_connected_to() {
    let raw = Raw::new().await;
    let nowhere = Nowhere::new();
    let settings = UpstreamSettings::new(vec![nowhere.endpoint(), raw.endpoint(Protocol::Http1)]);
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        for _ in 0..20 {
            connection.serve(OK).await;
        }
    };
    let ask = async {
        for _ in 0..20 {
            // Even a POST: the first endpoint has not seen it.
            upstream
                .call(request("POST", "/", Body::from("x")))
                .await
                .unwrap();
        }
    };
    let read = async {
        tokio::join!(serve, ask);
    };
    read.await;
}

#[tokio::test]
async fn http_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("pillion-upstream-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    let settings = UpstreamSettings::new(vec![EndpointAddress {
        transport: Transport::Unix(path.clone()),
        protocol: Protocol::Http1,
        authority: "localhost".to_owned(),
    }]);
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = listener.accept().await.unwrap().0;
        let mut head = [0; 1024];
        assert!(connection.read(&mut head).await.unwrap() > 0);
        connection.write_all(OK.as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(answer.unwrap().status(), 200);
    std::fs::remove_file(path).unwrap();
}

/// A certificate for `name` by an authority of its own, whose PEM is in a file.
struct Authority {
    file: PathBuf,
    acceptor: TlsAcceptor,
}

impl Authority {
    fn new(name: &str, protocols: &[&[u8]]) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::from_params(&parameters, &key);
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&leaf_key, &issuer)
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
            )
            .unwrap();
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let file = std::env::temp_dir().join(format!(
            "pillion-ca-{}-{name}-{}.pem",
            std::process::id(),
            protocols.len()
        ));
        std::fs::write(&file, root.pem()).unwrap();
        Self {
            file,
            acceptor: TlsAcceptor::from(Arc::new(server)),
        }
    }

    fn settings(&self, raw: &Raw, name: Option<&str>) -> UpstreamSettings {
        let port = raw.0.local_addr().unwrap().port();
        let mut settings =
            UpstreamSettings::new(vec![tcp("127.0.0.1", port, true, Protocol::Http1)]);
        settings.tls.ca = Some(self.file.clone());
        settings.tls.name = name.map(str::to_owned);
        settings
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

#[tokio::test]
async fn https_with_an_authority_and_a_name_of_ones_own() {
    let authority = Authority::new("app.internal", &[]);
    let raw = Raw::new().await;
    let fixture = Fixture::new(authority.settings(&raw, Some("app.internal")));
    let mut upstream = fixture.upstream();
    let serve = async {
        let plain = raw.accept().await.0;
        let mut connection = authority.acceptor.accept(plain).await.unwrap();
        let mut head = [0; 1024];
        assert!(connection.read(&mut head).await.unwrap() > 0);
        connection.write_all(OK.as_bytes()).await.unwrap();
        connection.flush().await.unwrap();
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("other.internal", &[b"http/1.1"]);
    let raw = Raw::new().await;
    let fixture = Fixture::new(authority.settings(&raw, Some("app.internal")));
    let mut upstream = fixture.upstream();
    let serve = async {
        let plain = raw.accept().await.0;
        drop(authority.acceptor.accept(plain).await);
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(kind(answer), ErrorKind::TlsCertificateError);
}

#[tokio::test]
async fn what_is_no_tls_is_a_tls_protocol_error() {
    let authority = Authority::new("plain.internal", &[]);
    let raw = Raw::new().await;
    let fixture = Fixture::new(authority.settings(&raw, Some("plain.internal")));
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.closed().await;
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(kind(answer), ErrorKind::TlsProtocolError);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_timeout() {
    let authority = Authority::new("slow.internal", &[]);
    let raw = Raw::new().await;
    let mut settings = authority.settings(&raw, None);
    settings.connect = Duration::from_millis(500);
    let fixture = Fixture::new(settings);
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.closed().await;
    };
    let (answer, ()) = tokio::join!(upstream.call(get("/")), serve);
    assert_eq!(kind(answer), ErrorKind::ConnectionTimeout);
}

#[tokio::test]
async fn a_missing_authority_file_is_told_at_the_start() {
    let mut settings = UpstreamSettings::new(vec![tcp("127.0.0.1", 1, true, Protocol::Http1)]);
    settings.tls.ca = Some(PathBuf::from("/nonexistent/ca.pem"));
    let upstreams = BTreeMap::from([(Arc::from("app"), Arc::new(settings))]);
    let refused = Upstreams::new(
        &upstreams,
        1,
        Clock::system(),
        &Metrics::new(),
        &TaskTracker::new(),
        &CancellationToken::new(),
    );
    let problem = format!("{:#}", refused.unwrap_err());
    assert!(problem.contains("/nonexistent/ca.pem"), "{problem}");
}

#[tokio::test]
async fn http2_is_spoken_where_alpn_agrees_on_it() {
    let authority = Authority::new("two.internal", &[b"h2", b"http/1.1"]);
    let raw = Raw::new().await;
    let fixture = Fixture::new(authority.settings(&raw, Some("two.internal")));
    let mut upstream = fixture.upstream();
    let serve = async {
        let plain = raw.accept().await.0;
        let connection = authority.acceptor.accept(plain).await.unwrap();
        http2::serve(connection).await;
    };
    let ask = async {
        for _ in 0..2 {
            let answer = upstream.call(get("/hello?x")).await.unwrap();
            assert_eq!(
                text(answer).await.unwrap(),
                "GET https://app.example/hello?x"
            );
        }
    };
    tokio::select! {
        () = serve => panic!("the connection is closed early"),
        () = ask => {}
    }
    assert_eq!(fixture.open(), 1);
}
