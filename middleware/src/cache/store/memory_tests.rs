use http::{HeaderMap, HeaderName, StatusCode};

use super::*;
use crate::cache::storable::Storing;
use crate::cache::stored::Origin;
use crate::cache::vary::Selection;
use crate::clock::Clock;
use crate::metrics::Metrics;

fn stored(key: KeyHash, content: Vec<u8>) -> Arc<StoredResponse> {
    let now = Clock::system().now();
    let mut stored = StoredResponse::fixed(StatusCode::OK, HeaderMap::new(), content.into(), now);
    stored.key = key;
    Arc::new(stored)
}

fn key(hash: KeyHash, bytes: &str) -> CacheKey {
    CacheKey {
        hash,
        bytes: bytes.as_bytes().into(),
    }
}

#[test]
fn a_key_of_the_same_hash_finds_nothing() {
    let store = MemoryStore::new(1 << 20, &Metrics::new());
    store.put(&key(1, "a"), None, &stored(1, vec![]), None, 4);
    let nothing = HeaderMap::new();
    assert!(matches!(
        store.lookup(1, b"a", &nothing),
        Lookup::Stored { variants: 1, .. }
    ));
    assert!(matches!(store.lookup(1, b"b", &nothing), Lookup::Nothing));
    store.put(&key(1, "b"), None, &stored(1, vec![]), None, 4);
    assert!(matches!(store.lookup(1, b"a", &nothing), Lookup::Nothing));
    assert!(matches!(
        store.lookup(1, b"b", &nothing),
        Lookup::Stored { variants: 1, .. }
    ));
}

/// Puts `count` responses of 2 KiB each into `store`, from the `first` on.
fn fill(store: &MemoryStore, first: u128, count: u128) {
    for index in first..first + count {
        let hash = index.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let (key, stored) = (key(hash, &index.to_string()), stored(hash, vec![0; 2048]));
        store.put(&key, None, &stored, None, 4);
    }
    store.settle();
}

/// Whether `is_so`, once what has left some time ago has been given back.
fn comes_true(is_so: impl Fn() -> bool) -> bool {
    let other = MemoryStore::new(1 << 18, &Metrics::new());
    (0..1000).any(|round| {
        fill(&other, round * 200, 200);
        is_so()
    })
}

#[test]
fn what_leaves_is_counted_once_and_by_its_cause() {
    let metrics = Metrics::new();
    let store = MemoryStore::new(1 << 20, &metrics);
    let counted = || {
        let events = [
            Event::EvictedForSpace,
            Event::EvictedReplaced,
            Event::EvictedPurged,
        ];
        events.map(|event| metrics.total(event))
    };
    let (one, gone) = (key(1, "a"), Arc::downgrade);
    let (first, second) = (stored(1, vec![1]), stored(1, vec![2]));
    let left = gone(&first);
    store.put(&one, None, &first, None, 4);
    store.put(&one, None, &second, None, 4);
    store.mark_stale(1, Sequence::default());
    assert!(
        store
            .keep_coded(&second, Coding::Br, Bytes::from_static(b"2"))
            .is_some()
    );
    assert_eq!(counted(), [0, 1, 0]);
    // Another key of the same hash takes its place.
    store.put(&key(1, "b"), None, &stored(1, vec![]), None, 4);
    assert_eq!(counted(), [0, 1, 0]);
    assert_eq!((store.remove(1), store.remove(1)), (1, 0));
    assert_eq!(counted(), [0, 1, 1]);
    store.put(&one, None, &second, None, 4);
    assert!(store.remove_one(&second) && !store.remove_one(&second));
    assert_eq!(counted(), [0, 1, 2]);
    store.put(&one, Some(&key(7, "anchor")), &second, None, 4);
    store.remove_all();
    assert_eq!(counted(), [0, 1, 4]);
    drop(first);
    assert!(comes_true(|| left.upgrade().is_none()));
    assert_eq!(counted(), [0, 1, 4], "also when it is given back");
    fill(&store, 0, 1000);
    assert!(comes_true(|| counted()[0] + store.figures().entries == 1000));
    assert!(store.figures().entries > 100);
    let before = counted();
    let last = stored(9, vec![9]);
    let left = gone(&last);
    store.put(&key(9, "last"), None, &last, None, 4);
    drop((last, store));
    assert!(comes_true(|| left.upgrade().is_none()));
    assert!(
        counted()[0] <= before[0] + 1,
        "the end of all is no want of room"
    );
}

#[test]
#[should_panic(expected = "before it is used")]
fn who_is_told_what_leaves_is_told_all_of_it() {
    let store = MemoryStore::new(1 << 20, &Metrics::new());
    fill(&store, 0, 1);
    store.pass_evicted_to(Writer::new(&Metrics::new()).0);
}

#[test]
fn the_budget_holds() {
    let store = MemoryStore::new(1 << 20, &Metrics::new());
    fill(&store, 0, 2000);
    let figures = store.figures();
    assert!(figures.bytes <= 1 << 20, "{figures:?}");
    assert!(figures.evicted > 1000, "{figures:?}");
}

