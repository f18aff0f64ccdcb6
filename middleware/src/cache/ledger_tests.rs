use proptest::prelude::*;

use super::tables::{MOST_PATTERNS, size_of_query};
use super::*;
use crate::cache::key::{KeyRules, Target};
use crate::cache::versions::Of;
use crate::facts::Scheme;

const HOST: &[u8] = b"example.com";

fn place(number: u64) -> Place {
    Place::of_number(number)
}

fn target<'a>(path: &'a str, query: Option<&'a str>) -> Target<'a> {
    Target {
        scheme: Scheme::Http,
        authority: HOST,
        path,
        query,
    }
}

fn rules() -> KeyRules {
    KeyRules::of(&config::cache::CacheSettings::default())
}

fn key(path: &str, query: Option<&str>) -> Vec<u8> {
    let mut key = Vec::new();
    rules().write_plain(target(path, query), &mut key);
    key
}

/// What is purged in a test.
#[derive(Clone, Debug)]
enum Act {
    All,
    Anything,
    Url(&'static str, Option<&'static str>),
    Tag(&'static str),
    Prefix(&'static str),
    Pattern(&'static str),
}

fn message(act: &Act, purge: Purge) -> PurgeMessage {
    let hasher = NameHasher::stable();
    let what = match act {
        Act::All => Purged::All,
        Act::Anything => Purged::Anything,
        Act::Url(path, query) => return PurgeMessage::url(target(path, *query), purge, None),
        Act::Tag(tag) => Purged::Names {
            of: Of::Tag,
            names: vec![hasher.tag(tag.as_bytes())],
        },
        Act::Prefix(prefix) => Purged::Names {
            of: Of::Prefix,
            names: vec![hasher.prefix(None, prefix)],
        },
        Act::Pattern(pattern) => Purged::Pattern((*pattern).to_owned()),
    };
    PurgeMessage { what, purge }
}

struct Scene {
    ledger: Ledger,
    hasher: NameHasher,
}

impl Scene {
    fn new() -> Self {
        Self::over(Ledger::new(true))
    }

    fn over(ledger: Ledger) -> Self {
        Self {
            ledger,
            hasher: NameHasher::stable(),
        }
    }

    fn purge(&self, act: &Act, purge: Purge, at: u64) {
        let reach = Reach::of(&message(act, purge), &self.hasher);
        self.ledger.note(reach, purge, place(at));
    }

    fn begin(&self, ticket: u64, act: &Act, purge: Purge) {
        let reach = Reach::of(&message(act, purge), &self.hasher);
        self.ledger.begin(ticket, reach, purge);
    }

    fn standing(&self, path: &str, query: Option<&str>, tags: &[&str], born: u64) -> Below {
        let tags: Vec<NameHash> = tags
            .iter()
            .map(|tag| self.hasher.tag(tag.as_bytes()))
            .collect();
        let key = key(path, query);
        let subject = Subject {
            born: place(born),
            key: &key,
            tags: &tags,
        };
        self.ledger
            .standing(&subject, &self.hasher, |purged| purged == query)
    }
}

#[test]
fn each_kind_of_purge_hits_what_was_born_before_it() {
    for (act, path, query, tags, expected) in [
        (Act::All, "/a", None, &[][..], true),
        (Act::Url("/a", None), "/a", None, &[], true),
        (Act::Url("/a", None), "/b", None, &[], false),
        (Act::Url("/a", None), "/a", Some("x"), &[], false),
        (Act::Url("/a", Some("x")), "/a", Some("x"), &[], true),
        (Act::Url("/a", Some("x")), "/a", Some("y"), &[], false),
        (Act::Tag("t"), "/a", None, &["s", "t"], true),
        (Act::Tag("t"), "/a", None, &["tt"], false),
        (Act::Tag("t"), "/t", None, &[], false),
        (Act::Prefix("/a"), "/a/b", None, &[], true),
        (Act::Prefix("/a"), "/ab", None, &[], false),
        (Act::Prefix("/"), "/ab", None, &[], true),
        (Act::Pattern("/a*c"), "/abc", None, &[], true),
        (Act::Pattern("/a*c"), "/abd", None, &[], false),
    ] {
        for (purge, hit) in [(Purge::Hard, Below::Gone), (Purge::Soft, Below::Stale)] {
            let scene = Scene::new();
            scene.purge(&act, purge, 7);
            let expected = if expected { hit } else { Below::Valid };
            let found = [6, 7, 8].map(|born| scene.standing(path, query, tags, born));
            assert_eq!(
                found,
                [expected, Below::Valid, Below::Valid],
                "{act:?} {path}"
            );
            // Until it has its place, it is after whatever there is.
            let scene = Scene::new();
            scene.begin(1, &act, purge);
            assert_eq!(scene.standing(path, query, tags, u64::MAX), expected);
            scene.ledger.settle(1);
            assert_eq!(scene.standing(path, query, tags, 0), Below::Valid);
        }
    }
}

#[test]
fn what_nobody_knows_is_suspect() {
    let scene = Scene::over(Ledger::new(false));
    assert_eq!(scene.standing("/", None, &[], u64::MAX), Below::Suspect);
    scene.ledger.trust_from(place(10));
    assert_eq!(scene.standing("/", None, &[], 9), Below::Suspect);
    assert_eq!(scene.standing("/", None, &[], 10), Below::Valid);
    scene.ledger.doubt_until(place(5));
    assert_eq!(scene.standing("/", None, &[], 9), Below::Suspect);
    scene.ledger.distrust();
    assert_eq!(scene.standing("/", None, &[], 10), Below::Suspect);
    scene.ledger.trust_from(place(3));
    assert_eq!(scene.standing("/", None, &[], 10), Below::Valid);
    assert_eq!(scene.standing("/", None, &[], 9), Below::Suspect);
    scene.purge(&Act::Anything, Purge::Soft, 20);
    assert_eq!(scene.standing("/", None, &[], 19), Below::Suspect);
    assert_eq!(scene.standing("/", None, &[], 20), Below::Valid);
    scene.purge(&Act::Url("/", None), Purge::Hard, 15);
    assert_eq!(scene.standing("/", None, &[], 12), Below::Gone);
    let subject = Subject {
        born: place(3),
        key: b"not a key",
        tags: &[],
    };
    let standing = scene.ledger.standing(&subject, &scene.hasher, |_| false);
    assert_eq!(standing, Below::Gone);
}

#[test]
fn a_purge_that_is_told_twice_changes_nothing() {
    let scene = Scene::new();
    let acts = [Act::Tag("t"), Act::Url("/a", None), Act::Pattern("/p*")];
    for _ in 0..3 * MOST_PATTERNS {
        for act in &acts {
            scene.purge(act, Purge::Hard, 5);
        }
    }
    assert_eq!(scene.standing("/a", None, &["t"], 5), Below::Valid);
    assert_eq!(scene.standing("/x", None, &[], 4), Below::Valid);
    let known = scene.ledger.read();
    assert_eq!(known.patterns.latest.len(), 1);
    assert_eq!(
        (known.names.queue.0.len(), known.urls.queue.0.len()),
        (1, 1)
    );
}

#[test]
fn what_was_forgotten_and_comes_back_is_not_trusted_for_it() {
    let scene = Scene::over(Ledger::bounded(true, 1, 1, 1 << 10));
    let (tag, url) = (Act::Tag("t"), Act::Url("/a", None));
    for (at, act) in [(5, &tag), (5, &url), (10, &tag), (10, &url)] {
        scene.purge(act, Purge::Hard, at);
    }
    scene.purge(&Act::Tag("s"), Purge::Hard, 11);
    scene.purge(&Act::Url("/b", None), Purge::Hard, 11);
    for at in [5, 12] {
        scene.purge(&tag, Purge::Hard, at);
        scene.purge(&url, Purge::Hard, at);
        assert_ne!(scene.standing("/x", None, &["t"], 7), Below::Valid);
        assert_ne!(scene.standing("/a", None, &[], 7), Below::Valid);
    }
    assert_eq!(scene.standing("/a", None, &["t"], 12), Below::Valid);
}

#[test]
fn a_settled_purge_that_was_not_pending_settles_no_other() {
    let scene = Scene::new();
    for ticket in 0..MOST_PENDING as u64 + 2 {
        scene.begin(ticket, &Act::Tag("t"), Purge::Hard);
    }
    // Those beyond the bound have no names here.
    assert_eq!(scene.standing("/", None, &[], u64::MAX), Below::Suspect);
    for _ in 0..5 {
        scene.ledger.settle(MOST_PENDING as u64);
    }
    assert_eq!(scene.standing("/", None, &[], u64::MAX), Below::Suspect);
    scene.ledger.settle(MOST_PENDING as u64 + 1);
    assert_eq!(scene.standing("/", None, &[], u64::MAX), Below::Valid);
    assert_eq!(scene.standing("/", None, &["t"], u64::MAX), Below::Gone);
}

#[test]
fn tables_keep_within_their_bounds() {
    let ledger = Ledger::bounded(true, 100, 50, 8 << 10);
    let mut at = 0;
    for number in 0..10_000_u64 {
        at += 1;
        let reach = Reach {
            names: vec![NameHash(number)],
            url: Some((NameHash(number % 300), Some(format!("q={number}").into()))),
            ..Reach::default()
        };
        ledger.note(reach, Purge::Hard, place(at));
    }
    let known = ledger.read();
    assert_eq!(known.names.versions.len(), 100);
    assert!(known.names.queue.0.len() <= 200);
    assert_eq!(known.names.floor, place(at - 100));
    assert!(known.urls.paths.len() <= 50);
    assert!(known.urls.queue.0.len() <= 100);
    assert!(known.urls.bytes <= 8 << 10);
    let held = known
        .urls
        .paths
        .values()
        .flat_map(|of_path| &of_path.queries);
    let held: usize = held.map(|(query, _)| size_of_query(query.as_deref())).sum();
    assert_eq!(held, known.urls.bytes);
}

const PATHS: [&str; 6] = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c"];
const TAGS: [&str; 7] = ["a", "aa", "a-", "-a", "A", "/a", "a/b"];
const PATTERNS: [&str; 4] = ["/a*", "/a", "*b", "/a/*?x"];
const QUERIES: [Option<&str>; 3] = [None, Some(""), Some("x")];

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::All),
        1 => Just(Act::Anything),
        8 => (0..PATHS.len(), 0..QUERIES.len())
            .prop_map(|(path, query)| Act::Url(PATHS[path], QUERIES[query])),
        8 => (0..TAGS.len()).prop_map(|tag| Act::Tag(TAGS[tag])),
        4 => (0..PATHS.len()).prop_map(|path| Act::Prefix(PATHS[path])),
        4 => (0..PATTERNS.len()).prop_map(|pattern| Act::Pattern(PATTERNS[pattern])),
    ]
}

