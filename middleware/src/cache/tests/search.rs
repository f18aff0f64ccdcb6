//! `No-Vary-Search` against purges that come at the wrong moment, and against floods.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cache::explain::Would;
use crate::cache::testing::{World, at_once, read, reply, settle};
use crate::cache::{Purge, What};
use crate::facts::Scheme;
use crate::{Request, ResponseFuture};

const WIDE: &[(&str, &str)] = &[
    ("cache-control", "max-age=60"),
    ("no-vary-search", "params=(\"x\")"),
];

fn wide(count: usize, _: &Request) -> ResponseFuture {
    at_once(reply(200, WIDE, format!("{count}")))
}

fn purge(world: &World, uri: &str, how: Purge) -> usize {
    let uri = uri.parse().unwrap();
    world
        .shared
        .purge_uri(Scheme::Http, "example.com", &uri, how)
}

#[tokio::test]
async fn a_purge_of_one_query_purges_its_equals() {
    let world = World::new(wide);
    world.get("/?a").await;
    world.get("/?b").await;
    assert!(world.get("/?a&x=1").await.is_hit());
    assert_eq!(purge(&world, "/?x=9&a", Purge::Hard), 1);
    assert!(world.get("/?b&x").await.is_hit());
    assert!(!world.get("/?a&x=1").await.is_hit());
    assert_eq!(purge(&world, "/?a", Purge::Soft), 1);
    let status = world.get("/?a&x=3").await;
    assert!(
        status.cache_status().ends_with("detail=soft-purged"),
        "{status:?}"
    );
}

/// A request that the pattern says nothing of looks at what is stored for an equal query: that is not
/// to outlive the purge by it.
#[tokio::test]
async fn a_pattern_is_not_outlived_by_a_look_from_another_query() {
    let world = World::new(|count, request| {
        let varied = [WIDE, &[("vary", "accept-language")]].concat();
        let fields = match request.uri().query() {
            None => &*varied,
            Some(_) => &[("cache-control", "no-store")],
        };
        at_once(reply(200, fields, format!("{count}")))
    });
    world.get("/").await;
    assert!(world.get("/").await.is_hit());
    let pattern = What::Pattern("example.com/".to_owned());
    world.shared.purge(&pattern, Purge::Hard).unwrap();
    let other = world.send("GET", "/?x=1", &[("accept-language", "de")]);
    read(other.await.unwrap()).await;
    assert!(!world.get("/").await.is_hit());
}

/// The rule is not known when the purge comes, or only since: nobody can say that the two URLs are one.
#[tokio::test]
async fn what_was_asked_before_a_purge_of_an_equal_is_not_stored() {
    for learns_first in [false, true] {
        let gate = Arc::new(Semaphore::new(0));
        let world = World::new({
            let gate = gate.clone();
            move |count, request| {
                let answer = reply(200, WIDE, format!("{count}"));
                if request.headers().contains_key("x-slow") {
                    let gate = gate.clone();
                    return ResponseFuture::boxed(async move {
                        gate.acquire().await.unwrap().forget();
                        Ok(answer)
                    });
                }
                at_once(answer)
            }
        });
        let slow = world.send("GET", "/?a&x=1", &[("x-slow", "1")]);
        let slow = world
            .shared
            .tasks()
            .spawn(async { read(slow.await.unwrap()).await });
        settle().await;
        purge(&world, "/?a&x=2", Purge::Hard);
        if learns_first {
            world.get("/?b").await;
        }
        gate.add_permits(1);
        let slow = slow.await.unwrap();
        assert!(slow.cache_status().ends_with("detail=purged"), "{slow:?}");
        assert!(!world.get("/?a&x=2").await.is_hit());
    }
}

#[tokio::test]
async fn a_rule_that_was_forgotten_and_said_again_is_another() {
    let says = ["a", "b", "c", "d", "e"];
    let world = World::new(move |count, request| {
        let query = request.uri().query().unwrap_or_default();
        let rule = match says.iter().find(|name| query.contains(*name)) {
            Some(name) => format!("params=(\"{name}\")"),
            None => "params=(\"x\")".to_owned(),
        };
        let fields = &[("cache-control", "max-age=60"), ("no-vary-search", &rule)];
        at_once(reply(200, fields, format!("{count}")))
    });
    world.get("/?1").await;
    assert!(world.get("/?1&x").await.is_hit());
    for name in says {
        world.get(&format!("/?2&{name}")).await;
    }
    // Forgotten: not found, and not purged either.
    purge(&world, "/?1&x", Purge::Hard);
    // Said again of another query: what was stored by the old one does not come back.
    world.get("/?9&x").await;
    let again = world.get("/?1&x").await;
    assert!(!again.is_hit(), "{again:?}");
    assert!(world.get("/?1&x=5").await.body() == again.body());
    assert_eq!(
        world.get("/?1").await.body(),
        again.body(),
        "the old one does not come back"
    );
}

#[tokio::test]
async fn rules_by_the_thousand_are_bounded() {
    let world = World::new(|count, _| {
        let names: Vec<_> = (0..60).map(|name| format!("\"{name}-{count}\"")).collect();
        let rule = format!("params=({})", names.join(" "));
        let fields = &[("cache-control", "max-age=60"), ("no-vary-search", &rule)];
        at_once(reply(200, fields, "x"))
    });
    for path in 0..5000 {
        world.get(&format!("/{path}?q")).await;
    }
    assert!(world.shared.searches().weight() <= 1 << 20);
    assert_eq!(world.seen().len(), 5000);
}

#[tokio::test]
async fn explain_knows_the_rule() {
    let world = World::new(wide);
    world.get("/?a").await;
    let asked = world.request("GET", "/?a&x=1", &[]);
    let explained = world.shared.explain(&asked, &world.settings, "*");
    assert_eq!(explained.would, Would::Hit);
    assert_eq!(explained.chain[1].rule, Some("no-vary-search"));
    assert!(
        explained
            .key
            .contains(&"no-vary-search: params=(\"x\")".to_owned()),
        "{explained:?}"
    );
    let asked = world.request("GET", "/?b&x=1", &[]);
    let explained = world.shared.explain(&asked, &world.settings, "*");
    assert_eq!(explained.would, Would::Forward);
}
