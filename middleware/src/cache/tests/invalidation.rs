use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cache::Purge;
use crate::cache::testing::{World, at_once, reply, settle};
use crate::facts::Scheme;
use crate::{Request, ResponseFuture};

fn fresh(count: usize, _: &Request) -> ResponseFuture {
    at_once(reply(
        200,
        &[("cache-control", "max-age=60"), ("etag", "\"a\"")],
        format!("{count}"),
    ))
}

fn purge(world: &World, uri: &str, how: Purge) -> usize {
    world
        .shared
        .purge_uri(Scheme::Http, "EXAMPLE.com", &uri.parse().unwrap(), how)
}

#[tokio::test]
async fn an_unsafe_request_that_works_drops_what_is_stored() {
    for (method, status, drops) in [
        ("POST", 200, true),
        ("PUT", 204, true),
        ("PATCH", 303, true),
        ("DELETE", 200, true),
        ("FROBNICATE", 200, true),
        ("POST", 404, false),
        ("POST", 500, false),
        ("OPTIONS", 200, false),
    ] {
        let world = World::new(move |count, request| match request.method().as_str() {
            "GET" => fresh(count, request),
            _ => at_once(reply(status, &[("location", "/other")], "")),
        });
        for uri in ["/", "/other", "/third"] {
            world.get(uri).await;
        }
        world.ask(method, "/", &[]).await;
        assert_eq!(!world.get("/").await.is_hit(), drops, "{method} {status}");
        assert_eq!(
            !world.get("/other").await.is_hit(),
            drops,
            "{method} {status}"
        );
        assert!(world.get("/third").await.is_hit());
    }
}

#[tokio::test]
async fn all_variants_and_all_keys_of_a_url_go() {
    let world = World::with(
        |settings| settings.key.headers = vec!["x-tenant".into()],
        |count, request| match request.method().as_str() {
            "GET" => {
                let fields = [("cache-control", "max-age=60"), ("vary", "accept")];
                at_once(reply(200, &fields, format!("{count}")))
            }
            _ => at_once(reply(200, &[], "")),
        },
    );
    let shapes = [
        vec![("x-tenant", "a"), ("accept", "1")],
        vec![("x-tenant", "a"), ("accept", "2")],
        vec![("x-tenant", "b")],
    ];
    for shape in &shapes {
        world.ask("GET", "/", shape).await;
        assert!(world.ask("GET", "/", shape).await.is_hit());
    }
    world.ask("POST", "/", &[("x-tenant", "c")]).await;
    for shape in &shapes {
        assert!(!world.ask("GET", "/", shape).await.is_hit());
        assert!(world.ask("GET", "/", shape).await.is_hit());
    }
}

#[tokio::test]
async fn a_purge_reaches_every_routes_keys() {
    let world = World::new(fresh);
    let sorted = world.route(|settings| settings.key.sort_query = true);
    world.get("/?b=1&a=2").await;
    sorted.get("/?a=2&b=1").await;
    assert_eq!(purge(&world, "/?b=1&a=2", Purge::Hard), 2);
    assert!(!world.get("/?b=1&a=2").await.is_hit());
    assert!(!sorted.get("/?a=2&b=1").await.is_hit());
    assert_eq!(purge(&world, "/nothing", Purge::Hard), 0);
}

