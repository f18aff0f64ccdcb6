//! Tags for content that comes without one.

use http::Method;
use tests::client::request;
use tests::{Proxy, Seen, Upstream, reply};

#[tokio::test]
async fn a_page_without_a_tag_gets_a_weak_one_and_validates() {
    let upstream = Upstream::start(async |seen: Seen| {
        let answer = reply(200).header("content-type", "text/html");
        match seen.target.as_str() {
            "/no-store" => answer.header("cache-control", "no-store"),
            _ => answer,
        }
        .body(format!("page {}", seen.target))
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let page = proxy.get("/a").await;
    let tag = page.header("etag").to_owned();
    assert!(tag.starts_with("W/\"~"), "{tag}");
    assert_eq!(
        proxy.get("/a").await.header("etag"),
        tag,
        "the same content has the same tag"
    );
    assert_ne!(proxy.get("/b").await.header("etag"), tag);
    assert_eq!(
        proxy
            .get_with("/a", &[("if-none-match", &tag)])
            .await
            .status,
        304
    );
    assert_eq!(proxy.get("/no-store").await.header("etag"), "");
    let head = proxy.send(request(Method::HEAD, "/a", &[], "")).await;
    assert_eq!(
        head.header("etag"),
        "",
        "an answer to HEAD has no content to tag"
    );
    let post = proxy.send(request(Method::POST, "/a", &[], "x")).await;
    assert_eq!(post.header("etag"), "");
}

#[tokio::test]
async fn long_bodies_pass_untagged_and_the_strength_is_the_operator_s() {
    let upstream = Upstream::start(async |_| reply(200).body("z".repeat(3000))).await;
    let proxy = Proxy::with(&upstream, "[etag]\nmax_body = \"2KiB\"").await;
    assert_eq!(proxy.get("/").await.header("etag"), "");
    let proxy = Proxy::with(&upstream, "[etag]\nstrength = \"strong\"").await;
    assert!(proxy.get("/").await.header("etag").starts_with("\"~"));
    let proxy = Proxy::with(&upstream, "[etag]\nenabled = false").await;
    assert_eq!(proxy.get("/").await.header("etag"), "");
}

#[tokio::test]
async fn a_tag_of_ours_never_reaches_the_app_s_if_match() {
    let upstream = Upstream::start(async |_| reply(200).body("x")).await;
    let proxy = Proxy::before(&upstream).await;
    let tag = proxy.get("/").await.header("etag").to_owned();
    proxy
        .send(request(Method::PUT, "/", &[("if-match", &tag)], "y"))
        .await;
    assert!(
        !upstream.last().header("if-match").contains('~'),
        "{:?}",
        upstream.last()
    );
}
