//! Many servers: a Cluster, and a Sentinel that names the master.

use super::super::servers::{Cluster, Redis, Watched};
use super::*;

fn nodes(cluster: &Cluster) -> String {
    format!("mode = \"cluster\"\nnodes = {}", cluster.nodes())
}

#[tokio::test]
async fn keys_are_spread_over_a_cluster_and_found_again() {
    let cluster = Cluster::start().await;
    // One node tells of the others.
    let first = cluster.masters[0].url();
    let shared = connect(&format!("mode = \"cluster\"\n{}", url(&first)));
    for number in 0..60 {
        shared
            .tier
            .put(key(&number.to_string()), "content".into(), MINUTE);
    }
    shared.store("last", "content").await;
    for number in 0..60 {
        assert_eq!(
            shared.record(&number.to_string()).await,
            Ok(Some("content".into()))
        );
    }
    for master in &cluster.masters {
        let keys: u32 = master.text(&["DBSIZE"]).await.parse().expect("a number");
        assert!(keys > 5, "{keys} keys on one of three");
    }
    shared.is(L2State::Up).await;
    // The latest place is on one node, and read with a record on any.
    let mut set = redis::cmd("SET");
    set.arg("{pillion:}latest").arg("1700000000000-7");
    let second = Duration::from_secs(1);
    assert!(
        shared
            .tier
            .command(b"{pillion:}latest", &set, second)
            .await
            .is_ok()
    );
    for number in 0..10 {
        let got = shared
            .tier
            .get(key(&number.to_string()))
            .await
            .expect("an answer");
        assert_eq!(got.latest, Some((1_700_000_000_000 << 20) | 7));
    }
    // What belongs to one record is in one slot, so a script may use both.
    let script = LuaScript::new("redis.call('SET', KEYS[1], 1) return redis.call('GET', KEYS[2])");
    let names = shared.tier.names();
    let name = key("3").to_string();
    let record = names.record(&name);
    let keys = [format!("{record}:l"), record];
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    assert!(
        shared
            .tier
            .script(&script, &keys, &[], second)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start().await;
    let shared = connect(&nodes(&cluster));
    shared.store("a", "content").await;
    let name = shared.tier.names().record(&key("a").to_string());
    let slot = slots::slot_of(name.as_bytes()).to_string();
    let owner = usize::from(slots::slot_of(name.as_bytes()) / 5461).min(2);
    let (from, to) = (&cluster.masters[owner], &cluster.masters[(owner + 1) % 3]);
    let (from_id, to_id) = (
        from.text(&["CLUSTER", "MYID"]).await,
        to.text(&["CLUSTER", "MYID"]).await,
    );
    // Half-way: what has gone is asked for once (ASK).
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
        .await;
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
        .await;
    let port = to.port.to_string();
    from.command(&["MIGRATE", "127.0.0.1", &port, &name, "0", "1000"])
        .await;
    assert_eq!(shared.record("a").await, Ok(Some("content".into())));
    // Done: the answer says where (MOVED), and the next ones go there.
    for node in &cluster.masters {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
            .await;
    }
    assert_eq!(shared.record("a").await, Ok(Some("content".into())));
    until("the new place is known", async || {
        let known = shared.tier.0.topology.borrow().node(name.as_bytes());
        known.is_some_and(|node| node.address.to_string().ends_with(&format!(":{port}")))
    })
    .await;
    shared.store("a", "again").await;
}

#[tokio::test]
async fn a_master_that_dies_costs_its_third_until_its_replica_has_taken_over() {
    let cluster = Cluster::with_replicas().await;
    let shared = connect(&nodes(&cluster));
    let names: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for name in &names {
        shared.store(name, "content").await;
    }
    for (master, replica) in cluster.masters.iter().zip(&cluster.replicas) {
        let acknowledged = async || {
            let [keys, copies] = [
                master.text(&["DBSIZE"]).await,
                replica.text(&["DBSIZE"]).await,
            ];
            keys == copies
        };
        until("the replicas have all", acknowledged).await;
    }
    shared.is(L2State::Up).await;
    cluster.masters[1].kill();
    let mut found = Vec::new();
    for name in &names {
        found.push(shared.record(name).await.is_ok());
    }
    assert!(found.iter().any(|is_ok| *is_ok), "the others answer");
    until("all are found again", async || {
        let mut all = true;
        for name in &names {
            all &= shared.record(name).await == Ok(Some("content".into()));
        }
        all
    })
    .await;
    shared.is(L2State::Up).await;
    shared.store("new", "content").await;
}

#[tokio::test]
async fn a_master_that_stands_still_costs_a_deadline_and_the_others_nothing() {
    let cluster = Cluster::start().await;
    let shared = connect(&nodes(&cluster));
    let names: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for name in &names {
        shared.store(name, "content").await;
    }
    cluster.masters[0].stop();
    let round = async || {
        let mut late = 0;
        for name in &names {
            late += u32::from(shared.record(name).await == Err(Failed::Late));
        }
        late
    };
    assert_eq!(round().await, 1, "one deadline for the connection");
    assert_eq!(round().await, 0);
    shared.is(L2State::Degraded).await;
    cluster.masters[0].cont();
    shared.is(L2State::Up).await;
}

#[tokio::test]
async fn the_master_that_the_sentinel_names_is_followed() {
    let watched = Watched::start().await;
    let sentinel = watched.sentinel.url();
    let lines = format!("mode = \"sentinel\"\nmaster = \"mymaster\"\nnodes = [{sentinel:?}]");
    let shared = connect(&lines);
    shared.store("a", "content").await;
    let [master, replica] = &watched.servers;
    until("the replica has it", async || {
        replica.text(&["DBSIZE"]).await == "1"
    })
    .await;
    master.kill();
    until("the replica is the master", async || {
        watched.master().await == replica.port
    })
    .await;
    until("it is asked", async || {
        shared.record("a").await == Ok(Some("content".into()))
    })
    .await;
    shared.store("b", "content").await;
    shared.is(L2State::Up).await;
    assert_eq!(shared.tier.trouble(), None);
}

#[tokio::test]
async fn a_failover_without_a_crash_is_followed() {
    let watched = Watched::start().await;
    let sentinel = watched.sentinel.url();
    let lines = format!("mode = \"sentinel\"\nmaster = \"mymaster\"\nnodes = [{sentinel:?}]");
    let shared = connect(&lines);
    shared.store("a", "content").await;
    let port = watched.servers[1].port;
    watched
        .sentinel
        .command(&["SENTINEL", "FAILOVER", "mymaster"])
        .await;
    until("the replica is the master", async || {
        watched.master().await == port
    })
    .await;
    // What the old master takes until it hears of it is lost, as Redis says.
    let name = shared.tier.names().record(&key("b").to_string());
    let there = async |server: &Redis| server.text(&["EXISTS", &name]).await == "1";
    until("what is written is on both", async || {
        shared.tier.put(key("b"), "content".into(), MINUTE);
        there(&watched.servers[0]).await && there(&watched.servers[1]).await
    })
    .await;
    assert_eq!(shared.record("b").await, Ok(Some("content".into())));
}
