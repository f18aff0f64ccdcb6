//! What a Redis that is well does.

use redis::Value;

use super::super::servers::{Redis, text};
use super::*;

#[tokio::test]
async fn records_come_back_with_the_latest_place_until_their_time_is_up() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    assert_eq!(shared.record("a").await, Ok(None));
    shared.store("a", "content").await;
    let got = shared.tier.get(key("a")).await.expect("an answer");
    assert_eq!(got.latest, None, "there was no purge");
    redis
        .command(&["SET", "{pillion:}latest", "1700000000000-7"])
        .await;
    let got = shared.tier.get(key("a")).await.expect("an answer");
    assert_eq!(got.latest, Some((1_700_000_000_000 << 20) | 7));
    let name = shared.tier.names().record(&key("a").to_string());
    let ttl = redis.text(&["PTTL", &name]).await;
    let ttl: u64 = ttl.parse().expect("a number");
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");
    shared.tier.remove(key("a"));
    until("the record is removed", async || {
        shared.record("a").await == Ok(None)
    })
    .await;
    // No bytes at all are a record too.
    shared.store("empty", "").await;
    assert!(shared.counted("pillion_l2_operations_total{operation=\"get\",result=\"hit\"}"));
    assert!(shared.counted("pillion_l2_operations_total{operation=\"put\",result=\"done\"}"));
    shared.is(L2State::Up).await;
    assert_eq!(shared.count("pillion_l2_state{state=\"up\"}"), 1);
    assert_eq!(shared.tier.trouble(), None);
}

#[tokio::test]
async fn what_waits_is_written_before_the_end() {
    let redis = Redis::start().await;
    let shared = connect(&url(&redis.url()));
    for number in 0..500 {
        shared
            .tier
            .put(key(&number.to_string()), vec![7; 1000].into(), MINUTE);
    }
    shared.tier.close().await;
    assert_eq!(redis.text(&["DBSIZE"]).await, "500");
    // And then it lets go of its connections.
    until("connections are closed", async || {
        let clients = redis.text(&["CLIENT", "LIST"]).await;
        !clients.contains("lib-name=pillion") && clients.lines().count() <= 2
    })
    .await;
}

#[tokio::test]
async fn epochs_prefixes_and_databases_keep_caches_apart() {
    let redis = Redis::start().await;
    let first = connect(&url(&redis.url()));
    first.store("a", "first").await;
    for other in ["epoch = 1", "prefix = \"other:\""] {
        let other = connect(&format!("{}\n{other}", url(&redis.url())));
        assert_eq!(other.record("a").await, Ok(None));
        other.store("a", "other").await;
        assert_eq!(first.record("a").await, Ok(Some("first".into())));
    }
    let database = connect(&url(&format!("{}/3", redis.url())));
    assert_eq!(database.record("a").await, Ok(None));
    database.store("a", "third").await;
    assert_eq!(first.record("a").await, Ok(Some("first".into())));
}

#[tokio::test]
async fn commands_and_scripts_have_deadlines_of_their_own() {
    let redis = Redis::start().await;
    let Tested { tier, .. } = connect(&url(&redis.url()));
    let second = Duration::from_secs(1);
    let mut set = redis::cmd("SET");
    set.arg("k").arg(1);
    assert_eq!(tier.command(b"k", &set, second).await, Ok(Value::Okay));
    let mut pop = redis::cmd("LPOP");
    pop.arg("k");
    assert!(
        tier.command(b"k", &pop, second).await.is_err(),
        "k is no list"
    );
    let script = LuaScript::new("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}");
    for _ in 0..2 {
        let answer = tier.script(&script, &[b"k"], &[b"x"], second).await;
        assert_eq!(text(&answer.expect("an answer")), "k\nx\n1");
    }
    redis.command(&["SCRIPT", "FLUSH"]).await;
    assert!(tier.script(&script, &[b"k"], &[b"x"], second).await.is_ok());
    let slow = LuaScript::new(
        "local t = redis.call('TIME') repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1000000 + n[2] - t[2] > 300000 return 1",
    );
    let late = tier
        .script(&slow, &[b"k"], &[], Duration::from_millis(50))
        .await;
    assert_eq!(late.map_err(|failure| failure.kind), Err(FailureKind::Late));
}

