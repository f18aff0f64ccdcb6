//! Two sidecars' leases over one real Redis.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::timeout;

use super::*;
use crate::cache::store::redis::servers::Redis;
use crate::cache::store::redis::tests::settings;
use crate::cache::store::tier::{ByteTier, Got};

/// A server of the test's own.
struct Server(Redis);

impl Server {
    async fn start() -> Self {
        Self(Redis::start().await)
    }

    async fn tier(&self) -> RedisTier {
        let settings = settings(&format!("url = {:?}", self.0.url()));
        let tier = RedisTier::connect(&settings, &Handle::current(), &Metrics::new()).unwrap();
        let ping = redis::cmd("PING");
        let answers = async {
            while tier.command(b"x", &ping, tier.deadline()).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let answers = timeout(PATIENCE, answers).await;
        assert!(answers.is_ok(), "{:?}", tier.trouble());
        tier
    }

    /// Whose leases hold for eight seconds: for so long nobody keeps this process from renewing them.
    async fn leases(&self, instances: Option<usize>) -> Leases {
        let leases = self
            .that_have_fetched(instances, Duration::from_secs(4))
            .await;
        assert!(leases.0.times.hold() > Duration::from_secs(8));
        leases
    }

    /// Whose leases hold for twice as long as the fetches of before took.
    async fn that_have_fetched(&self, instances: Option<usize>, took: Duration) -> Leases {
        let (tier, metrics) = (self.tier().await, Metrics::new());
        let settings = LeaseSettings {
            enabled: true,
            wait: PATIENCE,
        };
        let leases = Leases::new(tier, settings, Handle::current(), &metrics);
        leases.count_by(move || instances);
        (0..10).for_each(|_| leases.0.times.note(took));
        leases
    }
}

const KEY: &[u8] = b"http://example.com/";
/// What no wait for an event takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// A fetch after which a lease holds for two seconds.
const SHORT: Duration = Duration::from_secs(1);

impl Leases {
    fn of_key(&self, has_cookie: bool) -> Waiting {
        self.waiting(self.name(KEY, has_cookie), PATIENCE)
    }

    async fn wins(&self, waiting: &mut Waiting) -> Arc<Lease> {
        match self.turn(waiting, true).await {
            Turn::Won(lease) => lease,
            other => panic!("not won: {other:?}"),
        }
    }

    /// What lies under the name of [`record`].
    async fn kept(&self) -> Option<Bytes> {
        let got: Got = self.redis().get(record().name).await.unwrap();
        got.record
    }

    fn redis(&self) -> &RedisTier {
        match &self.0.desk {
            Desk::Redis(redis) => redis,
            Desk::Test(_) => panic!("these are over a real Redis"),
        }
    }

    fn total(&self, event: Event) -> u64 {
        self.0.metrics.total(event)
    }
}

fn record() -> Written {
    Written {
        name: Digest::plain(KEY).name(),
        record: Bytes::from_static(b"record"),
        ttl: Duration::from_secs(60),
    }
}

/// Of `leases`, one that has begun to wait.
async fn begins_to_wait(leases: &Leases, has_cookie: bool) -> tokio::task::JoinHandle<Turn> {
    let (leases, before) = (leases.clone(), commands(leases).await);
    let asking = leases.clone();
    let waits = Handle::current().spawn(async move {
        let mut waiting = asking.of_key(has_cookie);
        asking.turn(&mut waiting, true).await
    });
    // It has asked for the lease, and looked once at least.
    let begins = async {
        while commands(&leases).await < before + 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, begins).await.expect("it asks and looks");
    waits
}

/// For how long the lease holds if nobody renews it; nothing if nobody has it.
async fn holds_for(leases: &Leases) -> Duration {
    let mut ttl = redis::cmd("PTTL");
    ttl.arg(leases.name(KEY, false).lease);
    let redis = leases.redis();
    match redis.command(b"x", &ttl, redis.deadline()).await.unwrap() {
        Value::Int(left) => Duration::from_millis(u64::try_from(left).unwrap_or_default()),
        other => panic!("no time: {other:?}"),
    }
}

/// Scripts and looks that Redis has seen.
async fn commands(leases: &Leases) -> usize {
    let mut info = redis::cmd("INFO");
    info.arg("commandstats");
    let redis = leases.redis();
    let Value::VerbatimString { text, .. } =
        redis.command(b"x", &info, redis.deadline()).await.unwrap()
    else {
        panic!("INFO is text");
    };
    let calls = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let calls = line.and_then(|line| line.split_once("calls=")?.1.split(',').next());
        calls.map_or(0, |calls| calls.parse::<usize>().unwrap())
    };
    calls("cmdstat_evalsha:") + calls("cmdstat_eval:") + calls("cmdstat_mget:")
}

