//! Variants: which of them a request may have, and what the upstream is asked about them (RFC 9111 §4.1,
//! §4.3.1, §4.3.3).

use tests::{Answer, Proxy, Seen, Upstream, reply};

use super::{Fields, World, check, fetched, reply_with, reused};

const LANGUAGE: Fields = &[("cache-control", "max-age=60"), ("vary", "Accept-Language")];
const GERMAN: Fields = &[
    ("cache-control", "max-age=60"),
    ("vary", "Accept-Language"),
    ("content-language", "de"),
];

#[tokio::test]
async fn how_a_wish_for_languages_is_written_says_nothing() {
    check(&[
        reused("order at equal weight", LANGUAGE)
            .first(&[("accept-language", "de, en")])
            .then(&[("accept-language", "en, de")]),
        reused("order at other weights", LANGUAGE)
            .first(&[("accept-language", "de, en;q=0.5")])
            .then(&[("accept-language", "en;q=0.5, de")]),
        reused("lines are joined", LANGUAGE)
            .first(&[("accept-language", "de"), ("accept-language", "en")])
            .then(&[("accept-language", "EN,de")]),
        reused("digits of a weight", LANGUAGE)
            .first(&[("accept-language", "de, en;q=0.50")])
            .then(&[("accept-language", "de, en;q=0.5")]),
        fetched("another weight", LANGUAGE)
            .first(&[("accept-language", "de, en;q=0.5")])
            .then(&[("accept-language", "de, en;q=0.6")]),
        fetched("what is malformed is the same as itself only", LANGUAGE)
            .first(&[("accept-language", "de, en;q=x")])
            .then(&[("accept-language", "en;q=x, de")]),
    ])
    .await;
}

#[tokio::test]
async fn a_variant_in_the_language_of_the_first_choice_is_accepted() {
    check(&[
        reused("the first choice", GERMAN)
            .first(&[("accept-language", "fr, de;q=0.5")])
            .then(&[("accept-language", "de")]),
        reused("before all others", GERMAN)
            .first(&[("accept-language", "fr, de;q=0.5")])
            .then(&[("accept-language", "DE, en;q=0.9, *;q=0.1")]),
        fetched("not the first", GERMAN)
            .first(&[("accept-language", "fr, de;q=0.5")])
            .then(&[("accept-language", "en, de;q=0.5")]),
        fetched("one of two first", GERMAN)
            .first(&[("accept-language", "fr, de;q=0.5")])
            .then(&[("accept-language", "en, de")]),
        fetched("a kind of it", GERMAN)
            .first(&[("accept-language", "de")])
            .then(&[("accept-language", "de-AT")]),
        fetched("any", GERMAN)
            .first(&[("accept-language", "de")])
            .then(&[("accept-language", "*")]),
        fetched("no wish", GERMAN).first(&[("accept-language", "de")]),
        fetched(
            "several languages",
            &[
                ("cache-control", "max-age=60"),
                ("vary", "Accept-Language"),
                ("content-language", "de, en"),
            ],
        )
        .first(&[("accept-language", "fr")])
        .then(&[("accept-language", "de")]),
        fetched(
            "another field differs",
            &[
                ("cache-control", "max-age=60"),
                ("vary", "Accept-Language, X-A"),
                ("content-language", "de"),
            ],
        )
        .first(&[("accept-language", "fr"), ("x-a", "1")])
        .then(&[("accept-language", "de"), ("x-a", "2")]),
        fetched(
            "the language is nobody's choice",
            &[
                ("cache-control", "max-age=60"),
                ("vary", "X-A"),
                ("content-language", "de"),
            ],
        )
        .first(&[("x-a", "1")])
        .then(&[("x-a", "2"), ("accept-language", "de")]),
    ])
    .await;
    let world = World::new().await;
    world.says(200, GERMAN, "deutsch");
    world.get("/", &[("accept-language", "fr, de;q=0.5")]).await;
    let hit = world.get("/", &[("accept-language", "de")]).await;
    assert_eq!(
        hit.header("cache-status"),
        "pillion; hit; ttl=60; detail=content-language"
    );
}

