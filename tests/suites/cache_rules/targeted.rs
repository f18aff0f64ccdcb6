//! Targeted cache control (RFC 9213).

use super::{World, check, fetched, reused, validated};

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
