//! The tier in memory: stored responses by key, bounded by the bytes that they really hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use moka::notification::RemovalCause;

use crate::cache::invalidate::Sequence;
use crate::cache::key::{CacheKey, KeyHash};
use crate::cache::reason::Reason;
use crate::cache::store::entry::{AnchorLink, Content, Entry, Leaving};
use crate::cache::store::pass_through::PassThrough;
use crate::cache::store::writing::Writing;
use crate::cache::stored::StoredResponse;
use crate::cache::tags::NameHash;
use crate::cache::write_down::Writer;
use crate::content_coding::Coding;
use crate::metrics::{Event, Metrics};

pub(crate) use crate::cache::store::entry::Variants;

/// What a lookup found.
#[derive(Debug)]
pub(crate) enum Lookup {
    Nothing,
    /// These, none for this request's values of the nominated fields.
    OtherVariant(Variants),
    Stored {
        stored: Arc<StoredResponse>,
        /// Whether a soft purge has marked it stale.
        is_purged: bool,
        /// Why it was chosen, where that is not by its key and what the request says.
        chosen_by: Option<Reason>,
        /// How many are stored under the key.
        variants: usize,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    /// Made when something is asked for first: whether somebody is to be told what leaves is known by then.
    entries: OnceLock<Entries>,
    /// In bytes.
    budget: u64,
    metrics: Metrics,
    leaving: Arc<Leaving>,
    anchors: AtomicU64,
    /// Taken by whoever changes what lies under a key.
    writing: Writing,
    /// Where what leaves for want of room may go; empty where there is no such place.
    below: OnceLock<Writer>,
}

type Entries = moka::sync::Cache<KeyHash, Arc<Entry>, PassThrough>;

/// Numbers about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreFigures {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) budget: u64,
    pub(crate) evicted: u64,
    pub(crate) purged: u64,
}

impl MemoryStore {
    /// An empty store of at most `budget` bytes, which counts into `metrics`.
    pub(crate) fn new(budget: u64, metrics: &Metrics) -> Self {
        Self {
            entries: OnceLock::new(),
            budget,
            metrics: metrics.clone(),
            leaving: Arc::new(Leaving::new(metrics)),
            anchors: AtomicU64::new(0),
            writing: Writing::new(),
            below: OnceLock::new(),
        }
    }

    /// Has what leaves for want of room told to `writer`. Of effect once.
    ///
    /// # Panics
    /// If the store was in use already.
    pub(crate) fn pass_evicted_to(&self, writer: Writer) {
        assert!(self.entries.get().is_none(), "it is told before it is used");
        // Set before the cache is shared, so there is none yet.
        drop(self.below.set(writer));
    }

    /// A listener costs every change two locks that moka makes for it, so there is one only where what
    /// leaves is not lost.
    fn entries(&self) -> &Entries {
        self.entries.get_or_init(|| {
            let entries = moka::sync::Cache::builder()
                .max_capacity(self.budget)
                .weigher(|_, entry: &Arc<Entry>| entry.weigh());
            let entries = match self.below.get().cloned() {
                Some(writer) => entries.eviction_listener(move |_, entry: Arc<Entry>, cause| {
                    if cause == RemovalCause::Size {
                        let responses = entry.responses().iter();
                        responses.for_each(|stored| writer.evicted(&entry.key, stored));
                    }
                }),
                None => entries,
            };
            entries.build_with_hasher(PassThrough::default())
        })
    }

    /// What it may hold, in bytes.
    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// What is stored under `key` (whose hash is `hash`) for a request with these fields.
    pub(crate) fn lookup(&self, hash: KeyHash, key: &[u8], request: &HeaderMap) -> Lookup {
        let Some((entry, purged)) = self.valid(hash, key) else {
            return Lookup::Nothing;
        };
        let responses = entry.responses();
        let same = |stored: &&Arc<StoredResponse>| stored.answers(request);
        let by_language = |stored: &&Arc<StoredResponse>| {
            let language = stored.language();
            language.is_some_and(|own| stored.selection().matches_by_language(request, own))
        };
        let mut chosen_by = None;
        let found = responses.iter().find(same).or_else(|| {
            chosen_by = Some(Reason::ContentLanguage);
            responses.iter().find(by_language)
        });
        match (found, &entry.content) {
            (Some(stored), _) => Lookup::Stored {
                stored: stored.clone(),
                is_purged: stored.born < purged,
                chosen_by,
                variants: responses.len(),
            },
            (None, Content::Responses(responses)) => Lookup::OtherVariant(responses.0.clone()),
            (None, Content::Response(only)) => Lookup::OtherVariant(Arc::new([only.clone()])),
            (None, Content::Anchor(_)) => Lookup::Nothing,
        }
    }

