//! What is followed and what is not, one rule at a time.

use bytes::Bytes;
use config::cache::CacheSettings;
use http::StatusCode;

use crate::cache::ghost::savings::{RouteSavings, Saved};
use crate::cache::testing::{World, at_once, read, reply, streamed};
use crate::{Error, ErrorKind, ResponseFuture};

/// A world whose ghost is on.
fn following(
    change: impl FnOnce(&mut CacheSettings),
    answer: impl Fn(usize, &crate::Request) -> ResponseFuture + Send + Sync + 'static,
) -> World {
    let on = |settings: &mut CacheSettings| {
        settings.ghost = true;
        change(settings);
    };
    World::with(on, answer)
}

/// In front of a cache that is off.
fn off(answer: impl Fn(usize, &crate::Request) -> ResponseFuture + Send + Sync + 'static) -> World {
    following(|settings| settings.enabled = false, answer)
}

fn told(world: &World) -> RouteSavings {
    let routes = world.shared.savings().routes;
    assert_eq!(routes.len(), 1, "{routes:?}");
    routes.into_iter().next().unwrap()
}

/// With a `ttl` of this many seconds.
fn with_ttl(world: &World, ttl: u64) -> Saved {
    let found = told(world)
        .ttl
        .into_iter()
        .find(|saved| saved.ttl == Some(ttl));
    found.unwrap()
}

#[tokio::test]
async fn a_copy_that_is_out_of_date_is_wrong() {
    let world = off(|count, _| at_once(reply(200, &[], format!("body {}", count / 3))));
    for _ in 0..5 {
        world.get("/a").await;
        world.advance(2);
    }
    // At 0, 2, 4, 6, 8 s: bodies 0, 0, 1, 1, 1.
    let saved = with_ttl(&world, 300);
    assert_eq!((saved.hits, saved.checked, saved.wrong), (4, 4, 3));
    // Fetched at 0 and 6 s.
    let saved = with_ttl(&world, 5);
    assert_eq!((saved.hits, saved.checked, saved.wrong), (3, 3, 1));
    assert_eq!(saved.bytes, 18);
    assert_eq!(with_ttl(&world, 1).hits, 0);
    assert_eq!(world.seen().len(), 5, "every request is forwarded");
}

#[tokio::test]
async fn content_is_hashed_as_it_passes_and_only_whole_content_is_taken() {
    let bodies = std::sync::Mutex::new(Vec::new());
    let (first, body) = streamed();
    bodies.lock().unwrap().push(body);
    let (second, body) = streamed();
    bodies.lock().unwrap().push(body);
    let world = off(move |_, _| {
        let body = bodies.lock().unwrap().remove(0);
        at_once(reply(200, &[("content-length", "6")], body))
    });
    let answer = world.send("GET", "/a", &[]).await.unwrap();
    first.send(Ok(Bytes::from("abc"))).unwrap();
    first
        .send(Err(Error::upstream(ErrorKind::HttpResponseIncomplete)))
        .unwrap();
    assert!(read(answer).await.body.is_err());
    let answer = world.send("GET", "/a", &[]).await.unwrap();
    second.send(Ok(Bytes::from("abc"))).unwrap();
    second.send(Ok(Bytes::from("def"))).unwrap();
    drop(second);
    assert_eq!(read(answer).await.body(), "abcdef");
    let saved = with_ttl(&world, 300);
    assert_eq!(saved.hits, 0, "what broke off is not stored");
    let told = told(&world);
    assert_eq!((told.requests, told.bytes), (2, 9));
}

#[tokio::test]
async fn credentials_are_counted_apart_and_what_they_would_have_been_given_as_well() {
    let world = off(|_, request| {
        let user = request.headers().get("cookie");
        let body = user.map_or("guest".to_owned(), |user| format!("{user:?}"));
        at_once(reply(200, &[], body))
    });
    world.ask("GET", "/a", &[("cookie", "u=1")]).await;
    world.get("/a").await;
    world.ask("GET", "/a", &[("cookie", "u=1")]).await;
    world
        .ask("GET", "/a", &[("authorization", "Basic x")])
        .await;
    let told = told(&world);
    assert_eq!((told.requests, told.credentialed), (1, 3));
    let saved = with_ttl(&world, 30);
    assert_eq!(saved.hits, 0);
    assert_eq!(
        (saved.credentialed_served, saved.credentialed_wrong),
        (2, 1)
    );
    assert!(
        !saved.harmless && saved.risk.contains("differ by user"),
        "{}",
        saved.risk
    );
}

