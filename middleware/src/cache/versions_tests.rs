use std::collections::HashMap as Map;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::cache::key::{KeyHasher, KeyRules, Target};
use crate::cache::storable::{Storing, Terms};
use crate::cache::stored::Origin;
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::facts::Scheme;

fn key(path: &str) -> Vec<u8> {
    let mut key = Vec::new();
    let target = Target {
        scheme: Scheme::Http,
        authority: b"example.com",
        path,
        query: None,
    };
    KeyRules::of(&config::cache::CacheSettings::default()).write_plain(target, &mut key);
    key
}

/// A response that was asked for at `born`.
fn stored(versions: &Versions, tags: &[&str], key: &[u8], born: Sequence) -> StoredResponse {
    let mut fields = HeaderMap::new();
    if !tags.is_empty() {
        fields.insert("surrogate-key", tags.join(" ").parse().unwrap());
    }
    let place = key::place(key).unwrap();
    let settings = config::tags::TagSettings::default();
    let terms = Terms::fresh_for(Duration::from_secs(60));
    let storing = Storing {
        tags: Tags::read(&fields, None, place, versions.hasher(), &settings).unwrap(),
        ..Storing::plain(terms)
    };
    let origin = Origin {
        place: None,
        key: KeyHasher::new().hash(key),
        born,
        took: 0.0,
        received: Clock::system().now(),
        is_authorized: false,
    };
    StoredResponse::head(StatusCode::OK, &HeaderMap::new(), storing, origin)
}

fn purge_tag(versions: &Versions, log: &PurgeLog, tag: &str, purge: Purge) {
    let name = versions.hasher().tag(tag.as_bytes());
    versions.purge(Of::Tag, [name], purge, log);
}

#[test]
fn a_purge_is_for_what_was_asked_for_before_it() {
    let (versions, log, key) = (Versions::new(), PurgeLog::new(), key("/a/b"));
    let before = stored(&versions, &["x", "y"], &key, log.now());
    assert_eq!(versions.standing(&before, &key), Standing::Valid);
    purge_tag(&versions, &log, "z", Purge::Hard);
    assert_eq!(versions.standing(&before, &key), Standing::Valid);
    purge_tag(&versions, &log, "y", Purge::Soft);
    assert_eq!(versions.standing(&before, &key), Standing::Stale);
    assert_eq!(versions.standing(&before, &key), Standing::Stale);
    let after = stored(&versions, &["x", "y"], &key, log.now());
    assert_eq!(versions.standing(&after, &key), Standing::Valid);
    purge_tag(&versions, &log, "x", Purge::Hard);
    for response in [before, after] {
        assert_eq!(versions.standing(&response, &key), Standing::Gone);
    }
}

#[test]
fn a_soft_purge_does_not_soften_a_hard_one() {
    let (versions, log, key) = (Versions::new(), PurgeLog::new(), key("/"));
    let response = stored(&versions, &["x"], &key, log.now());
    purge_tag(&versions, &log, "x", Purge::Hard);
    purge_tag(&versions, &log, "x", Purge::Soft);
    assert_eq!(versions.standing(&response, &key), Standing::Gone);
}

#[test]
fn a_prefix_is_for_tagged_and_untagged_responses() {
    let (versions, log, key) = (Versions::new(), PurgeLog::new(), key("/a/b/c"));
    for tags in [&[][..], &["x"]] {
        let response = stored(&versions, tags, &key, log.now());
        let purge = |prefix: &str| {
            let name = versions.hasher().prefix(None, prefix);
            versions.purge(Of::Prefix, [name], Purge::Hard, &log);
        };
        purge("/a/x");
        assert_eq!(versions.standing(&response, &key), Standing::Valid);
        // Compared with that one already, and not again.
        assert_eq!(response.valid_at(), log.now());
        purge("/a/b");
        assert_eq!(versions.standing(&response, &key), Standing::Gone);
    }
}