    /// The entry of `key`, unless it was purged together with its URL; and since when what it has is stale.
    fn valid(&self, hash: KeyHash, key: &[u8]) -> Option<(Arc<Entry>, Sequence)> {
        let entry = self.entries().get(&hash)?;
        if *entry.key != *key {
            return None;
        }
        let Some(link) = entry.anchor.as_deref() else {
            let purged = entry.purged;
            return Some((entry, purged));
        };
        let anchor = self.entries().get(&link.key)?;
        let is_anchored = matches!(anchor.content, Content::Anchor(id) if id == link.id);
        let purged = entry.purged.max(anchor.purged);
        is_anchored.then_some((entry, purged))
    }

    /// Stores `stored`, in place of `replaced` and of whatever answers the same requests. `anchor` is
    /// the key of its URL, where that has many keys.
    pub(crate) fn put(
        &self,
        key: &CacheKey,
        anchor: Option<&CacheKey>,
        stored: &Arc<StoredResponse>,
        replaced: Option<&Arc<StoredResponse>>,
        most: usize,
    ) {
        self.put_if(|_| true, key, anchor, stored, replaced, most);
    }

    /// Stores `stored`, which a validation made of `old`: in its place, or beside it where it answers
    /// other requests. `false`, and nothing changes, if `old` is not stored any more.
    pub(crate) fn freshen(
        &self,
        key: &CacheKey,
        anchor: Option<&CacheKey>,
        stored: &Arc<StoredResponse>,
        old: &Arc<StoredResponse>,
        most: usize,
    ) -> bool {
        let is_there = |responses: &[Arc<StoredResponse>]| {
            responses.iter().any(|stored| Arc::ptr_eq(stored, old))
        };
        let replaced = (stored.selection() == old.selection()).then_some(old);
        self.put_if(is_there, key, anchor, stored, replaced, most)
    }

    fn put_if(
        &self,
        may: impl Fn(&[Arc<StoredResponse>]) -> bool,
        key: &CacheKey,
        anchor: Option<&CacheKey>,
        stored: &Arc<StoredResponse>,
        replaced: Option<&Arc<StoredResponse>>,
        most: usize,
    ) -> bool {
        let anchor = anchor.map(|anchor| self.anchored(anchor));
        let _writing = self.writing.at(key.hash);
        // That this counts as a use is part of what is admitted for its frequency.
        let there = self.entries().get(&key.hash);
        let is_same =
            |old: &&Arc<Entry>| old.key == key.bytes && old.anchor.as_deref() == anchor.as_ref();
        let old = there.as_ref().filter(is_same);
        if !may(old.map_or(&[], |old| old.responses())) {
            return false;
        }
        let is_replaced = |old: &Arc<StoredResponse>| {
            old.selection() == stored.selection()
                || replaced.is_some_and(|replaced| Arc::ptr_eq(old, replaced))
        };
        let (content, purged) = match old {
            None => (Content::Response(stored.clone()), Sequence::default()),
            Some(old) => {
                let kept = old.responses().iter();
                let count = kept.clone().filter(|old| is_replaced(old)).count();
                self.metrics.add(Event::EvictedReplaced, count as u64);
                let responses = std::iter::once(stored)
                    .chain(kept.filter(|old| !is_replaced(old)))
                    .take(most.max(1))
                    .cloned();
                (Content::of(responses.collect()), old.purged)
            }
        };
        let anchor = anchor.map(Box::new);
        let entry = Entry::new(key.bytes.clone(), content, anchor, purged, &self.leaving);
        self.replace(key.hash, there.as_deref(), entry);
        true
    }

    /// Puts `entry` where `old` is, if anything is there.
    fn replace(&self, key: KeyHash, old: Option<&Entry>, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.entries().insert(key, entry.clone());
        if let Some(old) = old {
            old.note_replaced();
        }
        entry
    }

    /// A link to the anchor `key`, which is made if it is not there.
    fn anchored(&self, key: &CacheKey) -> AnchorLink {
        let is_ours = |entry: &Entry| entry.key == key.bytes;
        let anchor = match self.entries().get(&key.hash).filter(|entry| is_ours(entry)) {
            Some(anchor) => anchor,
            None => {
                let _writing = self.writing.at(key.hash);
                let there = self.entries().get(&key.hash);
                there
                    .clone()
                    .filter(|entry| is_ours(entry))
                    .unwrap_or_else(|| {
                        let id = self.anchors.fetch_add(1, Ordering::Relaxed);
                        let (content, purged) = (Content::Anchor(id), Sequence::default());
                        let made =
                            Entry::new(key.bytes.clone(), content, None, purged, &self.leaving);
                        self.replace(key.hash, there.as_deref(), made)
                    })
            }
        };
        let id = match anchor.content {
            Content::Anchor(id) => id,
            Content::Response(_) | Content::Responses(_) => u64::MAX,
        };
        AnchorLink { key: key.hash, id }
    }

