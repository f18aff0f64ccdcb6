//! Targeted cache control (RFC 9213).

use http::Method;

use super::{Fields, World, check, check_with, fetched, reused, validated};

const CDN: &str = "cdn-cache-control";
const CC: &str = "cache-control";

#[tokio::test]
async fn a_valid_field_alone_decides() {
    check(&[
        reused("longer", &[(CDN, "max-age=60"), (CC, "max-age=1")]).after(30),
        fetched(
            "shorter",
            &[(CDN, "max-age=1"), (CC, "max-age=60"), ("expires", "@+60")],
        )
        .after(30),
        reused("despite no-store", &[(CDN, "max-age=60"), (CC, "no-store")]),
        reused("despite private", &[(CDN, "max-age=60"), (CC, "private")]),
        fetched("no-store", &[(CDN, "no-store"), (CC, "max-age=60")]),
        fetched(
            "private",
            &[(CDN, "max-age=60, private"), (CC, "max-age=60")],
        ),
        validated(
            "no-cache",
            &[(CDN, "no-cache"), (CC, "max-age=60"), ("etag", "\"a\"")],
        ),
        validated(
            "must-revalidate",
            &[(CDN, "max-age=10, must-revalidate"), ("etag", "\"a\"")],
        )
        .after(20)
        .then(&[(CC, "max-stale")]),
        fetched(
            "without a lifetime there is none",
            &[(CDN, "must-revalidate"), ("expires", "@+60")],
        ),
        fetched("Age counts", &[(CDN, "max-age=60"), ("age", "40")]).after(30),
        reused(
            "several lines are one",
            &[(CDN, "max-age=60"), (CDN, "must-revalidate")],
        )
        .after(30),
    ])
    .await;
}

#[tokio::test]
async fn a_field_that_says_nothing_leaves_it_to_cache_control() {
    check(&[
        reused("empty", &[(CDN, ""), (CC, "max-age=60")]),
        reused("a parse error", &[(CDN, "no-store,"), (CC, "max-age=60")]),
        reused(
            "upper case is one",
            &[(CDN, "No-Store"), (CC, "max-age=60")],
        ),
        reused(
            "so is space around =",
            &[(CDN, "max-age = 0"), (CC, "max-age=60")],
        ),
        fetched(
            "which voids all of it",
            &[(CDN, "max-age=60, &"), (CC, "no-store")],
        ),
        fetched(
            "a member of the wrong type is unusable",
            &[(CDN, "max-age=\"60\""), (CC, "max-age=60")],
        ),
        fetched(
            "so is a decimal",
            &[(CDN, "max-age=60.0"), (CC, "max-age=60")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn it_is_relayed() {
    let world = World::new().await;
    world.says(200, &[(CDN, "max-age=60"), (CC, "no-store")], "x");
    for _ in 0..2 {
        let answer = world.get("/", &[]).await;
        assert_eq!(
            (answer.header(CDN), answer.header(CC)),
            ("max-age=60", "no-store")
        );
    }
    assert_eq!(world.upstream.count(), 1);
}

const OWN: &str = "pillion-cache-control";
const SURROGATE: &str = "surrogate-control";

/// RFC 9213 §2.2: the first of the list with a valid, non-empty value.
#[tokio::test]
async fn our_own_field_comes_before_the_one_for_all_cdns() {
    check(&[
        reused("longer", &[(OWN, "max-age=60"), (CDN, "max-age=1")]).after(30),
        fetched("shorter", &[(OWN, "max-age=1"), (CDN, "max-age=60")]).after(30),
        reused(
            "despite no-store",
            &[(OWN, "max-age=60"), (CDN, "no-store")],
        ),
        fetched("no-store", &[(OWN, "no-store"), (CDN, "max-age=60")]),
        reused(
            "an empty one says nothing",
            &[(OWN, ""), (CDN, "max-age=60")],
        ),
        reused(
            "nor does one that cannot be read",
            &[(OWN, "No-Store"), (CDN, "max-age=60")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn which_fields_count_is_a_setting() {
    let toml = "[cache]\ntargeted = { fields = ['Edge-Cache-Control'] }\n";
    check_with(
        toml,
        &[
            reused(
                "this one",
                &[("edge-cache-control", "max-age=60"), (CC, "no-store")],
            ),
            fetched("not that one", &[(CDN, "max-age=60"), (CC, "no-store")]),
        ],
    )
    .await;
    let none = "[cache]\ntargeted = { fields = [] }\n";
    check_with(
        none,
        &[fetched("none", &[(CDN, "max-age=60"), (CC, "no-store")])],
    )
    .await;
}

#[tokio::test]
async fn surrogate_control_counts_only_where_it_is_switched_on() {
    let on = "[cache]\ntargeted = { surrogate_control = true }\n";
    check(&[
        fetched("off", &[(SURROGATE, "max-age=60"), (CC, "no-store")]),
        reused(
            "off, it forbids nothing",
            &[(SURROGATE, "no-store"), (CC, "max-age=60")],
        ),
    ])
    .await;
    check_with(
        on,
        &[
            reused(
                "above Cache-Control",
                &[(SURROGATE, "max-age=60"), (CC, "no-store")],
            ),
            fetched(
                "shorter",
                &[
                    (SURROGATE, "max-age=1"),
                    (CC, "max-age=60"),
                    ("expires", "@+60"),
                ],
            )
            .after(30),
            fetched("no-store", &[(SURROGATE, "no-store"), (CC, "max-age=60")]),
            reused(
                "below the targeted ones",
                &[(SURROGATE, "no-store"), (CDN, "max-age=60")],
            ),
            reused(
                "for others",
                &[(SURROGATE, "no-store;akamai"), (CC, "max-age=60")],
            ),
            reused(
                "about something else",
                &[(SURROGATE, "content=\"ESI/1.0\""), (CC, "max-age=60")],
            ),
        ],
    )
    .await;
    for (toml, expected) in [("", "max-age=60"), (on, "")] {
        let world = World::with(toml).await;
        for method in [Method::POST, Method::GET, Method::GET] {
            world.says(200, &[(SURROGATE, "max-age=60"), (CC, "max-age=5")], "x");
            let answer = world.send(method.clone(), "/", &[]).await;
            assert_eq!(answer.header(SURROGATE), expected, "{method}");
        }
        assert_eq!(world.upstream.count(), 2);
    }
}

#[tokio::test]
async fn what_is_kept_from_clients_still_decides() {
    let world = World::with("[cache]\ntargeted = { strip = true }\n").await;
    const FIRST: Fields = &[(CDN, "max-age=60"), (CC, "no-store"), ("etag", "\"a\"")];
    for (after, fields, count) in [
        (0, FIRST, 1),
        (30, FIRST, 1),
        // A 304 that does not name it leaves it as it was.
        (31, &[(CC, "no-store"), ("etag", "\"a\"")], 2),
        (30, &[], 2),
        // One that does replaces it.
        (31, &[(CDN, "max-age=5"), ("etag", "\"a\"")], 3),
        (4, &[], 3),
        (2, &[(CC, "no-store"), ("etag", "\"a\"")], 4),
    ] {
        world.advance(after);
        world.says(200, fields, "x");
        let answer = world.get("/", &[]).await;
        assert_eq!(
            (answer.header(CDN), answer.header(CC)),
            ("", "no-store"),
            "{fields:?}"
        );
        assert_eq!(answer.text(), "x");
        assert_eq!(world.upstream.count(), count, "{fields:?}");
    }
    world.says(200, &[(CDN, "no-store")], "x");
    assert_eq!(world.get("/other", &[]).await.header(CDN), "");
}
