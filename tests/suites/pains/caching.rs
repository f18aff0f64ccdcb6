//! Pains of shared caches: leaks between users, lost 304s, memory, variants, unkeyed inputs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::Method;
use tests::client::request;
use tests::{Proxy, Upstream, reply};
use tokio::sync::Semaphore;

/// #1: one user's `Set-Cookie` or personal page replayed to others, also through collapsing.
#[tokio::test]
async fn pain_1_a_minted_cookie_reaches_one_client_only() {
    let minted = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let (minted, gate) = (minted.clone(), gate.clone());
        move |_| {
            let (minted, gate) = (minted.clone(), gate.clone());
            async move {
                gate.acquire().await.expect("it stays open").forget();
                let number = minted.fetch_add(1, Ordering::SeqCst);
                reply(200)
                    .header("cache-control", "public, max-age=600")
                    .header("set-cookie", &format!("session={number}"))
                    .body(format!("user {number}"))
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;

    let clients = join_all((0..100).map(|_| proxy.get("/login")));
    let release = async {
        upstream.wait_for(1).await;
        gate.add_permits(100);
    };
    let (answers, ()) = tokio::join!(clients, release);

    let cookies: BTreeSet<&str> = answers
        .iter()
        .map(|answer| answer.header("set-cookie"))
        .collect();
    let pages: BTreeSet<&str> = answers.iter().map(|answer| answer.text()).collect();
    assert_eq!((cookies.len(), pages.len()), (100, 100));
    assert_eq!(upstream.count(), 100);
}

/// #1: likewise for `private` answers to requests with cookies.
#[tokio::test]
async fn pain_1_a_personal_page_reaches_its_owner_only() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        reply(200)
            .header("cache-control", "max-age=600")
            .body(format!("page of {}", seen.header("cookie")))
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for user in ["user=ann", "user=bob", "user=ann"] {
        let answer = proxy.get_with("/me", &[("cookie", user)]).await;
        assert_eq!(answer.text(), format!("page of {user}"));
    }
    let authorised = proxy
        .get_with("/me", &[("authorization", "Bearer x")])
        .await;
    assert_eq!(authorised.text(), "page of ");
    assert_eq!(upstream.count(), 4);
}

/// #2: compression makes entity tags vanish or never match.
#[tokio::test]
async fn pain_2_every_tag_matches_in_every_coding() {
    let page = "<p>hello</p>".repeat(500);
    for (tag, storable) in [
        (Some("\"abc\""), true),
        (Some("W/\"abc\""), true),
        (None, true),
        (Some("\"abc\""), false),
        (Some("W/\"abc\""), false),
        (None, false),
    ] {
        let upstream = Upstream::start({
            let page = page.clone();
            move |_| {
                let page = page.clone();
                async move {
                    let control = if storable {
                        "max-age=600"
                    } else {
                        "no-cache, max-age=0"
                    };
                    let answer = reply(200)
                        .header("content-type", "text/html")
                        .header("cache-control", control);
                    match tag {
                        Some(tag) => answer.header("etag", tag).body(page),
                        None => answer.body(page),
                    }
                }
            }
        })
        .await;
        let proxy = Proxy::before(&upstream).await;
        for coding in ["identity", "gzip", "br", "zstd"] {
            let about = format!("tag {tag:?}, storable {storable}, coding {coding}");
            let accept = ("accept-encoding", coding);
            let first = proxy.get_with("/", &[accept]).await;
            assert_eq!(first.status, 200, "{about}");
            assert_eq!(first.decoded(), page.as_bytes(), "{about}");
            let coded = first.header("content-encoding");
            assert_eq!(
                coded,
                if coding == "identity" { "" } else { coding },
                "{about}"
            );
            let made = first.header("etag").to_owned();
            assert!(!made.is_empty(), "{about}");
            if coding != "identity" && tag == Some("\"abc\"") {
                assert_eq!(
                    made,
                    format!("\"abc~{coding}\""),
                    "strong tags differ by coding"
                );
            }

            let again = proxy
                .get_with("/", &[accept, ("if-none-match", &made)])
                .await;
            assert_eq!(again.status, 304, "{about}");
            assert_eq!(
                again.header("etag"),
                made,
                "the tag that a 200 would have had: {about}"
            );
            assert_eq!(
                again.header("vary").to_ascii_lowercase(),
                "accept-encoding",
                "{about}"
            );
            assert!(again.body.is_empty(), "{about}");
            for field in ["content-encoding", "content-length", "transfer-encoding"] {
                assert_eq!(again.header(field), "", "{field}: {about}");
            }

            let head = proxy.send(request(Method::HEAD, "/", &[accept], "")).await;
            assert_eq!(head.status, 200, "{about}");
            if storable {
                assert_eq!(head.header("etag"), made, "{about}");
                assert_eq!(head.header("content-encoding"), coded, "{about}");
            }
        }
        // A tag learned in one coding is good for another.
        let gzip = proxy.get_with("/", &[("accept-encoding", "gzip")]).await;
        let across = proxy
            .get_with(
                "/",
                &[
                    ("accept-encoding", "br"),
                    ("if-none-match", gzip.header("etag")),
                ],
            )
            .await;
        assert_eq!(across.status, 304, "tag {tag:?}, storable {storable}");

        // What the app judges, it judges in its own words.
        let marked = proxy
            .send(request(
                Method::PUT,
                "/",
                &[("if-match", "\"abc~br\"")],
                "new",
            ))
            .await;
        assert_eq!(marked.status, 200);
        assert_eq!(upstream.last().header("if-match"), "\"abc\"");

        let range = [("range", "bytes=0-3"), ("accept-encoding", "br")];
        proxy.get("/").await;
        let part = proxy.get_with("/", &range).await;
        if storable {
            assert_eq!(
                (part.status.as_u16(), part.text()),
                (206, "<p>h"),
                "tag {tag:?}"
            );
            assert_eq!(part.header("content-encoding"), "");
        }
    }
}

/// #9: "size" is not memory: the budget covers key, fields and overhead.
#[tokio::test]
async fn pain_9_the_budget_covers_everything_that_is_kept() {
    let upstream = Upstream::start(async |_| {
        let mut answer = reply(200).header("cache-control", "max-age=600");
        for number in 0..20 {
            answer = answer.header(&format!("x-field-{number}"), &"v".repeat(200));
        }
        answer.body("small")
    })
    .await;
    let proxy = Proxy::with(&upstream, "[cache]\nmemory = { size = \"4MiB\" }").await;
    let mut client = proxy.client().await;
    for number in 0..3000 {
        client.get_with(&format!("/{number}"), &[]).await;
    }
    let figures = proxy.running().shared().cache.figures();
    assert_eq!(figures.budget, 4 << 20);
    assert!(figures.bytes <= figures.budget, "{figures:?}");
    // Fields alone are 4 KiB: bodies of 5 bytes would have let all 3000 stay.
    assert!(
        figures.entries > 100 && figures.entries < 1050,
        "{figures:?}"
    );
}

/// #11: `Vary` surprises: fragmentation, the wrong variant, refusal without a reason.
#[tokio::test]
async fn pain_11_vary_selects_and_never_confuses() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        let vary = seen.target.trim_start_matches('/').to_owned();
        reply(200)
            .header("cache-control", "public, max-age=600")
            .header("content-type", "text/plain")
            .header("vary", &vary)
            .body(format!("{} for {}", "x".repeat(2000), seen.header(&vary)))
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let language = |value| [("accept-language", value)];
    let german = proxy.get_with("/accept-language", &language("de")).await;
    let french = proxy.get_with("/accept-language", &language("fr")).await;
    assert!(german.text().ends_with("for de") && french.text().ends_with("for fr"));
    let again = proxy.get_with("/accept-language", &language("de")).await;
    assert!(again.text().ends_with("for de"));
    assert_eq!(upstream.count(), 2);

    // Codings are negotiated here: one stored response serves every spelling.
    for (number, spelling) in ["gzip", "br, gzip", "gzip;q=0.5, br;q=1", "zstd", ""]
        .iter()
        .enumerate()
    {
        let answer = proxy
            .get_with("/accept-encoding", &[("accept-encoding", spelling)])
            .await;
        let status = answer.header("cache-status");
        assert_eq!(status.contains("hit"), number > 0, "{spelling}: {status}");
    }
    assert_eq!(upstream.count(), 3);

    // What would make one stored response for each client is not stored, and says so.
    for field in ["user-agent", "cookie", "*"] {
        proxy.get_with(&format!("/{field}"), &[]).await;
        let again = proxy.get_with(&format!("/{field}"), &[]).await;
        let status = again.header("cache-status");
        assert!(
            !status.contains("hit") && status.contains("vary"),
            "{field}: {status}"
        );
    }
}

