//! What was decided lately: looked up by its name, and judged again by another configuration.

use http::Method;
use proxy::explain::with::{Difference, Recent, compare};
use tests::client::request;
use tests::{Fetched, Proxy, Seen, Upstream, fetch, reply};

/// An app that says how long `/fresh` lives, and nothing of the others.
async fn world() -> (Upstream, Proxy) {
    let upstream = Upstream::start(async |seen: Seen| {
        let answer = reply(200).header("content-type", "text/html");
        let answer = match seen.target.as_str() {
            "/fresh" => answer.header("cache-control", "max-age=60"),
            "/private" => answer.header("cache-control", "private"),
            "/own" => answer
                .header("cache-control", "max-age=60")
                .header("content-location", "/own"),
            _ => answer,
        };
        answer.body("x".repeat(5000))
    })
    .await;
    let proxy = Proxy::with(&upstream, "[admin]\naddress = \"127.0.0.1:0\"").await;
    (upstream, proxy)
}

async fn ask(proxy: &Proxy, target: &str) -> Fetched {
    let admin = proxy.admin.expect("an admin listener");
    fetch(admin, request(Method::GET, target, &[], "")).await
}

async fn with(proxy: &Proxy, toml: &str) -> Difference {
    let recent = ask(proxy, "/explain/recent").await;
    assert_eq!(recent.status, 200);
    let recent: Vec<Recent> = serde_json::from_str(recent.text()).expect("as it is read");
    let text = format!("{toml}\n[upstream.app]\nurl = 'http://127.0.0.1:1'\n");
    let loaded = config::load_text(&text, None, &config::Overrides::default(), &|_| None);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    compare(&recent, &loaded.settings, proxy.clock.now())
}

#[tokio::test]
async fn the_latest_decisions_are_judged_again_by_another_configuration() {
    let (_upstream, proxy) = world().await;
    for target in ["/fresh", "/fresh", "/silent/1", "/silent/2", "/private"] {
        proxy.get(target).await;
    }
    let same = with(&proxy, "").await;
    assert_eq!((same.judged, same.changes.len()), (5, 0), "{same}");

    let longer = with(&proxy, "[cache]\nttl = \"60s\"\n").await;
    let changes: Vec<_> = longer.changes.iter().collect();
    let [((route, before, after), changed)] = &changes[..] else {
        panic!("{longer}");
    };
    assert_eq!((route.as_str(), changed.count), ("*", 2), "{longer}");
    assert!(before.contains("not stored (no-lifetime)"), "{longer}");
    assert!(after.contains("stored for 60 s (route-ttl)"), "{longer}");
    assert!(
        changed.example.ends_with("/silent/2"),
        "the latest: {longer}"
    );

    let off = with(
        &proxy,
        "[[route]]\nmatch = \"/fresh\"\ncache = { enabled = false }\n",
    )
    .await;
    let text = off.to_string();
    assert!(text.starts_with("2 of the latest 5 decisions"), "{text}");
    assert!(text.contains("on *: hit"), "{text}");
    assert!(
        text.contains("→  forward (disabled)") && text.contains("by route /fresh"),
        "{text}"
    );

    let uncoded = with(&proxy, "[content_coding]\nenabled = false\n").await;
    let text = uncoded.to_string();
    assert!(text.contains("identity (disabled)"), "{text}");
}

#[tokio::test]
async fn what_became_of_a_request_is_told_by_its_name_and_without_its_secrets() {
    let (_upstream, proxy) = world().await;
    let secrets = [
        ("authorization", "Bearer s3cret"),
        ("cookie", "session=s3cret"),
        ("x-api-key", "s3cret"),
    ];
    let answer = proxy.get_with("/fresh", &secrets).await;
    let id = answer.header("x-request-id");
    let told = ask(&proxy, &format!("/explain?id={id}&format=text")).await;
    assert_eq!(told.status, 200);
    let text = told.text();
    assert!(text.contains("(authorization)"), "{text}");
    assert!(text.contains("Cache-Control: public, max-age=60"), "{text}");
    for told in [text, ask(&proxy, "/explain/recent").await.text()] {
        assert!(!told.contains("s3cret"), "{told}");
    }
    let unknown = ask(&proxy, "/explain?id=unheard-of").await;
    assert_eq!(unknown.status, 404);

    proxy.get("/fresh").await;
    let hit = proxy.get("/fresh").await;
    assert!(hit.header("cache-status").contains("; hit"), "{hit:?}");
    let id = hit.header("x-request-id");
    let told = ask(&proxy, &format!("/explain?id={id}")).await;
    let told: serde_json::Value = serde_json::from_str(told.text()).expect("JSON");
    assert_eq!(told["done"], "hit");
}

#[tokio::test]
async fn whatever_is_forwarded_is_remembered_whatever_its_method() {
    let (_upstream, proxy) = world().await;
    for (method, target, expected) in [
        ("PUT", "/silent", r#"{"bypassed":"method"}"#),
        ("POST", "/silent", r#"{"bypassed":"method"}"#),
        ("POST", "/own", r#"{"stored":"method"}"#),
    ] {
        let method: Method = method.parse().expect("a method");
        let asked = request(method.clone(), target, &[], "");
        let answer = fetch(proxy.address, asked).await;
        let id = answer.header("x-request-id");
        let told = ask(&proxy, &format!("/explain?id={id}")).await;
        assert_eq!(told.status, 200, "{method} {target}");
        let told: serde_json::Value = serde_json::from_str(told.text()).expect("JSON");
        let expected: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(told["done"], expected, "{method} {target}");
    }
}
