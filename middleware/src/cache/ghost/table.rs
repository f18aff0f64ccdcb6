//! The keys that are followed: a fixed number of them, a random part of the keys where there are more.
//!
//! Sampling is spatial, as in SHARDS (Waldspurger et al., "Efficient MRC Construction with SHARDS",
//! FAST 2015): a key is followed if its hash is below a bound, so of a followed key every request is
//! seen, and what is seen of followed keys, times the bound's inverse, stands for all keys without
//! bias. When a shard is full, what can no longer answer anything leaves it; if that is little, its
//! bound is lowered and the keys above leave. A bound that turns out too low is raised again: keys
//! that are new below it are followed at once, and counted when they have been for long enough.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::decide::Candidate;
use crate::cache::freshness::Source;
use crate::cache::ghost::PLANS;
use crate::cache::key::KeyHash;
use crate::cache::storable::Terms;

/// See the module.
#[derive(Debug)]
pub(super) struct Table(Box<[Mutex<Shard>]>);

/// The keys whose last bits are the same.
#[derive(Debug)]
pub(super) struct Shard {
    /// In the order of their hashes' upper halves, by which they are sampled.
    records: BTreeMap<KeyHash, Record>,
    /// Keys that may be in `records`.
    most: usize,
    /// A key is followed if the upper half of its hash is at most this.
    followed: u64,
    /// And counted if it is at most this, which is no more than `followed`.
    counted: u64,
    /// When those between the two have been followed for long enough.
    warm: Duration,
    /// When the bound may be raised next.
    raise: Duration,
}

/// What would be stored under one key, by each plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) fills: [Option<Fill>; PLANS],
    /// Whether a 304 was seen while nothing was stored: the next one makes the cache fetch the whole.
    pub(super) has_confirmed: bool,
}

/// What would be stored: when, for how long, and what it looked like. Times in microseconds since
/// the ghost was made; small, because there are many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    received: u64,
    initial_age: u64,
    lifetime: u64,
    /// Seconds of RFC 5861 §3; none is `u32::MAX`.
    window: u32,
    flags: u8,
    pub(super) sight: Sight,
}

/// What content looked like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// Of status and content; 0 where it was not seen.
    pub(super) hash: u64,
    /// Of the entity tag; 0 where there was none.
    pub(super) tag: u32,
    /// Of `Content-Encoding`: contents in different codings cannot be compared.
    pub(super) coding: u32,
    /// Bytes of content, as far as 32 bits go.
    pub(super) length: u32,
}

/// Whether a copy is what was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    Different,
    /// One of the two was not seen whole, or they are in different codings.
    Unknown,
}

impl Sight {
    pub(super) fn compare(self, fetched: Self) -> Likeness {
        let alike = |same| match same {
            true => Likeness::Same,
            false => Likeness::Different,
        };
        if self.coding == fetched.coding && self.hash != 0 && fetched.hash != 0 {
            alike(self.hash == fetched.hash)
        } else if self.tag != 0 && fetched.tag != 0 && (self.hash == 0 || fetched.hash == 0) {
            alike(self.tag == fetched.tag)
        } else {
            Likeness::Unknown
        }
    }
}

impl Fill {
    pub(super) fn new(received: Duration, terms: &Terms, sight: Sight) -> Self {
        let flag = |is, flag| if is { flag } else { 0 };
        Self {
            received: micros(received),
            initial_age: micros(terms.initial_age),
            lifetime: micros(terms.lifetime),
            window: terms.stale_while_revalidate.map_or(u32::MAX, |window| {
                u32::try_from(window.as_secs())
                    .unwrap_or(u32::MAX)
                    .min(u32::MAX - 1)
            }),
            flags: flag(terms.no_cache, NO_CACHE)
                | flag(terms.must_revalidate, MUST_REVALIDATE)
                | flag(terms.s_maxage, S_MAXAGE)
                | flag(terms.immutable, IMMUTABLE)
                | flag(terms.source == Source::Heuristic, HEURISTIC),
            sight,
        }
    }

    pub(super) fn received(&self) -> Duration {
        Duration::from_micros(self.received)
    }

    /// What the rules look at, at a moment.
    pub(super) fn candidate(&self, at: Duration) -> Candidate {
        let has = |flag| self.flags & flag != 0;
        let window = (self.window != u32::MAX).then(|| Duration::from_secs(self.window.into()));
        let resident = micros(at).saturating_sub(self.received);
        Candidate {
            terms: Terms {
                lifetime: Duration::from_micros(self.lifetime),
                source: match has(HEURISTIC) {
                    true => Source::Heuristic,
                    false => Source::MaxAge,
                },
                initial_age: Duration::from_micros(self.initial_age),
                no_cache: has(NO_CACHE),
                must_revalidate: has(MUST_REVALIDATE),
                s_maxage: has(S_MAXAGE),
                immutable: has(IMMUTABLE),
                stale_while_revalidate: window,
                stale_if_error: None,
            },
            age: Duration::from_micros(self.initial_age.saturating_add(resident)),
            is_purged: false,
        }
    }

