//! What is purged together: tags, groups (RFC 9875), and the operator's rules.

use http::Method;
use middleware::cache::Purge;

use super::{Fields, World};

const CC: (&str, &str) = ("cache-control", "max-age=600");

impl World {
    /// Stores what the upstream says with `fields` for `target`.
    async fn store(&self, target: &str, fields: Fields) {
        self.says(200, fields, "x");
        self.get(target, &[]).await;
    }

    async fn is_kept(&self, target: &str) -> bool {
        self.says(200, &[CC], "x");
        let (_, seen) = self.sees(self.get(target, &[])).await;
        seen.is_empty()
    }

    async fn write(&self, method: Method, target: &str, status: u16, fields: Fields) {
        self.says(status, fields, "");
        self.send(method, target, &[]).await;
    }
}

#[tokio::test]
async fn each_field_names_tags_and_only_cache_groups_reaches_clients() {
    const ANSWER: Fields = &[
        CC,
        ("surrogate-key", "a b"),
        ("cache-tag", "c, d"),
        ("xkey", "e"),
        ("cache-groups", "\"f\""),
    ];
    let world = World::new().await;
    for tag in ["a", "b", "c", "d", "e"] {
        for is_hit in [false, true] {
            world.says(200, ANSWER, "x");
            let answer = world.get("/", &[]).await;
            assert_eq!(
                answer.header("cache-status").contains("; hit"),
                is_hit,
                "{tag}"
            );
            for field in ["surrogate-key", "cache-tag", "xkey"] {
                assert_eq!(answer.header(field), "", "{field}");
            }
            assert_eq!(answer.header("cache-groups"), "\"f\"");
        }
        world
            .proxy
            .running()
            .shared()
            .cache
            .purge_tags(&[tag], Purge::Hard);
    }
}

#[tokio::test]
async fn tags_are_taken_from_what_is_not_stored_too_unless_the_operator_says_otherwise() {
    const ANSWER: Fields = &[("cache-control", "no-store"), ("cache-tag", "a")];
    for (toml, expected) in [
        ("", ""),
        ("[cache]\nenabled = false\n", ""),
        ("[cache]\ntags = { strip = false }\n", "a"),
        ("[cache]\nmode = 'observe'\n", "a"),
    ] {
        let world = World::with(toml).await;
        for method in [Method::GET, Method::HEAD, Method::POST] {
            world.says(200, ANSWER, "x");
            let answer = world.send(method.clone(), "/", &[]).await;
            assert_eq!(answer.header("cache-tag"), expected, "{method} {toml}");
        }
    }
    let world = World::with("[cache]\ntags = { strip = false }\n").await;
    for _ in 0..2 {
        world.says(200, &[CC, ("cache-tag", "a")], "x");
        assert_eq!(world.get("/", &[]).await.header("cache-tag"), "a");
    }
    assert_eq!(world.upstream.count(), 1);
}

/// RFC 9875 §3: of an answer to an unsafe request; §2.1: within one origin.
#[tokio::test]
async fn an_answer_to_an_unsafe_request_invalidates_groups_of_its_origin() {
    const GROUPED: Fields = &[CC, ("cache-groups", "\"a\", \"b\"")];
    const INVALIDATES: Fields = &[("cache-group-invalidation", "\"b\", \"c\"")];
    for (method, status, fields, expected) in [
        (Method::POST, 200, INVALIDATES, false),
        (Method::DELETE, 303, INVALIDATES, false),
        (Method::POST, 404, INVALIDATES, true),
        (Method::POST, 500, INVALIDATES, true),
        (Method::OPTIONS, 200, INVALIDATES, true),
        (Method::GET, 200, INVALIDATES, true),
        (
            Method::POST,
            200,
            &[("cache-group-invalidation", "\"B\"")],
            true,
        ),
        (
            Method::POST,
            200,
            &[("cache-group-invalidation", "b")],
            true,
        ),
        (
            Method::POST,
            200,
            &[("cache-group-invalidation", "\"b\",")],
            true,
        ),
        (Method::POST, 200, &[("surrogate-key", "b")], true),
    ] {
        let world = World::new().await;
        world.store("/item", GROUPED).await;
        world
            .write(method.clone(), "/elsewhere", status, fields)
            .await;
        assert_eq!(
            world.is_kept("/item").await,
            expected,
            "{method} {status} {fields:?}"
        );
    }
}

#[tokio::test]
async fn groups_of_another_origin_are_another_s() {
    const GROUPED: Fields = &[CC, ("cache-groups", "\"a\"")];
    const INVALIDATES: Fields = &[("cache-group-invalidation", "\"a\"")];
    let world = World::new().await;
    world.says(200, GROUPED, "x");
    world.get("/item", &[("host", "one.test")]).await;
    world.get("/item", &[("host", "two.test")]).await;
    world.says(200, INVALIDATES, "");
    world.send(Method::POST, "/", &[("host", "ONE.test")]).await;
    let hosts: [(Fields, usize); 2] = [(&[("host", "one.test")], 1), (&[("host", "two.test")], 0)];
    for (host, expected) in hosts {
        world.says(200, GROUPED, "x");
        let (_, seen) = world.sees(world.get("/item", host)).await;
        assert_eq!(seen.len(), expected, "{host:?}");
    }
}