#[tokio::test]
async fn what_may_not_be_shared_is_never_stored_and_told_by_its_rule() {
    for (fields, rule) in [
        ([("set-cookie", "a=b")], "set-cookie"),
        ([("cache-control", "private")], "private"),
        ([("cache-control", "no-store")], "no-store"),
        ([("vary", "*")], "vary-star"),
        ([("content-type", "text/event-stream")], "live-stream"),
    ] {
        let world = off(move |_, _| at_once(reply(200, &fields, "x")));
        world.get("/a").await;
        world.get("/a").await;
        assert_eq!(with_ttl(&world, 300).hits, 0, "{rule}");
        let told = told(&world);
        assert_eq!(told.requests, 2);
        assert_eq!(told.not_stored, [(rule, 2)].into());
        assert_eq!(
            world.shared.savings().followed.keys,
            0,
            "nothing is kept of it"
        );
    }
}

#[tokio::test]
async fn what_varies_is_told_apart() {
    let world = off(|_, _| at_once(reply(200, &[("vary", "accept-language")], "x")));
    for language in ["de", "fr", "de", "fr", "de"] {
        world
            .ask("GET", "/a", &[("accept-language", language)])
            .await;
    }
    assert_eq!(with_ttl(&world, 5).hits, 3);
}

#[tokio::test]
async fn what_an_unsafe_request_changed_or_an_operator_purged_is_fetched_again() {
    let world = off(|_, _| at_once(reply(200, &[("vary", "accept-language")], "x")));
    world.get("/a").await;
    world.ask("POST", "/a", &[]).await;
    world.get("/a").await;
    assert_eq!(with_ttl(&world, 300).hits, 0);
    world.get("/a").await;
    assert_eq!(with_ttl(&world, 300).hits, 1);
    world.shared.purge_all();
    world.get("/a").await;
    assert_eq!(with_ttl(&world, 300).hits, 1);
}

#[tokio::test]
async fn what_is_purged_while_it_is_fetched_is_not_stored() {
    let (sender, body) = streamed();
    let body = std::sync::Mutex::new(Some(body));
    let world = off(move |_, request| {
        let body = body
            .lock()
            .unwrap()
            .take()
            .filter(|_| request.method() == "GET");
        at_once(reply(200, &[], body.unwrap_or_default()))
    });
    let slow = world.send("GET", "/a", &[]).await.unwrap();
    world.ask("POST", "/a", &[]).await;
    drop(sender);
    read(slow).await;
    world.get("/a").await;
    assert_eq!(with_ttl(&world, 300).hits, 0);
}

#[tokio::test]
async fn requests_at_the_same_time_are_one_for_a_plan_that_collapses() {
    for (collapse, hits) in [(true, 2), (false, 0)] {
        let (release, held) = tokio::sync::watch::channel(false);
        let world = following(
            |settings| {
                settings.enabled = false;
                settings.collapse = collapse;
            },
            move |_, _| {
                let mut held = held.clone();
                ResponseFuture::boxed(async move {
                    held.wait_for(|is_free| *is_free).await.unwrap();
                    Ok(reply(200, &[], "x"))
                })
            },
        );
        let waiting = world.start(3, "/a", &[]);
        world.advance(1);
        release.send(true).unwrap();
        for answer in waiting {
            assert_eq!(answer.await.unwrap().unwrap().body(), "x");
        }
        let saved = with_ttl(&world, 5);
        assert_eq!((saved.hits, saved.checked), (hits, hits), "{collapse}");
        assert_eq!(world.seen().len(), 3, "in truth every one is forwarded");
    }
}

#[tokio::test]
async fn a_304_is_a_request_and_the_second_one_brings_what_is_stored() {
    let world = off(|_, _| at_once(reply(304, &[("etag", "\"a\"")], "")));
    for _ in 0..5 {
        world.ask("GET", "/a", &[("if-none-match", "\"a\"")]).await;
    }
    let saved = with_ttl(&world, 30);
    assert_eq!((saved.hits, saved.checked, saved.wrong), (3, 3, 0));
}

#[tokio::test]
async fn failures_are_requests_that_a_copy_would_have_answered() {
    let world = off(|count, _| match count {
        2 => ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused))),
        3 => at_once(reply(503, &[], "down")),
        _ => at_once(reply(200, &[], "x")),
    });
    world.get("/a").await;
    assert!(world.send("GET", "/a", &[]).await.is_err());
    assert_eq!(
        world.get("/a").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let saved = with_ttl(&world, 30);
    assert_eq!(
        (told(&world).requests, saved.hits, saved.checked),
        (3, 2, 0)
    );
}

