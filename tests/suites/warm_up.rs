//! Warming up: what is asked for when nobody asks, how quietly, and what is never asked for.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use middleware::cache::What;
use middleware::facts::Scheme;
use middleware::metrics::Event;
use tests::client::request;
use tests::proxy::Folder;
use tests::redis::{Redis, until};
use tests::{Answer, Fetched, Proxy, Seen, Upstream, fetch, reply, within};
use tokio::sync::Semaphore;

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
/// Faster than anybody would want it.
const FAST: &str = "rate = 10000\n";

fn page(seen: &Seen) -> Answer {
    reply(200)
        .header("cache-control", "max-age=600")
        .header("surrogate-key", &seen.target.replace(['/', '?'], ""))
        .body(seen.target.clone())
}

async fn order(proxy: &Proxy, query: &str) -> Fetched {
    let admin = proxy.admin.expect("an admin listener");
    let target = format!("/purge?{query}");
    fetch(admin, request(Method::POST, &target, &[], String::new())).await
}

/// Stored, fresh, not stored, failed.
fn counts(proxy: &Proxy) -> [u64; 4] {
    let metrics = &proxy.running().shared().metrics;
    let of = |event| metrics.total(event);
    [
        of(Event::WarmedStored),
        of(Event::WarmedFresh),
        of(Event::WarmedPassed),
        of(Event::WarmedFailed),
    ]
}

/// Waits until as many requests have been made and answered.
async fn wait_for(proxy: &Proxy, expected: [u64; 4]) {
    let reached = async {
        while counts(proxy) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(tests::PATIENCE, reached)
        .await
        .is_err()
    {
        panic!("{:?} instead of {expected:?}", counts(proxy));
    }
}

/// How often each target was asked for.
fn asked(upstream: &Upstream) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for seen in upstream.seen() {
        *asked.entry(seen.target).or_default() += 1;
    }
    asked
}

fn once(targets: &[&str]) -> BTreeMap<String, usize> {
    targets
        .iter()
        .map(|target| ((*target).to_owned(), 1))
        .collect()
}

