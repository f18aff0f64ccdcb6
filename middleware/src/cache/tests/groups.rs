//! Tags, groups, prefixes and rules, through the whole service.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use config::invalidate::InvalidateRule;
use proptest::prelude::*;
use tokio::sync::oneshot;

use crate::ResponseFuture;
use crate::cache::Purge;
use crate::cache::testing::{World, at_once, read, reply, settle};
use crate::facts::Scheme;

/// Answers with the tags that a request asks for (`x-tags`), and the number of the request.
fn tagged() -> World {
    World::with(
        |settings| settings.variants = 4,
        |count, request| {
            let mut fields = vec![("cache-control", "max-age=60"), ("etag", "\"a\"")];
            let tags = request.headers().get("x-tags");
            let tags = tags.map(|tags| tags.to_str().unwrap().to_owned());
            if let Some(tags) = &tags {
                fields.push(("surrogate-key", tags));
            }
            at_once(reply(200, &fields, format!("{count}")))
        },
    )
}

async fn is_kept(world: &World, uri: &str) -> bool {
    world.get(uri).await.is_hit()
}

#[tokio::test]
async fn a_tag_is_purged_wherever_it_stands() {
    let world = tagged();
    for (uri, tags) in [("/a", "x y"), ("/b", "y"), ("/c", "xy"), ("/d", "")] {
        world.ask("GET", uri, &[("x-tags", tags)]).await;
    }
    world.shared.purge_tags(&["y"], Purge::Hard);
    for (uri, expected) in [("/a", false), ("/b", false), ("/c", true), ("/d", true)] {
        assert_eq!(is_kept(&world, uri).await, expected, "{uri}");
    }
}

#[tokio::test]
async fn what_a_purge_hit_gives_its_memory_back_when_it_is_asked_for() {
    let world = tagged();
    world.ask("GET", "/", &[("x-tags", "x")]).await;
    let before = world.shared.figures().bytes;
    world.shared.purge_tags(&["x"], Purge::Hard);
    let asked = world.request("GET", "/", &[("cache-control", "only-if-cached")]);
    tower::Service::call(&mut world.cache.clone(), asked)
        .await
        .unwrap_err();
    assert!(world.shared.figures().bytes < before);
    assert_eq!(world.shared.figures().entries, 0);
}

#[tokio::test]
async fn a_softly_purged_tag_is_validated() {
    let world = tagged();
    world.ask("GET", "/", &[("x-tags", "x")]).await;
    world.shared.purge_tags(&["x"], Purge::Soft);
    let status = world.get("/").await.cache_status().to_owned();
    assert!(status.ends_with("detail=soft-purged"), "{status}");
    assert!(
        world
            .seen()
            .last()
            .unwrap()
            .field("if-none-match")
            .is_some()
    );
    assert!(is_kept(&world, "/").await);
}

#[tokio::test]
async fn one_variant_may_have_a_tag_that_the_other_has_not() {
    let world = World::new(|count, request| {
        let fields = [("cache-control", "max-age=60"), ("vary", "x-a")];
        let mut answer = reply(200, &fields, format!("{count}"));
        if let Some(tag) = request.headers().get("x-a") {
            answer.headers_mut().insert("cache-tag", tag.clone());
        }
        at_once(answer)
    });
    let world = &world;
    let ask = |value: &'static str| async move { world.ask("GET", "/", &[("x-a", value)]).await };
    ask("1").await;
    ask("2").await;
    world.shared.purge_tags(&["1"], Purge::Hard);
    assert!(ask("2").await.is_hit());
    let missed = ask("1").await;
    assert!(
        missed.cache_status().contains("fwd=vary-miss"),
        "{}",
        missed.cache_status()
    );
    assert!(ask("2").await.is_hit());
}

#[tokio::test]
async fn a_304_keeps_the_tags_that_it_does_not_name() {
    let world = World::new(|count, _| {
        let (status, tags) = match count {
            1 => (200, &[("surrogate-key", "a"), ("cache-tag", "b")][..]),
            _ => (304, &[("cache-tag", "c")][..]),
        };
        let mut fields = vec![("cache-control", "max-age=60"), ("etag", "\"a\"")];
        fields.extend(tags);
        at_once(reply(status, &fields, if status == 200 { "x" } else { "" }))
    });
    for (tag, expected) in [("b", true), ("a", false), ("c", false)] {
        world.get("/").await;
        world.advance(61);
        assert_eq!(world.get("/").await.body(), "x");
        world.shared.purge_tags(&[tag], Purge::Soft);
        assert_eq!(is_kept(&world, "/").await, expected, "{tag}");
    }
}

