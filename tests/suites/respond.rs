//! Errors as clients see them.

use tests::port::Port;
use tests::proxy::Folder;
use tests::{Proxy, raw_exchange};

/// An upstream that refuses connections.
fn dead(port: &Port) -> String {
    format!("[upstream.app]\nurl = \"http://{}\"\n", port.address())
}

#[tokio::test]
async fn an_error_is_a_problem_document_with_proxy_status_and_no_secret() {
    let port = Port::reserve();
    let proxy = Proxy::configured(&dead(&port)).await;
    let answer = proxy
        .get_with("/?token=secret", &[("authorization", "Bearer hidden")])
        .await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(
        answer
            .header("proxy-status")
            .starts_with("pillion; error=connection_refused"),
        "{answer:?}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(problem["status"], 502);
    assert!(problem["title"].is_string());
    for hidden in ["secret", "hidden", "127.0.0.1", "os error", ".rs:"] {
        assert!(!answer.text().contains(hidden), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_page_of_the_operator_s_is_shown_to_browsers() {
    let folder = Folder::new();
    let page = folder.path().join("502.html");
    std::fs::write(&page, "<h1>Back soon</h1>").expect("writable");
    let port = Port::reserve();
    let toml = format!("[respond]\npages = {{ 502 = {page:?} }}\n{}", dead(&port));
    let proxy = Proxy::configured_in(folder, &toml).await;
    let browser = proxy
        .get_with(
            "/",
            &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
        )
        .await;
    assert_eq!(
        (browser.status.as_u16(), browser.text()),
        (502, "<h1>Back soon</h1>")
    );
    assert!(browser.header("content-type").starts_with("text/html"));
    let program = proxy.get_with("/", &[("accept", "application/json")]).await;
    assert_eq!(program.header("content-type"), "application/problem+json");
    let head = raw_exchange(
        proxy.address,
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        head.ends_with(b"\r\n\r\n"),
        "an answer to HEAD has no content"
    );
}
