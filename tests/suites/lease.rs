//! Three real sidecars over one real Redis: what all of them miss is fetched once.

mod servers;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use tests::client::Client;
use tests::redis::Redis;
use tests::sidecar::{Sidecar, asked};
use tests::{Answer, Fetched, Seen, Upstream, reply, within};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Three of them, an app and a Redis.
struct Fleet<R = Redis> {
    sidecars: Vec<Sidecar>,
    upstream: Upstream,
    /// While it is closed, the app answers nobody whose target begins with `/held`.
    is_open: watch::Sender<bool>,
    redis: R,
}

impl Fleet {
    /// The app takes 200 ms at least; its answers are told the number of their request, from 1. Requests wait for each
    /// other for longer than any test takes.
    async fn start(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let redis = Redis::start().await;
        let lines = format!("url = {:?}", redis.url());
        Self::over(redis, &lines, answer).await
    }

    /// The same, but requests wait for as long as they do if nobody says otherwise.
    async fn impatient(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let redis = Redis::start().await;
        let lines = format!("url = {:?}", redis.url());
        Self::with(redis, &lines, "", answer).await
    }
}

impl<R> Fleet<R> {
    /// As [`Fleet::start`], over `redis`, which is reached by these `lines` of `[cache.redis]`.
    async fn over(
        redis: R,
        lines: &str,
        answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let lines = format!("{lines}\nlease = {{ wait = \"15s\" }}");
        Self::with(redis, &lines, "[cache.collapse]\nwait = \"20s\"", answer).await
    }

