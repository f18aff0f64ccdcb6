//! Leases where Redis is many, or fails over, or does not let its user do what leases need.

use tests::redis::{Cluster, Watched, until};

use super::*;

/// A page that says its own name, so that what is wrong shows.
fn named(_: usize, seen: &Seen) -> Answer {
    reply(200)
        .header("cache-control", "max-age=60")
        .body(seen.target.clone())
}

impl<R> Fleet<R> {
    /// How often the app is asked while `count` clients ask all sidecars for `target` at once.
    async fn forwarded(&self, count: usize, target: &str) -> usize {
        let before = self.upstream.count();
        assert_all(&self.get(count, target, &[]).await, target);
        self.upstream.count() - before
    }

    /// Whether it is once: of this page, or else of one of two others, since a machine that keeps a sidecar from renewing
    /// its lease in time has its page fetched by another.
    async fn is_once(&self, count: usize, target: &str) {
        let mut counts = Vec::new();
        for attempt in ["", "/again", "/and-again"] {
            let times = self.forwarded(count, &format!("{target}{attempt}")).await;
            if times == 1 {
                return;
            }
            counts.push(times);
        }
        panic!("{target}: {counts:?}");
    }

    /// The same for many pages, one after the other, until one of them is fetched once.
    async fn until_once(&self, pages: &str) {
        let number = AtomicUsize::new(0);
        until("a page is fetched once again", async || {
            let number = number.fetch_add(1, Ordering::SeqCst);
            let count = self.forwarded(30, &format!("/{pages}/{number}")).await;
            // Whoever cannot have a lease fetches by itself; nobody waits for it to be had.
            assert!(count <= 3, "{count}");
            count == 1
        })
        .await;
    }
}

#[tokio::test]
async fn in_a_cluster_as_with_one_server_and_over_a_failover() {
    let cluster = Cluster::with_replicas().await;
    let lines = format!("mode = \"cluster\"\nnodes = {}", cluster.nodes());
    let fleet = Fleet::over(cluster, &lines, named).await;
    // They have just started, and know neither each other nor the cluster.
    fleet.is_once(300, "/just-started").await;
    fleet.has_met().await;
    let mut masters = HashSet::new();
    for number in 0..12 {
        fleet.is_once(30, &format!("/page/{number}")).await;
    }
    for (number, master) in fleet.redis.masters.iter().enumerate() {
        let keys = master.text(&["KEYS", "pillion:r:*"]).await;
        masters.extend(keys.contains("r:").then_some(number));
    }
    assert_eq!(masters.len(), 3, "each master has had leases to give");
    assert!(fleet.leases("won").await >= 13);
    // The leases of one master go to its replica. Meanwhile pages of that third are fetched by each.
    fleet.redis.masters[1].kill();
    let mut forwarded = Vec::new();
    for number in 0..24 {
        forwarded.push(fleet.forwarded(15, &format!("/during/{number}")).await);
    }
    assert!(forwarded.iter().all(|count| *count <= 3), "{forwarded:?}");
    until("the replica has taken over", async || {
        let info = fleet.redis.replicas[1].text(&["INFO", "replication"]).await;
        info.contains("role:master")
    })
    .await;
    fleet.until_once("after").await;
    fleet.has_met().await;
    for number in 0..12 {
        fleet.is_once(30, &format!("/again/{number}")).await;
    }
}

#[tokio::test]
async fn over_a_failover_of_the_sentinels() {
    let watched = Watched::start().await;
    let lines = format!(
        "mode = \"sentinel\"\nmaster = \"mymaster\"\nnodes = [{:?}]",
        watched.sentinel.url()
    );
    let fleet = Fleet::over(watched, &lines, named).await;
    fleet.is_once(300, "/just-started").await;
    fleet.has_met().await;
    fleet.is_once(60, "/page").await;
    // One is fetched while its lease goes down with the master.
    let killed = async {
        sleep(FETCH / 2).await;
        fleet.redis.servers[0].kill();
    };
    let (count, ()) = tokio::join!(fleet.forwarded(60, "/killed"), killed);
    assert!(count <= 3, "{count}");
    until("the other is master", async || {
        fleet.redis.master().await == fleet.redis.servers[1].port
    })
    .await;
    fleet.until_once("after").await;
    fleet.has_met().await;
    for number in 0..5 {
        fleet.is_once(60, &format!("/again/{number}")).await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_do_what_leases_need_is_named_once_and_each_sidecar_fetches() {
    // All that the manual names, but for some.
    let all = "+hello +ping +get +mget +set +del +unlink +exists +pexpire +eval +evalsha +time +hset +hdel \
               +hgetall +zadd +zrem +zrangebyscore +xadd +xread +xrange";
    for (missing, word) in [
        ("+exists", "exists"),
        ("+mget", "mget"),
        ("+del", "del"),
        ("+eval +evalsha", "evalsha"),
    ] {
        let redis = Redis::start().await;
        let mut words = vec!["ACL", "SETUSER", "pillion", "on", ">right", "resetkeys"];
        words.extend(["~pillion:*", "~{pillion:}*", "-@all"]);
        let granted = all.split_whitespace();
        words.extend(granted.filter(|word| !missing.split(' ').any(|gone| gone == *word)));
        redis.command(&words).await;
        let url = redis.url();
        let lines = format!("url = {url:?}\nusername = \"pillion\"\npassword = \"right\"");
        let fleet = Fleet::over(redis, &lines, named).await;
        for number in 0..4 {
            let count = fleet.forwarded(60, &format!("/{number}")).await;
            // And once more, where it begins to hear the bus in the middle: what it has then is asked about anew.
            assert!((1..=6).contains(&count), "{missing}: {count}");
        }
        let refuses = ["Redis refuses what is asked of it", "Widen the ACL"];
        let log = fleet.redis.text(&["ACL", "LOG", "1"]).await;
        assert!(log.contains(word), "{missing}: {log}");
        let mut told = 0;
        for sidecar in &fleet.sidecars {
            let lines = sidecar.told(&refuses);
            assert!(lines.len() <= 1, "{missing}: {lines:?}");
            told += lines.len();
            // It is no outage: pages are found in Redis, and requests do not wait for its breaker.
            assert_eq!(sidecar.metric("pillion_l2_state{state=\"up\"}").await, 1);
        }
        assert!(told >= 1, "{missing}: nobody says so");
    }
}