#[test]
fn a_response_without_tags_is_not_compared_because_of_tags() {
    let (versions, log, key) = (Versions::new(), PurgeLog::new(), key("/"));
    let response = stored(&versions, &[], &key, log.now());
    purge_tag(&versions, &log, "x", Purge::Hard);
    assert_eq!(versions.standing(&response, &key), Standing::Valid);
    assert_eq!(response.valid_at(), Sequence::default());
}

#[test]
fn a_name_that_is_forgotten_has_the_latest_version_that_was() {
    let (versions, log, key) = (Versions::bounded(2, 2), PurgeLog::new(), key("/"));
    let old = stored(&versions, &["bystander"], &key, log.now());
    let hit = stored(&versions, &["one"], &key, log.now());
    purge_tag(&versions, &log, "one", Purge::Hard);
    let between = stored(&versions, &["bystander"], &key, log.now());
    purge_tag(&versions, &log, "two", Purge::Hard);
    purge_tag(&versions, &log, "three", Purge::Hard);
    assert_eq!(versions.standing(&hit, &key), Standing::Gone);
    assert_eq!(versions.standing(&old, &key), Standing::Gone);
    assert_eq!(versions.standing(&between, &key), Standing::Valid);
    // A name that comes back does not come back younger.
    purge_tag(&versions, &log, "one", Purge::Soft);
    assert_eq!(versions.standing(&hit, &key), Standing::Gone);
}

#[test]
fn a_flood_of_purges_takes_no_more_than_its_bound() {
    let (versions, log) = (Versions::bounded(64, 64), PurgeLog::new());
    for number in 0..10_000 {
        purge_tag(&versions, &log, &format!("{}", number % 200), Purge::Hard);
        purge_tag(&versions, &log, "often", Purge::Hard);
    }
    let known = versions.read();
    assert!(known.tags.versions.len() <= 64);
    assert!(known.tags.order.len() <= 129);
}

#[test]
fn a_pattern_that_is_forgotten_counts_for_what_was_not_asked_for_since() {
    let (versions, log, key) = (Versions::new(), PurgeLog::new(), key("/a"));
    let asked = stored(&versions, &[], &key, log.now());
    let unasked = stored(&versions, &[], &key, log.now());
    let purge = |text: &str| {
        versions.purge_pattern(Glob::parse(text).unwrap(), Purge::Hard, &log);
    };
    for number in 0..=MOST_PATTERNS {
        purge(&format!("/{number}"));
        assert_eq!(versions.standing(&asked, &key), Standing::Valid);
    }
    assert_eq!(versions.standing(&unasked, &key), Standing::Gone);
    assert_eq!(versions.read().patterns.latest.len(), MOST_PATTERNS);
}

/// Whoever asks after a purge has returned is told of it, however many ask meanwhile.
#[test]
fn a_purge_that_has_returned_is_seen_by_all() {
    for _ in 0..200 {
        let (versions, log) = (Arc::new(Versions::new()), Arc::new(PurgeLog::new()));
        let key = Arc::new(key("/a/b"));
        let response = Arc::new(stored(&versions, &["x"], &key, log.now()));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (versions, key, response, stop) = (
                    versions.clone(),
                    key.clone(),
                    response.clone(),
                    stop.clone(),
                );
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        versions.standing(&response, &key);
                    }
                })
            })
            .collect();
        let other = {
            let (versions, log) = (versions.clone(), log.clone());
            std::thread::spawn(move || {
                for number in 0..50 {
                    let name = versions.hasher().prefix(None, &format!("/{number}"));
                    versions.purge(Of::Prefix, [name], Purge::Hard, &log);
                }
            })
        };
        purge_tag(&versions, &log, "x", Purge::Hard);
        assert_eq!(versions.standing(&response, &key), Standing::Gone);
        other.join().unwrap();
        assert_eq!(versions.standing(&response, &key), Standing::Gone);
        stop.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    }
}

const NAMES: [&str; 9] = ["a", "A", "ab", "b", "a:b", "user:1", "user:11", "user", "1"];

#[derive(Clone, Debug)]
enum Step {
    Ask(usize, Vec<usize>),
    Check(usize),
    Purge(usize, bool),
    PurgePrefix(usize, bool),
    PurgePattern(usize, bool),
}

