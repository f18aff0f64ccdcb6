//! The keys that are followed: a fixed number of them, a random part of the keys where there are more.
//!
//! Sampling is spatial, as in SHARDS (Waldspurger et al., "Efficient MRC Construction with SHARDS",
//! FAST 2015): a key is followed if its hash is below a bound, so of a followed key every request is
//! seen, and what is seen of followed keys, times the bound's inverse, stands for all keys without
//! bias. When a shard is full, what can no longer answer anything leaves it; if that is little, its
//! bound is lowered and the keys above leave. A bound that turns out too low is raised again: keys
//! that are new below it are followed at once, and counted when they have been for long enough.
//!
//! The few keys that most requests are for would make such an estimate swing, as they are in the sample
//! or not. So they are followed whatever their hash, and stand for themselves alone ([`Busy`]).

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::decide::Candidate;
use crate::cache::freshness::Source;
use crate::cache::ghost::PLANS;
use crate::cache::ghost::busy::Busy;
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
    /// `None` as long as all keys are followed.
    busy: Option<Busy>,
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
    /// Milliseconds of RFC 5861 §3.
    window: u32,
    /// Never 0, so that the absence of a fill takes no room of its own.
    flags: NonZeroU8,
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
    /// `terms` of an answer that came at `received`, which may be served stale for `window`.
    pub(super) fn new(received: Duration, terms: &Terms, window: Duration, sight: Sight) -> Self {
        let flag = |is, flag| if is { flag } else { 0 };
        Self {
            received: micros(received),
            initial_age: micros(terms.initial_age),
            lifetime: micros(terms.lifetime),
            window: u32::try_from(window.as_millis()).unwrap_or(u32::MAX),
            flags: NonZeroU8::MIN
                | flag(terms.no_cache, NO_CACHE)
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
        let has = |flag| self.flags.get() & flag != 0;
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
                stale_while_revalidate: Some(Duration::from_millis(self.window.into())),
                stale_if_error: None,
            },
            age: Duration::from_micros(self.initial_age.saturating_add(resident)),
            is_purged: false,
            is_outdated: false,
        }
    }

    /// Whether it may still answer anything.
    fn is_alive(&self, at: Duration) -> bool {
        let resident = micros(at).saturating_sub(self.received);
        let age = self.initial_age.saturating_add(resident);
        let window = u64::from(self.window).saturating_mul(1000);
        age < self.lifetime.saturating_add(window)
    }

    pub(super) fn is_fresh(&self, at: Duration) -> bool {
        self.candidate(at).is_fresh() && self.flags.get() & NO_CACHE == 0
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
                busy: None,
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
        let is_other = |other: &KeyHash| *other as u64 != key as u64;
        shard.records.retain(|other, _| is_other(other));
        if let Some(busy) = &mut shard.busy {
            busy.forget(is_other);
        }
    }

    pub(super) fn forget_all(&self) {
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.records.clear();
            if let Some(busy) = &mut shard.busy {
                busy.forget(|_| false);
            }
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
    /// Notes a request for `key`: to be called once for each.
    pub(super) fn note(&mut self, key: KeyHash) {
        if let Some(busy) = &mut self.busy {
            busy.note(key, &mut self.records);
        }
    }

    /// How many keys a counted one stands for; `None` if `key` is not counted (yet).
    pub(super) fn weight(&self, key: KeyHash) -> Option<f64> {
        if self.is_busy(key) {
            return Some(1.0);
        }
        (place(key) <= self.counted).then(|| weight(self.counted))
    }

    pub(super) fn is_followed(&self, key: KeyHash) -> bool {
        self.is_busy(key) || place(key) <= self.followed
    }

    fn is_busy(&self, key: KeyHash) -> bool {
        let busy = self.busy.as_ref();
        busy.is_some_and(|busy| busy.records.contains_key(&key))
    }

    pub(super) fn record(&self, key: KeyHash) -> Option<&Record> {
        let busy = self.busy.as_ref();
        let busy = busy.and_then(|busy| busy.records.get(&key));
        busy.or_else(|| self.records.get(&key))
    }

    /// Whether anything is known of the same URL; looks at all of them, so for `explain` alone.
    pub(super) fn has_variants(&self, key: KeyHash) -> bool {
        self.records().any(|(other, _)| *other as u64 == key as u64)
    }

    /// Keeps `record`, if there is, or can be made, room for its key.
    pub(super) fn put(&mut self, key: KeyHash, record: Record, now: Duration) {
        let busy = self.busy.as_mut();
        let busy = busy.and_then(|busy| busy.records.get_mut(&key));
        if let Some(place) = busy.or_else(|| self.records.get_mut(&key)) {
            *place = record;
            return;
        }
        self.widen(now);
        if self.len() >= self.most {
            self.make_room(now);
        }
        if place(key) <= self.followed {
            self.records.insert(key, record);
        }
    }

    /// Of all keys, those that are counted.
    pub(super) fn part(&self) -> f64 {
        1.0 / weight(self.counted)
    }

    /// Keys that take room.
    pub(super) fn len(&self) -> usize {
        let busy = self.busy.as_ref().map_or(0, |busy| busy.records.len());
        self.records.len() + busy
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&KeyHash, &Record)> {
        let busy = self.busy.iter().flat_map(|busy| busy.records.iter());
        self.records.iter().chain(busy)
    }

    /// At most an eighth is looked at in vain for each key that comes.
    fn make_room(&mut self, now: Duration) {
        self.sweep(now);
        if self.len() <= self.most - self.most / 8 {
            return;
        }
        let few = self.records.len() * 7 / 8;
        if let Some(bound) = self.records.keys().nth(few).copied() {
            self.records.split_off(&bound);
            self.followed = place(bound).saturating_sub(1);
            self.counted = self.counted.min(self.followed);
            // Not at once again: a burst of keys would make it swing.
            self.raise = now.saturating_add(WARM);
        }
        self.busy.get_or_insert_with(|| Busy::new(self.most / 3));
    }

    /// What cannot answer anything is as good as not there.
    fn sweep(&mut self, now: Duration) {
        self.records
            .retain(|_, record| record.has_confirmed || record.is_alive(now));
        if self.len() >= self.most {
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
        if self.len() <= self.most / 4 {
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

const NO_CACHE: u8 = 2;
const MUST_REVALIDATE: u8 = 4;
const S_MAXAGE: u8 = 8;
const IMMUTABLE: u8 = 16;
const HEURISTIC: u8 = 32;
/// So that cores seldom wait for each other. A power of two.
const SHARDS: usize = 8;
/// As long as the longest lifetime that is tried: what was stored before that is stale.
const WARM: Duration = Duration::from_secs(300);

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
