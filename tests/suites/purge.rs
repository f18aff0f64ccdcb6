//! `POST /purge` and `pillion purge`: what they hit, and that they hit nothing else.

use std::collections::BTreeSet;

use http::Method;
use tests::client::request;
use tests::{Fetched, Proxy, Seen, Upstream, fetch, reply};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"";

/// Paths, and the tags of what lies there.
const PAGES: [(&str, &str); 7] = [
    ("/shop/1?page=1", "product product:1"),
    ("/shop/11", "product product:11"),
    ("/shop/1/reviews", "product:1 reviews"),
    ("/shopping", "products"),
    ("/about", ""),
    ("/a/b/c/d/e", "deep"),
    ("/", "a,b"),
];

/// All pages stored, each under a tag of its own for the validation.
async fn filled() -> (Upstream, Proxy) {
    let upstream = Upstream::start(async |seen: Seen| {
        let tags = PAGES.iter().find(|page| page.0 == seen.target);
        let (path, tags) = tags.expect("no other is asked for");
        reply(200)
            .header("cache-control", "max-age=600")
            .header("etag", &format!("\"{path}\""))
            .header("surrogate-key", tags)
            .header("cache-groups", "\"all\"")
            .body(*path)
    })
    .await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    for (path, _) in PAGES {
        proxy.get(path).await;
    }
    (upstream, proxy)
}

async fn order(proxy: &Proxy, query: &str) -> Fetched {
    let admin = proxy.admin.expect("an admin listener");
    let target = format!("/purge?{query}");
    fetch(admin, request(Method::POST, &target, &[], String::new())).await
}

/// Which pages the upstream is asked for, and whether each of those was a validation.
async fn missed(upstream: &Upstream, proxy: &Proxy) -> (BTreeSet<&'static str>, bool) {
    let mut missed = BTreeSet::new();
    let before = upstream.count();
    for (path, _) in PAGES {
        let count = upstream.count();
        assert_eq!(proxy.get(path).await.text(), path);
        if upstream.count() > count {
            missed.insert(path);
        }
    }
    let seen = upstream.seen().split_off(before);
    let is_validation = |seen: &Seen| !seen.header("if-none-match").is_empty();
    let validated = !seen.is_empty() && seen.iter().all(is_validation);
    assert!(validated || !seen.iter().any(is_validation), "all or none");
    (missed, validated)
}

/// Each order, and the pages that it is about.
const ORDERS: [(&str, &[&str]); 17] = [
    ("tag=product", &["/shop/1?page=1", "/shop/11"]),
    ("tag=product:1", &["/shop/1?page=1", "/shop/1/reviews"]),
    (
        "tag=product:1&tag=deep",
        &["/shop/1?page=1", "/shop/1/reviews", "/a/b/c/d/e"],
    ),
    ("tag=Product", &[]),
    ("tag=product*", &[]),
    ("tag=all", &[]),
    (
        "prefix=/shop",
        &["/shop/1?page=1", "/shop/11", "/shop/1/reviews"],
    ),
    ("prefix=/shop/1/", &["/shop/1?page=1", "/shop/1/reviews"]),
    ("prefix=/a/b/c/d", &["/a/b/c/d/e"]),
    ("prefix=elsewhere.test/shop", &[]),
    (
        "pattern=/shop*",
        &["/shop/1?page=1", "/shop/11", "/shop/1/reviews", "/shopping"],
    ),
    ("pattern=*page=1", &["/shop/1?page=1"]),
    ("pattern=/shop", &[]),
    ("url=/shop/11", &["/shop/11"]),
    ("url=/shop/1", &[]),
    ("group=all&origin=http://elsewhere.test", &[]),
    ("group=some", &[]),
];