    /// Whether it may still answer anything, the route's own window for stale answers included.
    fn is_alive(&self, at: Duration) -> bool {
        let resident = micros(at).saturating_sub(self.received);
        let age = self.initial_age.saturating_add(resident);
        let window = match self.window {
            u32::MAX => LONGEST_WINDOW,
            seconds => u64::from(seconds) * 1_000_000,
        };
        age < self.lifetime.saturating_add(window)
    }

    pub(super) fn is_fresh(&self, at: Duration) -> bool {
        self.candidate(at).is_fresh() && self.flags & NO_CACHE == 0
    }
}

impl Table {
    pub(super) fn new(keys: usize) -> Self {
        let most = (keys / SHARDS).max(8);
        let shard = || {
            Mutex::new(Shard {
                records: BTreeMap::new(),
                most,
                followed: u64::MAX,
                counted: u64::MAX,
                warm: Duration::ZERO,
                raise: Duration::ZERO,
            })
        };
        Self((0..SHARDS).map(|_| shard()).collect())
    }

    /// The shard of `key`, which shares its last 64 bits with all keys of one URL.
    pub(super) fn shard(&self, key: KeyHash) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(key & (SHARDS as u128 - 1)).unwrap_or_default();
        let shard = self.0.get(index).expect("the index is below their number");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what has the last 64 bits of `key`: all variants of one URL.
    pub(super) fn forget(&self, key: KeyHash) {
        let mut shard = self.shard(key);
        if !shard.records.is_empty() {
            shard.records.retain(|other, _| *other as u64 != key as u64);
        }
    }

    pub(super) fn forget_all(&self) {
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.records.clear();
        }
    }

    /// All shards, one after the other.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Shard)) {
        for shard in &self.0 {
            look(&shard.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Shard {
    /// How many keys a counted one stands for; `None` if `key` is not counted (yet).
    pub(super) fn weight(&self, key: KeyHash) -> Option<f64> {
        (place(key) <= self.counted).then(|| weight(self.counted))
    }

    pub(super) fn is_followed(&self, key: KeyHash) -> bool {
        place(key) <= self.followed
    }

    pub(super) fn record(&self, key: KeyHash) -> Option<&Record> {
        self.records.get(&key)
    }

    /// Keeps `record`, if there is, or can be made, room for its key.
    pub(super) fn put(&mut self, key: KeyHash, record: Record, now: Duration) {
        if let Some(place) = self.records.get_mut(&key) {
            *place = record;
            return;
        }
        self.widen(now);
        if self.records.len() >= self.most {
            self.make_room(now);
        }
        if self.is_followed(key) {
            self.records.insert(key, record);
        }
    }

    /// Of all keys, those that are counted.
    pub(super) fn part(&self) -> f64 {
        1.0 / weight(self.counted)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&KeyHash, &Record)> {
        self.records.iter()
    }

    /// At most an eighth is looked at in vain for each key that comes.
    fn make_room(&mut self, now: Duration) {
        self.sweep(now);
        let few = self.most - self.most / 8;
        if self.records.len() <= few {
            return;
        }
        let bound = self.records.keys().nth(few).copied();
        if let Some(bound) = bound {
            self.records.split_off(&bound);
            self.followed = place(bound).saturating_sub(1);
            self.counted = self.counted.min(self.followed);
            // Not at once again: a burst of keys would make it swing.
            self.raise = now.saturating_add(WARM);
        }
    }

    /// What cannot answer anything is as good as not there.
    fn sweep(&mut self, now: Duration) {
        self.records
            .retain(|_, record| record.has_confirmed || record.is_alive(now));
        if self.records.len() >= self.most {
            // Marks of 304s alone may fill it as well.
            self.records.retain(|_, record| record.is_alive(now));
        }
    }

    /// Raises a bound that is lower than it need be.
    fn widen(&mut self, now: Duration) {
        if self.counted < self.followed && now >= self.warm {
            self.counted = self.followed;
        }
        if self.followed == u64::MAX || now < self.raise {
            return;
        }
        self.raise = now.saturating_add(WARM);
        self.sweep(now);
        if self.records.len() <= self.most / 4 {
            self.followed = self.followed.saturating_mul(2).saturating_add(1);
            self.warm = now.saturating_add(WARM);
        }
    }
}

impl Record {
    fn is_alive(&self, now: Duration) -> bool {
        self.fills.iter().flatten().any(|fill| fill.is_alive(now))
    }
}

fn place(key: KeyHash) -> u64 {
    (key >> 64) as u64
}

fn weight(bound: u64) -> f64 {
    let all = 2_f64.powi(64);
    all / (bound as f64 + 1.0).min(all)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const NO_CACHE: u8 = 1;
const MUST_REVALIDATE: u8 = 2;
const S_MAXAGE: u8 = 4;
const IMMUTABLE: u8 = 8;
const HEURISTIC: u8 = 16;
/// So that cores seldom wait for each other. A power of two.
const SHARDS: usize = 8;
/// As long as the longest lifetime that is tried: what was stored before that is stale.
const WARM: Duration = Duration::from_secs(300);
/// In microseconds. A route's own window for stale answers is not known here; who has a longer one sees
/// fewer of them predicted, once the table is full.
const LONGEST_WINDOW: u64 = 300_000_000;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