/// Speaks the language of `x-want` and knows the tags of what it has.
fn speaks(seen: &Seen) -> Answer {
    let want = seen.header("x-want").to_owned();
    // "c" gets what "a" gets.
    let own = if want == "c" { "a".to_owned() } else { want };
    let tag = format!("\"{own}\"");
    let holds = seen
        .header("if-none-match")
        .split(", ")
        .any(|asked| asked == tag);
    let answer = reply(if holds { 304 } else { 200 })
        .header("cache-control", "max-age=60")
        .header("vary", "x-want")
        .header("etag", &tag);
    match holds {
        true => answer.empty(),
        false => answer.body(format!("for {own}")),
    }
}

#[tokio::test]
async fn on_a_mismatch_the_stored_tags_are_offered_and_a_304_chooses() {
    let upstream = Upstream::start(|seen: Seen| async move { speaks(&seen) }).await;
    let proxy = Proxy::before(&upstream).await;
    for want in ["a", "b"] {
        proxy.get_with("/", &[("x-want", want)]).await;
    }
    assert_eq!(upstream.last().header("if-none-match"), "\"a\"");
    let chosen = proxy.get_with("/", &[("x-want", "c")]).await;
    let seen = upstream.last();
    assert_eq!(seen.header("if-none-match"), "\"b\", \"a\"");
    assert_eq!(
        seen.header("x-want"),
        "c",
        "it carries the nominated fields"
    );
    assert_eq!((chosen.status.as_u16(), chosen.text()), (200, "for a"));
    assert_eq!(
        chosen.header("cache-status"),
        "pillion; fwd=vary-miss; fwd-status=304; ttl=60; stored; detail=vary-mismatch"
    );
    assert_eq!(upstream.count(), 3);
    for (want, content) in [("a", "for a"), ("b", "for b"), ("c", "for a")] {
        let hit = proxy.get_with("/", &[("x-want", want)]).await;
        assert_eq!(hit.text(), content, "{want}");
        assert!(hit.header("cache-status").contains("hit"), "{want} {hit:?}");
    }
    assert_eq!(
        upstream.count(),
        3,
        "the new choice is stored beside the old one"
    );
    let other = proxy
        .get_with("/", &[("x-want", "d"), ("if-none-match", "\"mine\"")])
        .await;
    assert_eq!((other.status.as_u16(), other.text()), (200, "for d"));
    let own = proxy
        .get_with("/", &[("x-want", "e"), ("if-none-match", "\"e\"")])
        .await;
    assert_eq!(
        own.status, 304,
        "a client's own condition is judged on what comes"
    );
}

/// What the upstream is asked on a mismatch, after it has said `stored` to `x-want: a`; and what the
/// client gets of `answer`, which the upstream gives to everything with a condition.
async fn mismatch(
    toml: &str,
    stored: Fields,
    answer: (u16, Fields),
    asks: Fields,
) -> (Vec<Seen>, String) {
    let (status, fields) = answer;
    let upstream = Upstream::start(move |seen: Seen| async move {
        match (
            seen.header("x-want"),
            seen.headers.contains_key("if-none-match"),
        ) {
            ("a", _) => reply_with(200, stored).body("for a"),
            (_, true) if status == 304 => reply_with(304, fields).empty(),
            (_, true) => reply_with(status, fields).body("other"),
            _ => {
                reply_with(200, &[("cache-control", "max-age=60"), ("vary", "x-want")]).body("own")
            }
        }
    })
    .await;
    let proxy = Proxy::with(&upstream, toml).await;
    proxy.get_with("/", &[("x-want", "a")]).await;
    let fields: Vec<_> = asks.iter().chain(&[("x-want", "b")]).copied().collect();
    let got = proxy.get_with("/", &fields).await;
    (upstream.seen().split_off(1), got.text().to_owned())
}

const TAGGED: Fields = &[
    ("cache-control", "max-age=60"),
    ("vary", "x-want"),
    ("etag", "\"a\""),
    ("content-type", "text/plain"),
];

