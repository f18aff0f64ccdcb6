//! A real browser: two users, two profiles, nothing crosses.

use std::process::Stdio;

use tests::{Proxy, Upstream, reply};

/// The page as headless Chromium sees it, in a profile of its own, after `target` was loaded.
async fn rendered(proxy: &Proxy, profile: &tests::proxy::Folder, target: &str) -> String {
    let output = tokio::process::Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}{target}", proxy.address))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), output)
        .await
        .expect("Chromium ends")
        .expect("Chromium is installed by tests/run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn two_users_in_two_browsers_see_each_their_own_page() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        let cookie = seen.header("cookie");
        match seen.target.as_str() {
            "/app.js" => reply(200)
                .header("content-type", "text/javascript")
                .header("cache-control", "public, max-age=600")
                .body(format!("document.title = 'script ran';{}", "/* padding */".repeat(200))),
            target if target.starts_with("/login?") => reply(302)
                .header("set-cookie", &format!("user={}; Path=/", target.trim_start_matches("/login?")))
                .header("location", "/")
                .empty(),
            _ => reply(200).header("content-type", "text/html").header("vary", "Cookie").body(format!(
                "<!doctype html><title>no</title><p>Hello {cookie}</p>{}<script src=/app.js></script>",
                "<p>filler</p>".repeat(200)
            )),
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let (ann, bob) = (tests::proxy::Folder::new(), tests::proxy::Folder::new());
    let page_of_ann = rendered(&proxy, &ann, "/login?ann").await;
    let page_of_bob = rendered(&proxy, &bob, "/login?bob").await;
    assert!(
        page_of_ann.contains("Hello user=ann") && !page_of_ann.contains("bob"),
        "{page_of_ann}"
    );
    assert!(
        page_of_bob.contains("Hello user=bob") && !page_of_bob.contains("ann"),
        "{page_of_bob}"
    );
    assert!(page_of_bob.contains("script ran"), "{page_of_bob}");
    let scripts = upstream
        .seen()
        .iter()
        .filter(|seen| seen.target == "/app.js")
        .count();
    assert_eq!(
        scripts, 1,
        "the second browser's script came from the cache"
    );
}