#[tokio::test]
async fn what_has_too_many_tags_is_not_stored() {
    let world = World::with(
        |settings| settings.tags.count = 2,
        |_, _| {
            at_once(reply(
                200,
                &[("cache-control", "max-age=60"), ("xkey", "a b c")],
                "x",
            ))
        },
    );
    let answer = world.get("/").await;
    assert!(
        answer.cache_status().ends_with("detail=too-many-tags"),
        "{}",
        answer.cache_status()
    );
    assert!(!is_kept(&world, "/").await);
}

/// What is put together of parts has the content of all of them, so it has all of their tags.
#[tokio::test]
async fn parts_that_are_put_together_are_purged_by_the_tags_of_each() {
    let ranges = [("bytes=0-1", "bytes 0-1/6"), ("bytes=2-3", "bytes 2-3/6")];
    for tag in ["first", "second", "both"] {
        let world = World::new(move |_, request| {
            let range = request.headers()["range"].to_str().unwrap();
            let (tags, part) = match range {
                "bytes=0-1" => ("first both", ranges[0].1),
                _ => ("second both", ranges[1].1),
            };
            let fields = [
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("content-range", part),
                ("surrogate-key", tags),
            ];
            at_once(reply(206, &fields, "xx"))
        });
        for (range, _) in ranges {
            world.ask("GET", "/", &[("range", range)]).await;
        }
        let fields = [("range", "bytes=0-3")];
        let whole = world.ask("GET", "/", &fields).await;
        assert!(whole.is_hit(), "they are put together");
        world.shared.purge_tags(&[tag], Purge::Hard);
        assert!(!world.ask("GET", "/", &fields).await.is_hit(), "{tag}");
    }
}

#[tokio::test]
async fn tags_are_weighed() {
    let world = tagged();
    let weight = |bytes: u64| bytes;
    world.ask("GET", "/a", &[("x-tags", "")]).await;
    let plain = weight(world.shared.figures().bytes);
    let tags: Vec<String> = (0..200).map(|tag| tag.to_string()).collect();
    world.ask("GET", "/b", &[("x-tags", &tags.join(" "))]).await;
    let tagged = weight(world.shared.figures().bytes) - plain;
    // What the allocator hands out for them, and the box of what few responses have.
    assert!(
        (200 * 16..200 * 16 * 5 / 4 + 200).contains(&(tagged - plain)),
        "{plain} {tagged}"
    );
}

fn rule(toml: &str) -> Arc<[InvalidateRule]> {
    let text = format!("{toml}\n[upstream.app]\nurl = 'http://127.0.0.1:3000'\n");
    let loaded = config::load_text(&text, None, &config::Overrides::default(), &|_| None);
    loaded.unwrap().settings.routes[0].cache.invalidate.clone()
}

#[tokio::test]
async fn a_rule_fills_its_placeholders_as_written_and_as_decoded() {
    let rules = rule(
        "[[invalidate]]\nmatch = 'PUT /users/{id}/x'\ntags = ['user:{id}']\nprefix = ['/of/{id}']",
    );
    for (target, tag, path, expected) in [
        ("/users/7/x", "user:7", "/of/7/a", false),
        ("/users/7/x", "user:77", "/of/77", true),
        ("/users/a%20b/x", "user:a%20b", "/of/a%20b", false),
        ("/users/a%2Cb/x", "user:a,b", "/of/a%2cb", false),
        ("/users/%37/x", "user:7", "/of/7", false),
        ("/users//x", "user:", "/of", true),
        ("/users/7/x/y", "user:7", "/of/7", true),
    ] {
        let world = tagged().route(|settings| settings.invalidate = rules.clone());
        world.ask("GET", "/tagged", &[("x-tags", tag)]).await;
        world.get(path).await;
        world.ask("PUT", target, &[]).await;
        assert_eq!(is_kept(&world, "/tagged").await, expected, "{target} {tag}");
        assert_eq!(is_kept(&world, path).await, expected, "{target} {path}");
    }
}