#[tokio::test]
async fn what_is_listed_is_there_before_anybody_asks() {
    let upstream = Upstream::start(async |seen: Seen| page(&seen)).await;
    let toml = format!("[warm_up]\nurls = [\"/a\", \"/b?c\", \"/a\"]\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [2, 0, 0, 0]).await;
    assert_eq!(asked(&upstream), once(&["/a", "/b?c"]));
    for target in ["/a", "/b?c"] {
        let answer = proxy.get(target).await;
        assert_eq!(answer.text(), target);
        assert!(
            answer.header("cache-status").starts_with("pillion; hit"),
            "{}",
            answer.header("cache-status")
        );
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_request_says_who_asks_and_nothing_that_would_make_the_answer_special() {
    let upstream = Upstream::start(async |seen: Seen| page(&seen)).await;
    let toml = format!(
        "[warm_up]\norigin = \"https://www.example.com\"\nurls = [\"/a\", \"http://other.test/b\"]\n{FAST}"
    );
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [2, 0, 0, 0]).await;
    let mut seen = upstream.seen();
    seen.sort_by(|a, b| a.target.cmp(&b.target));
    let told: Vec<_> = seen
        .iter()
        .map(|seen| [seen.header("host"), seen.header("x-forwarded-proto")])
        .collect();
    assert_eq!(told, [["www.example.com", "https"], ["other.test", "http"]]);
    for seen in &seen {
        assert_eq!(seen.method, Method::GET);
        assert_eq!(seen.header("user-agent"), "pillion-warm-up");
        // Apps take their own machine for an administrator.
        for absent in ["x-forwarded-for", "forwarded", "cookie", "authorization"] {
            assert!(!seen.headers.contains_key(absent), "{absent}");
        }
    }
    // Under the key that a client behind the proxy that ends TLS has.
    let cache = &proxy.running().shared().cache;
    let of = |scheme| What::Url {
        scheme,
        authority: "www.example.com".to_owned(),
        uri: "/a".parse().expect("a path"),
    };
    let stored = |scheme| cache.would_purge(&of(scheme)).expect("a URL").responses;
    assert_eq!([stored(Scheme::Https), stored(Scheme::Http)], [1, 0]);
}

#[tokio::test]
async fn clients_requests_alone_are_counted_and_logged_as_such() {
    let upstream = Upstream::start(async |seen: Seen| page(&seen)).await;
    let toml = format!("{ADMIN}[warm_up]\nurls = [\"/a\"]\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [1, 0, 0, 0]).await;
    let metrics = proxy.metrics().await;
    assert!(
        !metrics.contains("pillion_http_requests_total{"),
        "{metrics}"
    );
    for line in [
        "pillion_warm_up_requests_total{result=\"stored\"} 1\n",
        "pillion_warm_up_requests_total{result=\"failed\"} 0\n",
        "pillion_warm_up_waiting 0.0\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

fn packed(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).expect("memory");
    packer.finish().expect("memory")
}

#[tokio::test]
async fn a_sitemap_is_followed_within_its_host_and_nowhere_else() {
    let elsewhere = Upstream::start(async |_| reply(200).body("a secret")).await;
    let victim = elsewhere.url.clone();
    let upstream = Upstream::start(move |seen: Seen| {
        let victim = victim.clone();
        async move {
            let host = seen.header("host").to_owned();
            let set = |urls: &[String]| {
                let urls = urls
                    .iter()
                    .map(|url| format!("<url><loc>{url}</loc></url>"));
                format!("<urlset>{}</urlset>", urls.collect::<String>())
            };
            let sitemap = |place: &str| format!("<sitemap><loc>{place}</loc></sitemap>");
            match &*seen.target {
                "/sitemap.xml" => {
                    reply(200)
                        .header("content-type", "application/xml")
                        .body(format!(
                            "<sitemapindex>{}{}{}{}</sitemapindex>",
                            sitemap(&format!("http://{host}/one.xml")),
                            sitemap("/two.xml.gz"),
                            sitemap(&format!("{victim}/sitemap.xml")),
                            sitemap("/missing.xml"),
                        ))
                }
                "/one.xml" => reply(200).body(set(&[
                    format!("http://{host}/1"),
                    "/2?a=1&amp;b=2".to_owned(),
                    format!("{victim}/metadata"),
                    format!("https://{host}/other-scheme"),
                    format!("http://me:secret@{host}/credentials"),
                    "file:///etc/passwd".to_owned(),
                ])),
                // An index within an index is not followed.
                "/two.xml.gz" => reply(200).body(packed(&format!(
                    "<sitemapindex>{}</sitemapindex>",
                    sitemap("/three.xml")
                ))),
                "/missing.xml" => reply(404).body("no"),
                _ => page(&seen),
            }
        }
    })
    .await;
    let toml = format!("[warm_up]\nurls = [\"/1\"]\nsitemap = \"/sitemap.xml\"\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [2, 0, 0, 0]).await;
    let expected = once(&[
        "/sitemap.xml",
        "/one.xml",
        "/two.xml.gz",
        "/missing.xml",
        "/1",
        "/2?a=1&b=2",
    ]);
    assert_eq!(asked(&upstream), expected);
    assert_eq!(elsewhere.count(), 0);
    proxy.stop().await;
    assert_eq!(asked(&upstream), expected);
}

#[tokio::test]
async fn a_sitemap_that_is_none_costs_its_urls_and_no_more() {
    for content in [
        Bytes::from_static(b"<html>not found</html>"),
        Bytes::from(vec![b' '; (16 << 20) + 1]),
        Bytes::from(packed(&" ".repeat((16 << 20) + 1))),
        Bytes::from_static(b"<urlset><url><loc>/a</urlset>"),
    ] {
        let length = content.len();
        let upstream = Upstream::start(move |seen: Seen| {
            let content = content.clone();
            async move {
                match &*seen.target {
                    "/sitemap.xml" => reply(200).body(content),
                    _ => page(&seen),
                }
            }
        })
        .await;
        let toml = format!("[warm_up]\nurls = [\"/b\"]\nsitemap = \"/sitemap.xml\"\n{FAST}");
        let proxy = Proxy::with(&upstream, &toml).await;
        wait_for(&proxy, [1, 0, 0, 0]).await;
        assert_eq!(asked(&upstream), once(&["/sitemap.xml", "/b"]), "{length}");
    }
}

#[tokio::test]
async fn no_more_than_is_allowed_and_what_is_listed_first() {
    let upstream = Upstream::start(async |seen: Seen| match &*seen.target {
        "/sitemap.xml" => {
            let urls: String = (0..100)
                .map(|n| format!("<url><loc>/{n}</loc></url>"))
                .collect();
            reply(200).body(format!("<urlset>{urls}</urlset>"))
        }
        _ => page(&seen),
    })
    .await;
    let toml = format!("[warm_up]\nurls = [\"/a\"]\nsitemap = \"/sitemap.xml\"\nmost = 4\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [4, 0, 0, 0]).await;
    assert_eq!(
        asked(&upstream),
        once(&["/sitemap.xml", "/a", "/0", "/1", "/2"])
    );
}

#[tokio::test]
async fn what_was_purged_is_fetched_again() {
    let upstream = Upstream::start(async |seen: Seen| page(&seen)).await;
    let toml = format!("{ADMIN}[warm_up]\nurls = [\"/a\", \"/b\"]\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [2, 0, 0, 0]).await;
    order(&proxy, "all").await;
    wait_for(&proxy, [4, 0, 0, 0]).await;
    // Of a tag nobody knows what it hits: what is still fresh is not forwarded.
    order(&proxy, "tag=b").await;
    wait_for(&proxy, [5, 1, 0, 0]).await;
    // One that is listed, and one that is not.
    order(&proxy, "url=/a").await;
    wait_for(&proxy, [6, 1, 0, 0]).await;
    order(&proxy, "url=/c").await;
    order(&proxy, "url=/b&soft").await;
    wait_for(&proxy, [7, 1, 0, 0]).await;
    let expected = [("/a".to_owned(), 3), ("/b".to_owned(), 4)];
    assert_eq!(asked(&upstream), BTreeMap::from(expected));
}

#[tokio::test]
async fn nothing_is_fetched_that_was_not_asked_for() {
    let upstream = Upstream::start(async |seen: Seen| page(&seen)).await;
    for keys in [
        "enabled = false",
        "at_start = false",
        "after_purge = false\nat_start = false",
    ] {
        let toml = format!("{ADMIN}[warm_up]\nurls = [\"/a\"]\n{keys}\n{FAST}");
        let proxy = Proxy::with(&upstream, &toml).await;
        if keys == "at_start = false" {
            order(&proxy, "url=/b").await;
            order(&proxy, "url=/a").await;
            wait_for(&proxy, [1, 0, 0, 0]).await;
        } else {
            // Longer than orders are gathered for.
            order(&proxy, "all").await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        proxy.stop().await;
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn no_faster_than_is_allowed() {
    let upstream = Upstream::start(async |seen: Seen| page(&seen)).await;
    let urls = "urls = [\"/1\", \"/2\", \"/3\", \"/4\", \"/5\", \"/6\"]";
    let toml = format!("[warm_up]\n{urls}\nrate = 10\nconcurrency = 4\n");
    let begun = Instant::now();
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [6, 0, 0, 0]).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn no_more_at_once_than_is_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (now.clone(), most.clone());
    let three = Arc::new(tokio::sync::Barrier::new(3));
    let upstream = Upstream::start(move |seen: Seen| {
        let ((now, most), three) = (counted.clone(), three.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Three do come together, and for a while no fourth.
            three.wait().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            page(&seen)
        }
    })
    .await;
    let urls: Vec<_> = (0..12).map(|number| format!("\"/{number}\"")).collect();
    let toml = format!(
        "[warm_up]\nurls = [{}]\nconcurrency = 3\n{FAST}",
        urls.join(",")
    );
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [12, 0, 0, 0]).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn clients_come_first() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let upstream = Upstream::start(move |seen: Seen| {
        let held = held.clone();
        async move {
            if seen.target.starts_with("/slow") {
                drop(held.acquire().await);
            }
            page(&seen)
        }
    })
    .await;
    let toml =
        format!("{ADMIN}[warm_up]\nurls = [\"/a\", \"/b\"]\nat_start = false\nbusy = 1\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    let address = proxy.address;
    let ask = |target| async move { fetch(address, request(Method::GET, target, &[], "")).await };
    let clients = [tokio::spawn(ask("/slow/1")), tokio::spawn(ask("/slow/2"))];
    upstream.wait_for(2).await;
    order(&proxy, "all").await;
    // The round has begun, and waits.
    within("a round that waits", async {
        while !proxy
            .metrics()
            .await
            .contains("pillion_warm_up_waiting 2.0\n")
        {}
    })
    .await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(upstream.count(), 2);
    }
    // One of them is as many as may be in flight.
    gate.add_permits(1);
    wait_for(&proxy, [2, 0, 0, 0]).await;
    gate.add_permits(1);
    for client in clients {
        client.await.expect("no panic");
    }
}

#[tokio::test]
async fn an_app_that_does_not_answer_yet_is_asked_again_later() {
    let count = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start(move |seen: Seen| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match number {
                0..8 => reply(503)
                    .header("cache-control", "no-store")
                    .body("not yet"),
                _ => page(&seen),
            }
        }
    })
    .await;
    let urls = "urls = [\"/1\", \"/2\", \"/3\", \"/4\", \"/5\", \"/6\"]";
    let toml = format!("[warm_up]\n{urls}\nconcurrency = 1\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    let settled = async {
        while counts(&proxy)[0] < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("all pages", settled).await;
    // It pauses after five failures, instead of asking for what is left in vain; what failed meanwhile
    // is asked for again.
    assert_eq!(counts(&proxy), [6, 0, 0, 8]);
    assert_eq!(asked(&upstream)["/6"], 1);
}

#[tokio::test]
async fn what_never_ends_and_is_not_stored_holds_nothing_up() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let upstream = Upstream::start(move |seen: Seen| {
        let sender = sender.clone();
        async move {
            if seen.target != "/events" {
                return page(&seen);
            }
            let (events, answer) = reply(200)
                .header("content-type", "text/event-stream")
                .stream();
            events
                .send(Ok(Frame::data("data: 1\n\n".into())))
                .expect("it is read");
            sender.send(events).expect("the test waits");
            answer
        }
    })
    .await;
    let toml = format!("[warm_up]\nurls = [\"/events\", \"/a\"]\nconcurrency = 1\n{FAST}");
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [1, 0, 1, 0]).await;
    let events = receiver.recv().expect("it was asked for");
    within("the end of the stream", events.closed()).await;
}

/// A Pillion that remembers what is hot in `folder`, whose files outlive it.
async fn remembering(upstream: &Upstream, folder: &Folder) -> Proxy {
    let file = folder.path().join("hottest.txt");
    let toml = format!(
        "[warm_up]\norigin = \"http://www.example.com\"\nhottest = {{ file = {file:?}, count = 3 }}\n{FAST}"
    );
    Proxy::with(upstream, &toml).await
}

/// An app whose pages are for everybody, and say where they are.
async fn public_pages() -> Upstream {
    Upstream::start(async |seen: Seen| {
        let public = reply(200).header("cache-control", "public, max-age=600");
        public.body(seen.target)
    })
    .await
}

#[tokio::test]
async fn the_hottest_of_the_last_run_come_first_in_the_next() {
    let folder = Folder::new();
    let file = folder.path().join("hottest.txt");
    let upstream = public_pages().await;
    let proxy = remembering(&upstream, &folder).await;
    let host = [("host", "www.example.com")];
    for (target, times) in [
        ("/hot", 9),
        ("/warm?page=2", 5),
        ("/mild", 3),
        ("/cool", 2),
        ("/reset?token=abc", 12),
        ("/once", 1),
    ] {
        for _ in 0..times {
            proxy.get_with(target, &host).await;
        }
    }
    for _ in 0..12 {
        let login = [("authorization", "Bearer me"), ("host", "www.example.com")];
        proxy.get_with("/mine", &login).await;
    }
    let cached = proxy.get_with("/reset?token=abc", &host).await;
    assert!(cached.header("cache-status").starts_with("pillion; hit"));
    proxy.stop().await;
    let written = std::fs::read_to_string(&file).expect("it was written at the stop");
    let urls: Vec<&str> = written
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let expected =
        ["/hot", "/warm?page=2", "/mild"].map(|path| format!("http://www.example.com{path}"));
    assert_eq!(urls, expected);
    let mode = std::fs::metadata(&file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let before = upstream.count();
    let proxy = remembering(&upstream, &folder).await;
    wait_for(&proxy, [3, 0, 0, 0]).await;
    let seen = upstream.seen().split_off(before);
    let mut targets: Vec<_> = seen.iter().map(|seen| &*seen.target).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["/hot", "/mild", "/warm?page=2"]);
    // A run without clients forgets nothing.
    proxy.stop().await;
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), written);
}

#[tokio::test]
async fn no_credentials_are_in_the_file() {
    let folder = Folder::new();
    let file = folder.path().join("hottest.txt");
    let upstream = public_pages().await;
    let toml = format!(
        "[cache]\ncookies = \"ignore\"\n[warm_up]\norigin = \"http://www.example.com\"\n\
         hottest = {{ file = {file:?}, count = 100 }}\n{FAST}"
    );
    let proxy = Proxy::with(&upstream, &toml).await;
    let host = ("host", "www.example.com");
    for _ in 0..12 {
        for (target, name, value) in [
            ("/plain", "accept", "*/*"),
            ("/cookie", "cookie", "session=s3cret"),
            ("/basic", "authorization", "Basic czNjcmV0"),
            ("/bearer", "authorization", "Bearer s3cret"),
            ("/proxy", "proxy-authorization", "Basic czNjcmV0"),
            ("/header", "x-api-key", "s3cret"),
            ("/a?api_key=s3cret", "accept", "*/*"),
            ("/b?x=1&access_token=s3cret", "accept", "*/*"),
            ("/c?X-Amz-Signature=s3cret", "accept", "*/*"),
            ("/d?PASSWORD=s3cret&page=2", "accept", "*/*"),
            ("/e?%74oken=s3cret", "accept", "*/*"),
            ("/f?session[id]=s3cret", "accept", "*/*"),
        ] {
            let answer = proxy.get_with(target, &[host, (name, value)]).await;
            assert_eq!(answer.status, 200);
        }
        for target in [
            "http://me:s3cret@www.example.com/userinfo",
            "http://s3cret@www.example.com/user",
        ] {
            proxy.get_with(target, &[host]).await;
        }
    }
    proxy.stop().await;
    let written = std::fs::read_to_string(&file).expect("it was written at the stop");
    assert!(
        written.contains("http://www.example.com/plain\n"),
        "{written}"
    );
    for secret in ["s3cret", "czNjcmV0", "Bearer", "Basic", "me:"] {
        assert!(!written.contains(secret), "{written}");
    }
}

/// Of two that begin with nothing, on one Redis, the app hears as if there were one.
#[tokio::test]
async fn two_on_one_redis_ask_the_app_once_between_them() {
    let (redis, folder) = (Redis::start().await, Folder::new());
    let upstream = Upstream::start(async |seen: Seen| {
        // So that the second is always about to ask while the first does.
        tokio::time::sleep(Duration::from_millis(50)).await;
        page(&seen)
    })
    .await;
    let urls: Vec<_> = (0..12).map(|number| format!("\"/{number}\"")).collect();
    let toml = |name: &str| {
        let file = folder.path().join(name);
        format!(
            "{ADMIN}[cache.redis]\nurl = {:?}\ntimeout = \"1s\"\nconnect_timeout = \"1s\"\n\
             [warm_up]\norigin = \"http://www.example.com\"\nurls = [{}]\n\
             hottest = {{ file = {file:?} }}\nconcurrency = 3\n{FAST}",
            redis.url(),
            urls.join(",")
        )
    };
    let (one, other) = (toml("one"), toml("other"));
    // At once.
    let (one, other) = tokio::join!(Proxy::with(&upstream, &one), Proxy::with(&upstream, &other));
    let done = async |proxy: &Proxy| {
        until("a round is over", async || {
            counts(proxy).iter().sum::<u64>() >= 12
        })
        .await;
        assert_eq!(counts(proxy)[2..], [0, 0], "{:?}", counts(proxy));
    };
    done(&one).await;
    done(&other).await;
    assert_eq!(upstream.count(), 12, "{:?}", asked(&upstream));
    // And each has all of it in its own memory.
    let host = [("host", "www.example.com")];
    for proxy in [&one, &other] {
        for number in 0..12 {
            let answer = proxy.get_with(&format!("/{number}"), &host).await;
            let status = answer.header("cache-status");
            assert!(status.starts_with("pillion; hit"), "{status}");
            assert!(!status.contains("detail=l2"), "{status}");
        }
    }
    assert_eq!(upstream.count(), 12);
    // One that comes later has it from Redis.
    let third = Proxy::with(&upstream, &toml("third")).await;
    done(&third).await;
    assert_eq!(upstream.count(), 12, "{:?}", asked(&upstream));
    // What is purged at one is fetched once for all.
    order(&one, "all").await;
    until("all have warmed up again", async || {
        let proxies = [&one, &other, &third];
        proxies
            .iter()
            .all(|proxy| counts(proxy).iter().sum::<u64>() >= 24)
    })
    .await;
    assert_eq!(upstream.count(), 24, "{:?}", asked(&upstream));
}

/// With a disk, a restart asks the app for nothing that it answered before, and what is hot is in memory before
/// anybody asks.
#[tokio::test]
async fn what_was_hot_is_read_back_from_disk_by_the_next_run() {
    let folder = Folder::new();
    let upstream = public_pages().await;
    let (file, disk) = (
        folder.path().join("hottest.txt"),
        folder.path().join("kept"),
    );
    let toml = format!(
        "[cache.disk]\npath = {disk:?}\nsize = \"16MiB\"\n\
         [warm_up]\norigin = \"http://www.example.com\"\nhottest = {{ file = {file:?}, count = 20 }}\n{FAST}"
    );
    let host = [("host", "www.example.com")];
    let proxy = Proxy::with(&upstream, &toml).await;
    for _ in 0..4 {
        for page in 0..20 {
            proxy.get_with(&format!("/{page}"), &host).await;
        }
    }
    assert_eq!(upstream.count(), 20);
    proxy.stop().await;
    let proxy = Proxy::with(&upstream, &toml).await;
    wait_for(&proxy, [0, 20, 0, 0]).await;
    for page in 0..20 {
        let target = format!("/{page}");
        let answer = proxy.get_with(&target, &host).await;
        assert_eq!(answer.text(), target);
        let status = answer.header("cache-status");
        assert!(status.starts_with("pillion; hit"), "{status}");
        assert!(!status.contains("detail"), "{status}: it is in memory");
    }
    assert_eq!(upstream.count(), 20);
}