#[tokio::test]
async fn a_soft_purge_validates_at_the_next_use() {
    let world = World::with(
        |settings| settings.stale_if_error = Some(std::time::Duration::from_secs(60)),
        |count, request| match count {
            1 => fresh(count, request),
            _ => at_once(reply(304, &[("etag", "\"a\"")], "")),
        },
    );
    world.get("/").await;
    assert_eq!(purge(&world, "/", Purge::Soft), 1);
    let validated = world.get("/").await;
    assert!(
        validated.cache_status().ends_with("detail=soft-purged"),
        "{}",
        validated.cache_status()
    );
    assert_eq!(validated.body(), "1");
    assert!(world.get("/").await.is_hit());
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_a_purge_is_not_stored_after_it() {
    for all in [false, true] {
        let gate = Arc::new(Semaphore::new(0));
        let wait = gate.clone();
        let world = World::new(move |count, request| {
            let (wait, answer) = (wait.clone(), fresh(count, request));
            ResponseFuture::boxed(async move {
                wait.acquire().await.unwrap().forget();
                answer.await
            })
        });
        let clients = world.start(1, "/", &[]);
        settle().await;
        if all {
            world.shared.purge_all();
        } else {
            purge(&world, "/", Purge::Hard);
        }
        // A follower that came after the purge must not get what is older than it.
        let late = world.start(1, "/", &[]);
        settle().await;
        gate.add_permits(1);
        for client in clients {
            let answer = client.await.unwrap().unwrap();
            assert_eq!(answer.body(), "1");
            assert!(
                answer.cache_status().ends_with("detail=purged"),
                "{}",
                answer.cache_status()
            );
        }
        gate.add_permits(1);
        for client in late {
            assert_eq!(client.await.unwrap().unwrap().body(), "2");
        }
        assert_eq!(world.get("/").await.body(), "2");
    }
}

#[tokio::test]
async fn a_purge_of_all_gives_the_memory_back() {
    let world = World::new(fresh);
    for index in 0..500 {
        world.get(&format!("/{index}")).await;
    }
    assert_eq!(world.shared.figures().entries, 500);
    assert!(world.shared.figures().bytes > 500 * 500);
    assert_eq!(world.shared.purge_all(), 500);
    let figures = world.shared.figures();
    assert_eq!((figures.entries, figures.bytes), (0, 0));
    assert!(!world.get("/1").await.is_hit());
    assert!(world.get("/1").await.is_hit());
}

#[tokio::test]
async fn a_purged_response_is_not_brought_back_by_its_coded_copy() {
    let world = World::new(fresh);
    let stored = world.get("/").await.facts.stored.unwrap();
    purge(&world, "/", Purge::Hard);
    world.shared.keep_coded(
        &stored,
        None,
        crate::content_coding::Coding::Br,
        "coded".into(),
    );
    assert!(stored.coded(crate::content_coding::Coding::Br).is_none());
    assert!(!world.get("/").await.is_hit());
}

#[tokio::test]
async fn coded_copies_are_kept_and_weighed() {
    let world = World::new(fresh);
    let stored = world.get("/").await.facts.stored.unwrap();
    let before = world.shared.figures().bytes;
    let copy = bytes::Bytes::from(vec![0; 10_000]);
    world.shared.keep_coded(
        &stored,
        None,
        crate::content_coding::Coding::Zstd,
        copy.clone(),
    );
    world
        .shared
        .keep_coded(&stored, None, crate::content_coding::Coding::Zstd, copy);
    let after = world.shared.figures().bytes;
    // What the allocator hands out for it, and the places of all three.
    assert!(
        (10_000..10_000 * 5 / 4).contains(&(after - before)),
        "{before} {after}"
    );
    let hit = world.get("/").await.facts.stored.unwrap();
    assert!(hit.coded(crate::content_coding::Coding::Zstd).is_some());
}

#[tokio::test]
async fn explain_names_the_rule_and_the_change() {
    let world = World::new(|_, request| match request.uri().path() {
        "/private" => at_once(reply(200, &[("cache-control", "private")], "x")),
        _ => at_once(reply(200, &[("cache-control", "max-age=60")], "x")),
    });
    let explain = |uri: &str, fields: &[(&str, &str)]| {
        let request = world.request("GET", uri, fields);
        let explained = world.shared.explain(&request, &world.settings, "*");
        serde_json::to_value(explained).unwrap()
    };
    assert_eq!(explain("/", &[])["chain"][0]["rule"], "nothing-stored");
    world.get("/").await;
    let hit = explain("/", &[]);
    assert_eq!(
        (&hit["would"], &hit["stored"]["ttl"]),
        (&"hit".into(), &60.into())
    );
    assert_eq!(hit["stored"]["lifetime_from"], "max-age");
    assert_eq!(hit["last"]["stored"], true);
    world.get("/private").await;
    let private = explain("/private", &[]);
    assert_eq!(private["would"], "forward");
    assert_eq!(private["chain"][1]["rule"], "private");
    assert_eq!(
        private["chain"][1]["changes"][0]["set"],
        serde_json::json!([["Cache-Control", "public, max-age=60"]])
    );
    assert_eq!(
        explain("/", &[("if-match", "\"a\"")])["chain"][0]["rule"],
        "precondition"
    );
    assert_eq!(
        explain("/", &[("cache-control", "no-cache")])["would"],
        "validate"
    );
}
