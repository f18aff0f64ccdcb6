//! Invalidation (RFC 9111 §4.4).

use http::Method;

use super::{Fields, World};

const SELF: (&str, &str) = ("host", "self.test");
const FRESH: Fields = &[("cache-control", "max-age=600"), ("vary", "x-a")];

/// Whether `target` is still there after `method` on `/item` was answered so.
async fn survives(target: &str, method: &str, status: u16, fields: Fields) -> bool {
    let world = World::new().await;
    let asks: [Fields; 2] = [&[("x-a", "1"), SELF], &[("x-a", "2"), SELF]];
    for asks in asks {
        world.says(200, FRESH, "x");
        world.get(target, asks).await;
    }
    world.says(status, fields, "");
    world
        .send(method.parse().expect("a method"), "/item", &[SELF])
        .await;
    world.says(200, FRESH, "x");
    let mut left = 0;
    for asks in asks {
        let (_, seen) = world.sees(world.get(target, asks)).await;
        left += usize::from(seen.is_empty());
    }
    assert_ne!(left, 1, "all variants or none");
    left > 0
}

#[tokio::test]
async fn what_works_by_an_unsafe_method_drops_all_variants() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "FROB", "get"] {
        for (status, expected) in [
            (200, false),
            (201, false),
            (204, false),
            (299, false),
            (301, false),
            (303, false),
            (307, false),
            (399, false),
            (400, true),
            (404, true),
            (412, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(
                survives("/item", method, status, &[]).await,
                expected,
                "{method} {status}"
            );
        }
    }
}

#[tokio::test]
async fn safe_methods_drop_nothing() {
    for method in ["HEAD", "OPTIONS", "QUERY"] {
        assert!(survives("/item", method, 200, &[]).await, "{method}");
    }
}

#[tokio::test]
async fn what_the_answer_names_is_dropped_where_it_is_of_the_same_origin() {
    for (target, fields, expected) in [
        ("/other", &[("location", "/other")][..], false),
        ("/other?a=b", &[("content-location", "/other?a=b")], false),
        ("/other", &[("location", "other")], false),
        ("/other", &[("location", "/x/../other")], false),
        ("/other", &[("content-location", "/other")], false),
        (
            "/other",
            &[("location", "/a"), ("content-location", "/other")],
            false,
        ),
        (
            "/other",
            &[("location", "http://self.test/other#part")],
            false,
        ),
        ("/other", &[("location", "//self.test/other")], false),
        // Not the same origin: another scheme, another port.
        ("/other", &[("location", "https://self.test/other")], true),
        ("/other", &[("location", "http://self.test:1/other")], true),
        ("/other", &[("link", "/other")], true),
        (
            "/other",
            &[("location", "http://elsewhere.test/other")],
            true,
        ),
        ("/other", &[("location", "//elsewhere.test/other")], true),
        ("/other", &[("location", "/other?a")], true),
        ("/other", &[], true),
    ] {
        assert_eq!(
            survives(target, "POST", 201, fields).await,
            expected,
            "{fields:?}"
        );
    }
}

#[tokio::test]
async fn a_write_answered_while_a_read_is_under_way_keeps_the_read_out() {
    let (pieces, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tests::Upstream::start(move |seen: tests::Seen| {
        let (sender, answer) = tests::reply(200)
            .header("cache-control", "max-age=600")
            .stream();
        if seen.method == Method::GET {
            pieces.send(sender).expect("the test waits");
        }
        async move { answer }
    })
    .await;
    let proxy = tests::Proxy::before(&upstream).await;
    let read = proxy.get("/item");
    let write = async {
        let piece = taken.recv().await.expect("asked");
        proxy
            .send(tests::client::request(Method::PUT, "/item", &[], "new"))
            .await;
        piece
            .send(Ok(http_body::Frame::data("old".into())))
            .expect("read");
        drop(piece);
        taken
    };
    let (answer, mut taken) = tokio::join!(read, write);
    assert_eq!(answer.text(), "old");
    let next = async {
        let piece = taken.recv().await.expect("asked again");
        piece
            .send(Ok(http_body::Frame::data("new".into())))
            .expect("read");
    };
    let (answer, ()) = tokio::join!(proxy.get("/item"), tests::within("a second read", next));
    assert_eq!(answer.text(), "new");
}

/// However many keys a URL has: by configured fields and cookies of the key.
#[tokio::test]
async fn a_url_with_many_keys_loses_all_of_them() {
    let toml = "[cache]\nkey = { headers = ['x-tenant'], cookies = ['lang'] }\n";
    let world = World::with(toml).await;
    let asks: [Fields; 3] = [
        &[("x-tenant", "1")],
        &[("x-tenant", "2")],
        &[("cookie", "lang=de")],
    ];
    for asks in asks {
        world.says(200, &[("cache-control", "public, max-age=600")], "x");
        world.get("/item", asks).await;
    }
    world.says(204, &[], "");
    world
        .send(Method::PATCH, "/item", &[("x-tenant", "3")])
        .await;
    for asks in asks {
        world.says(200, FRESH, "x");
        let (_, seen) = world.sees(world.get("/item", asks)).await;
        assert_eq!(seen.len(), 1, "{asks:?}");
    }
}
