//! What is answered from the store most often: remembered from run to run by whoever warms the cache up.
//!
//! Each core counts for itself, and no more than a sample of its hits, in a table of bounded size
//! (Misra and Gries): with `most` places, what has more than one in `most` of the counted hits is
//! sure to be there. Only keys are counted; what of their URLs may be written down is decided when
//! they are asked for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::journal::LONGEST_URL;
use crate::cache::key::{self, KeyHash, OwnKey};
use crate::cache::shared::SharedCache;
use crate::cache::store::pass_through::PassThrough;

/// One core's table; a handle.
#[derive(Clone, Debug)]
pub struct Hottest(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    /// Hits to let pass before the next one counts. Written by its core alone.
    left: AtomicU32,
    /// Taken by its core for a hit that counts, and by whoever asks for the result.
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    places: HashMap<KeyHash, Place, PassThrough>,
    most: usize,
    /// Hits counted.
    counted: u32,
    random: u64,
}

#[derive(Debug)]
struct Place {
    key: Box<[u8]>,
    count: u64,
}

/// The tables of all cores.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Vec<Hottest>>);

impl Hottest {
    fn new(most: usize) -> Self {
        Self(Arc::new(Counted {
            left: AtomicU32::new(0),
            table: Mutex::new(Table {
                places: HashMap::default(),
                most,
                counted: 0,
                random: RandomState::new().hash_one(0_u64) | 1,
            }),
        }))
    }

    /// Notes an answer from what is stored under `key`: a load and a store, if it is not counted.
    pub(crate) fn note(&self, hash: KeyHash, key: &[u8]) {
        // One writer, so this need not be one operation.
        let left = self.0.left.load(Ordering::Relaxed);
        if left > 0 {
            self.0.left.store(left - 1, Ordering::Relaxed);
            return;
        }
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.count(hash, key);
        let pause = table.pause();
        self.0.left.store(pause, Ordering::Relaxed);
    }
}

impl Table {
    fn count(&mut self, hash: KeyHash, key: &[u8]) {
        self.counted = self.counted.saturating_add(1);
        if let Some(place) = self.places.get_mut(&hash) {
            place.count += 1;
        } else if key.len() > LONGEST_KEY {
            // Nobody asks for that often who means well.
        } else if self.places.len() < self.most {
            let key = key.into();
            self.places.insert(hash, Place { key, count: 1 });
        } else {
            // Each round takes back `most` earlier counts, so on average it costs nothing.
            self.places.retain(|_, place| {
                place.count -= 1;
                place.count > 0
            });
        }
    }

    /// How many hits are not counted now. By chance: pages load their parts in the same order each
    /// time, and a fixed step would see the same part each time.
    fn pause(&mut self) -> u32 {
        if self.counted < EXACT {
            return 0;
        }
        // Xorshift.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // Of five bits.
        (self.random >> 59) as u32
    }
}

impl SharedCache {
    /// A new table for one more core, with room for the `most` hottest keys and some more, since
    /// places near the bound come and go.
    pub fn hottest(&self, most: usize) -> Hottest {
        let table = Hottest::new(most.saturating_mul(SPARE).max(LEAST));
        let tables = self.hot_tables().0.lock();
        let mut tables = tables.unwrap_or_else(PoisonError::into_inner);
        tables.push(table.clone());
        table
    }

    /// URLs by how often they were answered from the store, the most often first. Only those that a
    /// plain GET asks for, and whose query is known.
    pub fn hottest_urls(&self) -> Vec<String> {
        let tables = self.hot_tables().0.lock();
        let tables = tables.unwrap_or_else(PoisonError::into_inner).clone();
        let mut counts: HashMap<String, u64> = HashMap::new();
        for table in tables {
            let table = table.0.table.lock().unwrap_or_else(PoisonError::into_inner);
            for place in table.places.values() {
                if let Some(url) = url(&place.key) {
                    *counts.entry(url).or_default() += place.count;
                }
            }
        }
        let mut urls: Vec<_> = counts.into_iter().collect();
        urls.sort_unstable_by(|(a, most), (b, more)| more.cmp(most).then_with(|| a.cmp(b)));
        urls.into_iter().map(|(url, _)| url).collect()
    }
}

/// What a plain GET would ask for.
fn url(key: &[u8]) -> Option<String> {
    OwnKey::split(key)?;
    let place = key::place(key)?;
    place.is_whole.then(|| place.print())
}

/// Hits that are all counted, so that a short run is remembered as well.
const EXACT: u32 = 4096;
/// Places for each key that is asked for in the end.
const SPARE: usize = 4;
/// Places at least.
const LEAST: usize = 256;
/// Bytes of a key.
const LONGEST_KEY: usize = LONGEST_URL + 256;

#[cfg(test)]
mod tests {
    use super::{EXACT, Hottest};

    fn counts(hottest: &Hottest) -> Vec<(u128, u64)> {
        let table = hottest.0.table.lock().unwrap();
        let places = table.places.iter();
        let mut counts: Vec<_> = places.map(|(hash, place)| (*hash, place.count)).collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn the_first_hits_are_all_counted() {
        let hottest = Hottest::new(8);
        for hash in [1, 2, 1, 3, 1] {
            hottest.note(hash, b"key");
        }
        assert_eq!(counts(&hottest), [(1, 3), (2, 1), (3, 1)]);
    }

    #[test]
    fn what_is_asked_for_often_outlives_a_flood() {
        let hottest = Hottest::new(8);
        for round in 0..100_000_u128 {
            // One in four is one of two; the others never come twice.
            hottest.note(
                if round % 4 == 0 {
                    round % 8
                } else {
                    1000 + round
                },
                b"key",
            );
            assert!(hottest.0.table.lock().unwrap().places.len() <= 8);
        }
        let found: Vec<u128> = counts(&hottest).iter().map(|(hash, _)| *hash).collect();
        assert!(found.contains(&0) && found.contains(&4), "{found:?}");
    }

    #[test]
    fn later_ones_are_sampled() {
        let hottest = Hottest::new(8);
        for _ in 0..EXACT {
            hottest.note(1, b"key");
        }
        for _ in 0..16_000 {
            hottest.note(2, b"key");
        }
        let found = counts(&hottest);
        assert_eq!(found.len(), 2);
        // One in 16.5 on average.
        assert!((500..2000).contains(&found[1].1), "{found:?}");
    }

    #[test]
    fn steps_of_a_page_do_not_hide_its_parts() {
        let hottest = Hottest::new(64);
        for round in 0..200_000_u128 {
            hottest.note(round % 16, b"key");
        }
        let found = counts(&hottest);
        assert_eq!(found.len(), 16);
        let (least, most) = (
            found.iter().map(|(_, count)| *count).min().unwrap(),
            found.iter().map(|(_, count)| *count).max().unwrap(),
        );
        assert!(most < 2 * least, "{found:?}");
    }
}