/// Whoever may send the request must not choose how much it purges: what stands in a placeholder is one
/// segment, however it is escaped.
#[tokio::test]
async fn what_stands_in_a_placeholder_cannot_climb_out_of_its_prefix() {
    let rules = rule(
        "[[invalidate]]\nmatch = 'PUT /users/{id}'\nprefix = ['/users/{id}', '/list/of/{id}/x']",
    );
    for target in [
        "/users/%2F..%2F..%2F..",
        "/users/..%2F..",
        "/users/%252e%252e",
        "/users/%2e%2e%2f%2e%2e",
        "/users/%2F",
        "/users/x%2F%252e%252e%2F..",
        "/users/%3F",
        "/users/%25%32%65%25%32%65",
    ] {
        let world = tagged().route(|settings| settings.invalidate = rules.clone());
        for other in ["/other", "/users/7", "/list/of"] {
            world.get(other).await;
        }
        world.ask("PUT", target, &[]).await;
        for other in ["/other", "/users/7", "/list/of"] {
            assert!(is_kept(&world, other).await, "{target} {other}");
        }
    }
    let world = tagged().route(|settings| settings.invalidate = rules.clone());
    world.get("/users/@me/a").await;
    world.ask("PUT", "/users/%40me", &[]).await;
    assert!(!is_kept(&world, "/users/@me/a").await);
}

#[tokio::test]
async fn groups_go_with_what_is_invalidated_and_no_further() {
    let world = World::new(|_, request| {
        let groups = match request.uri().path() {
            "/a" => "\"one\"",
            "/b" => "\"one\", \"two\"",
            _ => "\"two\"",
        };
        at_once(reply(
            200,
            &[("cache-control", "max-age=60"), ("cache-groups", groups)],
            "x",
        ))
    });
    for uri in ["/a", "/b", "/c"] {
        world.get(uri).await;
    }
    world.ask("POST", "/a", &[]).await;
    for (uri, expected) in [("/a", false), ("/b", false), ("/c", true)] {
        assert_eq!(is_kept(&world, uri).await, expected, "{uri}");
    }
}

/// An answer that the test lets go when it likes; its content is what the app had when it was asked.
type Held = Arc<Mutex<Vec<(String, oneshot::Sender<()>)>>>;

#[derive(Clone, Debug)]
enum Step {
    Ask(usize),
    LetGo(usize),
    Change(Change),
}

/// What changes in the app, and is purged then.
#[derive(Clone, Copy, Debug)]
enum Change {
    Tag(usize),
    Prefix,
    Url(usize),
    All,
    Group,
}

const PAGES: [(&str, &str); 4] = [
    ("/p/0", "a ab"),
    ("/p/1", "b"),
    ("/q/2", "ab"),
    ("/q/3", ""),
];
const TAGS: [&str; 3] = ["a", "ab", "b"];

impl Change {
    fn hits(self, page: usize) -> bool {
        let (path, tags) = PAGES[page];
        match self {
            Self::Tag(tag) => tags.split(' ').any(|has| has == TAGS[tag]),
            Self::Prefix => path.starts_with("/p/"),
            Self::Url(url) => url == page,
            Self::All => true,
            Self::Group => page >= 2,
        }
    }