/// #23: poisoning through unkeyed inputs; caches keyed after rewriting or without the host.
#[tokio::test]
async fn pain_23_what_a_client_may_send_freely_cannot_poison() {
    let upstream = Upstream::start(async |seen: tests::Seen| {
        let told = |name| {
            seen.headers
                .get(name)
                .map_or("-", |value| value.to_str().unwrap_or("?"))
        };
        reply(200)
            .header("cache-control", "public, max-age=600")
            .body(format!(
                "{} {} {} {} {}",
                seen.target,
                told("host"),
                told("x-forwarded-host"),
                told("x-forwarded-proto"),
                told("forwarded"),
            ))
    })
    .await;
    let proxy = Proxy::with(
        &upstream,
        "[[route]]\nmatch = \"/a/*\"\nupstream = \"app\"\nstrip_prefix = \"/a\"\n",
    )
    .await;
    let evil = [
        ("host", "shop.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "gopher"),
        ("forwarded", "host=evil.example"),
    ];
    let poisoned = proxy.get_with("/page", &evil).await;
    assert!(!poisoned.text().contains("evil") && !poisoned.text().contains("gopher"));
    let other_host = proxy.get_with("/page", &[("host", "other.example")]).await;
    assert!(
        other_host.text().contains("other.example"),
        "the host is part of the key"
    );
    // Two paths that are rewritten to the same target are not the same to a client.
    let one = proxy.get_with("/a/page", &[("host", "shop.example")]).await;
    let two = proxy.get_with("/page", &[("host", "shop.example")]).await;
    assert!(one.text().starts_with("/page ") && two.text().starts_with("/page "));
    assert!(
        one.header("cache-status").contains("fwd=uri-miss"),
        "{}",
        one.header("cache-status")
    );
    assert_eq!(upstream.count(), 3);
}
