//! The operator's own listener.

use std::process::{Command, Stdio};

use http::Method;
use tests::client::request;
use tests::{Fetched, Proxy, Upstream, fetch, reply};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"";

async fn ask(
    proxy: &Proxy,
    method: Method,
    target: &str,
    fields: &[(&str, &str)],
    content: &str,
) -> Fetched {
    let admin = proxy.admin.expect("an admin listener");
    fetch(admin, request(method, target, fields, content.to_owned())).await
}

#[tokio::test]
async fn promtool_accepts_the_metrics_and_open_metrics_is_given_when_asked() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        reply(if seen.target == "/bad" { 503 } else { 200 })
            .header("cache-control", "max-age=60")
            .body("x")
    })
    .await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    for target in ["/", "/", "/bad", "/users/17"] {
        proxy.get(target).await;
    }
    let classic = ask(&proxy, Method::GET, "/metrics", &[], "").await;
    assert!(
        classic
            .header("content-type")
            .starts_with("text/plain; version=0.0.4"),
        "{classic:?}"
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by tests/run");
    let mut input = promtool.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, &classic.body).expect("promtool reads");
    drop(input);
    let verdict = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&verdict.stderr).into_owned()
        + &String::from_utf8_lossy(&verdict.stdout);
    assert!(verdict.status.success() && said.trim().is_empty(), "{said}");
    for series in [
        "pillion_http_requests_total{",
        "pillion_cache_lookups_total{",
        "pillion_http_request_duration_seconds_bucket{",
        "pillion_build_info{",
        "process_resident_memory_bytes",
    ] {
        assert!(
            classic.text().contains(series),
            "{series} in\n{}",
            classic.text()
        );
    }
    let open = ask(
        &proxy,
        Method::GET,
        "/metrics",
        &[("accept", "application/openmetrics-text; version=1.0.0")],
        "",
    )
    .await;
    assert!(
        open.header("content-type")
            .starts_with("application/openmetrics-text"),
        "{open:?}"
    );
    assert!(open.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn health_readiness_and_configuration_are_told() {
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    assert_eq!(
        ask(&proxy, Method::GET, "/healthz", &[], "").await.status,
        200
    );
    assert_eq!(
        ask(&proxy, Method::GET, "/readyz", &[], "").await.status,
        200
    );
    let config = ask(&proxy, Method::GET, "/config", &[], "").await;
    assert_eq!(config.status, 200);
    assert!(config.text().contains(&upstream.url), "{}", config.text());
    assert_eq!(
        ask(&proxy, Method::GET, "/nothing", &[], "").await.status,
        404
    );
    assert_eq!(
        ask(&proxy, Method::POST, "/healthz", &[], "").await.status,
        405
    );
}

#[tokio::test]
async fn a_url_is_purged_by_those_who_may() {
    let upstream =
        Upstream::start(async |_| reply(200).header("cache-control", "max-age=60").body("x")).await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    let url = format!("http://{}/page", proxy.address);
    proxy.get("/page").await;
    let body = format!("{{\"url\":\"{url}\"}}");
    for (about, fields) in [
        (
            "another site's page",
            &[
                ("origin", "https://evil.example"),
                ("content-type", "application/json"),
            ][..],
        ),
        (
            "a cross-site form",
            &[
                ("sec-fetch-site", "cross-site"),
                ("content-type", "application/json"),
            ],
        ),
        (
            "a rebound name",
            &[
                ("host", "evil.example"),
                ("content-type", "application/json"),
            ],
        ),
    ] {
        let refused = ask(&proxy, Method::POST, "/purge", fields, &body).await;
        assert_eq!(refused.status, 403, "{about}");
    }
    assert!(
        proxy
            .get("/page")
            .await
            .header("cache-status")
            .contains("hit")
    );
    let purged = ask(
        &proxy,
        Method::POST,
        "/purge",
        &[("content-type", "application/json")],
        &body,
    )
    .await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    assert!(
        proxy
            .get("/page")
            .await
            .header("cache-status")
            .contains("fwd")
    );
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() {
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let folder = tests::proxy::Folder::new();
    let token = folder.path().join("token");
    std::fs::write(&token, "correct horse battery\n").expect("writable");
    let toml = format!(
        "{ADMIN}\ntoken_file = {token:?}\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    assert_eq!(
        ask(&proxy, Method::GET, "/metrics", &[], "").await.status,
        401
    );
    let wrong = [("authorization", "Bearer wrong")];
    assert_eq!(
        ask(&proxy, Method::GET, "/metrics", &wrong, "")
            .await
            .status,
        401
    );
    let right = [("authorization", "Bearer correct horse battery")];
    assert_eq!(
        ask(&proxy, Method::GET, "/metrics", &right, "")
            .await
            .status,
        200
    );
    let config = ask(&proxy, Method::GET, "/config", &right, "").await;
    assert!(
        !config.text().contains("correct horse"),
        "{}",
        config.text()
    );
}