#[tokio::test]
async fn the_field_is_relayed_to_the_caches_of_clients() {
    let world = World::new().await;
    world.says(200, &[("cache-group-invalidation", "\"a\"")], "");
    let answer = world.send(Method::POST, "/", &[]).await;
    assert_eq!(answer.header("cache-group-invalidation"), "\"a\"");
}

const RULES: &str = r#"
[[invalidate]]
match  = "POST|PUT|PATCH|DELETE /api/users/{id}"
status = "2xx"
tags   = ["user:{id}", "users"]
prefix = ["/lists/users"]

[[invalidate]]
match  = "soft.test/*"
prefix = ["/soft"]
soft   = true
"#;

#[tokio::test]
async fn a_rule_purges_what_it_names_when_its_requests_work() {
    for (method, target, status, expected) in [
        (Method::PUT, "/api/users/7", 200, false),
        (Method::DELETE, "/api/users/7", 204, false),
        (Method::PUT, "/api/./users/%37", 200, false),
        (Method::PUT, "/api/users/7?x=y", 200, false),
        // Not of the status, the method, the path.
        (Method::PUT, "/api/users/7", 303, true),
        (Method::PUT, "/api/users/7", 409, true),
        (Method::PUT, "/api/users/7", 500, true),
        (Method::OPTIONS, "/api/users/7", 200, true),
        (Method::GET, "/api/users/7", 200, true),
        (Method::PUT, "/api/users/7/x", 200, true),
        (Method::PUT, "/api/users/", 200, true),
    ] {
        let world = World::with(RULES).await;
        world
            .store("/tagged", &[CC, ("surrogate-key", "x user:7")])
            .await;
        world.store("/lists/users/all?page=2", &[CC]).await;
        world
            .store("/other", &[CC, ("surrogate-key", "user:77 user 7")])
            .await;
        world.store("/lists/users2", &[CC]).await;
        world.write(method.clone(), target, status, &[]).await;
        for purged in ["/tagged", "/lists/users/all?page=2"] {
            let kept = world.is_kept(purged).await;
            assert_eq!(kept, expected, "{method} {target} {status}: {purged}");
        }
        for kept in ["/other", "/lists/users2"] {
            assert!(
                world.is_kept(kept).await,
                "{method} {target} {status}: {kept}"
            );
        }
    }
}

#[tokio::test]
async fn a_soft_rule_has_what_it_names_validated() {
    let world = World::with(RULES).await;
    world.store("/soft/a", &[CC, ("etag", "\"a\"")]).await;
    world.says(303, &[], "");
    world
        .send(Method::POST, "/", &[("host", "soft.test")])
        .await;
    world.says(200, &[CC, ("etag", "\"a\"")], "x");
    let (answer, seen) = world.sees(world.get("/soft/a", &[])).await;
    assert_eq!(seen[0].header("if-none-match"), "\"a\"");
    let told = answer.header("cache-status");
    assert!(
        told.contains("fwd-status=304") && told.ends_with("detail=soft-purged"),
        "{told}"
    );
    assert!(world.is_kept("/soft/a").await);
}

#[tokio::test]
async fn a_rule_counts_where_the_cache_is_off_for_the_request_s_route() {
    let toml = "[[invalidate]]\nmatch = '/write'\ntags = ['a']\n[[route]]\nmatch = 'POST /write'\ncache = { enabled = false }\n";
    let world = World::with(toml).await;
    world.store("/", &[CC, ("cache-tag", "a")]).await;
    world.write(Method::POST, "/write", 200, &[]).await;
    assert!(!world.is_kept("/").await);
}

/// However a response is found: by its own URL, or by what it says of queries.
#[tokio::test]
async fn what_is_found_by_no_vary_search_is_purged_like_any_other() {
    use middleware::cache::What;
    const ANSWER: Fields = &[
        CC,
        ("no-vary-search", "params=(\"utm\")"),
        ("cache-tag", "a"),
    ];
    let prefix = |path: &str| What::Prefix {
        host: None,
        path: path.to_owned(),
    };
    for (what, expected) in [
        (What::Tags(vec!["a".to_owned()]), 1),
        (prefix("/list"), 1),
        (What::Pattern("/list*".to_owned()), 1),
        (What::Pattern("*utm=1".to_owned()), 1),
        (What::Tags(vec!["b".to_owned()]), 0),
        (prefix("/lis"), 0),
        (What::Pattern("/list/*".to_owned()), 0),
    ] {
        let world = World::new().await;
        world.says(200, ANSWER, "x");
        world.get("/list?page=1&utm=1", &[]).await;
        let cache = world.proxy.running().shared().cache.clone();
        for (is_done, expected) in [(false, 0), (true, expected)] {
            if is_done {
                let found = cache.would_purge(&what).expect("a pattern").responses;
                assert_eq!(found, expected, "{what:?}");
                cache.purge(&what, Purge::Hard).expect("a pattern");
            }
            let (_, seen) = world.sees(world.get("/list?page=1&utm=2", &[])).await;
            assert_eq!(seen.len(), expected, "{what:?}");
        }
    }
}
