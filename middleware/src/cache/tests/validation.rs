use crate::cache::testing::{World, at_once, reply};
use crate::facts::CacheOutcome;
use crate::{Error, ErrorKind, ResponseFuture};

#[tokio::test]
async fn a_304_freshens_and_is_served_with_its_fields() {
    let world = World::new(|count, _| match count {
        1 => at_once(reply(
            200,
            &[
                ("cache-control", "max-age=10"),
                ("etag", "\"a\""),
                ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
                ("content-type", "text/plain"),
                ("x-old", "1"),
                ("x-new", "1"),
                ("age", "3"),
            ],
            "content",
        )),
        _ => at_once(reply(
            304,
            &[
                ("cache-control", "max-age=100"),
                ("content-length", "0"),
                ("content-type", "text/html"),
                ("x-new", "2"),
                ("x-new", "3"),
            ],
            "",
        )),
    });
    world.get("/").await;
    world.advance(20);
    let validated = world
        .ask("GET", "/", &[("if-none-match", "\"client\"")])
        .await;
    let seen = world.seen().pop().unwrap();
    assert_eq!(seen.field("if-none-match"), Some("\"a\""));
    assert_eq!(
        seen.field("if-modified-since"),
        Some("Thu, 01 Jan 2015 00:00:00 GMT")
    );
    assert_eq!((validated.status, validated.body()), (200, "content"));
    assert_eq!(
        validated.cache_status(),
        "pillion; fwd=stale; fwd-status=304; ttl=100; stored; detail=stale"
    );
    assert_eq!(
        validated.facts.cache.unwrap().outcome,
        CacheOutcome::Revalidated
    );
    let hit = world.get("/").await;
    assert!(hit.is_hit());
    for (name, expected) in [
        ("x-old", "1"),
        ("content-type", "text/plain"),
        ("content-length", "7"),
        ("age", "0"),
    ] {
        assert_eq!(hit.field(name), expected, "{name}");
    }
    let lines: Vec<_> = hit.fields.get_all("x-new").iter().cloned().collect();
    assert_eq!(lines, ["2", "3"]);
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn coded_copies_survive_a_304_unless_the_tag_changes() {
    for (tag, survives) in [("\"a\"", true), ("W/\"a\"", false)] {
        let world = World::new(move |count, _| match count {
            1 => at_once(reply(
                200,
                &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
                "x",
            )),
            _ => at_once(reply(
                304,
                &[("cache-control", "max-age=10"), ("etag", tag)],
                "",
            )),
        });
        let stored = world.get("/").await.facts.stored.unwrap();
        world.shared.keep_coded(
            &stored,
            None,
            crate::content_coding::Coding::Br,
            "coded".into(),
        );
        world.advance(20);
        let stored = world.get("/").await.facts.stored.unwrap();
        assert_eq!(
            stored.coded(crate::content_coding::Coding::Br).is_some(),
            survives
        );
    }
}

#[tokio::test]
async fn a_200_replaces() {
    let fields = &[("cache-control", "max-age=10"), ("etag", "\"a\"")];
    let world = World::new(move |count, _| at_once(reply(200, fields, format!("{count}"))));
    world.get("/").await;
    world.advance(20);
    let replaced = world.get("/").await;
    assert_eq!(
        (replaced.body(), replaced.cache_status()),
        (
            "2",
            "pillion; fwd=stale; fwd-status=200; ttl=10; stored; detail=stale"
        )
    );
    assert_eq!(world.get("/").await.body(), "2");
}

#[tokio::test]
async fn no_cache_validates_before_every_reuse() {
    let fields = &[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")];
    let world = World::new(move |count, _| match count {
        1 => at_once(reply(200, fields, "x")),
        _ => at_once(reply(304, fields, "")),
    });
    world.get("/").await;
    for count in 2..4 {
        let answer = world.get("/").await;
        assert_eq!(answer.body(), "x");
        assert!(
            answer.cache_status().ends_with("detail=no-cache"),
            "{}",
            answer.cache_status()
        );
        assert_eq!(world.seen().len(), count);
        assert_eq!(
            world.seen().pop().unwrap().field("if-none-match"),
            Some("\"a\"")
        );
    }
}

#[tokio::test]
async fn a_clients_no_cache_validates_with_the_stored_validator() {
    let fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let world = World::new(move |count, _| match count {
        1 => at_once(reply(200, fields, "x")),
        _ => at_once(reply(304, fields, "")),
    });
    world.get("/").await;
    let reload = world.ask("GET", "/", &[("pragma", "no-cache")]).await;
    assert_eq!(
        reload.cache_status(),
        "pillion; fwd=request; fwd-status=304; ttl=60; stored; detail=client-no-cache"
    );
    assert_eq!(world.seen()[1].field("if-none-match"), Some("\"a\""));
}

#[tokio::test]
async fn stale_if_error_covers_drops_and_5xx() {
    let control = "max-age=10, stale-if-error=100";
    let failing = |failure: fn() -> ResponseFuture| {
        World::new(move |count, _| match count {
            1 => at_once(reply(200, &[("cache-control", control)], "x")),
            _ => failure(),
        })
    };
    let refused = || ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused)));
    let broken = || at_once(reply(503, &[], "down"));
    for (world, status) in [
        (failing(refused), ""),
        (failing(broken), " fwd-status=503;"),
    ] {
        world.get("/").await;
        world.advance(20);
        let stale = world.get("/").await;
        assert_eq!((stale.status, stale.body()), (200, "x"));
        assert_eq!(
            stale.cache_status(),
            format!("pillion; fwd=stale;{status} ttl=-10; detail=stale-if-error")
        );
        world.advance(100);
        match world.send("GET", "/", &[]).await {
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
    }
}

