use std::sync::Mutex;

use tokio_util::task::TaskTracker;

use super::*;
use crate::cache::purge::What;
use crate::cache::testing::{World, at_once, reply};
use crate::clock::Clock;
use crate::facts::Scheme;
use crate::metrics::Metrics;

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<PurgeNews>>);

impl PurgeListener for Heard {
    fn purged(&self, news: &PurgeNews) {
        self.0.lock().unwrap().push(news.clone());
    }
}

impl Heard {
    fn take(&self) -> Vec<PurgeNews> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn messages(&self) -> Vec<PurgeMessage> {
        let news = self.take().into_iter();
        news.map(|news| PurgeMessage::read(&news.message).unwrap())
            .collect()
    }
}

fn ordered(by: OrderedBy) -> (SharedCache, Arc<Heard>) {
    let (clock, tasks) = (Clock::adjustable(), TaskTracker::new());
    let shared = SharedCache::new(1 << 20, clock, tasks, &Metrics::new()).ordered(by);
    let heard = Arc::new(Heard::default());
    shared.on_purge(heard.clone());
    (shared, heard)
}

fn key(shared: &SharedCache, uri: &str, settings: &config::cache::CacheSettings) -> Vec<u8> {
    let uri = uri.parse().unwrap();
    let mut key = Vec::new();
    let target = Target::new(Scheme::Http, b"example.com", &uri);
    shared.rules(settings).write_plain(target, &mut key);
    key
}

fn url(uri: &str) -> What {
    What::Url {
        scheme: Scheme::Http,
        authority: "EXAMPLE.com".to_owned(),
        uri: uri.parse().unwrap(),
    }
}

#[test]
fn every_kind_of_purge_is_told_and_can_be_restored() {
    let settings = config::cache::CacheSettings::default();
    for (what, is_hit) in [
        (What::All, true),
        (url("/a/b?c"), true),
        (url("/a/b"), false),
        (What::Tags(vec!["t".to_owned(), "u".to_owned()]), true),
        (What::Tags(vec!["u".to_owned()]), false),
        (
            What::Groups {
                scheme: Scheme::Http,
                authority: "example.com".to_owned(),
                names: vec!["g".to_owned()],
            },
            true,
        ),
        (
            What::Prefix {
                host: None,
                path: "/a".to_owned(),
            },
            true,
        ),
        (
            What::Prefix {
                host: Some("example.org".to_owned()),
                path: "/a".to_owned(),
            },
            false,
        ),
        (What::Pattern("/*?c".to_owned()), true),
    ] {
        for purge in [Purge::Hard, Purge::Soft] {
            let (shared, heard) = ordered(OrderedBy::Clock);
            let _rules = shared.rules(&settings);
            let hasher = NameHasher::stable();
            let tags = [
                hasher.tag(b"t"),
                hasher.group(Scheme::Http, b"example.com", b"g"),
            ];
            let key = key(&shared, "/a/b?c", &settings);
            let born = shared.place();
            shared.purge_noted(&what, purge).unwrap();
            let news = heard.take().pop().unwrap();
            assert_eq!((news.from, news.place), (From::Own, shared.place()));
            assert!(news.place > born);
            let expected = match (is_hit, purge) {
                (false, _) => Below::Valid,
                (true, Purge::Hard) => Below::Gone,
                (true, Purge::Soft) => Below::Stale,
            };
            let standing = |shared: &SharedCache, born| shared.standing_below(born, &key, &tags);
            assert_eq!(standing(&shared, born), expected, "{what:?}");
            assert_eq!(standing(&shared, news.place), Below::Valid, "{what:?}");
            // What an earlier life was told of.
            let (later, _) = ordered(OrderedBy::Clock);
            let _rules = later.rules(&settings);
            later.restore(&news.message, news.place).unwrap();
            assert_eq!(standing(&later, born), expected, "{what:?}");
            assert_eq!(standing(&later, later.place()), Below::Valid, "{what:?}");
        }
    }
}

#[test]
fn routes_that_sort_or_drop_parts_of_a_query_are_purged_by_theirs() {
    let mut settings = config::cache::CacheSettings::default();
    settings.key.sort_query = true;
    settings.key.drop = vec!["utm_*".to_owned()];
    let (shared, _) = ordered(OrderedBy::Clock);
    // It is known before any route is.
    shared
        .purge(&url("/?b=2&utm_x=1&a=1"), Purge::Hard)
        .unwrap();
    let _rules = shared.rules(&settings);
    let standing = |uri| shared.standing_below(Place::FIRST, &key(&shared, uri, &settings), &[]);
    assert_eq!(standing("/?a=1&b=2&utm_y=2"), Below::Gone);
    assert_eq!(standing("/?a=1"), Below::Valid);
    let others = config::cache::CacheSettings::default();
    let key = {
        let mut key = key(&shared, "/?a=1", &others);
        // Rules that are not known here.
        key[1] ^= 1;
        key
    };
    assert_eq!(shared.standing_below(Place::FIRST, &key, &[]), Below::Gone);
}

