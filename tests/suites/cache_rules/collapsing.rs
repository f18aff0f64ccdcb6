//! Requests at the same time: nothing that is one client's reaches another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::Method;
use middleware::metrics::Exposition;
use tests::client::request;
use tests::{Answer, Fetched, Proxy, Seen, Upstream, reply, within};
use tokio::sync::Semaphore;

use super::Fields;

/// An upstream whose answers are held until all requests are with Pillion.
struct Held {
    upstream: Upstream,
    proxy: Proxy,
    gate: Arc<Semaphore>,
}

impl Held {
    async fn new(answer: impl Fn(&Seen) -> Answer + Send + Sync + Clone + 'static) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let upstream = Upstream::start({
            let gate = gate.clone();
            move |seen: Seen| {
                let (gate, answer) = (gate.clone(), answer.clone());
                async move {
                    gate.acquire().await.expect("open").forget();
                    answer(&seen)
                }
            }
        })
        .await;
        let proxy = Proxy::before(&upstream).await;
        Self {
            upstream,
            proxy,
            gate,
        }
    }

    /// Waits until `count` requests are with Pillion. A request joins those for the same thing in the
    /// moment that it begins.
    async fn under_way(&self, count: usize) {
        let metrics = &self.proxy.running().shared().metrics;
        let expected = format!("pillion_http_requests_in_flight {count}.0");
        let all = async {
            while !metrics
                .encode(Exposition::Classic)
                .lines()
                .any(|line| line == expected)
            {
                tokio::task::yield_now().await;
            }
        };
        within("all requests", all).await;
    }

    /// Sends all at once, the first one first, and lets the upstream answer when that has come.
    async fn all(&self, requests: &[(Method, Fields)]) -> Vec<Fetched> {
        let send = |(method, fields): &(Method, Fields)| {
            self.proxy.send(request(method.clone(), "/", fields, ""))
        };
        let before = self.upstream.count();
        let (first, others) = requests.split_first().expect("a leader");
        let first = send(first);
        let others = async {
            self.upstream.wait_for(before + 1).await;
            let others = join_all(others.iter().map(send));
            let release = async {
                self.under_way(requests.len()).await;
                self.gate.add_permits(1000);
            };
            tokio::join!(others, release).0
        };
        let (first, others) = tokio::join!(first, others);
        std::iter::once(first).chain(others).collect()
    }
}

/// What the upstream says to whom: the identity of the request, written into field and content.
fn personal(seen: &Seen, control: &str) -> Answer {
    let whose = ["authorization", "cookie", "x-a", "accept-encoding"]
        .map(|name| seen.header(name))
        .join("|");
    reply(200)
        .header("cache-control", control)
        .header("content-type", "text/plain")
        .body(whose)
}

const CREDENTIALS: [Fields; 4] = [
    &[("authorization", "one")],
    &[("authorization", "two")],
    &[("cookie", "three")],
    &[("cookie", "four")],
];

#[tokio::test]
async fn each_gets_its_own_where_nothing_may_be_shared() {
    for control in [
        "no-store",
        "private",
        "private, max-age=60",
        "max-age=60",
        "no-cache",
        "",
    ] {
        let held = Held::new(move |seen| personal(seen, control)).await;
        let requests: Vec<_> = (0..24)
            .map(|number| (Method::GET, CREDENTIALS[number % 4]))
            .collect();
        let answers = held.all(&requests).await;
        for ((_, fields), answer) in requests.iter().zip(answers) {
            assert!(
                answer.text().contains(fields[0].1),
                "{control}: {fields:?} got {}",
                answer.text()
            );
        }
        // And one who comes later, without any, gets nobody's.
        let late = held.proxy.get("/").await;
        assert_eq!(late.text().trim_end_matches("identity"), "|||", "{control}");
    }
}

#[tokio::test]
async fn followers_whose_nominated_fields_differ_get_their_own() {
    const VALUES: [Fields; 4] = [&[("x-a", "1")], &[("x-a", "2")], &[], &[("x-a", "")]];
    let held = Held::new(|seen| {
        let there = seen.headers.contains_key("x-a");
        reply(200)
            .header("cache-control", "max-age=60")
            .header("vary", "x-a")
            .body(format!("{there}{}", seen.header("x-a")))
    })
    .await;
    let requests: Vec<_> = (0..40)
        .map(|number| (Method::GET, VALUES[number % 4]))
        .collect();
    let answers = held.all(&requests).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(
            answer.text(),
            ["true1", "true2", "false", "true"][number % 4]
        );
    }
    assert!(
        answers
            .iter()
            .any(|answer| answer.header("cache-status").contains("collapsed"))
    );
    assert!(
        held.upstream.count() <= 4,
        "each variant is fetched once: {}",
        held.upstream.count()
    );
}