async fn joined(waits: tokio::task::JoinHandle<Turn>) -> Turn {
    let turn = timeout(PATIENCE, waits).await;
    turn.expect("a turn").expect("no panic")
}

#[tokio::test]
async fn one_wins_and_the_other_hears_when_it_has_written() {
    let server = Server::start().await;
    // Whether there are others is not known yet: then there may be.
    let (one, other) = (server.leases(None).await, server.leases(Some(2)).await);
    let lease = one.wins(&mut one.of_key(false)).await;
    let waits = begins_to_wait(&other, false).await;
    assert!(!waits.is_finished());
    lease.write(vec![record()]);
    assert!(matches!(joined(waits).await, Turn::Again));
    let got = other.redis().get(record().name).await.unwrap();
    assert_eq!(got.record.as_deref(), Some(&b"record"[..]));
    // Who has seen nothing a moment before that is told to look, not to fetch.
    assert!(matches!(
        other.turn(&mut other.of_key(false), true).await,
        Turn::Again
    ));
    // But one who has seen it, and has to validate it, may.
    assert!(matches!(
        other.turn(&mut other.of_key(false), false).await,
        Turn::Won(_)
    ));
}

#[tokio::test]
async fn a_variant_is_written_before_the_index_that_points_at_it() {
    let server = Server::start().await;
    let one = server.leases(None).await;
    let lease = one.wins(&mut one.of_key(false)).await;
    let variant = Written {
        name: Digest::plain(b"variant").name(),
        ..record()
    };
    lease.written(vec![record(), variant.clone()]).await;
    for name in [record().name, variant.name] {
        assert!(one.redis().get(name).await.unwrap().record.is_some());
    }
    assert!(matches!(
        one.look(&one.name(KEY, false)).await,
        Ok(Seen::Nobody)
    ));
}

#[tokio::test]
async fn what_cannot_be_shared_releases_all_at_once_and_is_remembered() {
    let server = Server::start().await;
    let (one, other) = (server.leases(None).await, server.leases(None).await);
    let lease = one.wins(&mut one.of_key(false)).await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        waits.push(begins_to_wait(&other, false).await);
    }
    lease.pass();
    for waits in waits {
        assert!(matches!(joined(waits).await, Turn::Pass));
    }
    let third = server.leases(None).await;
    assert!(matches!(
        third.turn(&mut third.of_key(false), true).await,
        Turn::Pass
    ));
    // A marker for requests without cookies is none for those with, and the other way round.
    let lease = third.wins(&mut third.of_key(true)).await;
    let waits = begins_to_wait(&other, true).await;
    lease.pass();
    assert!(matches!(joined(waits).await, Turn::Pass));
    assert_eq!(other.total(Event::LeasePassed), 21);
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_given_back() {
    let server = Server::start().await;
    let (one, other) = (server.leases(None).await, server.leases(None).await);
    let lease = one.wins(&mut one.of_key(false)).await;
    let waits = begins_to_wait(&other, false).await;
    drop(lease);
    assert!(matches!(joined(waits).await, Turn::Again));
    other.wins(&mut other.of_key(false)).await;
}

#[tokio::test]
async fn a_lease_is_renewed_while_a_fetch_takes_long() {
    let server = Server::start().await;
    // It holds for two seconds.
    let one = server.that_have_fetched(None, SHORT).await;
    let other = server.leases(None).await;
    let lease = one.wins(&mut one.of_key(false)).await;
    let waits = begins_to_wait(&other, false).await;
    // Until it has held for more than twice as long: each renewal is seen.
    let renewals = async {
        let (mut renewals, mut before) = (0, holds_for(&other).await);
        while renewals < 7 {
            sleep(Duration::from_millis(10)).await;
            let now = holds_for(&other).await;
            assert!(now > Duration::ZERO, "it ended after {renewals} renewals");
            renewals += u32::from(now > before);
            before = now;
        }
    };
    timeout(PATIENCE, renewals).await.expect("renewals");
    assert!(!waits.is_finished());
    lease.write(vec![record()]);
    assert!(matches!(joined(waits).await, Turn::Again));
}

