//! Access lines.

use tests::proxy::Folder;
use tests::{Proxy, Upstream, lines, reply};

#[tokio::test]
async fn a_line_tells_what_happened_and_no_secret() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        reply(if seen.target == "/bad" { 500 } else { 200 })
            .header("cache-control", "max-age=60")
            .body("content")
    })
    .await;
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let toml = format!(
        "[request_log]\nformat = \"json\"\npath = {path:?}\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    let secret = [
        ("authorization", "Bearer hidden"),
        ("cookie", "session=hidden"),
    ];
    proxy.get_with("/first?a=b", &secret).await;
    proxy.get("/second").await;
    proxy.get("/second").await;
    proxy.get("/bad").await;
    let lines = lines(&path, 4).await;
    assert!(!lines.join("\n").contains("hidden"), "{lines:?}");
    let parsed: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(parsed[0]["method"], "GET");
    assert_eq!(parsed[0]["target"], "/first?a=b");
    assert_eq!(parsed[0]["status"], 200);
    assert_eq!(parsed[0]["bytes"], 7);
    assert_eq!(parsed[2]["outcome"], "hit");
    assert_eq!(parsed[3]["status"], 500);
    assert!(
        parsed
            .iter()
            .all(|line| line["id"].is_string() && line["time"].is_string())
    );
}

#[tokio::test]
async fn the_file_is_opened_again_after_it_was_moved() {
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let toml = format!(
        "[request_log]\npath = {path:?}\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    proxy.get("/before").await;
    lines(&path, 1).await;
    std::fs::rename(&path, path.with_extension("1")).expect("a file");
    proxy.running().shared().access_log.reopen();
    proxy.get("/after").await;
    let after = lines(&path, 1).await;
    assert!(after[0].contains("/after"), "{after:?}");
    let before = lines(&path.with_extension("1"), 1).await;
    assert!(
        before[0].contains("/before") && before.len() == 1,
        "{before:?}"
    );
}

#[tokio::test]
async fn a_client_cannot_forge_a_line() {
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let toml = format!(
        "[request_log]\npath = {path:?}\n[upstream.app]\nurl = {:?}\n",
        upstream.url
    );
    let proxy = Proxy::configured_in(folder, &toml).await;
    proxy
        .get_with(
            "/x%0a",
            &[("user-agent", "a\tb\u{7f}".trim_end_matches('\u{7f}'))],
        )
        .await;
    proxy.get("/end").await;
    let lines = lines(&path, 2).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        !lines[0].contains('\t') && !lines[0].contains('\u{1b}'),
        "{lines:?}"
    );
}