#[tokio::test]
async fn followers_do_not_share_a_coding_that_they_do_not_take() {
    let count = Arc::new(AtomicUsize::new(0));
    let held = Held::new(move |_| {
        reply(200)
            .header("cache-control", "max-age=60")
            .header("content-encoding", "x-own")
            .body(count.fetch_add(1, Ordering::SeqCst).to_string())
    })
    .await;
    let takes: Fields = &[("accept-encoding", "x-own")];
    let mut requests = vec![(Method::GET, takes); 5];
    requests.extend(vec![(Method::GET, &[][..]); 5]);
    let answers = held.all(&requests).await;
    let (taking, others) = answers.split_at(5);
    for other in others {
        let shared = taking.iter().any(|answer| answer.body == other.body);
        assert!(!shared, "{other:?}");
    }
}

#[tokio::test]
async fn what_a_leader_asked_for_by_its_own_fields_is_its_own() {
    // The leader's fields, what the upstream makes of them, and what the others must get.
    let leaders: [(&str, Fields); 6] = [
        ("range", &[("range", "bytes=0-0")]),
        ("condition", &[("if-none-match", "\"a\"")]),
        ("no-store", &[("cache-control", "no-store")]),
        ("no-cache", &[("cache-control", "no-cache")]),
        ("override", &[("x-http-method-override", "DELETE")]),
        ("precondition", &[("if-match", "\"x\"")]),
    ];
    for (rule, fields) in leaders {
        let held = Held::new(|seen| {
            let fresh = |status| {
                reply(status)
                    .header("cache-control", "max-age=60")
                    .header("etag", "\"a\"")
            };
            if seen.headers.contains_key("range") {
                fresh(206).header("content-range", "bytes 0-0/5").body("w")
            } else if seen.header("if-none-match") == "\"a\"" {
                fresh(304).empty()
            } else if seen.headers.contains_key("if-match") {
                fresh(412).body("changed")
            } else if seen.headers.contains_key("x-http-method-override") {
                fresh(200).body("deleted")
            } else {
                fresh(200).body("whole")
            }
        })
        .await;
        let mut requests = vec![(Method::GET, fields)];
        requests.extend((0..10).map(|_| (Method::GET, &[][..])));
        let answers = held.all(&requests).await;
        for answer in &answers[1..] {
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, "whole"),
                "{rule}"
            );
        }
        assert_eq!(held.proxy.get("/").await.text(), "whole", "{rule}");
    }
}

#[tokio::test]
async fn a_head_never_leads() {
    let held = Held::new(|seen| {
        let answer = reply(200).header("cache-control", "max-age=60");
        match seen.method {
            Method::HEAD => answer.header("content-length", "5").empty(),
            _ => answer.body("whole"),
        }
    })
    .await;
    let mut requests = vec![(Method::HEAD, &[][..])];
    requests.extend((0..10).map(|_| (Method::GET, &[][..])));
    let answers = held.all(&requests).await;
    assert!(answers[1..].iter().all(|answer| answer.text() == "whole"));
}

#[tokio::test]
async fn an_error_of_one_is_not_the_error_of_all() {
    for status in [400, 401, 403, 404, 429, 500, 503] {
        let held = Held::new(move |seen| {
            if seen.header("x-a") == "bad" {
                reply(status).body("for you")
            } else {
                reply(200)
                    .header("cache-control", "max-age=60")
                    .body("good")
            }
        })
        .await;
        let mut requests = vec![(Method::GET, &[("x-a", "bad")][..])];
        requests.extend((0..10).map(|_| (Method::GET, &[][..])));
        let answers = held.all(&requests).await;
        assert_eq!(answers[0].status, status);
        for answer in &answers[1..] {
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, "good"),
                "{status}"
            );
        }
    }
}

#[tokio::test]
async fn a_429_to_one_does_not_end_what_was_stored_for_all() {
    let busy = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let busy = busy.clone();
        move |_| {
            let busy = busy.load(Ordering::SeqCst);
            async move {
                match busy {
                    true => reply(429)
                        .header("cache-control", "max-age=600")
                        .body("later"),
                    false => reply(200)
                        .header("cache-control", "max-age=10, stale-if-error=600")
                        .body("good"),
                }
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    proxy.get("/").await;
    proxy.advance(std::time::Duration::from_secs(20));
    busy.store(true, Ordering::SeqCst);
    assert_eq!(proxy.get("/").await.status, 429);
    let _port = upstream.close().await;
    assert_eq!(
        proxy.get("/").await.text(),
        "good",
        "it still stands in for an error"
    );
}

#[tokio::test]
async fn a_leader_that_goes_away_passes_nothing_of_its_own_on() {
    let held = Held::new(|seen| personal(seen, "private, max-age=60")).await;
    let mut client = held.proxy.client().await;
    let mut leader = Box::pin(async move {
        let asks = request(Method::GET, "/", &[("cookie", "leader")], "");
        client.exchange(asks).await
    });
    tokio::select! {
        _ = &mut leader => panic!("the upstream holds it"),
        () = held.upstream.wait_for(1) => {}
    }
    let follower = held.proxy.get_with("/", &[("cookie", "follower")]);
    let leave = async {
        held.under_way(2).await;
        drop(leader);
        held.gate.add_permits(1000);
    };
    let (answer, ()) = tokio::join!(follower, leave);
    assert!(answer.text().contains("follower"), "{}", answer.text());
}