#[tokio::test]
async fn that_of_a_sidecar_that_is_no_more_ends_by_itself_and_one_of_the_others_has_it_then() {
    let server = Server::start().await;
    let others = [server.leases(None).await, server.leases(None).await];
    let one = server.that_have_fetched(None, SHORT).await;
    let lease = one.wins(&mut one.of_key(false)).await;
    // Nothing of it runs any more.
    lease.renewal.abort();
    lease.is_over.store(true, Ordering::Relaxed);
    let waits = [
        begins_to_wait(&others[0], false).await,
        begins_to_wait(&others[1], false).await,
    ];
    let mut won = Vec::new();
    for (waits, leases) in waits.into_iter().zip(&others) {
        assert!(matches!(joined(waits).await, Turn::Again));
        won.extend(leases.try_take(&leases.name(KEY, false)).await);
    }
    assert_eq!(won.len(), 1);
    assert!(won[0].is_some());
}

#[tokio::test]
async fn who_has_lost_the_lease_does_not_write_over_what_is_newer() {
    let server = Server::start().await;
    let one = server.that_have_fetched(None, SHORT).await;
    let other = server.leases(None).await;
    let lease = one.wins(&mut one.of_key(false)).await;
    lease.renewal.abort();
    let waits = begins_to_wait(&other, false).await;
    assert!(matches!(joined(waits).await, Turn::Again));
    let newer = other.wins(&mut other.of_key(false)).await;
    lease.written(vec![record()]).await;
    assert_eq!(one.total(Event::LeaseLost), 1);
    assert_eq!(other.kept().await, None);
    newer.written(vec![record()]).await;
    assert!(other.kept().await.is_some());
}

#[tokio::test]
async fn waiting_ends_and_is_no_error() {
    let server = Server::start().await;
    let (one, other) = (server.leases(None).await, server.leases(None).await);
    let _lease = one.wins(&mut one.of_key(false)).await;
    let mut waiting = other.waiting(other.name(KEY, false), Duration::from_millis(300));
    let begun = timer_now();
    assert!(matches!(other.turn(&mut waiting, true).await, Turn::Alone));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(waiting.has_waited);
    assert_eq!(other.total(Event::LeaseWaitedInVain), 1);
    // And for a validation that nobody waits for it does not even begin.
    assert!(other.try_take(&waiting.name).await.is_none());
}

#[tokio::test]
async fn other_credentials_are_another_lease() {
    let server = Server::start().await;
    let one = server.leases(None).await;
    let _lease = one.wins(&mut one.of_key(false)).await;
    let name = one.name(b"http://example.com/ and credentials", false);
    let mut other = one.waiting(name, Duration::from_secs(1));
    one.wins(&mut other).await;
}

#[tokio::test]
async fn without_other_sidecars_or_without_redis_everybody_fetches_at_once() {
    let server = Server::start().await;
    let alone = server.leases(Some(1)).await;
    // One that has just heard of nobody may be one of many that start together.
    assert!(!alone.is_only());
    let long_ago = timer_now().checked_sub(SETTLED).unwrap();
    *alone.0.only_since.lock().unwrap() = Some(long_ago);
    let before = commands(&alone).await;
    assert!(matches!(
        alone.turn(&mut alone.of_key(false), true).await,
        Turn::Alone
    ));
    assert!(matches!(
        alone.try_take(&alone.name(KEY, false)).await,
        Some(None)
    ));
    assert_eq!(commands(&alone).await, before);
    assert_eq!(alone.total(Event::LeaseSkipped), 1);
    let (one, other) = (server.leases(None).await, server.leases(None).await);
    let lease = one.wins(&mut one.of_key(false)).await;
    let waits = begins_to_wait(&other, false).await;
    drop(server);
    assert!(matches!(joined(waits).await, Turn::Alone));
    assert!(matches!(
        other.turn(&mut other.of_key(false), true).await,
        Turn::Alone
    ));
    // What cannot be written or given back any more hurts nobody.
    lease.written(vec![record()]).await;
}