#[test]
fn keys_of_one_url_go_with_their_anchor() {
    let store = MemoryStore::new(1 << 20, &Metrics::new());
    let (anchor, nothing) = (key(9, "url"), HeaderMap::new());
    for hash in 1..4 {
        let stored = stored(hash, vec![]);
        store.put(&key(hash, "a"), Some(&anchor), &stored, None, 4);
    }
    assert!(matches!(
        store.lookup(1, b"a", &nothing),
        Lookup::Stored { .. }
    ));
    assert_eq!(store.remove(9), 1);
    for hash in 1..4 {
        assert!(matches!(
            store.lookup(hash, b"a", &nothing),
            Lookup::Nothing
        ));
    }
    store.put(&key(1, "a"), Some(&anchor), &stored(1, vec![]), None, 4);
    assert!(matches!(
        store.lookup(1, b"a", &nothing),
        Lookup::Stored { variants: 1, .. }
    ));
    assert!(matches!(store.lookup(2, b"a", &nothing), Lookup::Nothing));
}

#[test]
fn removing_one_leaves_its_siblings() {
    let store = MemoryStore::new(1 << 20, &Metrics::new());
    let nothing = HeaderMap::new();
    let one = stored(1, vec![]);
    store.put(&key(1, "a"), None, &one, None, 4);
    store.remove_one(&stored(1, vec![]));
    assert!(matches!(
        store.lookup(1, b"a", &nothing),
        Lookup::Stored { .. }
    ));
    store.remove_one(&one);
    assert!(matches!(store.lookup(1, b"a", &nothing), Lookup::Nothing));
}

/// What answers requests whose `X-A` is `value`, under the key 1.
fn variant(value: usize) -> Arc<StoredResponse> {
    let mut request = HeaderMap::new();
    request.insert("x-a", value.into());
    let now = Clock::system().now();
    let plain = StoredResponse::fixed(StatusCode::OK, HeaderMap::new(), Bytes::new(), now);
    let storing = Storing {
        selection: Selection::of(vec![HeaderName::from_static("x-a")], &request),
        ..Storing::plain(plain.terms())
    };
    let origin = Origin {
        key: 1,
        born: Sequence::default(),
        place: None,
        took: 0.0,
        received: now,
        is_authorized: false,
    };
    let head = StoredResponse::head(StatusCode::OK, &HeaderMap::new(), storing, origin);
    Arc::new(head)
}

#[test]
fn of_what_is_stored_at_once_under_one_key_nothing_is_lost() {
    const THREADS: usize = 4;
    for round in 0..300 {
        let store = MemoryStore::new(1 << 20, &Metrics::new());
        let together = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, together) = (&store, &together);
                scope.spawn(move || {
                    let stored = variant(thread);
                    together.wait();
                    store.put(&key(1, "a"), None, &stored, None, THREADS);
                    // What changes the entry otherwise takes nothing from it either.
                    store.mark_stale(1, Sequence::default());
                    store.keep_coded(&stored, Coding::Br, Bytes::new());
                });
            }
        });
        let Lookup::OtherVariant(all) = store.lookup(1, b"a", &HeaderMap::new()) else {
            panic!("none of them is for a request without the field");
        };
        assert_eq!(all.len(), THREADS, "{round}");
        assert!(all.iter().all(|stored| stored.coded(Coding::Br).is_some()));
    }
}

/// Run alone: `cargo test -p middleware --lib -- --ignored --exact --nocapture
/// cache::store::memory::tests::accounted_bytes_are_close_to_resident_ones`
#[test]
#[ignore = "measures the whole process, so it must run alone"]
fn accounted_bytes_are_close_to_resident_ones() {
    let store = MemoryStore::new(1 << 30, &Metrics::new());
    let before = resident();
    for index in 0..50_000_u128 {
        let hash = index.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "public, max-age=3600"),
            ("etag", "\"0123456789abcdef\""),
            ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
            ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("vary", "Accept-Encoding"),
            ("x-frame-options", "deny"),
            ("x-custom-name", "something"),
        ] {
            fields.insert(name, http::HeaderValue::from_static(value));
        }
        let now = Clock::system().now();
        let mut stored = StoredResponse::fixed(StatusCode::OK, fields, vec![1; 2048].into(), now);
        stored.key = hash;
        let key = key(hash, &format!("a key as long as keys usually are {index}"));
        store.put(&key, None, &Arc::new(stored), None, 4);
    }
    store.settle();
    let (resident, figures) = (resident() - before, store.figures());
    println!(
        "resident {resident}, accounted {}, {figures:?}",
        figures.bytes
    );
    assert_eq!(figures.entries, 50_000);
    let ratio = resident as f64 / figures.bytes as f64;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    store.remove_all();
    assert_eq!(store.figures().bytes, 0);
}

#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[cfg(not(target_os = "linux"))]
fn resident() -> u64 {
    0
}
