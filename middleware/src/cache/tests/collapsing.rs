use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::cache::testing::{World, at_once, read, reply, settle};
use crate::{Error, ErrorKind, Request, Response, ResponseFuture};

/// An upstream that answers when told to: each permit lets one answer go.
fn held(
    answer: impl Fn(usize, &Request) -> Response + Send + Sync + 'static,
) -> (Arc<Semaphore>, World) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let world = World::new(move |count, request| {
        let (wait, response) = (wait.clone(), answer(count, request));
        ResponseFuture::boxed(async move {
            wait.acquire().await.unwrap().forget();
            Ok(response)
        })
    });
    (gate, world)
}

#[tokio::test(start_paused = true)]
async fn pain_1_a_cookie_minted_for_one_client_reaches_no_other() {
    let (gate, world) = held(|count, _| {
        let cookie = format!("session={count}");
        reply(
            200,
            &[("set-cookie", &cookie), ("cache-control", "max-age=60")],
            cookie.clone(),
        )
    });
    let clients = world.start(100, "/", &[]);
    settle().await;
    assert_eq!(
        world.seen().len(),
        1,
        "the others wait for the first one's head"
    );
    gate.add_permits(1);
    settle().await;
    assert_eq!(world.seen().len(), 100, "all others are released at once");
    gate.add_permits(99);
    let mut cookies = HashSet::new();
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.field("set-cookie"), answer.body());
        cookies.insert(answer.body().to_owned());
    }
    assert_eq!(cookies.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_cold_requests_reach_the_upstream_once() {
    let (gate, world) = held(|_, _| reply(200, &[("cache-control", "max-age=60")], "shared"));
    let clients = world.start(200, "/", &[]);
    settle().await;
    gate.add_permits(1);
    let mut collapsed = 0;
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.body(), "shared");
        collapsed += usize::from(answer.cache_status().contains("; collapsed"));
    }
    assert_eq!((world.seen().len(), collapsed), (1, 199));
    assert_eq!(world.shared.figures().collapsed, 199);
    assert_eq!(world.shared.figures().flights, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unshareable_url_is_not_served_one_by_one() {
    let (gate, world) = held(|count, _| reply(200, &[], format!("{count}")));
    let first = world.start(1, "/", &[]);
    settle().await;
    gate.add_permits(1);
    first.into_iter().next().unwrap().await.unwrap().unwrap();
    let clients = world.start(50, "/", &[]);
    settle().await;
    assert_eq!(world.seen().len(), 51, "nobody waits any more");
    gate.add_permits(50);
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_collapsed_with_identical_ones_only() {
    let (gate, world) = held(|_, request| {
        let user = request
            .headers()
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        reply(200, &[("cache-control", "public, max-age=60")], user)
    });
    let alice = world.start(10, "/", &[("authorization", "alice")]);
    let bob = world.start(10, "/", &[("authorization", "bob")]);
    settle().await;
    assert_eq!(world.seen().len(), 2);
    gate.add_permits(2);
    for (clients, user) in [(alice, "alice"), (bob, "bob")] {
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap().body(), user);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_alone_forbid_nothing() {
    let (gate, world) = held(|_, _| reply(200, &[("cache-control", "public, max-age=60")], "x"));
    let one = world.start(5, "/", &[("cookie", "a=1")]);
    let two = world.start(5, "/", &[("cookie", "a=2")]);
    settle().await;
    gate.add_permits(1);
    for client in one.into_iter().chain(two) {
        assert_eq!(client.await.unwrap().unwrap().body(), "x");
    }
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_cookies_does_not_make_the_others_go_alone() {
    let (gate, world) = held(|_, request| {
        let cookie = request.headers().contains_key("cookie");
        reply(200, &[("cache-control", "max-age=60")], format!("{cookie}"))
    });
    let leader = world.start(1, "/", &[("cookie", "a=1")]);
    settle().await;
    let others = world.start(50, "/", &[]);
    settle().await;
    gate.add_permits(1);
    settle().await;
    assert_eq!(world.seen().len(), 2, "one of the others leads now");
    gate.add_permits(1);
    for client in leader.into_iter().chain(others) {
        client.await.unwrap().unwrap();
    }
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.get("/").await.body(), "false");
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_fetched_once() {
    let (gate, world) = held(|_, request| {
        let language = request.headers().get("accept-language").unwrap();
        let language = language.to_str().unwrap().to_owned();
        reply(
            200,
            &[("cache-control", "max-age=60"), ("vary", "accept-language")],
            language,
        )
    });
    let german = world.start(50, "/", &[("accept-language", "de")]);
    let french = world.start(50, "/", &[("accept-language", "fr")]);
    settle().await;
    gate.add_permits(1);
    settle().await;
    assert_eq!(world.seen().len(), 2);
    gate.add_permits(1);
    for (clients, language) in [(german, "de"), (french, "fr")] {
        for client in clients {
            assert_eq!(client.await.unwrap().unwrap().body(), language);
        }
    }
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_away_does_not_cancel_for_its_followers() {
    let (gate, world) = held(|_, _| reply(200, &[("cache-control", "max-age=60")], "x"));
    let leader = world.send("GET", "/", &[]);
    let leader = world.shared.tasks().spawn(leader);
    settle().await;
    let others = world.start(5, "/", &[]);
    settle().await;
    leader.abort();
    settle().await;
    gate.add_permits(1);
    for client in others {
        assert_eq!(client.await.unwrap().unwrap().body(), "x");
    }
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_away_alone_ends_its_flight() {
    let (_gate, world) = held(|_, _| reply(200, &[("cache-control", "max-age=60")], "x"));
    let leader = world.shared.tasks().spawn(world.send("GET", "/", &[]));
    settle().await;
    assert_eq!(world.shared.figures().flights, 1);
    leader.abort();
    settle().await;
    assert_eq!(world.shared.figures().flights, 0);
}

#[tokio::test(start_paused = true)]
async fn followers_wait_no_longer_than_the_bound() {
    let (gate, world) =
        held(|count, _| reply(200, &[("cache-control", "max-age=60")], format!("{count}")));
    let clients = world.start(3, "/", &[]);
    settle().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.seen().len(), 3);
    gate.add_permits(3);
    let mut late = 0;
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        late += usize::from(answer.cache_status().ends_with("detail=collapse-timeout"));
    }
    assert_eq!(late, 2);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_upstream_is_found_out_once() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let world = World::new(move |_, _| {
        let wait = wait.clone();
        ResponseFuture::boxed(async move {
            wait.acquire().await.unwrap().forget();
            Err(Error::upstream(ErrorKind::ConnectionRefused))
        })
    });
    let clients = world.start(50, "/", &[]);
    settle().await;
    gate.add_permits(1);
    for client in clients {
        let error = client.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_may_be_one_requests_own_frees_the_others() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let world = World::new(move |count, _| {
        let wait = wait.clone();
        ResponseFuture::boxed(async move {
            wait.acquire().await.unwrap().forget();
            match count {
                1 => Err(Error::upstream(ErrorKind::HttpResponseIncomplete)),
                _ => Ok(reply(200, &[], "x")),
            }
        })
    });
    let clients = world.start(10, "/", &[]);
    settle().await;
    gate.add_permits(10);
    let mut good = 0;
    for client in clients {
        good += usize::from(client.await.unwrap().is_ok());
    }
    assert_eq!((good, world.seen().len()), (9, 10));
}

#[tokio::test(start_paused = true)]
async fn a_304_to_the_leaders_own_condition_goes_to_it_alone() {
    let (gate, world) = held(|_, request| {
        if request.headers().contains_key("if-none-match") {
            reply(
                304,
                &[("etag", "\"a\""), ("cache-control", "max-age=60")],
                "",
            )
        } else {
            reply(
                200,
                &[("etag", "\"a\""), ("cache-control", "max-age=60")],
                "x",
            )
        }
    });
    let leader = world.start(1, "/", &[("if-none-match", "\"a\"")]);
    settle().await;
    let others = world.start(20, "/", &[]);
    settle().await;
    gate.add_permits(1);
    settle().await;
    gate.add_permits(1);
    for client in leader {
        let answer = client.await.unwrap().unwrap();
        assert_eq!(answer.status, 304);
        assert!(answer.cache_status().ends_with("detail=not-modified"));
    }
    for client in others {
        let answer = client.await.unwrap().unwrap();
        assert_eq!((answer.status, answer.body()), (200, "x"));
    }
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_must_be_validated_first_is_not_shared() {
    let (gate, world) = held(|_, _| {
        reply(
            200,
            &[("cache-control", "no-cache"), ("etag", "\"a\"")],
            "x",
        )
    });
    let clients = world.start(10, "/", &[]);
    settle().await;
    gate.add_permits(1);
    settle().await;
    assert_eq!(world.seen().len(), 10);
    gate.add_permits(9);
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_want_an_answer_of_their_own_do_not_follow() {
    let (gate, world) = held(|_, _| reply(200, &[("cache-control", "max-age=60")], "x"));
    let leader = world.start(1, "/", &[]);
    settle().await;
    let mut others = Vec::new();
    for field in [
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("range", "bytes=0-1"),
        ("x-original-url", "/a"),
    ] {
        others.extend(world.start(1, "/", &[field]));
    }
    settle().await;
    assert_eq!(world.seen().len(), 6);
    gate.add_permits(6);
    for client in leader.into_iter().chain(others) {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn head_may_follow_get_and_never_leads() {
    let (gate, world) = held(|_, _| reply(200, &[("cache-control", "max-age=60")], "content"));
    let head = world.shared.tasks().spawn(world.send("HEAD", "/a", &[]));
    let other = world.start(1, "/a", &[]);
    settle().await;
    assert_eq!(world.seen().len(), 2);
    let get = world.start(1, "/b", &[]);
    let follower = world.shared.tasks().spawn(world.send("HEAD", "/b", &[]));
    settle().await;
    assert_eq!(world.seen().len(), 3);
    gate.add_permits(3);
    let answer = read(follower.await.unwrap().unwrap()).await;
    assert_eq!((answer.body(), answer.field("content-length")), ("", "7"));
    head.await.unwrap().unwrap();
    for client in other.into_iter().chain(get) {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_below_frees_the_followers() {
    let world = World::new(|count, _| match count {
        1 => ResponseFuture::boxed(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("the leader's way breaks");
        }),
        _ => at_once(reply(200, &[("cache-control", "max-age=60")], "x")),
    });
    let leader = world.start(1, "/", &[]);
    settle().await;
    let others = world.start(5, "/", &[]);
    for client in leader {
        assert!(client.await.is_err());
    }
    for client in others {
        assert_eq!(client.await.unwrap().unwrap().body(), "x");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_request_waited_for_another_is_no_age_of_its_own_answer() {
    // RFC 9111 §4.2.3: "the value of the clock at the time of the request that resulted in the
    // stored response".
    let (gate, world) = held(|count, _| {
        let control = if count == 1 { "no-store" } else { "max-age=60" };
        reply(200, &[("cache-control", control)], "x")
    });
    let clients = world.start(2, "/", &[]);
    settle().await;
    world.advance(20);
    gate.add_permits(2);
    for client in clients {
        client.await.unwrap().unwrap();
    }
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.get("/").await.field("age"), "0");
}
