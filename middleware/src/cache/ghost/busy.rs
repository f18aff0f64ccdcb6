//! The keys that most requests are for, which are followed whatever their hash.
//!
//! A key is busy if its share of the requests is such that few keys can have as much. Requests are
//! tallied by a short hash; whoever shares a place with a busy key is followed as well, which costs room
//! and nothing else: why a key is followed has nothing to do with what becomes of its requests.

use std::collections::BTreeMap;

use crate::cache::ghost::table::Record;
use crate::cache::key::KeyHash;

/// See the module.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) records: BTreeMap<KeyHash, Record>,
    /// Keys that may be in `records`.
    most: usize,
    /// Requests by place, halved now and then so that old ones fade.
    tally: Box<[u32]>,
    total: u64,
}

impl Busy {
    pub(super) fn new(most: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            most,
            tally: vec![0; (most * PLACES).next_power_of_two()].into(),
            total: 0,
        }
    }

    /// Counts a request for `key`, and takes it over from `others` when that makes it a busy one. What is
    /// not known of it then is taken for nothing stored, which one answer sets right.
    pub(super) fn note(&mut self, key: KeyHash, others: &mut BTreeMap<KeyHash, Record>) {
        let place = self.place(key);
        self.total += 1;
        let Some(count) = self.tally.get_mut(place) else {
            return;
        };
        *count = count.saturating_add(1);
        let is_busy = self.is_busy(place);
        if is_busy && self.records.len() < self.most && !self.records.contains_key(&key) {
            let known = others.remove(&key).unwrap_or_default();
            self.records.insert(key, known);
        }
        if self.total >= FADE * self.tally.len() as u64 {
            self.fade();
        }
    }

    /// Forgets what is known of all but `others`; they are as busy as they were.
    pub(super) fn forget(&mut self, is_other: impl Fn(&KeyHash) -> bool) {
        let gone = self.records.iter_mut().filter(|(key, _)| !is_other(key));
        gone.for_each(|(_, record)| *record = Record::default());
    }

    /// Whether so large a share of the requests is for a place that at most half of those that fit in
    /// here can have one; and enough of them that one more or less does not matter.
    fn is_busy(&self, place: usize) -> bool {
        let count = self.tally.get(place).copied().map_or(0, u64::from);
        count >= LEAST && count * self.most as u64 >= self.total * 2
    }

    fn fade(&mut self) {
        self.tally.iter_mut().for_each(|count| *count /= 2);
        self.total /= 2;
        let mut records = std::mem::take(&mut self.records);
        records.retain(|key, _| self.is_busy(self.place(*key)));
        self.records = records;
    }

    fn place(&self, key: KeyHash) -> usize {
        // The halves are mixed: one tells whether a key is sampled, the other is shared by variants.
        let mixed = ((key >> 64) as u64 ^ key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (mixed >> 40) & (self.tally.len() as u64 - 1);
        usize::try_from(index).unwrap_or_default()
    }
}

/// Places in the tally for each key that may be busy.
const PLACES: usize = 32;
/// Requests for each place of the tally until it fades.
const FADE: u64 = 16;
/// Requests that make a key busy at least.
const LEAST: u64 = 8;
