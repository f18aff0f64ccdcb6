//! What a cache would save: told over real sockets, and true once it is switched on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tests::client::request;
use tests::{Client, Proxy, Seen, Upstream, fetch, reply};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"";
/// To be the end of a file, so that a test may go on in `[cache]`.
const FOLLOWING: &str = "[admin]\naddress = \"127.0.0.1:0\"\n[cache]\nghost = { enabled = true }\n";

/// A file that stays, a page that is another each time, and one by user.
async fn app() -> Upstream {
    let count = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |seen: Seen| {
        let count = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match &*seen.target {
                "/assets/app.css" => reply(200).body("p { margin: 0 }"),
                "/news/now" => reply(200).body(format!("number {count}")),
                _ => reply(200)
                    .header("set-cookie", "session=1")
                    .body(format!("Hello {}", seen.header("cookie"))),
            }
        }
    })
    .await
}

async fn savings(proxy: &Proxy, accept: &str) -> String {
    let admin = proxy.admin.expect("an admin listener");
    let asked = request(Method::GET, "/explain/savings", &[("accept", accept)], "");
    let answer = fetch(admin, asked).await;
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

async fn json(proxy: &Proxy) -> Value {
    serde_json::from_str(&savings(proxy, "application/json").await).expect("JSON")
}

fn part<'a>(told: &'a Value, pattern: &str) -> &'a Value {
    let routes = told["routes"].as_array().expect("a list");
    let found = routes.iter().find(|route| route["pattern"] == pattern);
    found.unwrap_or_else(|| panic!("{pattern} in {told:#}"))
}

/// Asks for each path ten times, one second apart.
async fn visit(proxy: &Proxy) {
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..10 {
        for path in ["/assets/app.css", "/news/now"] {
            assert_eq!(client.get_with(path, &[]).await.status, 200);
        }
        client.get_with("/mine", &[("cookie", "session=2")]).await;
        proxy.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn what_is_told_comes_true_when_the_rule_is_followed() {
    let upstream = app().await;
    let off = format!("{FOLLOWING}enabled = false");
    let proxy = Proxy::with(&upstream, &off).await;
    visit(&proxy).await;
    assert_eq!(upstream.count(), 30, "nothing is stored where it is off");
    let told = json(&proxy).await;
    let files = part(&told, "/assets/*");
    assert_eq!(files["requests"], 10);
    let saved = &files["ttl"][3];
    assert_eq!(saved["ttl"], 300);
    assert_eq!((&saved["hits"], &saved["wrong"]), (&9.into(), &0.into()));
    assert_eq!(saved["harmless"], true);
    assert!(saved["upstream_seconds"].as_f64().expect("a number") > 0.0);
    let news = &part(&told, "/news/*")["ttl"][3];
    assert_eq!((&news["hits"], &news["wrong"]), (&9.into(), &9.into()));
    assert_eq!(news["harmless"], false);
    assert_eq!(part(&told, "/*")["credentialed"], 10);

    let text = savings(&proxy, "text/plain").await;
    assert!(text.contains("    match = \"/assets/*\"\n"), "{text}");
    assert!(text.contains("None of 9 copies"), "{text}");

    let rule = saved["rule"].as_str().expect("TOML");
    let upstream = app().await;
    let proxy = Proxy::with(&upstream, &format!("{rule}\n{off}")).await;
    visit(&proxy).await;
    assert_eq!(
        upstream.count(),
        21,
        "nine of ten files came from the cache"
    );
}

#[tokio::test]
async fn a_cache_that_is_on_tells_what_has_no_lifetime_and_a_ghost_that_is_off_nothing() {
    let upstream = app().await;
    let proxy = Proxy::with(&upstream, FOLLOWING).await;
    visit(&proxy).await;
    let told = json(&proxy).await;
    let files = part(&told, "/assets/*");
    assert_eq!(
        (&files["cache"], &files["requests"]),
        (&"on".into(), &10.into())
    );
    assert_eq!(files["ttl"][3]["hits"], 9);
    assert_eq!(files["as_configured"], Value::Null);

    let proxy = Proxy::with(&upstream, ADMIN).await;
    visit(&proxy).await;
    assert_eq!(json(&proxy).await["routes"], Value::Array(Vec::new()));
    assert!(
        savings(&proxy, "text/plain")
            .await
            .starts_with("Nothing was followed yet.")
    );
}

#[tokio::test]
async fn the_command_prints_it() {
    let upstream = app().await;
    let proxy = Proxy::with(&upstream, FOLLOWING).await;
    visit(&proxy).await;
    let admin = proxy.admin.expect("an admin listener").to_string();
    for (flags, wanted) in [
        (&[][..], "    match = \"/assets/*\"\n"),
        (&["--json"][..], "\"pattern\": \"/assets/*\""),
    ] {
        let mut command = std::process::Command::new(tests::binary::path());
        command.args(["savings", "--admin", &admin]).args(flags);
        let done = tokio::task::spawn_blocking(move || command.output()).await;
        let output = done.expect("it ends").expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains(wanted),
            "{output:?}"
        );
    }
}