#[tokio::test]
async fn where_the_cache_is_on_only_what_has_no_lifetime_is_followed() {
    let world = following(
        |_| {},
        |_, request| {
            let lifetime: &[_] = match request.uri().path() {
                "/with" => &[("cache-control", "max-age=60")],
                _ => &[],
            };
            at_once(reply(200, lifetime, "x"))
        },
    );
    for path in ["/with", "/with", "/without", "/without", "/without"] {
        world.get(path).await;
    }
    let told = told(&world);
    assert_eq!((told.requests, told.cache), (3, "on"));
    assert!(told.as_configured.is_none());
    let saved = with_ttl(&world, 1);
    assert_eq!(saved.hits, 2);
    assert_eq!(
        saved.rule,
        "[[route]]\nmatch = \"/*\"\ncache = { ttl = \"1s\" }"
    );
    let world = following(
        |settings| settings.ghost = false,
        |_, _| at_once(reply(200, &[], "x")),
    );
    world.get("/").await;
    assert!(world.shared.savings().routes.is_empty());
}

/// Whoever pastes the rule into a file must get what it promises.
#[tokio::test]
async fn rules_are_configuration() {
    for (change, wanted) in [
        ("enabled = false", "enabled = true"),
        ("mode = \"observe\"", "mode = \"apply\""),
    ] {
        let world = following(
            |settings| match change {
                "enabled = false" => settings.enabled = false,
                _ => settings.mode = config::mode::Mode::Observe,
            },
            |_, _| at_once(reply(200, &[], "x")),
        );
        world.get("/assets/x").await;
        world.get("/assets/x").await;
        let told = told(&world);
        assert_eq!(told.pattern, "/assets/*");
        for saved in told.ttl.iter().chain(&told.as_configured) {
            assert!(saved.rule.contains(wanted), "{}", saved.rule);
            let text = format!(
                "{}\n[cache]\n{change}\n[upstream.app]\nurl = 'http://127.0.0.1:3000'\n",
                saved.rule
            );
            let loaded = config::load_text(&text, None, &config::Overrides::default(), &|_| None);
            let settings = loaded.unwrap().settings;
            let route = &settings.routes[0];
            assert_eq!(&*route.name, "/assets/*");
            assert!(route.cache.is_applied());
            assert_eq!(route.cache.ttl.map(|ttl| ttl.as_secs()), saved.ttl);
        }
    }
}

#[tokio::test]
async fn what_an_observing_cache_would_do_is_explained() {
    let world = following(
        |settings| settings.mode = config::mode::Mode::Observe,
        |_, request| match request.uri().path() {
            "/varies" => at_once(reply(
                200,
                &[("vary", "accept"), ("cache-control", "max-age=9")],
                "x",
            )),
            _ => at_once(reply(200, &[("cache-control", "max-age=9")], "x")),
        },
    );
    let would = |method: &str, path: &str| {
        let request = world.request(method, path, &[]);
        let told = world.shared.observed(&request, &world.settings).unwrap();
        assert!(
            told.sentence.starts_with("The cache observes. "),
            "{told:?}"
        );
        (told.would, told.rule)
    };
    assert_eq!(would("GET", "/a"), ("forward", Some("nothing-stored")));
    world.get("/a").await;
    assert_eq!(would("GET", "/a"), ("hit", None));
    assert_eq!(would("POST", "/a"), ("forward", Some("method")));
    world.advance(10);
    assert_eq!(would("GET", "/a"), ("validate", Some("stale")));
    world.get("/varies").await;
    assert_eq!(would("GET", "/varies"), ("unknown", None));
    assert!(world.seen().len() == 2, "nothing is forwarded for it");
    let on = following(|_| {}, |_, _| at_once(reply(200, &[], "x")));
    let request = on.request("GET", "/a", &[]);
    assert!(on.shared.observed(&request, &on.settings).is_none());
}

/// Each URL is asked for once, which no plan can save anything of. A thousand keys stand for thirty thousand
/// here, so the estimate has a standard deviation of 2.5 points; six of them are let pass.
#[tokio::test]
async fn a_flood_of_urls_takes_no_more_memory_than_it_may() {
    let world = off(|_, _| at_once(reply(200, &[], "x")));
    for number in 0..30_000 {
        world.get(&format!("/{number}/{number}?{number}")).await;
    }
    let savings = world.shared.savings();
    assert!(
        savings.followed.keys <= 1 << 10,
        "{}",
        savings.followed.keys
    );
    assert_eq!(savings.routes.len(), 1, "and no part of the site for each");
    let told = told(&world);
    assert_eq!(told.requests, 30_000);
    assert!(
        with_ttl(&world, 300).hit_rate < 0.15,
        "{:?}",
        with_ttl(&world, 300)
    );
}