    /// Adds a coded copy to whatever is stored with the same content, and weighs it anew: that, and its
    /// key. Nothing happens, and nothing comes back, if that is gone.
    pub(crate) fn keep_coded(
        &self,
        of: &StoredResponse,
        coding: Coding,
        content: Bytes,
    ) -> Option<(Box<[u8]>, Arc<StoredResponse>)> {
        let _writing = self.writing.at(of.key);
        let old = self.entries().get(&of.key)?;
        let mut responses = old.responses().iter();
        let stored = responses.find(|stored| stored.shares_copies(of))?.clone();
        if !of.add_coded(coding, content) {
            return None;
        }
        let entry = old.again(old.content.clone(), old.purged);
        self.replace(of.key, Some(&old), entry);
        Some((old.key.clone(), stored))
    }

    /// The key that `stored` lies under, if it does.
    pub(crate) fn key_of(&self, stored: &StoredResponse) -> Option<Box<[u8]>> {
        let entry = self.entries().get(&stored.key)?;
        let mut responses = entry.responses().iter();
        let is_there = responses.any(|one| std::ptr::eq(&**one, stored));
        is_there.then(|| entry.key.clone())
    }

    /// Removes one response; `false` if it is not stored any more.
    pub(crate) fn remove_one(&self, gone: &Arc<StoredResponse>) -> bool {
        let _writing = self.writing.at(gone.key);
        let Some(old) = self.entries().get(&gone.key) else {
            return false;
        };
        let responses = old.responses().iter();
        let left: Vec<_> = responses
            .filter(|stored| !Arc::ptr_eq(stored, gone))
            .cloned()
            .collect();
        let was_there = left.len() < old.responses().len();
        if was_there && left.is_empty() {
            self.entries().invalidate(&gone.key);
            old.note_removed();
        } else if was_there {
            let entry = old.again(Content::of(left), old.purged);
            self.replace(gone.key, Some(&old), entry);
        }
        was_there
    }

    /// Removes what is stored under `key`: how many responses that were, as far as it is known.
    pub(crate) fn remove(&self, key: KeyHash) -> usize {
        let _writing = self.writing.at(key);
        match self.entries().remove(&key) {
            None => 0,
            Some(entry) => {
                entry.note_removed();
                entry.responses().len().max(1)
            }
        }
    }

    /// Adds the groups (RFC 9875) of what is stored under `key` to `groups`.
    pub(crate) fn groups(&self, key: KeyHash, groups: &mut Vec<NameHash>) {
        if let Some(entry) = self.entries().get(&key) {
            let responses = entry.responses().iter();
            groups.extend(responses.flat_map(|stored| stored.tags().groups()));
        }
    }

    /// Marks what is stored under `key`, and was born before `purged`, as stale.
    pub(crate) fn mark_stale(&self, key: KeyHash, purged: Sequence) -> usize {
        let _writing = self.writing.at(key);
        let Some(old) = self.entries().get(&key) else {
            return 0;
        };
        let entry = old.again(old.content.clone(), purged);
        self.replace(key, Some(&old), entry);
        old.responses().len().max(1)
    }

    /// Removes everything and gives the memory back.
    pub(crate) fn remove_all(&self) -> usize {
        self.entries().run_pending_tasks();
        let count = self.entries().entry_count();
        // Before they go; what comes in between is counted as evicted.
        self.entries()
            .iter()
            .for_each(|(_, entry)| entry.note_removed());
        self.entries().invalidate_all();
        // Maintenance works in batches; each call does one.
        for _ in 0..=count / 64 {
            self.entries().run_pending_tasks();
            if self.entries().entry_count() == 0 {
                break;
            }
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(crate) fn figures(&self) -> StoreFigures {
        let entries = self.entries.get();
        StoreFigures {
            entries: entries.map_or(0, Entries::entry_count),
            bytes: entries.map_or(0, Entries::weighted_size),
            budget: self.budget(),
            evicted: self.metrics.total(Event::EvictedForSpace),
            purged: self.metrics.total(Event::EvictedPurged),
        }
    }

    /// Shows everything that is stored and was not purged with its URL: the hash of the key that its
    /// URL is purged by, its key and the responses there. Walks through all of it: for people only.
    pub(crate) fn visit(&self, mut visit: impl FnMut(KeyHash, &[u8], &[Arc<StoredResponse>])) {
        for (hash, entry) in self.entries() {
            if !entry.responses().is_empty() && self.valid(*hash, &entry.key).is_some() {
                let of_url = entry.anchor.as_ref().map_or(*hash, |link| link.key);
                visit(of_url, &entry.key, entry.responses());
            }
        }
    }

    /// Brings [`figures`](Self::figures) up to date: moka counts with a delay.
    pub(crate) fn settle(&self) {
        if let Some(entries) = self.entries.get() {
            entries.run_pending_tasks();
        }
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.leaving.end();
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