    fn purge(self, world: &World, purge: Purge) {
        let shared = &world.shared;
        match self {
            Self::Tag(tag) => {
                let _count = shared.purge_tags(&[TAGS[tag]], purge);
            }
            Self::Prefix => {
                let _count = shared.purge_prefixes(None, &["/p"], purge);
            }
            Self::Url(url) => {
                let uri = PAGES[url].0.parse().unwrap();
                shared.purge_uri(Scheme::Http, "example.com", &uri, purge);
            }
            Self::All => drop(shared.purge_all()),
            Self::Group => {
                let _count = shared.purge_groups(Scheme::Http, b"example.com", &["g"], purge);
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        4 => (0..TAGS.len()).prop_map(Change::Tag),
        2 => Just(Change::Prefix),
        1 => (0..PAGES.len()).prop_map(Change::Url),
        1 => Just(Change::All),
        2 => Just(Change::Group),
    ];
    let step = prop_oneof![
        4 => (0..PAGES.len()).prop_map(Step::Ask),
        4 => (0..8_usize).prop_map(Step::LetGo),
        2 => change.prop_map(Step::Change),
    ];
    prop::collection::vec(step, 1..40)
}

fn let_go(held: &Held, which: usize) {
    let mut held = held.lock().unwrap();
    if !held.is_empty() {
        let which = which % held.len();
        drop(held.remove(which));
    }
}

/// Plays `steps`: pages change in the app and are purged while answers with what they were are under
/// way. No answer to a request that came after a purge may have what was before it; and an answer that
/// was under way through one says so, and is not stored.
async fn play(steps: Vec<Step>, purge: Purge) {
    let held = Held::default();
    let content: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let world = World::with(|settings| settings.tags.strip = true, {
        let (held, content) = (held.clone(), content.clone());
        move |_, request| {
            let path = request.uri().path().to_owned();
            let page = PAGES.iter().position(|page| page.0 == path).unwrap();
            let now = content
                .lock()
                .unwrap()
                .get(&path)
                .copied()
                .unwrap_or_default();
            let mut fields = vec![
                ("cache-control", "max-age=600"),
                ("surrogate-key", PAGES[page].1),
            ];
            if page >= 2 {
                fields.push(("cache-groups", "\"g\""));
            }
            let answer = reply(200, &fields, now.to_string());
            let (sender, gate) = oneshot::channel();
            held.lock().unwrap().push((path, sender));
            ResponseFuture::boxed(async move {
                drop(gate.await);
                Ok(answer)
            })
        }
    });
    let mut waiting = Vec::new();
    for step in steps {
        match step {
            Step::Ask(page) => {
                let path = PAGES[page].0;
                let now = content
                    .lock()
                    .unwrap()
                    .get(path)
                    .copied()
                    .unwrap_or_default();
                let answer = world.send("GET", path, &[]);
                let task = world
                    .shared
                    .tasks()
                    .spawn(async { read(answer.await.unwrap()).await });
                waiting.push((now, task));
                settle().await;
            }
            Step::LetGo(which) => {
                let_go(&held, which);
                settle().await;
            }
            Step::Change(change) => {
                for (page, (path, _)) in PAGES.iter().enumerate() {
                    if change.hits(page) {
                        *content
                            .lock()
                            .unwrap()
                            .entry((*path).to_owned())
                            .or_default() += 1;
                    }
                }
                change.purge(&world, purge);
            }
        }
    }
    while !held.lock().unwrap().is_empty() {
        held.lock().unwrap().clear();
        settle().await;
    }
    let latest = content.lock().unwrap().clone();
    for (asked_at, task) in waiting {
        let answer = task.await.unwrap();
        let got: u64 = answer.body().parse().unwrap();
        assert!(
            got >= asked_at,
            "{got} was purged before {asked_at} was asked for"
        );
    }
    for (path, _) in PAGES {
        let answer = world.send("GET", path, &[]);
        settle().await;
        held.lock().unwrap().clear();
        let answer = read(answer.await.unwrap()).await;
        let now = latest.get(path).copied().unwrap_or_default();
        assert_eq!(answer.body(), now.to_string(), "{path}");
    }
}

proptest! {
    #[test]
    fn nothing_comes_back_from_before_a_purge(steps in steps(), soft: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(steps, if soft { Purge::Soft } else { Purge::Hard }));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_through_a_purge_of_its_tag_or_prefix_is_not_stored() {
    for (change, expected) in [
        (Change::Tag(0), "detail=purged"),
        (Change::Prefix, "detail=purged"),
        (Change::Tag(2), "; stored"),
        (Change::Group, "; stored"),
    ] {
        let (sender, gate) = oneshot::channel::<()>();
        let gate = Mutex::new(Some(gate));
        let world = World::new(move |count, _| {
            let fields = [("cache-control", "max-age=60"), ("surrogate-key", "a ab")];
            let answer = reply(200, &fields, count.to_string());
            match gate.lock().unwrap().take() {
                None => at_once(answer),
                Some(gate) => ResponseFuture::boxed(async move {
                    drop(gate.await);
                    Ok(answer)
                }),
            }
        });
        let first = world.start(1, "/p/0", &[]);
        settle().await;
        change.purge(&world, Purge::Hard);
        drop(sender);
        for answer in first {
            let answer = answer.await.unwrap().unwrap();
            assert!(
                answer.cache_status().ends_with(expected),
                "{change:?} {}",
                answer.cache_status()
            );
        }
        let entries = world.shared.figures().entries;
        assert_eq!(entries, u64::from(expected == "; stored"), "{change:?}");
    }
}
