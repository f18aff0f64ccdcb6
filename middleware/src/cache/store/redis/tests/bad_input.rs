//! What an operator gets wrong, or a Redis does not give: each is a miss, and is told in words.

use super::super::servers::{Certificates, Cluster, Redis, Watched};
use super::*;

/// What goes wrong with these lines: nothing is found, and `told` is part of what the operator reads.
async fn wrong(lines: &str, told: &[&str]) -> Tested {
    let shared = connect(lines);
    assert!(!matches!(shared.record("a").await, Ok(Some(_))));
    shared.is(L2State::Away).await;
    let trouble = shared.trouble().await;
    for word in told {
        assert!(trouble.contains(word), "{word}: {trouble}");
    }
    assert!(!trouble.contains("hunter2"), "{trouble}");
    shared.tier.put(key("a"), "x".into(), MINUTE);
    assert!(shared.record("a").await.is_err());
    shared
}

#[tokio::test]
async fn a_wrong_password() {
    let redis = Redis::with_password("right").await;
    let wrong_one = format!("{}\npassword = \"hunter2\"", url(&redis.url()));
    drop(
        wrong(
            &wrong_one,
            &["does not let us in", "WRONGPASS", "password_file"],
        )
        .await,
    );
    drop(
        wrong(
            &url(&redis.url()),
            &["does not let us in", "NOAUTH", "password_file"],
        )
        .await,
    );
    let no_user = format!(
        "{}\nusername = \"nobody\"\npassword = \"right\"",
        url(&redis.url())
    );
    drop(wrong(&no_user, &["does not let us in", "cache.redis.username"]).await);
    let right = connect(&format!("{}\npassword = \"right\"", url(&redis.url())));
    right.store("a", "content").await;
}

#[tokio::test]
async fn a_password_that_is_not_asked_for() {
    let redis = Redis::start().await;
    // Redis lets `default` in without one, and says nothing.
    let shared = connect(&format!("{}\npassword = \"hunter2\"", url(&redis.url())));
    until("it is let in, or told that it is not", async || {
        shared.tier.state() != L2State::Unknown
    })
    .await;
    if shared.tier.state() == L2State::Away {
        assert!(shared.trouble().await.contains("does not let us in"));
    }
}

#[tokio::test]
async fn a_user_that_may_do_nothing() {
    let redis = Redis::start().await;
    redis
        .command(&[
            "ACL", "SETUSER", "cache", "on", ">right", "~other:*", "-@all", "+ping", "+hello",
        ])
        .await;
    let lines = format!(
        "{}\nusername = \"cache\"\npassword = \"right\"",
        url(&redis.url())
    );
    let shared = connect(&lines);
    assert!(shared.record("a").await.is_err());
    let trouble = shared.trouble().await;
    assert!(
        trouble.contains("NOPERM") && trouble.contains("ACL"),
        "{trouble}"
    );
}

#[tokio::test]
async fn one_without_resp3() {
    for password in ["", "right"] {
        let mut arguments = vec!["--rename-command", "HELLO", ""];
        if !password.is_empty() {
            arguments.extend(["--requirepass", password]);
        }
        let redis = Redis::with(&arguments).await;
        let mut lines = url(&redis.url());
        if !password.is_empty() {
            lines = format!("{lines}\npassword = {password:?}");
        }
        let shared = connect(&lines);
        shared.store("a", "content").await;
        shared.is(L2State::Up).await;
        if !password.is_empty() {
            drop(wrong(&url(&redis.url()), &["NOAUTH", "password_file"]).await);
            let wrong_one = format!("{}\npassword = \"hunter2\"", url(&redis.url()));
            drop(wrong(&wrong_one, &["does not let us in"]).await);
        }
    }
}

#[tokio::test]
async fn a_full_one() {
    let redis = Redis::with(&["--maxmemory", "1500kb", "--maxmemory-policy", "noeviction"]).await;
    let shared = connect(&url(&redis.url()));
    shared.store("a", "content").await;
    for number in 0..30 {
        shared
            .tier
            .put(key(&number.to_string()), vec![7; 100_000].into(), MINUTE);
    }
    let full = "pillion_l2_errors_total{error=\"full\"}";
    until("it says that it is full", async || shared.counted(full)).await;
    // What it has is used, and it is not taken for away.
    assert_eq!(shared.record("a").await, Ok(Some("content".into())));
    assert_eq!(shared.tier.state(), L2State::Up);
    let told = shared.trouble().await;
    assert!(
        told.contains("full") && told.contains("maxmemory"),
        "{told}"
    );
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    shared.store("b", "content").await;
    until("it is well again", async || shared.tier.trouble().is_none()).await;
}

#[tokio::test]
async fn a_replica() {
    let master = Redis::start().await;
    let port = master.port.to_string();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &port]).await;
    let writer = connect(&url(&master.url()));
    writer.store("a", "content").await;
    let reader = connect(&url(&replica.url()));
    until("the replica has it", async || {
        reader.record("a").await == Ok(Some("content".into()))
    })
    .await;
    reader.tier.put(key("b"), "x".into(), MINUTE);
    let counted = "pillion_l2_errors_total{error=\"read_only\"}";
    until("it refuses the write", async || reader.counted(counted)).await;
    assert_eq!(reader.record("b").await, Ok(None));
    let told = reader.trouble().await;
    assert!(
        told.contains("replica") && told.contains("sentinel"),
        "{told}"
    );
}