#[tokio::test]
async fn never_stale_on_error_without_a_word_for_it() {
    for control in [
        "max-age=10",
        "max-age=10, stale-if-error=100, must-revalidate",
        "max-age=10, stale-if-error=100, proxy-revalidate",
        "no-cache, stale-if-error=100, max-age=10",
    ] {
        let world = World::new(move |count, _| match count {
            1 => at_once(reply(
                200,
                &[("cache-control", control), ("etag", "\"a\"")],
                "x",
            )),
            _ => ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused))),
        });
        world.get("/").await;
        world.advance(20);
        assert!(world.send("GET", "/", &[]).await.is_err(), "{control}");
    }
}

#[tokio::test]
async fn a_clients_own_failure_is_not_covered() {
    let world = World::new(move |count, _| match count {
        1 => at_once(reply(
            200,
            &[("cache-control", "max-age=10, stale-if-error=100")],
            "x",
        )),
        _ => ResponseFuture::ready(Err(Error::client(ErrorKind::RequestTimeout))),
    });
    world.get("/").await;
    world.advance(20);
    assert!(world.send("GET", "/", &[]).await.is_err());
}

#[tokio::test]
async fn what_a_304_forbids_to_store_is_served_once_and_gone() {
    let world = World::new(move |count, _| match count {
        1 => at_once(reply(
            200,
            &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
            "x",
        )),
        _ => at_once(reply(
            304,
            &[("cache-control", "no-store"), ("etag", "\"a\"")],
            "",
        )),
    });
    world.get("/").await;
    world.advance(20);
    let last = world.get("/").await;
    assert_eq!((last.status, last.body()), (200, "x"));
    assert!(
        last.cache_status().ends_with("detail=no-store"),
        "{}",
        last.cache_status()
    );
    world.get("/").await;
    assert_eq!(world.seen()[2].field("if-none-match"), None);
}

#[tokio::test]
async fn a_personal_answer_does_not_evict_what_others_may_use() {
    let world = World::new(move |_, request| {
        let mine = request.headers().contains_key("cookie");
        at_once(reply(
            200,
            &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
            format!("{mine}"),
        ))
    });
    world.get("/").await;
    world.advance(20);
    world.ask("GET", "/", &[("cookie", "a=1")]).await;
    world.get("/").await;
    assert_eq!(world.seen()[2].field("if-none-match"), Some("\"a\""));
}

#[tokio::test]
async fn a_later_no_store_answer_leaves_what_is_fresh_usable() {
    let world = World::new(move |count, _| match count {
        1 => at_once(reply(200, &[("cache-control", "max-age=60")], "old")),
        _ => at_once(reply(200, &[("cache-control", "no-store")], "new")),
    });
    world.get("/").await;
    assert_eq!(
        world
            .ask("GET", "/", &[("cache-control", "no-cache")])
            .await
            .body(),
        "new"
    );
    assert_eq!(world.get("/").await.body(), "old");
}

