use crate::cache::testing::{World, at_once, reply};
use crate::facts::{CacheOutcome, Fwd};
use crate::fields::cache_status::CACHE_STATUS;
use config::cache::{Cookies, SetCookie};
use http::HeaderValue;

/// An upstream that answers with these fields and counts.
fn counting(fields: &'static [(&'static str, &'static str)]) -> World {
    World::new(move |count, _| at_once(reply(200, fields, format!("answer {count}"))))
}

#[tokio::test]
async fn a_fresh_response_is_served_with_one_age_and_the_stored_date() {
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    let world = World::new(move |_, _| {
        let age = [
            ("cache-control", "max-age=600000000"),
            ("age", "5"),
            ("age", "9"),
            ("date", date),
        ];
        at_once(reply(200, &age, "content"))
    });
    let first = world.get("/").await;
    assert_eq!(first.body(), "content");
    assert!(
        first
            .cache_status()
            .starts_with("pillion; fwd=uri-miss; fwd-status=200; ttl=")
    );
    assert!(first.cache_status().ends_with("; stored"));
    world.advance(10);
    let second = world.get("/").await;
    assert!(second.is_hit(), "{}", second.cache_status());
    assert_eq!(second.body(), "content");
    assert_eq!(second.field("date"), date);
    assert_eq!(second.fields.get_all("age").iter().count(), 1);
    let age: u64 = second.field("age").parse().unwrap();
    assert!(age >= 15, "{age}");
    assert_eq!(world.seen().len(), 1);
    assert_eq!(second.facts.cache.unwrap().outcome, CacheOutcome::Hit);
    assert_eq!(second.facts.stored.unwrap().length(), 7);
}

#[tokio::test]
async fn age_counts_towards_freshness() {
    let world = counting(&[("cache-control", "max-age=60"), ("age", "50")]);
    assert_eq!(
        world.get("/").await.field("cache-status"),
        "pillion; fwd=uri-miss; fwd-status=200; ttl=10; stored"
    );
    world.advance(9);
    assert!(world.get("/").await.is_hit());
    world.advance(1);
    let stale = world.get("/").await;
    assert_eq!(stale.body(), "answer 2");
    assert!(
        stale.cache_status().contains("fwd=stale"),
        "{}",
        stale.cache_status()
    );
}

