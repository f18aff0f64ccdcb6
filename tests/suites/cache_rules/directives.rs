//! Response directives (RFC 9111 §5.2.2, RFC 5861, RFC 8246) and serving stale.

use super::{Fields, World, check, check_with, fetched, reused, validated};

const TAG: (&str, &str) = ("etag", "\"a\"");

#[tokio::test]
async fn what_forbids_storing() {
    check(&[
        fetched(
            "no-store",
            &[
                ("cache-control", "no-store, max-age=60"),
                ("expires", "@+60"),
            ],
        ),
        fetched("in any case", &[("cache-control", "max-age=60, No-StOrE")]),
        fetched(
            "with a value",
            &[("cache-control", "max-age=60, no-store=\"x\"")],
        ),
        fetched(
            "on another line",
            &[
                ("cache-control", "max-age=60"),
                ("cache-control", "no-store"),
            ],
        ),
        fetched(
            "private",
            &[
                ("cache-control", "private, max-age=60"),
                ("expires", "@+60"),
            ],
        ),
        fetched("in any case", &[("cache-control", "PRIVATE, s-maxage=60")]),
        fetched(
            "beside public",
            &[("cache-control", "public, private, max-age=60")],
        ),
        fetched(
            "Set-Cookie",
            &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        ),
        reused(
            "Pragma says nothing in a response",
            &[("cache-control", "max-age=60"), ("pragma", "no-cache")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_demands_validation() {
    check(&[
        validated(
            "no-cache",
            &[("cache-control", "no-cache, max-age=60"), TAG],
        ),
        validated("without a lifetime", &[("cache-control", "no-cache"), TAG]),
        validated(
            "by date",
            &[("cache-control", "no-cache"), ("last-modified", "@-1000")],
        ),
        fetched(
            "not an error's, without a lifetime",
            &[("cache-control", "no-cache"), TAG],
        )
        .status(500),
        reused(
            "must-revalidate while fresh",
            &[("cache-control", "max-age=60, must-revalidate"), TAG],
        )
        .after(50),
        validated(
            "must-revalidate once stale",
            &[("cache-control", "max-age=60, must-revalidate"), TAG],
        )
        .after(61)
        .then(&[("cache-control", "max-stale")]),
        validated(
            "proxy-revalidate likewise",
            &[("cache-control", "max-age=60, proxy-revalidate"), TAG],
        )
        .after(61)
        .then(&[("cache-control", "max-stale")]),
        validated(
            "s-maxage likewise",
            &[("cache-control", "s-maxage=60"), TAG],
        )
        .after(61)
        .then(&[("cache-control", "max-stale")]),
    ])
    .await;
}

#[tokio::test]
async fn must_understand_and_immutable() {
    const UNDERSTAND: Fields = &[("cache-control", "no-store, must-understand, max-age=60")];
    const IMMUTABLE: Fields = &[("cache-control", "max-age=60, immutable"), TAG];
    check(&[
        reused("an understood status", UNDERSTAND),
        reused("another", UNDERSTAND).status(404),
        fetched("an unknown one", UNDERSTAND).status(499),
        fetched(
            "also without no-store",
            &[("cache-control", "must-understand, max-age=60")],
        )
        .status(599),
        reused("a reload of what is immutable", IMMUTABLE).then(&[("cache-control", "max-age=0")]),
        validated("once stale", IMMUTABLE)
            .after(61)
            .then(&[("cache-control", "max-age=0")]),
        validated("no-cache validates", IMMUTABLE).then(&[("cache-control", "no-cache")]),
        validated("another max-age does", IMMUTABLE)
            .after(20)
            .then(&[("cache-control", "max-age=10")]),
    ])
    .await;
}

#[tokio::test]
async fn fields_that_are_private_or_to_be_validated_are_left_out() {
    for directive in ["private=\"x-own, x-more\"", "no-cache=\"X-Own,x-more\""] {
        let world = World::new().await;
        let control = format!("max-age=60, {directive}");
        let fields: Fields = Box::leak(Box::new([
            ("cache-control", &*control.leak()),
            ("x-own", "1"),
            ("x-more", "2"),
            ("x-kept", "3"),
        ]));
        world.says(200, fields, "content");
        let first = world.get("/", &[]).await;
        assert_eq!((first.header("x-own"), first.header("x-more")), ("1", "2"));
        let second = world.get("/", &[]).await;
        assert_eq!(second.header("x-kept"), "3");
        assert!(!second.headers.contains_key("x-own"), "{directive}");
        assert!(!second.headers.contains_key("x-more"), "{directive}");
        assert_eq!(world.upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_later_no_store_answer_leaves_what_is_fresh() {
    let world = World::new().await;
    world.says(200, &[("cache-control", "max-age=60")], "old");
    world.get("/", &[]).await;
    world.says(200, &[("cache-control", "no-store")], "new");
    let forced = world.get("/", &[("cache-control", "no-cache")]).await;
    assert_eq!(forced.text(), "new");
    assert_eq!(world.get("/", &[]).await.text(), "old");
    // Once stale it is gone for good, whatever window was open.
    world.advance(61);
    assert_eq!(world.get("/", &[]).await.text(), "new");
}

#[tokio::test]
async fn nothing_stale_without_a_word_for_it() {
    // What was said, seconds later, and whether it stands in for a 503.
    let cases: [(&str, u64, bool); 14] = [
        ("max-age=10", 20, false),
        ("max-age=10, stale-if-error=60", 20, true),
        ("max-age=10, stale-if-error=60", 69, true),
        ("max-age=10, stale-if-error=60", 71, false),
        ("s-maxage=10, stale-if-error=60", 20, true),
        ("max-age=10, must-revalidate, stale-if-error=60", 20, false),
        ("max-age=10, proxy-revalidate, stale-if-error=60", 20, false),
        ("max-age=10, no-cache, stale-if-error=60", 5, false),
        ("max-age=10, must-revalidate", 20, false),
        ("s-maxage=10", 20, false),
        ("max-age=10, stale-if-error=x", 20, false),
        ("max-age=10, stale-if-error=0", 20, false),
        ("max-age=10, stale-while-revalidate=0", 20, false),
        ("private, max-age=10, stale-if-error=60", 20, false),
    ];
    let world = World::new().await;
    for (number, (control, after, served)) in cases.into_iter().enumerate() {
        let target = format!("/{number}");
        let fields: Fields = Box::leak(Box::new([("cache-control", control), TAG]));
        world.says(200, fields, "good");
        world.get(&target, &[]).await;
        world.advance(after);
        world.says(503, &[], "down");
        let (answer, seen) = world.sees(world.get(&target, &[])).await;
        assert_eq!(seen.len(), 1, "{control}: the upstream is asked first");
        assert_eq!(
            answer.text(),
            if served { "good" } else { "down" },
            "{control} {after}"
        );
        assert!(!answer.headers.contains_key("warning"));
        if served {
            let told = answer.header("cache-status");
            assert!(told.contains("fwd=stale; fwd-status=503; ttl=-"), "{told}");
        }
    }
}

#[tokio::test]
async fn the_operators_and_the_clients_word_count_where_nothing_forbids_it() {
    for (toml, asks, control, served) in [
        ("[cache]\nstale_if_error = \"60s\"", "", "max-age=10", true),
        (
            "[cache]\nstale_if_error = \"60s\"",
            "",
            "s-maxage=10",
            false,
        ),
        (
            "[cache]\nstale_if_error = \"60s\"",
            "",
            "max-age=10, must-revalidate",
            false,
        ),
        (
            "[cache]\nstale_if_error = \"60s\"",
            "no-cache",
            "max-age=10",
            false,
        ),
        ("", "stale-if-error=60", "max-age=10", true),
        (
            "",
            "stale-if-error=60",
            "max-age=10, must-revalidate",
            false,
        ),
    ] {
        let world = World::with(toml).await;
        let fields: Fields = Box::leak(Box::new([("cache-control", control), TAG]));
        let asks: Fields = match asks {
            "" => &[],
            asks => Box::leak(Box::new([("cache-control", asks)])),
        };
        world.says(200, fields, "good");
        world.get("/", &[]).await;
        world.advance(20);
        world.says(502, &[], "down");
        let answer = world.get("/", asks).await;
        assert_eq!(answer.text() == "good", served, "{toml} {asks:?} {control}");
    }
}

#[tokio::test]
async fn max_stale_is_obeyed_unless_forbidden() {
    const PLAIN: Fields = &[("cache-control", "max-age=10"), TAG];
    check(&[
        reused("any", PLAIN)
            .after(1000)
            .then(&[("cache-control", "max-stale")]),
        reused("so much", PLAIN)
            .after(20)
            .then(&[("cache-control", "max-stale=15")]),
        validated("and no more", PLAIN)
            .after(40)
            .then(&[("cache-control", "max-stale=15")]),
        validated("without it nothing", PLAIN).after(20),
        validated("where it cannot be read", PLAIN)
            .after(20)
            .then(&[("cache-control", "max-stale=x")]),
    ])
    .await;
    check_with(
        "[cache]\nclient_directives = \"ignore\"\n",
        &[validated("nor where the route ignores it", PLAIN)
            .after(20)
            .then(&[("cache-control", "max-stale")])],
    )
    .await;
}
