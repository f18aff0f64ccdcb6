//! Brotli, zstd and gzip, over real sockets.

use tests::{Proxy, Seen, Upstream, reply};

fn page() -> String {
    "All work and no play makes a dull page. ".repeat(200)
}

#[tokio::test]
async fn codings_are_negotiated_by_quality() {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("content-type", "text/html")
            .header("cache-control", "max-age=60")
            .body(page())
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for (accept, coding) in [
        ("", ""),
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip;q=1, br;q=0.2", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("identity", ""),
        ("deflate", ""),
        ("*;q=0, gzip;q=0.1", "gzip"),
        ("GZIP", "gzip"),
    ] {
        let answer = proxy.get_with("/", &[("accept-encoding", accept)]).await;
        assert_eq!(answer.status, 200, "{accept}");
        assert_eq!(answer.header("content-encoding"), coding, "{accept}");
        assert_eq!(answer.decoded(), page().as_bytes(), "{accept}");
        assert_eq!(
            answer.header("vary").to_ascii_lowercase(),
            "accept-encoding",
            "{accept}"
        );
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_should_stay_as_it_is_stays_so() {
    let upstream = Upstream::start(async |seen: Seen| {
        let (media, field, value) = match seen.target.as_str() {
            "/image" => ("image/png", "x-a", "b"),
            "/zip" => ("application/zip", "x-a", "b"),
            "/font" => ("font/woff2", "x-a", "b"),
            "/no-transform" => ("text/html", "cache-control", "no-transform"),
            "/stream" => ("text/event-stream", "x-a", "b"),
            "/small" => return reply(200).header("content-type", "text/html").body("small"),
            other => panic!("{other}"),
        };
        reply(200)
            .header("content-type", media)
            .header(field, value)
            .body(page())
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for target in [
        "/image",
        "/zip",
        "/font",
        "/no-transform",
        "/stream",
        "/small",
    ] {
        let answer = proxy
            .get_with(target, &[("accept-encoding", "br, gzip, zstd")])
            .await;
        assert_eq!(answer.header("content-encoding"), "", "{target}");
    }
}

#[tokio::test]
async fn what_comes_coded_goes_to_those_who_take_it_and_is_decoded_for_others() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(page().as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let upstream = Upstream::start(move |_| {
        let gzip = gzip.clone();
        async move {
            reply(200)
                .header("content-type", "text/html")
                .header("content-encoding", "gzip")
                .body(gzip)
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let taken = proxy
        .get_with("/", &[("accept-encoding", "gzip, br")])
        .await;
    assert_eq!(
        (taken.header("content-encoding"), taken.decoded()),
        ("gzip", page().into_bytes())
    );
    let plain = proxy.get("/").await;
    assert_eq!(
        (plain.header("content-encoding"), plain.text()),
        ("", page().as_str())
    );
}

#[tokio::test]
async fn a_coded_copy_is_made_once_and_replayed() {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("content-type", "text/html")
            .header("cache-control", "max-age=60")
            .body(page())
    })
    .await;
    let proxy = Proxy::with(&upstream, "[admin]\naddress = \"127.0.0.1:0\"").await;
    let accept = [("accept-encoding", "br")];
    let replayed = async {
        loop {
            let answer = proxy.get_with("/", &accept).await;
            assert_eq!(answer.decoded(), page().as_bytes());
            // A stored copy has a length; content coded on the fly may have one as well, so ask the metrics.
            let metrics = proxy.metrics().await;
            let made: f64 = metrics
                .lines()
                .filter(|line| {
                    line.starts_with("pillion_coded_copies_total{") && line.contains("\"br\"")
                })
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum();
            if made > 0.0 {
                return made;
            }
            tokio::task::yield_now().await;
        }
    };
    let made = tests::within("a coded copy", replayed).await;
    assert_eq!(made, 1.0);
    for _ in 0..20 {
        let answer = proxy.get_with("/", &accept).await;
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        assert_eq!(answer.decoded(), page().as_bytes());
    }
}

#[tokio::test]
async fn answers_to_credentials_are_coded_as_the_policy_says() {
    let upstream = Upstream::start(async |_| {
        reply(200)
            .header("content-type", "text/html")
            .header("cache-control", "private")
            .body(page())
    })
    .await;
    let same = ("sec-fetch-site", "same-origin");
    let cross = ("sec-fetch-site", "cross-site");
    let cookie = ("cookie", "session=1");
    for (policy, site, coded) in [
        ("balanced", same, true),
        ("balanced", cross, false),
        ("strict", same, false),
        ("strict", cross, false),
        ("off", cross, true),
    ] {
        let toml = format!("[content_coding]\nbreach = \"{policy}\"");
        let proxy = Proxy::with(&upstream, &toml).await;
        let answer = proxy
            .get_with("/", &[cookie, site, ("accept-encoding", "br")])
            .await;
        assert_eq!(
            answer.header("content-encoding") == "br",
            coded,
            "{policy} {site:?}"
        );
    }
    // Where it is coded for credentials, its length on the wire varies.
    let proxy = Proxy::before(&upstream).await;
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = proxy
            .get_with("/", &[cookie, same, ("accept-encoding", "br")])
            .await;
        lengths.insert(
            answer
                .headers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len())
                .sum::<usize>(),
        );
    }
    assert!(lengths.len() > 1, "jitter");
}
