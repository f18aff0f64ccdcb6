//! Host, path and method choose the route.

use http::Method;
use tests::client::request;
use tests::{Proxy, Upstream, reply};

#[tokio::test]
async fn the_most_specific_route_wins_whatever_the_order() {
    let named = async |name: &'static str| {
        Upstream::start(
            move |seen| async move { reply(200).body(format!("{name} {}", seen.target)) },
        )
        .await
    };
    let (app, api, users, reports) = (
        named("app").await,
        named("api").await,
        named("users").await,
        named("reports").await,
    );
    let mut toml = String::from(
        "[[route]]\nmatch = \"/v1/*\"\nupstream = \"api\"\nstrip_prefix = \"/v1\"\n\
         [[route]]\nmatch = \"GET /v1/users/{id}\"\nupstream = \"users\"\n\
         [[route]]\nmatch = \"*.reports.example/*\"\nupstream = \"reports\"\n",
    );
    for (name, upstream) in [
        ("app", &app),
        ("api", &api),
        ("users", &users),
        ("reports", &reports),
    ] {
        toml += &format!("[upstream.{name}]\nurl = {:?}\n", upstream.url);
    }
    let proxy = Proxy::configured(&toml).await;
    for (target, expected) in [
        ("/", "app /"),
        ("/v1/x?y", "api /x?y"),
        ("/v1/", "api /"),
        ("/v11/x", "app /v11/x"),
        ("/v1/users/7", "users /v1/users/7"),
        ("/v1/users/7/posts", "api /users/7/posts"),
        // Matched with unreserved escapes decoded and dot segments resolved; sent as it came.
        ("/%76%31/users/7", "users /%76%31/users/7"),
        ("/v1/x/../users/7", "users /v1/x/../users/7"),
    ] {
        assert_eq!(proxy.get(target).await.text(), expected, "{target}");
    }
    let post = proxy
        .send(request(Method::POST, "/v1/users/7", &[], ""))
        .await;
    assert_eq!(post.text(), "api /users/7");
    let below = proxy
        .get_with("/v1/users/7", &[("host", "eu.reports.example:80")])
        .await;
    assert_eq!(below.text(), "reports /v1/users/7");
    let same = proxy.get_with("/", &[("host", "reports.example")]).await;
    assert_eq!(same.text(), "app /");
}

#[tokio::test]
async fn a_route_s_tables_lie_over_the_global_ones() {
    let upstream =
        Upstream::start(async |_| reply(200).header("cache-control", "max-age=60").body("x")).await;
    let proxy = Proxy::with(
        &upstream,
        "[[route]]\nmatch = \"GET /me\"\ncache = { enabled = false }\netag = { enabled = false }\n",
    )
    .await;
    for _ in 0..2 {
        let me = proxy.get("/me").await;
        assert_eq!(me.header("etag"), "");
        assert!(me.header("cache-status").contains("fwd=bypass"), "{me:?}");
    }
    proxy.get("/you").await;
    assert!(
        proxy
            .get("/you")
            .await
            .header("cache-status")
            .contains("hit")
    );
    assert_eq!(upstream.count(), 3);
}