#[tokio::test]
async fn only_what_clearly_names_an_offered_variant_chooses_it() {
    let rows: [(Fields, usize, &str); 7] = [
        (&[("etag", "\"a\"")], 1, "for a"),
        (
            &[("etag", "\"a\""), ("content-type", "text/plain")],
            1,
            "for a",
        ),
        (&[("etag", "\"b\"")], 2, "own"),
        // A weak tag may be that of several representations.
        (&[("etag", "W/\"a\"")], 2, "own"),
        (&[], 2, "own"),
        (
            &[("etag", "\"a\""), ("content-type", "text/html")],
            2,
            "own",
        ),
        (&[("etag", "\"a\""), ("etag", "\"b\"")], 2, "own"),
    ];
    for (fields, count, content) in rows {
        let (seen, got) = mismatch("", TAGGED, (304, fields), &[]).await;
        assert_eq!((seen.len(), &*got), (count, content), "{fields:?}");
        assert_eq!(seen[0].header("if-none-match"), "\"a\"");
        if let Some(again) = seen.get(1) {
            assert!(!again.headers.contains_key("if-none-match"));
            assert_eq!(again.header("x-want"), "b");
        }
    }
}

#[tokio::test]
async fn nothing_is_offered_that_may_mislead() {
    const WEAK: Fields = &[
        ("cache-control", "max-age=60"),
        ("vary", "x-want"),
        ("etag", "W/\"a\""),
    ];
    const MALFORMED: Fields = &[
        ("cache-control", "max-age=60"),
        ("vary", "x-want"),
        ("etag", "a"),
    ];
    const NONE: Fields = &[("cache-control", "max-age=60"), ("vary", "x-want")];
    for (toml, stored, asks) in [
        ("", WEAK, &[][..]),
        ("", MALFORMED, &[]),
        ("", NONE, &[]),
        ("cache = { offer_variants = false }", TAGGED, &[]),
        ("profile = \"conservative\"", TAGGED, &[]),
        ("", TAGGED, &[("cache-control", "no-store")]),
        ("", TAGGED, &[("range", "bytes=0-1")]),
    ] {
        let (seen, got) = mismatch(toml, stored, (304, &[("etag", "\"a\"")]), asks).await;
        let own = if asks == [("range", "bytes=0-1")] {
            "ow"
        } else {
            "own"
        };
        assert_eq!((seen.len(), &*got), (1, own), "{toml} {stored:?} {asks:?}");
        assert!(
            !seen[0].headers.contains_key("if-none-match"),
            "{toml} {asks:?}"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_gives_two_contents_one_tag_is_not_asked_about_any() {
    let upstream = Upstream::start(|seen: Seen| async move {
        let want = seen.header("x-want").to_owned();
        reply_with(200, TAGGED).body(format!("for {want}"))
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    for (want, offered) in [("a", ""), ("b", "\"a\""), ("c", "")] {
        let got = proxy.get_with("/", &[("x-want", want)]).await;
        assert_eq!(got.text(), format!("for {want}"));
        assert_eq!(upstream.last().header("if-none-match"), offered);
    }
}

#[tokio::test]
async fn what_is_offered_is_bounded() {
    let upstream = Upstream::start(|seen: Seen| async move { speaks(&seen) }).await;
    let proxy = Proxy::before(&upstream).await;
    for want in 0..20 {
        let want = format!("v{want}");
        proxy.get_with("/", &[("x-want", &want)]).await;
    }
    let offered = upstream.last();
    let tags: Vec<_> = offered.header("if-none-match").split(", ").collect();
    assert_eq!(tags.len(), 8, "{tags:?}");
    assert_eq!(tags[0], "\"v18\"", "the latest first");
}

#[tokio::test]
async fn what_came_to_a_credential_is_chosen_but_not_stored() {
    let (seen, got) = mismatch(
        "",
        TAGGED,
        (304, &[("etag", "\"a\"")]),
        &[("authorization", "Basic YTpi")],
    )
    .await;
    assert_eq!((seen.len(), &*got), (1, "for a"));
}