#[tokio::test]
async fn an_order_hits_what_it_names_and_nothing_else() {
    for (query, expected) in ORDERS {
        for soft in [false, true] {
            let (upstream, proxy) = filled().await;
            let query = if soft {
                format!("{query}&soft")
            } else {
                query.to_owned()
            };
            let rehearsed = order(&proxy, &format!("{query}&dry_run")).await;
            let told: serde_json::Value = serde_json::from_slice(&rehearsed.body).expect("JSON");
            assert_eq!(told["responses"], expected.len(), "{query}: {told}");
            let urls = told["urls"].as_array().expect("a list");
            assert_eq!(urls.len(), expected.len(), "{query}: {told}");
            for path in expected {
                let url = format!("http://{}{path}", proxy.address);
                assert!(
                    urls.iter().any(|told| *told == url),
                    "{query}: {url} {told}"
                );
            }
            assert!(
                missed(&upstream, &proxy).await.0.is_empty(),
                "{query}: a rehearsal purges nothing"
            );
            let done = order(&proxy, &query).await;
            assert_eq!(done.status, 200, "{query}: {}", done.text());
            let (missed, validated) = missed(&upstream, &proxy).await;
            assert_eq!(missed, expected.iter().copied().collect(), "{query}");
            assert_eq!(validated, soft && !expected.is_empty(), "{query}");
        }
    }
}

#[tokio::test]
async fn everything_and_groups_of_our_origin() {
    for query in ["all", "group=all", "prefix=/", "pattern=*"] {
        let (upstream, proxy) = filled().await;
        let rehearsed = order(&proxy, &format!("{query}&dry_run")).await;
        assert!(
            rehearsed.text().contains("\"responses\": 7"),
            "{}",
            rehearsed.text()
        );
        order(&proxy, query).await;
        assert_eq!(
            missed(&upstream, &proxy).await.0.len(),
            PAGES.len(),
            "{query}"
        );
    }
    let (upstream, proxy) = filled().await;
    order(&proxy, "all&soft").await;
    let (missed, validated) = missed(&upstream, &proxy).await;
    assert!(missed.len() == PAGES.len() && validated);
}

#[tokio::test]
async fn variants_are_counted_and_what_was_purged_is_not() {
    let upstream = Upstream::start(async |seen: Seen| {
        reply(200)
            .header("cache-control", "max-age=600")
            .header("vary", "x-a")
            .header("xkey", seen.header("x-a"))
            .body("x")
    })
    .await;
    let proxy = Proxy::with(&upstream, ADMIN).await;
    for value in ["one", "two"] {
        proxy.get_with("/", &[("x-a", value)]).await;
    }
    for (query, expected) in [
        ("url=/&dry_run", "\"responses\": 2"),
        ("tag=one&dry_run", "\"responses\": 1"),
        ("tag=one", "\"responses\": null"),
        ("tag=one&dry_run", "\"responses\": 0"),
        ("url=/&dry_run", "\"responses\": 1"),
    ] {
        let told = order(&proxy, query).await;
        assert!(told.text().contains(expected), "{query}: {}", told.text());
    }
}

#[tokio::test]
async fn the_command_orders_what_its_flags_say() {
    let (upstream, proxy) = filled().await;
    let admin = proxy.admin.expect("an admin listener").to_string();
    let run = |line: &'static [&'static str]| {
        let admin = admin.clone();
        tokio::task::spawn_blocking(move || {
            let mut command = std::process::Command::new(tests::binary::path());
            let output = command
                .arg("purge")
                .args(line)
                .args(["--admin", &admin])
                .output();
            let output = output.expect("the binary starts");
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (
                output.status.success(),
                said(&output.stdout) + &said(&output.stderr),
            )
        })
    };
    let (works, said) = run(&["--tag", "product", "--dry-run"])
        .await
        .expect("no panic");
    assert!(
        works && said.contains("Would purge tag product: 2 stored responses."),
        "{said}"
    );
    assert!(said.contains("/shop/1?page=1\n"), "{said}");
    assert!(missed(&upstream, &proxy).await.0.is_empty());
    let (works, said) = run(&["--tag", "product", "--soft"])
        .await
        .expect("no panic");
    assert!(
        works && said.contains("validated at its next use"),
        "{said}"
    );
    let (missed, validated) = missed(&upstream, &proxy).await;
    assert!(validated && missed == BTreeSet::from(["/shop/1?page=1", "/shop/11"]));
    let (works, said) = run(&["/about"]).await.expect("no panic");
    assert!(works && said.contains("1 stored response."), "{said}");
    let (works, said) = run(&["--prefix", "/a/b/c/d/e"]).await.expect("no panic");
    assert!(!works && said.contains("more than 4 segments"), "{said}");
}