#[tokio::test]
async fn a_connection_of_ones_own_may_wait() {
    let redis = Redis::start().await;
    let Tested { tier, .. } = connect(&url(&redis.url()));
    let mut own = tier
        .own_connection(b"{pillion:}bus")
        .await
        .expect("a connection");
    let mut wait = redis::cmd("BLPOP");
    wait.arg("list").arg(5);
    let waiting = own.command(&wait, Duration::from_secs(10));
    let (answer, _) =
        futures_util::future::join(waiting, redis.command(&["RPUSH", "list", "x"])).await;
    let answer = answer.expect("an answer");
    assert_eq!(text(&answer), "list\nx");
}

#[tokio::test]
async fn an_acl_user_needs_no_more_than_the_manual_says() {
    let redis = Redis::start().await;
    redis
        .command(&[
            "ACL",
            "SETUSER",
            "cache",
            "on",
            ">secret word",
            "resetkeys",
            "~pillion:*",
            "~{pillion:}*",
            "-@all",
            "+ping",
            "+hello",
            "+get",
            "+mget",
            "+set",
            "+unlink",
            "+eval",
            "+evalsha",
        ])
        .await;
    let file = redis.folder.path().join("password");
    std::fs::write(&file, "secret word\nsomething else\n").expect("a writable folder");
    let lines = format!(
        "{}\nusername = \"cache\"\npassword_file = {file:?}",
        url(&redis.url())
    );
    let shared = connect(&lines);
    shared.store("a", "content").await;
    shared.is(L2State::Up).await;
    let written = format!(
        "{}\nusername = \"cache\"\npassword = \"secret word\"",
        url(&redis.url())
    );
    assert_eq!(
        connect(&written).record("a").await,
        Ok(Some("content".into()))
    );
}

#[tokio::test]
async fn a_changed_password_is_taken_over_with_the_next_connection() {
    let redis = Redis::with_password("first").await;
    let file = redis.folder.path().join("password");
    std::fs::write(&file, "first").expect("a writable folder");
    let shared = connect(&format!("{}\npassword_file = {file:?}", url(&redis.url())));
    shared.store("a", "content").await;
    std::fs::write(&file, "second").expect("a writable folder");
    redis
        .command(&["CONFIG", "SET", "requirepass", "second"])
        .await;
    let other = redis::Client::open(redis.url().replace("://", "://:second@")).expect("a URL");
    let mut other = other
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let kill = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .clone();
    kill.exec_async(&mut other).await.expect("an answer");
    until("it is let in again", async || {
        shared.record("a").await == Ok(Some("content".into()))
    })
    .await;
}

#[tokio::test]
async fn tls_has_roots_of_its_own_and_a_client_s_certificate() {
    let redis = Redis::with_tls(true).await;
    let files = redis.certificates();
    let (certificate, client_key) = &files.client;
    for host in ["127.0.0.1", "localhost"] {
        let shared = connect(&format!(
            "url = \"rediss://{host}:{}\"\nca = {:?}\ncertificate = {certificate:?}\nkey = {client_key:?}",
            redis.port, files.ca
        ));
        shared.store(host, "content").await;
        shared.is(L2State::Up).await;
    }
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let folder = std::env::temp_dir().join(format!("pillion-sock-{}", std::process::id()));
    let text = folder.display().to_string();
    let redis = Redis::with(&["--unixsocket", &text]).await;
    let shared = connect(&format!("url = \"unix:{text}\""));
    shared.store("a", "content").await;
    drop(redis);
    std::fs::remove_file(folder).ok();
}

#[test]
fn every_thread_that_asks_has_a_connection_of_its_own() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let background = runtime();
    let redis = background.block_on(Redis::start());
    let shared = background.block_on(async { connect(&url(&redis.url())) });
    background.block_on(shared.store("a", "content"));
    let ask = || {
        let core = runtime();
        core.block_on(async {
            for _ in 0..100 {
                let asked = (0..10).map(|_| shared.record("a"));
                for got in futures_util::future::join_all(asked).await {
                    assert_eq!(got, Ok(Some("content".into())));
                }
            }
        });
        core
    };
    let cores = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<Vec<_>>()
    });
    // One for each core, the writer's, which is the test's too, and the probe's; and the one that asks.
    let clients = background.block_on(redis.text(&["CLIENT", "LIST"]));
    assert_eq!(
        clients.lines().filter(|line| line.contains("cmd=")).count(),
        3 + 2 + 1,
        "{clients}"
    );
    drop(cores);
}