#[tokio::test]
async fn a_range_of_something_stale_fetches_the_whole_only_if_that_is_short() {
    let world = World::with(
        |settings| settings.range_fill_max = 5,
        |_, request| {
            let body = if request.uri() == "/long" {
                "long content"
            } else {
                "short"
            };
            at_once(reply(
                200,
                &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
                body,
            ))
        },
    );
    for (uri, range) in [("/short", None), ("/long", Some("bytes=0-1"))] {
        world.get(uri).await;
        world.advance(20);
        world
            .ask("GET", uri, &[("range", "bytes=0-1"), ("if-range", "\"a\"")])
            .await;
        let seen = world.seen().pop().unwrap();
        assert_eq!(seen.field("range"), range);
        assert_eq!(seen.field("if-range").is_some(), range.is_some());
    }
}

#[tokio::test]
async fn what_all_clients_come_back_with_is_fetched_whole_once_a_304_says_it_may_be_stored() {
    const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let world = World::new(|_, request| match request.headers().get("if-none-match") {
        Some(_) => at_once(reply(304, FRESH, "")),
        None => at_once(reply(200, FRESH, "x")),
    });
    let back = [("if-none-match", "\"a\"")];
    let first = world.ask("GET", "/", &back).await;
    assert_eq!(first.status, 304);
    assert!(first.cache_status().ends_with("detail=not-modified"));
    let second = world.ask("GET", "/", &back).await;
    assert_eq!(second.status, 200, "judged by the layer above");
    assert!(second.cache_status().ends_with("stored"));
    assert!(world.ask("GET", "/", &back).await.is_hit());
}

#[tokio::test]
async fn what_may_not_be_stored_is_never_fetched_whole_for_that() {
    for against in ["no-store", "private, max-age=60", "max-age=0, no-transform"] {
        let fields = [("cache-control", against)];
        let world = World::new(move |_, _| at_once(reply(304, &fields, "")));
        for _ in 0..3 {
            world.ask("GET", "/", &[("if-none-match", "\"a\"")]).await;
        }
        for seen in world.seen() {
            assert_eq!(seen.field("if-none-match"), Some("\"a\""), "{against}");
        }
    }
}

#[tokio::test]
async fn what_turned_out_too_long_to_store_is_not_fetched_whole_again_and_again() {
    const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let world = World::with(
        |settings| settings.max_body = 1,
        |_, request| match request.headers().get("if-none-match") {
            Some(_) => at_once(reply(304, FRESH, "")),
            None => at_once(reply(200, FRESH, "long")),
        },
    );
    for _ in 0..10 {
        world.ask("GET", "/", &[("if-none-match", "\"a\"")]).await;
    }
    let whole = |seen: &&crate::cache::testing::Seen| seen.field("if-none-match").is_none();
    assert_eq!(world.seen().iter().filter(whole).count(), 1);
}

#[tokio::test]
async fn a_304_to_a_client_tells_explain_what_stands_against_storing() {
    for (fields, expected) in [
        (&[("etag", "\"a\"")][..], "no-lifetime"),
        (&[("cache-control", "private")], "private"),
        (&[("cache-control", "max-age=9")], "not-modified"),
    ] {
        let world = World::new(move |_, _| at_once(reply(304, fields, "")));
        world.ask("GET", "/", &[("if-none-match", "\"a\"")]).await;
        let asked = world.request("GET", "/", &[]);
        let told = world.shared.explain(&asked, &world.settings, "*");
        let rules: Vec<_> = told.chain.iter().filter_map(|step| step.rule).collect();
        assert_eq!(rules, ["nothing-stored", expected]);
    }
}

/// RFC 9111 §3.5: "A shared cache MUST NOT use a cached response to a request with an Authorization
/// header field … unless the response contains a Cache-Control field with a response directive … that
/// allows it to be stored by a shared cache". That the response is confirmed to somebody else is none.
#[tokio::test]
async fn content_of_an_authorized_request_stays_so_whoever_validates_it() {
    for (later, is_shared) in [("max-age=10", false), ("max-age=10, public", true)] {
        let world = World::new(move |count, _| match count {
            1 => at_once(reply(
                200,
                &[("cache-control", "max-age=10, public"), ("etag", "\"a\"")],
                "content",
            )),
            _ => at_once(reply(304, &[("cache-control", later)], "")),
        });
        world.ask("GET", "/", &[("authorization", "secret")]).await;
        world.advance(20);
        world.get("/").await;
        assert_eq!(world.get("/").await.is_hit(), is_shared, "{later}");
    }
}