#[test]
fn our_own_purge_reaches_all_until_the_stream_has_told_where_it_is() {
    let (shared, heard) = ordered(OrderedBy::Stream);
    let settings = config::cache::CacheSettings::default();
    let key = key(&shared, "/", &settings);
    let _rules = shared.rules(&settings);
    let standing = |born| shared.standing_below(Place::of_number(born), &key, &[]);
    assert_eq!(standing(1 << 60), Below::Suspect, "nothing was read yet");
    shared.trust_from(Place::FIRST);
    assert_eq!(standing(0), Below::Valid);
    let (_, tickets) = shared.purge_noted(&url("/"), Purge::Hard).unwrap();
    assert_eq!(shared.place(), Place::FIRST);
    assert_eq!(standing(u64::MAX), Below::Gone);
    let news = heard.take().pop().unwrap();
    assert_eq!(news.ticket.as_slice(), tickets);
    let message = PurgeMessage::read(&news.message).unwrap();
    let place = Place::of_number(77);
    shared.placed(&news.message, &message, place, tickets[0]);
    assert_eq!(shared.place(), place);
    assert_eq!((standing(76), standing(77)), (Below::Gone, Below::Valid));
    assert_eq!(heard.take().pop().unwrap().from, From::Placed);
}

#[test]
fn a_lost_journal_makes_what_is_older_suspect() {
    let (shared, _) = ordered(OrderedBy::Clock);
    let settings = config::cache::CacheSettings::default();
    let key = key(&shared, "/", &settings);
    let born = Place::at(shared.clock().now().wall).previous();
    shared.distrust_below();
    assert_eq!(shared.standing_below(born, &key, &[]), Below::Suspect);
    assert_eq!(
        shared.standing_below(shared.place(), &key, &[]),
        Below::Valid
    );
    assert!(shared.restore(b"?", born).is_err());
}

fn world(by: OrderedBy) -> (World, Arc<Heard>) {
    let world = World::with(
        |settings| settings.variants = 4,
        |count, request| {
            let mut fields = vec![("cache-control", "max-age=60"), ("etag", "\"a\"")];
            let groups = request.headers().get("x-groups");
            let groups = groups.map(|groups| groups.to_str().unwrap().to_owned());
            if let Some(groups) = &groups {
                fields.push(("cache-groups", groups));
            }
            at_once(reply(200, &fields, format!("{count}")))
        },
    )
    .ordered(by);
    let heard = Arc::new(Heard::default());
    world.shared.on_purge(heard.clone());
    (world, heard)
}

#[tokio::test]
async fn an_unsafe_request_purges_elsewhere_what_it_purges_here() {
    let (here, heard) = world(OrderedBy::Stream);
    let (there, told) = world(OrderedBy::Stream);
    for world in [&here, &there] {
        world.get("/a").await;
        world.get("/other").await;
    }
    // Each knows of one group only.
    here.ask(
        "GET",
        "/a",
        &[("x-groups", "\"g\""), ("cache-control", "no-cache")],
    )
    .await;
    there.ask("GET", "/b", &[("x-groups", "\"g\"")]).await;
    there
        .ask(
            "GET",
            "/a",
            &[("x-groups", "\"h\""), ("cache-control", "no-cache")],
        )
        .await;
    here.ask("POST", "/a", &[]).await;
    let messages = heard.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    there
        .shared
        .apply(&messages[0].write(), &messages[0], Place::of_number(5));
    assert_eq!(there.shared.place(), Place::of_number(5));
    for (uri, is_kept) in [("/a", false), ("/b", false), ("/other", true)] {
        assert_eq!(there.get(uri).await.is_hit(), is_kept, "{uri}");
    }
    // The other group is passed on, once.
    let told = told.take();
    let from: Vec<From> = told.iter().map(|news| news.from).collect();
    assert_eq!(from, [From::Own, From::Other]);
    let group = PurgeMessage::read(&told[0].message).unwrap();
    assert!(matches!(group.what, Purged::Names { names, .. } if names.len() == 1));
}

#[tokio::test]
async fn what_another_instance_purges_is_purged_in_memory() {
    for what in [
        url("/a"),
        What::All,
        What::Prefix {
            host: None,
            path: "/a".to_owned(),
        },
        What::Pattern("*/a".to_owned()),
    ] {
        for (purge, expected) in [(Purge::Hard, "uri-miss"), (Purge::Soft, "soft-purged")] {
            let (here, heard) = world(OrderedBy::Stream);
            let (there, _) = world(OrderedBy::Stream);
            there.get("/a").await;
            here.shared.purge(&what, purge).unwrap();
            let message = heard.messages().pop().unwrap();
            let born = there.shared.purges().now();
            there
                .shared
                .apply(&message.write(), &message, Place::of_number(5));
            assert!(
                there.shared.purges().now() > born,
                "what is under way counts as older"
            );
            let answer = there.get("/a").await;
            let status = answer.cache_status();
            assert!(status.contains(expected), "{what:?}: {status}");
        }
    }
}

#[tokio::test]
async fn all_that_memory_holds_can_become_suspect() {
    let (world, _) = world(OrderedBy::Stream);
    world.get("/a").await;
    assert!(world.get("/a").await.is_hit());
    world.shared.suspect_all();
    let answer = world.get("/a").await;
    assert!(answer.cache_status().contains("soft-purged"), "{answer:?}");
    assert!(world.get("/a").await.is_hit());
}
