use std::time::Duration;

use crate::cache::testing::{World, at_once, reply, settle};
use crate::metrics::Event;
use crate::{Error, ErrorKind, ResponseFuture};

const SWR: &[(&str, &str)] = &[
    ("cache-control", "max-age=10, stale-while-revalidate=60"),
    ("etag", "\"a\""),
];

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate_answers_at_once_and_asks_exactly_once() {
    let world = World::new(|count, _| at_once(reply(200, SWR, format!("{count}"))));
    world.get("/").await;
    world.advance(20);
    for _ in 0..50 {
        let stale = world.get("/").await;
        assert_eq!(stale.body(), "1");
        assert_eq!(
            stale.cache_status(),
            "pillion; hit; ttl=-10; detail=stale-while-revalidate"
        );
        assert_eq!(stale.field("age"), "20");
    }
    settle().await;
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.seen()[1].field("if-none-match"), Some("\"a\""));
    let fresh = world.get("/").await;
    assert!(fresh.is_hit());
    assert_eq!(fresh.body(), "2");
    assert_eq!(world.shared.figures().validated_in_background, 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_in_the_background_freshens() {
    let world = World::new(|count, _| match count {
        1 => at_once(reply(200, SWR, "x")),
        _ => at_once(reply(304, SWR, "")),
    });
    world.get("/").await;
    world.advance(20);
    world.get("/").await;
    settle().await;
    let fresh = world.get("/").await;
    assert_eq!(
        (fresh.body(), fresh.cache_status()),
        ("x", "pillion; hit; ttl=10")
    );
}

#[tokio::test(start_paused = true)]
async fn not_past_the_window() {
    let world = World::new(|count, _| at_once(reply(200, SWR, format!("{count}"))));
    world.get("/").await;
    world.advance(69);
    assert_eq!(world.get("/").await.body(), "1");
    settle().await;
    world.advance(71);
    let late = world.get("/").await;
    assert_eq!(late.body(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_validation_that_fails_is_tried_again_but_not_by_every_request() {
    let world = World::new(|count, _| match count {
        1 => at_once(reply(200, SWR, "x")),
        _ => ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused))),
    });
    world.get("/").await;
    world.advance(20);
    for _ in 0..50 {
        assert_eq!(world.get("/").await.body(), "x");
        settle().await;
    }
    assert_eq!(world.seen().len(), 2);
    world.advance(2);
    world.get("/").await;
    settle().await;
    assert_eq!(world.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_validation_that_hangs_is_given_up() {
    let world = World::new(|count, _| match count {
        1 => at_once(reply(200, SWR, "x")),
        _ => ResponseFuture::boxed(std::future::pending()),
    });
    world.get("/").await;
    world.advance(20);
    world.get("/").await;
    settle().await;
    assert_eq!(world.shared.figures().flights, 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(world.shared.figures().flights, 0);
}

#[tokio::test(start_paused = true)]
async fn nobodys_credentials_travel_with_it() {
    let world = World::new(|_, _| at_once(reply(200, SWR, "x")));
    world.get("/").await;
    world.advance(20);
    let personal = [
        ("cookie", "session=1"),
        ("authorization", "secret"),
        ("if-none-match", "\"mine\""),
        ("range", "bytes=0-1"),
        ("x-tenant", "a"),
    ];
    assert!(world.ask("GET", "/", &personal).await.is_hit());
    settle().await;
    let seen = world.seen().pop().unwrap();
    for name in ["cookie", "authorization", "range"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.field("if-none-match"), Some("\"a\""));
    assert_eq!(seen.field("x-tenant"), Some("a"));
    assert_eq!(seen.method, "GET");
}

#[tokio::test(start_paused = true)]
async fn cookies_of_the_key_do_and_so_does_what_a_stored_answer_to_authorization_needs() {
    let world = World::with(
        |settings| settings.key.cookies = vec!["lang".into()],
        |_, _| {
            let control = "public, max-age=10, stale-while-revalidate=60";
            at_once(reply(200, &[("cache-control", control)], "x"))
        },
    );
    let asked = [("cookie", "id=1; lang=de"), ("authorization", "secret")];
    world.ask("GET", "/", &asked).await;
    world.advance(20);
    world.ask("GET", "/", &asked).await;
    settle().await;
    let seen = world.seen().pop().unwrap();
    assert_eq!(seen.field("cookie"), Some("lang=de"));
    assert_eq!(seen.field("authorization"), Some("secret"));
}

#[tokio::test(start_paused = true)]
async fn head_on_something_stale_starts_a_get() {
    let world = World::new(|_, _| at_once(reply(200, SWR, "x")));
    world.get("/").await;
    world.advance(20);
    assert_eq!(world.ask("HEAD", "/", &[]).await.body(), "");
    settle().await;
    assert_eq!(world.seen()[1].method, "GET");
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_does_is_counted() {
    let world = World::new(|count, _| match count {
        1 | 2 => at_once(reply(200, SWR, format!("{count}"))),
        _ => ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused))),
    });
    let total = |event| world.shared.metrics().total(event);
    world.get("/").await;
    assert_eq!(total(Event::CacheStored), 1);
    for (background, failed, stored, replaced) in [(1, 0, 2, 1), (1, 1, 2, 1)] {
        world.advance(20);
        world.get("/").await;
        settle().await;
        assert_eq!(total(Event::BackgroundValidated), background);
        assert_eq!(total(Event::BackgroundFailed), failed);
        assert_eq!(total(Event::CacheStored), stored);
        assert_eq!(total(Event::EvictedReplaced), replaced);
    }
    world.shared.purge_all();
    assert_eq!(total(Event::EvictedPurged), 1);
}