    async fn with(
        redis: R,
        lines: &str,
        more: &str,
        answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (count, answer) = (AtomicUsize::new(0), Arc::new(answer));
        let (is_open, opens) = watch::channel(false);
        let upstream = Upstream::start(move |seen: Seen| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let (answer, mut opens) = (answer.clone(), opens.clone());
            async move {
                sleep(FETCH).await;
                if seen.target.starts_with("/held") {
                    opens.wait_for(|is_open| *is_open).await.expect("a fleet");
                }
                answer(number, &seen)
            }
        })
        .await;
        let start = |_| Sidecar::start(&upstream, lines, more);
        let sidecars = join_all((0..3).map(start)).await;
        Self {
            sidecars,
            upstream,
            is_open,
            redis,
        }
    }

    /// Until each has seen some fetches of two seconds: leases hold for four then, so that no sidecar loses
    /// one because the machine was busy with something else.
    async fn has_seen_slow_fetches(&self) {
        let ask = async |number: usize| {
            let sidecar = &self.sidecars[number % 3];
            sidecar.get(&format!("/held/slow/{number}"), &[]).await
        };
        let open = async {
            self.upstream.wait_for(30).await;
            sleep(Duration::from_secs(2)).await;
            self.is_open.send_replace(true);
        };
        tokio::join!(join_all((0..30).map(ask)), open);
        // Each is noted before others find it.
        for number in 0..30 {
            let other = &self.sidecars[(number + 1) % 3];
            let found = other.get(&format!("/held/slow/{number}"), &[]).await;
            assert!(found.header("cache-status").contains("; hit"), "{found:?}");
        }
        self.is_open.send_replace(false);
    }

    /// Until so many requests are with the sidecars.
    async fn are_there(&self, count: usize) {
        within("all requests", async {
            loop {
                let mut there = 0;
                for sidecar in &self.sidecars {
                    there += sidecar.metric("pillion_http_requests_in_flight").await;
                }
                if there >= count as u64 {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// As [`get`](Self::get), for a target that begins with `/held`: the app answers when all are there.
    async fn get_together(&self, count: usize, target: &str) -> Vec<Fetched> {
        let open = async {
            self.are_there(count).await;
            self.is_open.send_replace(true);
        };
        let (answers, ()) = tokio::join!(self.get(count, target, &[]), open);
        self.is_open.send_replace(false);
        answers
    }

    /// Until each has heard of the others: `instances` in all.
    async fn has_met(&self) {
        for sidecar in &self.sidecars {
            within("all sidecars know of each other", async {
                while sidecar.metric("pillion_bus_instances").await != 3 {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
    }

    /// So many requests at once, spread over all.
    async fn get(&self, count: usize, target: &str, fields: &[(&str, &str)]) -> Vec<Fetched> {
        // Connected first, so that they come together.
        let connect = |number: usize| {
            let sidecar = &self.sidecars[number % self.sidecars.len()];
            Client::connect(sidecar.address)
        };
        let mut clients = join_all((0..count).map(connect)).await;
        let asking = clients
            .iter_mut()
            .map(|client| client.exchange(asked(target, fields)));
        let answers = within("all answers", join_all(asking)).await;
        answers
            .into_iter()
            .map(|answer| answer.expect("a whole answer"))
            .collect()
    }

    async fn leases(&self, result: &str) -> u64 {
        let mut total = 0;
        for sidecar in &self.sidecars {
            let series = format!("pillion_cache_leases_total{{result=\"{result}\"}}");
            total += sidecar.metric(&series).await;
        }
        total
    }
}

/// What the app takes for an answer.
const FETCH: Duration = Duration::from_millis(200);

fn shared(number: usize, _: &Seen) -> Answer {
    reply(200)
        .header("cache-control", "max-age=60")
        .body(format!("answer {number}"))
}

fn assert_all(answers: &[Fetched], text: &str) {
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, text));
    }
}

#[tokio::test]
async fn three_hundred_cold_requests_of_three_that_have_just_started_are_forwarded_once() {
    let mut counts = Vec::new();
    // A lease that nobody has experience with holds for half a second; a machine that keeps its sidecar from
    // renewing it for as long does not do so three times.
    for _ in 0..3 {
        let fleet = Fleet::start(shared).await;
        let answers = fleet.get_together(300, "/held/just-started").await;
        let count = fleet.upstream.count();
        for answer in &answers {
            assert_eq!(answer.status, 200);
            assert!(answer.text().starts_with("answer "), "{answer:?}");
        }
        if count == 1 {
            return assert_all(&answers, "answer 1");
        }
        counts.push(count);
    }
    panic!("{counts:?}");
}

#[tokio::test]
async fn and_of_three_that_know_each_other_at_one_moment_or_another() {
    let fleet = Fleet::start(shared).await;
    fleet.has_met().await;
    fleet.has_seen_slow_fetches().await;
    let before = fleet.upstream.count();
    let (won, found) = (fleet.leases("won").await, fleet.leases("found").await);
    for round in 1..=5 {
        let answers = fleet.get_together(300, &format!("/held/{round}")).await;
        assert_all(&answers, &format!("answer {}", before + round));
        assert_eq!(fleet.upstream.count(), before + round);
        let mut collapsed = answers
            .iter()
            .filter(|answer| answer.header("cache-status").contains("; collapsed"));
        // A core may have counted a request that it has not yet looked at.
        let count = collapsed.clone().count();
        assert!((290..300).contains(&count), "{count}");
        // Of them one in each of the other sidecars has waited for Redis.
        assert!(collapsed.any(|answer| answer.header("cache-status").contains("detail=l2")));
    }
    assert_eq!(fleet.leases("won").await - won, 5);
    assert_eq!(fleet.leases("found").await - found, 10);
}

#[tokio::test]
async fn when_the_one_that_fetches_is_killed_another_does() {
    let mut fleet = Fleet::start(shared).await;
    fleet.has_met().await;
    fleet.has_seen_slow_fetches().await;
    let before = fleet.upstream.count();
    // The one that is to die leads.
    let victim = fleet.sidecars.remove(0);
    let mut dying = Client::connect(victim.address).await;
    let lost = tokio::spawn(async move { dying.exchange(asked("/held/killed", &[])).await });
    fleet.upstream.wait_for(before + 1).await;
    let killed = async {
        // In the middle of its fetch, while the others wait.
        fleet.are_there(200).await;
        victim.binary.signal(Signal::KILL);
        fleet.upstream.wait_for(before + 2).await;
        fleet.is_open.send_replace(true);
    };
    let (answers, ()) = tokio::join!(fleet.get(200, "/held/killed", &[]), killed);
    assert!(lost.await.expect("a task").is_err());
    assert_all(&answers, &format!("answer {}", before + 2));
    assert_eq!(fleet.upstream.count(), before + 2);
}

#[tokio::test]
async fn without_redis_each_forwards_once() {
    let fleet = Fleet::start(shared).await;
    fleet.has_met().await;
    fleet.redis.kill();
    let answers = fleet.get(300, "/down", &[]).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(fleet.upstream.count() <= 3, "{}", fleet.upstream.count());
    assert!(fleet.leases("away").await + fleet.leases("failed").await >= 1);
}

#[tokio::test]
async fn what_cannot_be_shared_is_served_one_by_one_to_nobody() {
    let fleet = Fleet::start(|number, _: &Seen| {
        reply(200)
            .header("cache-control", "no-store")
            .body(number.to_string())
    })
    .await;
    fleet.has_met().await;
    let begun = Instant::now();
    let answers = fleet.get(300, "/own", &[]).await;
    let took = begun.elapsed();
    let texts: HashSet<_> = answers
        .iter()
        .map(|answer| answer.text().to_owned())
        .collect();
    assert_eq!((texts.len(), fleet.upstream.count()), (300, 300));
    // One fetch, and then all the others at once; one by one it would be a minute.
    assert!(took < FETCH * 75, "{took:?}");
    assert!(fleet.leases("passed").await >= 1);
    // And it is remembered everywhere.
    let before = fleet.leases("won").await;
    fleet.get(30, "/own", &[]).await;
    assert_eq!(fleet.leases("won").await, before);
}

#[tokio::test]
async fn pain_1_a_cookie_minted_for_one_client_reaches_no_other_at_any_sidecar() {
    let fleet = Fleet::start(|number, _: &Seen| {
        let cookie = format!("session={number}");
        reply(200)
            .header("cache-control", "max-age=60")
            .header("set-cookie", &cookie)
            .body(cookie.clone())
    })
    .await;
    fleet.has_met().await;
    let answers = fleet.get(100, "/login", &[]).await;
    for answer in &answers {
        assert_eq!(answer.header("set-cookie"), answer.text());
    }
    let cookies: HashSet<_> = answers
        .iter()
        .map(|answer| answer.text().to_owned())
        .collect();
    assert_eq!(cookies.len(), 100);
}

#[tokio::test]
async fn answers_to_credentials_are_never_another_s() {
    let fleet = Fleet::start(|_, seen: &Seen| {
        let who = format!("{}{}", seen.header("authorization"), seen.header("cookie"));
        reply(200).header("cache-control", "max-age=60").body(who)
    })
    .await;
    fleet.has_met().await;
    let ask = |number: usize| {
        let sidecar = &fleet.sidecars[number % 3];
        let user = format!("user-{}", number / 2);
        let name = ["authorization", "cookie"][number % 2];
        async move {
            let answer = sidecar.get("/mine", &[(name, &user)]).await;
            assert_eq!(answer.text(), user);
        }
    };
    within("all answers", join_all((0..90).map(ask))).await;
}

#[tokio::test]
async fn a_redis_that_comes_and_goes_in_the_middle_of_fetches_fails_nobody() {
    let fleet = Fleet::impatient(|_, seen: &Seen| {
        reply(200)
            .header("cache-control", "max-age=60")
            .body(seen.target.clone())
    })
    .await;
    fleet.has_met().await;
    let (mut slowest, mut forwarded) = (Duration::ZERO, Vec::new());
    for round in 0..6 {
        let target = format!("/chaos/{round}");
        let chaos = async {
            sleep(FETCH / 2).await;
            match round % 3 {
                0 => fleet.redis.kill(),
                1 => fleet.redis.stop(),
                _ => fleet.redis.flushall().await,
            }
        };
        let begun = Instant::now();
        let (answers, ()) = tokio::join!(fleet.get(60, &target, &[]), chaos);
        slowest = slowest.max(begun.elapsed());
        assert_all(&answers, &target);
        forwarded.push(fleet.upstream.count());
        match round % 3 {
            0 => fleet.redis.restart().await,
            1 => fleet.redis.cont(),
            _ => {}
        }
    }
    // At most what the wait for others and a fetch take, on a busy machine.
    assert!(slowest < Duration::from_secs(15), "{slowest:?}");
    // Mostly three or four in a round. What is under way when Redis forgets or is restarted is not
    // trusted, and asked for again, by all at once where that happens twice; but never one by one.
    let total = fleet.upstream.count();
    assert!(total <= 360 / 4, "{forwarded:?}");
    println!("forwarded in all by round: {forwarded:?}; the slowest round took {slowest:?}");
}