/// Patterns, and which of `PATHS` they match.
const PATTERNS: [(&str, &[usize]); 3] = [
    ("/a*", &[1, 2, 3, 4]),
    ("*/b", &[3, 5]),
    ("example.com/a", &[1]),
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let step = prop_oneof![
        3 => (0..6_usize, prop::collection::vec(name.clone(), 0..4)).prop_map(|(at, tags)| Step::Ask(at, tags)),
        4 => (0..6_usize).prop_map(Step::Check),
        2 => (name, any::<bool>()).prop_map(|(name, soft)| Step::Purge(name, soft)),
        1 => (0..PATHS.len(), any::<bool>()).prop_map(|(path, soft)| Step::PurgePrefix(path, soft)),
        1 => (0..PATTERNS.len(), any::<bool>()).prop_map(|(pattern, soft)| Step::PurgePattern(pattern, soft)),
    ];
    prop::collection::vec(step, 1..60)
}

const PATHS: [&str; 6] = ["/", "/a", "/ab", "/a/b", "/a/b/c", "/b"];

/// What is known of a stored response: its tags and the worst that has happened to it.
type Model = Map<usize, (Vec<usize>, Standing)>;

fn is_below(path: &str, prefix: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    parts(path).starts_with(&parts(prefix))
}

/// Runs `steps` beside a plain list of who has which tag. Calls `check` with what each says.
fn run(versions: &Versions, steps: Vec<Step>, check: impl Fn(Standing, Standing)) {
    let log = PurgeLog::new();
    let mut model = Model::new();
    let mut responses = Map::new();
    for step in steps {
        let how = |soft| {
            if soft {
                (Purge::Soft, Standing::Stale)
            } else {
                (Purge::Hard, Standing::Gone)
            }
        };
        match step {
            Step::Ask(at, tags) => {
                let names: Vec<&str> = tags.iter().map(|tag| NAMES[*tag]).collect();
                let response = stored(versions, &names, &key(PATHS[at]), log.now());
                responses.insert(at, response);
                model.insert(at, (tags, Standing::Valid));
            }
            Step::Check(at) => {
                if let (Some(response), Some((_, expected))) = (responses.get(&at), model.get(&at))
                {
                    check(versions.standing(response, &key(PATHS[at])), *expected);
                }
            }
            Step::Purge(name, soft) => {
                let (purge, worse) = how(soft);
                purge_tag(versions, &log, NAMES[name], purge);
                for (tags, standing) in model.values_mut() {
                    if tags.contains(&name) {
                        *standing = worse.max(*standing);
                    }
                }
            }
            Step::PurgePattern(pattern, soft) => {
                let (purge, worse) = how(soft);
                let (text, hit) = PATTERNS[pattern];
                versions.purge_pattern(Glob::parse(text).unwrap(), purge, &log);
                for (at, (_, standing)) in &mut model {
                    if hit.contains(at) {
                        *standing = worse.max(*standing);
                    }
                }
            }
            Step::PurgePrefix(path, soft) => {
                let (purge, worse) = how(soft);
                let name = versions.hasher().prefix(None, PATHS[path]);
                versions.purge(Of::Prefix, [name], purge, &log);
                for (at, (_, standing)) in &mut model {
                    if is_below(PATHS[*at], PATHS[path]) {
                        *standing = worse.max(*standing);
                    }
                }
            }
        }
    }
}

proptest! {
    /// Tags that are parts, beginnings and ends of each other are purged one by one, exactly.
    #[test]
    fn overlapping_names_are_purged_exactly(steps in steps()) {
        run(&Versions::new(), steps, |found, expected| assert_eq!(found, expected));
    }

    /// However few names are remembered.
    #[test]
    fn forgetting_purges_more_and_never_less(steps in steps(), tags in 1..3_usize, prefixes in 1..3_usize) {
        run(&Versions::bounded(tags, prefixes), steps, |found, expected| {
            assert!(found >= expected, "{found:?} {expected:?}");
        });
    }
}