/// The same by names alone, without a table.
fn expected(
    history: &[(Act, Purge)],
    path: &str,
    query: Option<&str>,
    tags: &[&str],
    born: u64,
) -> Below {
    let segments = |path: &str| -> Vec<String> {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        segments.map(str::to_owned).collect()
    };
    let url = match query {
        None => path.to_owned(),
        Some(query) => format!("{path}?{query}"),
    };
    let hits = |act: &Act| match act {
        Act::All | Act::Anything => true,
        Act::Url(purged, of) => *purged == path && *of == query,
        Act::Tag(tag) => tags.contains(tag),
        Act::Prefix(prefix) => segments(path).starts_with(&segments(prefix)),
        Act::Pattern("/a*") => url.starts_with("/a"),
        Act::Pattern("/a") => url == "/a",
        Act::Pattern("*b") => url.ends_with('b'),
        Act::Pattern(_) => url.starts_with("/a/") && url.ends_with("?x"),
    };
    let later = history.iter().enumerate();
    let later = later.filter(|(at, (act, _))| *at as u64 + 1 > born && hits(act));
    let standing = later.map(|(_, (act, purge))| match (act, purge) {
        (Act::Anything, _) => Below::Suspect,
        (_, Purge::Hard) => Below::Gone,
        (_, Purge::Soft) => Below::Stale,
    });
    standing.max().unwrap_or(Below::Valid)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Tags, paths and patterns that contain one another are told apart, however they mix; and tables
    /// that are too small for all of it say "perhaps", never "valid".
    #[test]
    fn overlapping_names_are_told_apart(
        history in proptest::collection::vec((acts(), any::<bool>()), 0..40),
        records in proptest::collection::vec(
            (0..PATHS.len(), 0..QUERIES.len(), 0_usize..1 << TAGS.len(), 0_u64..41),
            1..20,
        ),
    ) {
        let roomy = Scene::new();
        let narrow = Scene::over(Ledger::bounded(true, 2, 2, 300));
        let history: Vec<(Act, Purge)> = history
            .into_iter()
            .map(|(act, is_soft)| (act, if is_soft { Purge::Soft } else { Purge::Hard }))
            .collect();
        for (at, (act, purge)) in history.iter().enumerate() {
            roomy.purge(act, *purge, at as u64 + 1);
            narrow.purge(act, *purge, at as u64 + 1);
        }
        for (path, query, tags, born) in records {
            let (path, query) = (PATHS[path], QUERIES[query]);
            let tags: Vec<&str> = (0..TAGS.len())
                .filter(|tag| tags >> tag & 1 == 1)
                .map(|tag| TAGS[tag])
                .collect();
            let expected = expected(&history, path, query, &tags, born);
            prop_assert_eq!(roomy.standing(path, query, &tags, born), expected);
            let found = narrow.standing(path, query, &tags, born);
            prop_assert!(found >= expected.min(Below::Suspect) || found == Below::Suspect);
            prop_assert!(expected == Below::Valid || found != Below::Valid);
        }
    }
}