#[tokio::test]
async fn a_cluster_spoken_to_as_a_server_and_the_reverse() {
    let single = Redis::start().await;
    let lines = format!("mode = \"cluster\"\n{}", url(&single.url()));
    drop(wrong(&lines, &["no cluster", "leave `mode = \"cluster\"` out"]).await);
    let cluster = Cluster::start().await;
    for master in &cluster.masters {
        drop(
            wrong(
                &url(&master.url()),
                &["is a cluster", "write `mode = \"cluster\"`"],
            )
            .await,
        );
    }
}

#[tokio::test]
async fn sentinels_that_know_no_such_master_or_are_none() {
    let watched = Watched::start().await;
    let sentinel = watched.sentinel.url();
    let lines = format!("mode = \"sentinel\"\nmaster = \"other\"\nnodes = [{sentinel:?}]");
    drop(
        wrong(
            &lines,
            &["knows no master called other", "cache.redis.master"],
        )
        .await,
    );
    let server = watched.servers[0].url();
    let lines = format!("mode = \"sentinel\"\nmaster = \"mymaster\"\nnodes = [{server:?}]");
    drop(wrong(&lines, &["no Sentinel", "mode"]).await);
    // And a Sentinel is no server.
    drop(wrong(&url(&sentinel), &["is a Sentinel", "mode = \"sentinel\""]).await);
}

#[tokio::test]
async fn a_wrong_ca_none_and_no_tls() {
    let redis = Redis::with_tls(true).await;
    let files = redis.certificates();
    let other = redis.folder.path().join("other");
    std::fs::create_dir(&other).expect("a writable folder");
    let others = Certificates::write(&other);
    let with = |ca: &std::path::Path, client: &(std::path::PathBuf, std::path::PathBuf)| {
        let (certificate, key) = client;
        format!(
            "{}\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}",
            url(&redis.url())
        )
    };
    drop(
        wrong(
            &with(&others.ca, &files.client),
            &["no TLS", "invalid peer certificate", "cache.redis.ca"],
        )
        .await,
    );
    let no_certificate = format!("{}\nca = {:?}", url(&redis.url()), files.ca);
    drop(wrong(&no_certificate, &["certificate"]).await);
    drop(wrong(&with(&files.ca, &others.client), &["certificate"]).await);
    drop(wrong(&url(&redis.url()), &["no TLS", "cache.redis.ca"]).await);
    let plain = redis.url().replace("rediss", "redis");
    drop(wrong(&url(&plain), &["no connection", "rediss:"]).await);
    let without = Redis::start().await;
    let tls = without.url().replace("redis", "rediss");
    drop(
        wrong(
            &format!("{}\nca = {:?}", url(&tls), files.ca),
            &["`redis:`"],
        )
        .await,
    );
}

#[test]
fn files_that_do_not_hold_what_they_should_stop_the_start() {
    let folder = std::env::temp_dir().join(format!("pillion-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable folder");
    let empty = folder.join("empty");
    std::fs::write(&empty, "").expect("a writable folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for (lines, told) in [
        (format!("password_file = {empty:?}"), "password_file: "),
        ("password_file = \"/none\"".to_owned(), "cannot read /none"),
        (format!("ca = {empty:?}"), "holds no certificate"),
        ("ca = \"/none\"".to_owned(), "cannot read /none"),
        (
            format!("certificate = {empty:?}\nkey = {empty:?}"),
            "holds no certificate",
        ),
    ] {
        let settings = settings(&format!("url = \"rediss://127.0.0.1:1\"\n{lines}"));
        let tier = RedisTier::connect(&settings, runtime.handle(), &Metrics::new());
        let error = tier.expect_err(&lines).to_string();
        assert!(
            error.contains("cache.redis.") && error.contains(told),
            "{error}"
        );
    }
    std::fs::remove_dir_all(folder).ok();
}

#[tokio::test]
async fn records_over_the_limit_and_foreign_values() {
    let redis = Redis::start().await;
    let shared = connect(&format!("{}\nmax_record = \"1KiB\"", url(&redis.url())));
    shared.tier.put(key("long"), vec![7; 1025].into(), MINUTE);
    let counted = "pillion_l2_writes_dropped_total{cause=\"size\"}";
    assert_eq!(shared.count(counted), 1);
    shared.tier.put(key("fits"), vec![7; 1024].into(), MINUTE);
    until("the other is stored", async || {
        matches!(shared.record("fits").await, Ok(Some(_)))
    })
    .await;
    assert_eq!(shared.record("long").await, Ok(None));
    // Under our name, but of another type: a miss, and Redis is well.
    let name = shared.tier.names().record(&key("list").to_string());
    redis.command(&["RPUSH", &name, "x"]).await;
    for _ in 0..20 {
        assert_eq!(shared.record("list").await, Ok(None));
    }
    redis
        .command(&["SET", "{pillion:}latest", "yesterday"])
        .await;
    assert_eq!(shared.record("fits").await, Err(Failed::Broken));
    shared.is(L2State::Up).await;
}
