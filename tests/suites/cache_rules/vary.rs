//! Choosing by `Vary` (RFC 9111 §4.1).

use super::{Fields, World, check, fetched, reused};

const VARY: Fields = &[("cache-control", "max-age=60"), ("vary", "X-A")];
const TWO: Fields = &[("cache-control", "max-age=60"), ("vary", "X-A, x-b")];
const LANGUAGE: Fields = &[("cache-control", "max-age=60"), ("vary", "Accept-Language")];

#[tokio::test]
async fn every_nominated_field_must_match() {
    check(&[
        reused("the same value", VARY)
            .first(&[("x-a", "1")])
            .then(&[("x-a", "1")]),
        fetched("another value", VARY)
            .first(&[("x-a", "1")])
            .then(&[("x-a", "2")]),
        fetched("absent differs from present", VARY).then(&[("x-a", "1")]),
        fetched("and present from absent", VARY).first(&[("x-a", "1")]),
        fetched("and from empty", VARY).then(&[("x-a", "")]),
        reused("absent matches absent", VARY),
        reused("others do not matter", VARY)
            .first(&[("x-b", "1")])
            .then(&[("x-b", "2")]),
        reused("in any order", TWO)
            .first(&[("x-a", "1"), ("x-b", "2")])
            .then(&[("x-b", "2"), ("x-a", "1")]),
        fetched("one of two differs", TWO)
            .first(&[("x-a", "1"), ("x-b", "2")])
            .then(&[("x-b", "3"), ("x-a", "1")]),
        fetched("swapped", TWO)
            .first(&[("x-a", "1"), ("x-b", "2")])
            .then(&[("x-b", "1"), ("x-a", "2")]),
        reused("lines are joined", VARY)
            .first(&[("x-a", "1"), ("x-a", "2")])
            .then(&[("x-a", "1,2")]),
        reused("optional space", VARY)
            .first(&[("x-a", "1, 2")])
            .then(&[("x-a", "1  ,2")]),
        fetched("order matters", VARY)
            .first(&[("x-a", "1, 2")])
            .then(&[("x-a", "2, 1")]),
        fetched("space within quotes too", VARY)
            .first(&[("x-a", "0"), ("x-a", "\"1, 2\"")])
            .then(&[("x-a", "0"), ("x-a", "\"1,2\"")]),
        fetched("letter case too", VARY)
            .first(&[("x-a", "a")])
            .then(&[("x-a", "A")]),
        reused("not a language's", LANGUAGE)
            .first(&[("accept-language", "de-AT, en;q=0.5")])
            .then(&[("accept-language", "DE-at,en; q=0.5")]),
        fetched("another language", LANGUAGE)
            .first(&[("accept-language", "de")])
            .then(&[("accept-language", "en")]),
    ])
    .await;
}

#[tokio::test]
async fn a_star_never_matches() {
    check(&[
        fetched("alone", &[("cache-control", "max-age=60"), ("vary", "*")]),
        fetched(
            "in a list",
            &[("cache-control", "max-age=60"), ("vary", "x-a, *")],
        ),
        fetched(
            "after an empty member",
            &[("cache-control", "max-age=60"), ("vary", ", *")],
        ),
        fetched(
            "on a second line",
            &[("cache-control", "max-age=60"), ("vary", ""), ("vary", "*")],
        ),
        fetched(
            "nor what is no name",
            &[("cache-control", "max-age=60"), ("vary", "x a")],
        ),
        fetched(
            "nor a cookie's",
            &[("cache-control", "public, max-age=60"), ("vary", "cookie")],
        ),
        fetched(
            "nor credentials'",
            &[
                ("cache-control", "public, max-age=60"),
                ("vary", "Authorization"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn several_variants_are_held_and_validated_each() {
    let world = World::new().await;
    for (value, tag) in [("1", "\"one\""), ("2", "\"two\"")] {
        let tagged: Fields = Box::leak(Box::new([
            ("cache-control", "max-age=60"),
            ("vary", "x-a"),
            ("etag", tag),
        ]));
        let asks: Fields = Box::leak(Box::new([("x-a", value)]));
        world.says(200, tagged, value);
        world.get("/", asks).await;
    }
    world.says(200, VARY, "new");
    assert_eq!(world.get("/", &[("x-a", "1")]).await.text(), "1");
    assert_eq!(world.get("/", &[("x-a", "2")]).await.text(), "2");
    assert_eq!(world.upstream.count(), 2);
    world.advance(61);
    let (_, seen) = world.sees(world.get("/", &[("x-a", "1")])).await;
    assert_eq!(seen[0].header("if-none-match"), "\"one\"");
    assert_eq!(seen[0].header("x-a"), "1", "with the nominated field");
}

#[tokio::test]
async fn a_vary_that_comes_later_holds_from_then_on() {
    let world = World::new().await;
    world.says(
        200,
        &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
        "for all",
    );
    world.get("/", &[]).await;
    world.advance(20);
    // The 304 says that it depends on a field after all.
    world.says(
        200,
        &[
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("vary", "x-a"),
        ],
        "for all",
    );
    world.get("/", &[("x-a", "1")]).await;
    let (_, seen) = world.sees(world.get("/", &[("x-a", "1")])).await;
    assert!(seen.is_empty());
    world.says(
        200,
        &[
            ("cache-control", "max-age=60"),
            ("etag", "\"b\""),
            ("vary", "x-a"),
        ],
        "for 2",
    );
    let (answer, seen) = world.sees(world.get("/", &[("x-a", "2")])).await;
    assert_eq!((answer.text(), seen.len()), ("for 2", 1));
}

#[tokio::test]
async fn what_comes_coded_is_for_those_who_asked_alike() {
    const CODED: Fields = &[
        ("cache-control", "max-age=60"),
        ("content-encoding", "x-own"),
        ("content-type", "text/plain"),
    ];
    check(&[
        fetched("not for those who take nothing", CODED).first(&[("accept-encoding", "x-own")]),
        reused("for the same", CODED)
            .first(&[("accept-encoding", "x-own, gzip")])
            .then(&[("accept-encoding", "x-own,gzip")]),
        fetched("not for others", CODED)
            .first(&[("accept-encoding", "x-own")])
            .then(&[("accept-encoding", "gzip")]),
    ])
    .await;
}
