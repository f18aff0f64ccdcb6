use bytes::Bytes;
use http_body_util::BodyExt;
use std::sync::Mutex;

use crate::cache::testing::{World, read, reply, settle, streamed};
use crate::{Error, ErrorKind, Result};
use tokio::sync::mpsc::UnboundedSender;

type Sender = UnboundedSender<Result<Bytes>>;

/// An upstream whose first body is sent piece by piece, with these fields; later ones are "again".
fn streaming(fields: &'static [(&'static str, &'static str)]) -> (Sender, World) {
    with(|_| {}, fields)
}

fn with(
    change: impl FnOnce(&mut config::cache::CacheSettings),
    fields: &'static [(&'static str, &'static str)],
) -> (Sender, World) {
    let (sender, body) = streamed();
    let body = Mutex::new(Some(body));
    let world = World::with(change, move |_, _| {
        let body = body
            .lock()
            .unwrap()
            .take()
            .unwrap_or_else(|| "again".into());
        crate::cache::testing::at_once(reply(200, fields, body))
    });
    (sender, world)
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test(start_paused = true)]
async fn content_is_relayed_as_it_comes_and_stored_when_it_is_all_there() {
    let (sender, world) = streaming(FRESH);
    let mut first = world.send("GET", "/", &[]).await.unwrap();
    sender.send(Ok("one ".into())).unwrap();
    let frame = first.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "one ");
    let late = world.start(2, "/", &[]);
    settle().await;
    sender.send(Ok("two".into())).unwrap();
    drop(sender);
    for client in late {
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.body(), "one two");
        assert!(
            answer.cache_status().ends_with("; collapsed"),
            "{}",
            answer.cache_status()
        );
    }
    assert_eq!(read(first).await.body(), "two");
    let hit = world.get("/").await;
    assert!(hit.is_hit());
    assert_eq!((hit.body(), hit.field("content-length")), ("one two", "7"));
    assert_eq!(world.seen().len(), 1);
    assert_eq!(
        (
            world.shared.figures().filling,
            world.shared.figures().flights
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_leader_holds_up_nobody() {
    let (sender, world) = streaming(FRESH);
    let leader = world.send("GET", "/", &[]).await.unwrap();
    let follower = world.start(1, "/", &[]);
    settle().await;
    for piece in ["a", "b", "c"] {
        sender.send(Ok(piece.into())).unwrap();
    }
    drop(sender);
    for client in follower {
        assert_eq!(client.await.unwrap().unwrap().body(), "abc");
    }
    assert!(world.get("/").await.is_hit());
    assert_eq!(read(leader).await.body(), "abc");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_away_leaves_the_body_to_its_followers() {
    let (sender, world) = streaming(FRESH);
    let leader = world.send("GET", "/", &[]).await.unwrap();
    let follower = world.start(1, "/", &[]);
    settle().await;
    drop(leader);
    sender.send(Ok("abc".into())).unwrap();
    drop(sender);
    for client in follower {
        assert_eq!(client.await.unwrap().unwrap().body(), "abc");
    }
    assert!(world.get("/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn content_that_breaks_off_is_broken_off_for_all_and_not_stored() {
    let (sender, world) = streaming(FRESH);
    let clients = world.start(3, "/", &[]);
    settle().await;
    sender.send(Ok("abc".into())).unwrap();
    settle().await;
    sender
        .send(Err(Error::upstream(ErrorKind::ConnectionTerminated)))
        .unwrap();
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.body, Err(ErrorKind::ConnectionTerminated));
    }
    assert_eq!(world.get("/").await.body(), "again");
    assert_eq!(world.shared.figures().filling, 0);
}

#[tokio::test(start_paused = true)]
async fn content_shorter_than_declared_is_broken_off_too() {
    let (sender, world) = streaming(&[("cache-control", "max-age=60"), ("content-length", "5")]);
    let clients = world.start(2, "/", &[]);
    settle().await;
    sender.send(Ok("abc".into())).unwrap();
    drop(sender);
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.body, Err(ErrorKind::HttpResponseIncomplete));
    }
    assert!(!world.get("/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_something_small_is_read_for_the_store() {
    for (fields, is_stored) in [
        (
            &[("cache-control", "max-age=60"), ("content-length", "6")][..],
            true,
        ),
        (
            &[
                ("cache-control", "max-age=60"),
                ("content-length", "6000000"),
            ][..],
            false,
        ),
        (FRESH, false),
    ] {
        let (sender, world) = streaming(fields);
        let leader = world.send("GET", "/", &[]).await.unwrap();
        sender.send(Ok("abc".into())).unwrap();
        drop(leader);
        settle().await;
        assert_eq!(sender.send(Ok("def".into())).is_ok(), is_stored);
        drop(sender);
        settle().await;
        assert_eq!(world.get("/").await.body() == "abcdef", is_stored);
        assert_eq!(
            (
                world.shared.figures().filling,
                world.shared.figures().flights
            ),
            (0, 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn content_over_the_limit_goes_through_without_being_kept() {
    let (sender, world) = with(|settings| settings.max_body = 10, FRESH);
    let clients = world.start(3, "/", &[]);
    settle().await;
    for _ in 0..100 {
        sender.send(Ok("12345".into())).unwrap();
    }
    drop(sender);
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().body().len(), 500);
    }
    assert_eq!(world.get("/").await.body(), "again");
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.shared.figures().filling, 0);
}

#[tokio::test(start_paused = true)]
async fn pain_24_one_slow_client_holds_up_others_no_longer_than_the_bound_and_memory_is_bounded() {
    let (sender, world) = with(|settings| settings.max_body = 10, FRESH);
    let mut leader = world.send("GET", "/", &[]).await.unwrap();
    let follower = world.start(1, "/", &[]);
    settle().await;
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    for _ in 0..100 {
        sender.send(Ok(piece.clone())).unwrap();
    }
    drop(sender);
    settle().await;
    let held = world.shared.figures().filling;
    assert!(held <= (256 + 64) << 10, "{held}");
    for client in follower {
        assert_eq!(
            client.await.unwrap().unwrap().body().len(),
            100 * (64 << 10)
        );
    }
    let error = loop {
        match leader.body_mut().frame().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the slow one is cut off"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::HttpResponseIncomplete);
}

#[tokio::test(start_paused = true)]
async fn declared_content_over_the_limit_is_not_collapsed() {
    let (sender, world) = with(
        |settings| settings.max_body = 10,
        &[("cache-control", "max-age=60"), ("content-length", "11")],
    );
    let first = world.send("GET", "/", &[]).await.unwrap();
    assert!(!world.get("/").await.is_hit());
    sender.send(Ok("12345678901".into())).unwrap();
    drop(sender);
    let answer = read(first).await;
    assert!(
        answer.cache_status().ends_with("detail=too-large"),
        "{}",
        answer.cache_status()
    );
}

#[tokio::test(start_paused = true)]
async fn live_streams_are_neither_stored_nor_shared() {
    let (sender, world) = streaming(&[
        ("cache-control", "max-age=60"),
        ("content-type", "text/event-stream"),
    ]);
    let mut live = world.send("GET", "/", &[]).await.unwrap();
    sender.send(Ok("data: 1\n\n".into())).unwrap();
    live.body_mut().frame().await.unwrap().unwrap();
    let other = world.get("/").await;
    assert_eq!(other.body(), "again");
    assert!(other.cache_status().ends_with("detail=live-stream"));
}

#[tokio::test(start_paused = true)]
async fn a_purge_while_content_arrives_keeps_it_out_of_the_store() {
    let (sender, world) = streaming(FRESH);
    let first = world.start(1, "/", &[]);
    settle().await;
    world.shared.purge_all();
    let late = world.get("/").await;
    assert_eq!(late.body(), "again", "it came after the purge");
    sender.send(Ok("old".into())).unwrap();
    drop(sender);
    for client in first {
        assert_eq!(client.await.unwrap().unwrap().body(), "old");
    }
    assert_ne!(world.get("/").await.body(), "old");
}