#[tokio::test]
async fn nothing_is_invented_where_the_upstream_says_nothing() {
    let world = counting(&[]);
    for count in 1..3 {
        let answer = world.get("/").await;
        assert_eq!(answer.body(), format!("answer {count}"));
        assert_eq!(
            answer.cache_status(),
            "pillion; fwd=uri-miss; fwd-status=200; detail=no-lifetime"
        );
    }
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get_and_never_stored() {
    let world = counting(&[("cache-control", "max-age=60")]);
    let head = world.ask("HEAD", "/", &[]).await;
    assert!(
        head.cache_status().ends_with("detail=head"),
        "{}",
        head.cache_status()
    );
    assert_eq!(world.seen()[0].method, "HEAD");
    let get = world.get("/").await;
    assert_eq!(get.body(), "answer 2");
    let head = world.ask("HEAD", "/", &[]).await;
    assert!(head.is_hit());
    assert_eq!((head.body(), head.field("content-length")), ("", "8"));
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn the_upstream_is_asked_for_identity_and_a_bypass_goes_untouched() {
    let world = counting(&[("cache-control", "max-age=60")]);
    let accepts = ("accept-encoding", "br");
    world.ask("GET", "/", &[accepts]).await;
    world
        .ask("GET", "/b", &[accepts, ("if-none-match", "\"a\"")])
        .await;
    world
        .ask(
            "GET",
            "/c",
            &[accepts, ("if-match", "\"a\""), ("range", "bytes=0-1")],
        )
        .await;
    world.ask("POST", "/d", &[accepts]).await;
    world
        .ask("GET", "/e", &[accepts, ("cache-control", "no-store")])
        .await;
    world
        .ask("GET", "/f", &[accepts, ("range", "bytes=0-1")])
        .await;
    let seen = world.seen();
    let accepted: Vec<_> = seen
        .iter()
        .map(|seen| seen.field("accept-encoding").unwrap())
        .collect();
    assert_eq!(accepted, ["identity", "identity", "br", "br", "br", "br"]);
    assert_eq!(seen[1].field("if-none-match"), Some("\"a\""));
    assert_eq!(seen[2].field("range"), Some("bytes=0-1"));
    assert_eq!(seen[5].field("range"), Some("bytes=0-1"));
}

#[tokio::test]
async fn requests_that_are_no_matter_for_the_cache_say_why() {
    let world = counting(&[("cache-control", "max-age=60")]);
    world.get("/").await;
    for (method, fields, expected) in [
        ("POST", vec![], "fwd=method; fwd-status=200"),
        (
            "GET",
            vec![("if-match", "\"a\"")],
            "fwd=bypass; fwd-status=200; detail=precondition",
        ),
        (
            "GET",
            vec![("cache-control", "no-store")],
            "fwd=request; fwd-status=200; detail=client-no-store",
        ),
    ] {
        let answer = world
            .ask(method, if method == "POST" { "/x" } else { "/" }, &fields)
            .await;
        assert_eq!(answer.cache_status(), format!("pillion; {expected}"));
    }
    assert!(
        world.get("/").await.is_hit(),
        "what was stored before stays"
    );
}

#[tokio::test]
async fn a_get_with_content_is_neither_answered_nor_stored() {
    let world = counting(&[("cache-control", "max-age=60")]);
    for _ in 0..2 {
        let mut request = world.request("GET", "/", &[]);
        *request.body_mut() = "fat".into();
        let mut cache = world.cache.clone();
        let answer = tower::Service::call(&mut cache, request).await.unwrap();
        assert_eq!(
            answer.headers().get(CACHE_STATUS).unwrap(),
            "pillion; fwd=bypass; fwd-status=200; detail=request-body"
        );
    }
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn pain_23_fields_that_replace_the_target_are_not_stored() {
    let world = counting(&[("cache-control", "public, max-age=60")]);
    for field in ["x-original-url", "x-http-method-override", "x-rewrite-url"] {
        let poisoned = world.ask("GET", "/", &[(field, "/admin")]).await;
        assert!(
            poisoned.cache_status().ends_with("detail=override"),
            "{}",
            poisoned.cache_status()
        );
    }
    let clean = world.get("/").await;
    assert_eq!(clean.body(), "answer 4");
    assert!(
        world
            .ask("GET", "/", &[("x-original-url", "/admin")])
            .await
            .is_hit()
    );
}

#[tokio::test]
async fn only_if_cached_is_answered_504() {
    let world = counting(&[("cache-control", "max-age=60")]);
    let only = [("cache-control", "only-if-cached")];
    let error = world.send("GET", "/", &only).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::OnlyIfCached);
    assert_eq!(world.seen().len(), 0);
    world.get("/").await;
    assert!(world.ask("GET", "/", &only).await.is_hit());
}

#[tokio::test]
async fn clients_cannot_bust_the_cache_where_the_route_says_so() {
    let world = World::with(
        |settings| settings.client_directives = config::cache::ClientDirectives::Ignore,
        |count, _| {
            at_once(reply(
                200,
                &[("cache-control", "max-age=60")],
                format!("{count}"),
            ))
        },
    );
    world.get("/").await;
    for directive in ["no-cache", "no-store", "max-age=0", "min-fresh=1000"] {
        assert!(
            world
                .ask("GET", "/", &[("cache-control", directive)])
                .await
                .is_hit()
        );
    }
}

#[tokio::test]
async fn variants_are_kept_side_by_side_and_bounded() {
    let world = World::with(
        |settings| settings.variants = 2,
        |_, request| {
            let language = request.headers().get("accept-language").cloned();
            let language = language.unwrap_or(HeaderValue::from_static("none"));
            let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Language")];
            at_once(reply(200, &fields, language.to_str().unwrap().to_owned()))
        },
    );
    let ask = async |language| {
        world
            .ask("GET", "/", &[("accept-language", language)])
            .await
    };
    ask("de").await;
    let french = world.ask("GET", "/", &[("accept-language", "fr")]).await;
    assert!(
        french.cache_status().starts_with("pillion; fwd=vary-miss"),
        "{}",
        french.cache_status()
    );
    assert!(ask("de").await.is_hit() && ask("fr").await.is_hit());
    assert_eq!(ask("DE").await.body(), "de");
    ask("it").await;
    assert!(!ask("de").await.is_hit(), "the oldest of three went");
    assert!(ask("it").await.is_hit());
}

#[tokio::test]
async fn pain_11_vary_user_agent_is_refused_with_a_visible_reason() {
    for name in ["User-Agent", "Cookie", "*"] {
        let world = World::new(move |_, _| {
            at_once(reply(
                200,
                &[("cache-control", "max-age=60"), ("vary", name)],
                "x",
            ))
        });
        let expected = if name == "*" {
            "vary-star"
        } else {
            "vary-personal"
        };
        for _ in 0..2 {
            let answer = world.get("/").await;
            assert!(
                answer
                    .cache_status()
                    .ends_with(&format!("detail={expected}"))
            );
        }
    }
}

#[tokio::test]
async fn cookies_prevent_storing_but_not_reuse() {
    let world = counting(&[("cache-control", "max-age=60")]);
    let cookie = [("cookie", "session=1")];
    let personal = world.ask("GET", "/", &cookie).await;
    assert!(
        personal.cache_status().ends_with("detail=cookie"),
        "{}",
        personal.cache_status()
    );
    assert!(!world.get("/").await.is_hit());
    assert!(world.ask("GET", "/", &cookie).await.is_hit());

    let ignoring = world.route(|settings| settings.cookies = Cookies::Ignore);
    ignoring.ask("GET", "/", &cookie).await;
    assert!(ignoring.get("/").await.is_hit());
}

#[tokio::test]
async fn set_cookie_is_not_stored_unless_it_is_stripped_for_all() {
    let fields = &[("cache-control", "max-age=60"), ("set-cookie", "id=1")];
    let world = counting(fields);
    let answer = world.get("/").await;
    assert_eq!(answer.field("set-cookie"), "id=1");
    assert!(answer.cache_status().ends_with("detail=set-cookie"));

    let stripping = world.route(|settings| settings.set_cookie = SetCookie::Strip);
    assert_eq!(stripping.get("/").await.field("set-cookie"), "");
    let hit = stripping.get("/").await;
    assert!(hit.is_hit() && hit.field("set-cookie").is_empty());
}

#[tokio::test]
async fn fields_of_one_exchange_are_not_replayed() {
    let world = counting(&[
        ("cache-control", "max-age=60, private=\"x-user\""),
        ("server-timing", "db;dur=5"),
        ("traceparent", "00-1-1-01"),
        ("keep-alive", "timeout=5"),
        ("x-user", "alice"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("cache-status", "origin; hit"),
    ]);
    assert_eq!(world.get("/").await.field("x-user"), "alice");
    let hit = world.get("/").await;
    for gone in ["server-timing", "traceparent", "keep-alive", "x-user"] {
        assert_eq!(hit.field(gone), "", "{gone}");
    }
    let lines = |name| hit.fields.get_all(name).iter().cloned().collect::<Vec<_>>();
    assert_eq!(lines("x-twice"), ["1", "2"]);
    assert_eq!(
        lines("cache-status"),
        ["origin; hit", "pillion; hit; ttl=60"]
    );
}

#[tokio::test]
async fn one_url_has_one_stored_response_for_each_configured_cookie() {
    let world = World::with(
        |settings| settings.key.cookies = vec!["lang".into()],
        |count, _| {
            at_once(reply(
                200,
                &[("cache-control", "max-age=60")],
                format!("{count}"),
            ))
        },
    );
    let ask = async |cookie| world.ask("GET", "/", &[("cookie", cookie)]).await;
    assert_eq!(ask("lang=de; id=1").await.body(), "1");
    assert_eq!(ask("lang=fr").await.body(), "2");
    assert_eq!(ask("id=2; lang=de").await.body(), "1");
    assert_eq!(world.get("/").await.body(), "3");
}

#[tokio::test]
async fn a_range_of_what_is_stored_is_answered_from_it() {
    let world = counting(&[("cache-control", "max-age=60")]);
    world.get("/").await;
    let whole = world.ask("GET", "/", &[("range", "bytes=0-1")]).await;
    assert!(whole.is_hit());
    assert_eq!(whole.status, 200, "the layer above cuts it");
}

#[tokio::test]
async fn a_part_is_stored_as_a_part_unless_that_is_switched_off() {
    for partial in [true, false] {
        let world = World::with(
            |settings| settings.partial = partial,
            |_, _| {
                let fields = [
                    ("cache-control", "max-age=60"),
                    ("content-range", "bytes 0-1/9"),
                ];
                at_once(reply(206, &fields, "ab"))
            },
        );
        let range = [("range", "bytes=0-1")];
        let first = world.ask("GET", "/", &range).await;
        let second = world.ask("GET", "/", &range).await;
        assert_eq!((first.status, second.status), (206, 206));
        assert_eq!(second.is_hit(), partial, "{}", second.cache_status());
        if !partial {
            let told = first.cache_status();
            assert!(told.ends_with("detail=partial-content"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_disabled_cache_forwards_everything() {
    let world = World::with(
        |settings| settings.enabled = false,
        |_, _| at_once(reply(200, &[("cache-control", "max-age=60")], "x")),
    );
    for _ in 0..2 {
        assert_eq!(
            world.get("/").await.cache_status(),
            "pillion; fwd=bypass; fwd-status=200; detail=disabled"
        );
    }
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn an_error_answer_is_stored_with_explicit_freshness_only() {
    for (status, fields, stored) in [
        (404, &[("cache-control", "max-age=60")][..], true),
        (503, &[("cache-control", "max-age=60")][..], true),
        (599, &[("cache-control", "max-age=60")][..], true),
        (
            503,
            &[("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT")][..],
            false,
        ),
        (
            404,
            &[("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT")][..],
            true,
        ),
    ] {
        let world = World::new(move |_, _| at_once(reply(status, fields, "x")));
        world.get("/").await;
        assert_eq!(world.get("/").await.is_hit(), stored, "{status} {fields:?}");
    }
}

#[tokio::test]
async fn heuristic_freshness_does_not_answer_credentials() {
    let world = counting(&[("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT")]);
    world.get("/").await;
    assert!(world.get("/").await.is_hit());
    let asked = world.ask("GET", "/", &[("cookie", "a=1")]).await;
    assert_eq!(
        asked.facts.cache.unwrap().outcome,
        CacheOutcome::Fwd(Fwd::Miss)
    );
    assert_eq!(
        world.seen()[1].field("if-modified-since"),
        Some("Thu, 01 Jan 2015 00:00:00 GMT")
    );
}

#[tokio::test]
async fn a_declared_length_that_is_wrong_is_not_stored() {
    let world = counting(&[("cache-control", "max-age=60"), ("content-length", "99")]);
    let answer = world.get("/").await;
    assert!(
        answer.cache_status().ends_with("detail=incomplete"),
        "{}",
        answer.cache_status()
    );
    assert!(!world.get("/").await.is_hit());
}
