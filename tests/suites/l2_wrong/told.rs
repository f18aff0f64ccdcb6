//! What an operator reads when Redis is not what the file says: from the process itself, once, with the
//! next step; and clients are answered all the while.

use futures_util::future::join_all;
use tests::redis::{Cluster, Watched};
use tests::sidecar::Sidecar;

use super::*;

/// `[cache.redis]`, and words of one line.
struct Wrong {
    name: &'static str,
    lines: String,
    words: Vec<&'static str>,
}

impl Wrong {
    fn new(name: &'static str, lines: String, words: &[&'static str]) -> Self {
        let words = words.to_vec();
        Self { name, lines, words }
    }

    async fn is_told(&self, upstream: &Upstream) {
        let sidecar = Sidecar::start(upstream, &self.lines, "").await;
        let target = format!("/{}", self.name.replace(' ', "-"));
        let mut hits = 0;
        for _ in 0..8 {
            let answer = sidecar.get(&target, &[]).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, &*target));
            hits += u32::from(answer.header("cache-status").starts_with("pillion; hit"));
        }
        // All but the first, and one more where purges are heard from then on only: what came before is
        // validated.
        assert!(hits >= 6, "{}: its own memory serves: {hits}", self.name);
        sidecar.tells(&self.words).await;
        // Not for each request, nor for each probe.
        for number in 0..5 {
            sidecar.get(&format!("{target}/{number}"), &[]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = sidecar.told(&self.words);
        assert_eq!(told.len(), 1, "{}: {told:?}", self.name);
        let panics = sidecar.told(&["panicked"]);
        assert!(panics.is_empty(), "{}: {panics:?}", self.name);
    }
}

#[tokio::test]
async fn each_mistake_has_a_line_with_the_next_step() {
    let upstream = Upstream::start(async |seen: Seen| {
        let answer = reply(200).header("cache-control", "max-age=600");
        answer.body(seen.target)
    })
    .await;
    let (single, tls, others) = (
        Redis::start().await,
        Redis::with_tls(true).await,
        Redis::with_tls(false).await,
    );
    let cluster = Cluster::start().await;
    let watched = Watched::start().await;
    let full = Redis::with(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]).await;
    let (files, other_ca) = (tls.certificates(), &others.certificates().ca);
    let (certificate, key) = &files.client;
    let url = |redis: &Redis| format!("url = {:?}", redis.url());
    let client = format!("certificate = {certificate:?}\nkey = {key:?}");
    let unknown = "It is not known where keys are in Redis.";
    let silent = "Redis does not answer; requests go on without it.";
    let wrong = [
        Wrong::new(
            "server as cluster",
            format!("mode = \"cluster\"\n{}", url(&single)),
            &[
                unknown,
                "Redis is no cluster",
                "leave `mode = \\\"cluster\\\"` out",
            ],
        ),
        Wrong::new(
            "node as server",
            url(&cluster.masters[0]),
            &[
                silent,
                "it is one of 3 masters",
                "write `mode = \\\"cluster\\\"`",
            ],
        ),
        Wrong::new(
            "sentinel as server",
            url(&watched.sentinel),
            &[
                silent,
                "this Redis is a Sentinel",
                "mode = \\\"sentinel\\\"",
            ],
        ),
        Wrong::new(
            "another ca",
            format!("{}\nca = {other_ca:?}\n{client}", url(&tls)),
            &[
                silent,
                "invalid peer certificate",
                "`cache.redis.ca` must hold",
            ],
        ),
        Wrong::new(
            "no client certificate",
            format!("{}\nca = {:?}", url(&tls), files.ca),
            &[silent, "no TLS", "wants `certificate` and `key`"],
        ),
        Wrong::new(
            "no tls",
            format!("url = \"redis://127.0.0.1:{}\"", tls.port),
            &[silent, "no connection", "write `rediss:`"],
        ),
        Wrong::new(
            "replica",
            url(&watched.servers[1]),
            &[
                "Redis takes no purges from this instance",
                "READONLY",
                "Name the master",
            ],
        ),
        Wrong::new(
            "full",
            url(&full),
            &[
                "Redis takes no purges from this instance",
                "Redis is full: OOM",
                "`maxmemory`",
            ],
        ),
    ];
    join_all(wrong.iter().map(|wrong| wrong.is_told(&upstream))).await;
}
