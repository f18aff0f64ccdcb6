//! What comes at the wrong moment: answers to HEAD, POST and validations that something has overtaken.

use std::sync::Arc;

use http::Method;
use tokio::sync::Semaphore;

use crate::cache::Purge;
use crate::cache::testing::{Answer, World, at_once, read, reply, settle};
use crate::facts::Scheme;
use crate::{Response, ResponseFuture};

const OWN: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("content-location", "/")];
const TAGGED: &[(&str, &str)] = &[("cache-control", "max-age=10"), ("etag", "\"a\"")];

/// An answer that comes when there is a permit.
fn late(gate: &Arc<Semaphore>, answer: Response) -> ResponseFuture {
    let gate = gate.clone();
    ResponseFuture::boxed(async move {
        gate.acquire().await.unwrap().forget();
        Ok(answer)
    })
}

/// Starts a request that the upstream answers late, lets `meanwhile` happen, and reads the answer.
async fn overtaken<F: Future>(
    world: &World,
    gate: &Semaphore,
    (method, fields): (&str, &[(&str, &str)]),
    meanwhile: impl FnOnce() -> F,
) -> Answer {
    let slow = world.send(method, "/", fields);
    let slow = world
        .shared
        .tasks()
        .spawn(async { read(slow.await.unwrap()).await });
    settle().await;
    meanwhile().await;
    gate.add_permits(1);
    slow.await.unwrap()
}

#[tokio::test]
async fn an_answer_to_post_is_not_kept_if_its_url_was_changed_meanwhile() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new({
        let gate = gate.clone();
        move |count, request| match *request.method() {
            Method::POST => late(&gate, reply(200, OWN, "posted")),
            _ => at_once(reply(200, &[], format!("{count}"))),
        }
    });
    let purge = |uri: &'static str, how| {
        let shared = world.shared.clone();
        move || async move { shared.purge_uri(Scheme::Http, "example.com", &uri.parse().unwrap(), how) }
    };
    let plain = ("POST", &[][..]);
    let posted = overtaken(&world, &gate, plain, purge("/", Purge::Hard)).await;
    assert!(
        posted.cache_status().ends_with("detail=purged"),
        "{posted:?}"
    );
    assert!(!world.get("/").await.is_hit());
    let posted = overtaken(&world, &gate, plain, || world.ask("DELETE", "/", &[])).await;
    assert!(
        posted.cache_status().ends_with("detail=purged"),
        "{posted:?}"
    );
    let posted = overtaken(&world, &gate, plain, purge("/", Purge::Soft)).await;
    assert!(
        posted.cache_status().ends_with("detail=purged"),
        "{posted:?}"
    );
    // What is about another URL does not matter, and its own purge neither.
    let posted = overtaken(&world, &gate, plain, purge("/other", Purge::Hard)).await;
    assert!(posted.cache_status().ends_with("stored"), "{posted:?}");
    assert_eq!(world.get("/").await.body(), "posted");
}

#[tokio::test]
async fn a_get_that_was_asked_before_a_post_does_not_replace_its_answer() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new({
        let gate = gate.clone();
        move |_, request| match *request.method() {
            Method::POST => at_once(reply(200, OWN, "posted")),
            _ => late(&gate, reply(200, &[("cache-control", "max-age=60")], "old")),
        }
    });
    let get = overtaken(&world, &gate, ("GET", &[]), || world.ask("POST", "/", &[])).await;
    assert!(get.cache_status().ends_with("detail=purged"), "{get:?}");
    let later = world.get("/").await;
    assert!(later.is_hit() && later.body() == "posted", "{later:?}");
}

/// Nor where it says by then that it answers other queries too, and so would lie elsewhere.
#[tokio::test]
async fn what_confirms_what_was_replaced_meanwhile_changes_nothing() {
    const WIDE: &[(&str, &str)] = &[
        ("cache-control", "max-age=10"),
        ("etag", "\"a\""),
        ("no-vary-search", "key-order"),
    ];
    let head = ("HEAD", &[][..]);
    let get = ("GET", &[("cache-control", "no-cache")][..]);
    for (slow, says) in [(head, TAGGED), (get, TAGGED), (head, WIDE), (get, WIDE)] {
        let gate = Arc::new(Semaphore::new(0));
        let world = World::new({
            let gate = gate.clone();
            move |count, request| {
                let is_slow = request.method() == Method::HEAD
                    || request.headers().contains_key("cache-control");
                match (count, is_slow) {
                    (1, _) => at_once(reply(200, TAGGED, "old")),
                    (_, false) => at_once(reply(200, TAGGED, "new")),
                    _ if request.method() == Method::HEAD => late(&gate, reply(200, says, "")),
                    _ => late(&gate, reply(304, says, "")),
                }
            }
        });
        world.get("/").await;
        world.advance(20);
        let answer = overtaken(&world, &gate, slow, || async {
            assert_eq!(world.get("/").await.body(), "new");
            world.advance(1);
        });
        let answer = answer.await;
        let later = world.get("/").await;
        assert!(
            later.is_hit() && later.body() == "new",
            "{slow:?} {says:?} {later:?}"
        );
        assert!(
            answer.cache_status().ends_with("detail=overtaken"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_post_is_never_shared() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new({
        let gate = gate.clone();
        move |count, _| late(&gate, reply(200, OWN, format!("{count}")))
    });
    let sends = ["POST", "POST", "GET"].map(|method| {
        let answer = world.send(method, "/", &[]);
        world
            .shared
            .tasks()
            .spawn(async { read(answer.await.unwrap()).await })
    });
    settle().await;
    assert_eq!(world.seen().len(), 3);
    gate.add_permits(3);
    for (place, send) in sends.into_iter().enumerate() {
        assert_eq!(send.await.unwrap().body(), format!("{}", place + 1));
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_not_kept_of_a_post_either() {
    let world = World::new(|_, request| match *request.method() {
        Method::POST => {
            let fields = &[OWN, &[("content-length", "9")]].concat();
            at_once(reply(200, fields, "posted"))
        }
        _ => at_once(reply(200, &[], "got")),
    });
    let posted = world.ask("POST", "/", &[]).await;
    assert!(
        posted.cache_status().ends_with("detail=incomplete"),
        "{posted:?}"
    );
    assert_eq!(world.get("/").await.body(), "got");
}

/// RFC 9111 §3.5: what was fetched with credentials is not made everybody's by an answer to HEAD that
/// could be stored by itself.
#[tokio::test]
async fn an_answer_to_head_does_not_take_away_that_content_came_to_credentials() {
    let world = World::new(|count, request| {
        let control = match (request.method(), count) {
            (&Method::HEAD, _) => "max-age=60",
            (_, 1) => "s-maxage=0",
            _ => "no-store",
        };
        at_once(reply(
            200,
            &[("cache-control", control), ("etag", "\"a\"")],
            "own",
        ))
    });
    let credentials = &[("authorization", "Bearer one")][..];
    assert!(
        world
            .ask("GET", "/", credentials)
            .await
            .cache_status()
            .contains("stored")
    );
    let head = world.ask("HEAD", "/", &[]).await;
    assert!(!head.cache_status().contains("stored"), "{head:?}");
    assert!(!world.get("/").await.is_hit());
}
