//! The tier in memory: stored responses by key, bounded by the bytes that they really hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use moka::notification::RemovalCause;

use crate::cache::invalidate::Sequence;
use crate::cache::key::{CacheKey, KeyHash};
use crate::cache::reason::Reason;
use crate::cache::store::pass_through::PassThrough;
use crate::cache::store::writing::Writing;
use crate::cache::stored::{COUNTS, StoredResponse, block};
use crate::cache::tags::NameHash;
use crate::cache::write_down::Writer;
use crate::content_coding::Coding;
use crate::metrics::{Event, Metrics};

/// All that is stored under one key: up to `variants` responses, told apart by `Vary`. One lookup
/// finds identity content, variants and coded copies.
#[derive(Debug)]
struct Entry {
    /// Compared on every hit: two keys may have one hash.
    key: Box<[u8]>,
    content: Content,
    /// Where the URL has many keys: what must still be there for this one to be valid.
    anchor: Option<Box<AnchorLink>>,
    /// What was born before this is stale by a soft purge.
    purged: Sequence,
}

/// The responses under one key, latest first.
pub(crate) type Variants = Arc<[Arc<StoredResponse>]>;

#[derive(Clone, Debug)]
enum Content {
    /// Nearly always there is one, and no list.
    Response(Arc<StoredResponse>),
    /// Latest first.
    Responses(Box<List>),
    /// Stands for a URL that has many keys (by configured fields and cookies). Removing it makes all
    /// of them invalid at once, without knowing them; if it is evicted, they are purged for nothing,
    /// never kept wrongly.
    Anchor(u64),
}

/// In a box, so that an entry of one response need not be as large as one of many.
#[derive(Clone, Debug)]
struct List(Variants);

impl Content {
    /// `responses`, of which there is at least one.
    fn of(responses: Vec<Arc<StoredResponse>>) -> Self {
        match <[_; 1]>::try_from(responses) {
            Ok([only]) => Self::Response(only),
            Err(responses) => Self::Responses(Box::new(List(responses.into()))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AnchorLink {
    key: KeyHash,
    id: u64,
}

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
    entries: moka::sync::Cache<KeyHash, Arc<Entry>, PassThrough>,
    /// Where what leaves is counted, by cause; written by moka's listener.
    metrics: Metrics,
    anchors: AtomicU64,
    /// Taken by whoever changes what lies under a key.
    writing: Writing,
    /// Where what leaves for want of room may go; empty where there is no such place.
    below: Arc<OnceLock<Writer>>,
}

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
        let (counted, below) = (metrics.clone(), Arc::<OnceLock<Writer>>::default());
        let evicted = below.clone();
        let entries = moka::sync::Cache::builder()
            .max_capacity(budget)
            .weigher(|_, entry: &Arc<Entry>| entry.weigh())
            .eviction_listener(move |_, entry: Arc<Entry>, cause| {
                count_removed(&counted, cause);
                if let (RemovalCause::Size, Some(writer)) = (cause, evicted.get()) {
                    let responses = entry.responses().iter();
                    responses.for_each(|stored| writer.evicted(&entry.key, stored));
                }
            })
            .build_with_hasher(PassThrough::default());
        Self {
            entries,
            metrics: metrics.clone(),
            anchors: AtomicU64::new(0),
            writing: Writing::new(),
            below,
        }
    }

    /// Has what leaves for want of room told to `writer`. Of effect once.
    pub(crate) fn pass_evicted_to(&self, writer: Writer) {
        // Set before the cache is shared, so there is none yet.
        drop(self.below.set(writer));
    }

    /// What it may hold, in bytes.
    pub(crate) fn budget(&self) -> u64 {
        self.entries.policy().max_capacity().unwrap_or(u64::MAX)
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
        let entry = self.entries.get(&hash)?;
        if *entry.key != *key {
            return None;
        }
        let Some(link) = entry.anchor.as_deref() else {
            let purged = entry.purged;
            return Some((entry, purged));
        };
        let anchor = self.entries.get(&link.key)?;
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
        let old = self.entries.get(&key.hash);
        let old =
            old.filter(|old| old.key == key.bytes && old.anchor.as_deref() == anchor.as_ref());
        if !may(old.as_ref().map_or(&[], |old| old.responses())) {
            return false;
        }
        let is_replaced = |old: &Arc<StoredResponse>| {
            old.selection() == stored.selection()
                || replaced.is_some_and(|replaced| Arc::ptr_eq(old, replaced))
        };
        let (content, purged) = match &old {
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
        let entry = Entry::new(key.bytes.clone(), content, anchor, purged);
        self.entries.insert(key.hash, Arc::new(entry));
        true
    }

    /// A link to the anchor `key`, which is made if it is not there.
    fn anchored(&self, key: &CacheKey) -> AnchorLink {
        let is_ours = |entry: &Entry| entry.key == key.bytes;
        let anchor = match self.entries.get(&key.hash).filter(|entry| is_ours(entry)) {
            Some(anchor) => anchor,
            None => {
                let _writing = self.writing.at(key.hash);
                let there = self.entries.get(&key.hash);
                there.filter(|entry| is_ours(entry)).unwrap_or_else(|| {
                    let id = self.anchors.fetch_add(1, Ordering::Relaxed);
                    let (content, purged) = (Content::Anchor(id), Sequence::default());
                    let made = Arc::new(Entry::new(key.bytes.clone(), content, None, purged));
                    self.entries.insert(key.hash, made.clone());
                    made
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
        let old = self.entries.get(&of.key)?;
        let mut responses = old.responses().iter();
        let stored = responses.find(|stored| stored.shares_copies(of))?.clone();
        if !of.add_coded(coding, content) {
            return None;
        }
        let entry = old.again(old.content.clone(), old.purged);
        self.entries.insert(of.key, Arc::new(entry));
        Some((old.key.clone(), stored))
    }

    /// The key that `stored` lies under, if it does.
    pub(crate) fn key_of(&self, stored: &StoredResponse) -> Option<Box<[u8]>> {
        let entry = self.entries.get(&stored.key)?;
        let mut responses = entry.responses().iter();
        let is_there = responses.any(|one| std::ptr::eq(&**one, stored));
        is_there.then(|| entry.key.clone())
    }

    /// Removes one response; `false` if it is not stored any more.
    pub(crate) fn remove_one(&self, gone: &Arc<StoredResponse>) -> bool {
        let _writing = self.writing.at(gone.key);
        let Some(old) = self.entries.get(&gone.key) else {
            return false;
        };
        let responses = old.responses().iter();
        let left: Vec<_> = responses
            .filter(|stored| !Arc::ptr_eq(stored, gone))
            .cloned()
            .collect();
        let was_there = left.len() < old.responses().len();
        if was_there && left.is_empty() {
            self.entries.invalidate(&gone.key);
        } else if was_there {
            let entry = old.again(Content::of(left), old.purged);
            self.entries.insert(gone.key, Arc::new(entry));
        }
        was_there
    }

    /// Removes what is stored under `key`: how many responses that were, as far as it is known.
    pub(crate) fn remove(&self, key: KeyHash) -> usize {
        let _writing = self.writing.at(key);
        match self.entries.remove(&key) {
            None => 0,
            Some(entry) => entry.responses().len().max(1),
        }
    }

    /// Adds the groups (RFC 9875) of what is stored under `key` to `groups`.
    pub(crate) fn groups(&self, key: KeyHash, groups: &mut Vec<NameHash>) {
        if let Some(entry) = self.entries.get(&key) {
            let responses = entry.responses().iter();
            groups.extend(responses.flat_map(|stored| stored.tags().groups()));
        }
    }

    /// Marks what is stored under `key`, and was born before `purged`, as stale.
    pub(crate) fn mark_stale(&self, key: KeyHash, purged: Sequence) -> usize {
        let _writing = self.writing.at(key);
        let Some(old) = self.entries.get(&key) else {
            return 0;
        };
        let entry = old.again(old.content.clone(), purged);
        self.entries.insert(key, Arc::new(entry));
        old.responses().len().max(1)
    }

    /// Removes everything and gives the memory back.
    pub(crate) fn remove_all(&self) -> usize {
        self.entries.run_pending_tasks();
        let count = self.entries.entry_count();
        self.entries.invalidate_all();
        // Maintenance works in batches; each call does one.
        for _ in 0..=count / 64 {
            self.entries.run_pending_tasks();
            if self.entries.entry_count() == 0 {
                break;
            }
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(crate) fn figures(&self) -> StoreFigures {
        StoreFigures {
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
            budget: self.budget(),
            evicted: self.metrics.total(Event::EvictedForSpace),
            purged: self.metrics.total(Event::EvictedPurged),
        }
    }

    /// Shows everything that is stored and was not purged with its URL: the hash of the key that its
    /// URL is purged by, its key and the responses there. Walks through all of it: for people only.
    pub(crate) fn visit(&self, mut visit: impl FnMut(KeyHash, &[u8], &[Arc<StoredResponse>])) {
        for (hash, entry) in &self.entries {
            if !entry.responses().is_empty() && self.valid(*hash, &entry.key).is_some() {
                let of_url = entry.anchor.as_ref().map_or(*hash, |link| link.key);
                visit(of_url, &entry.key, entry.responses());
            }
        }
    }

    /// Brings [`figures`](Self::figures) up to date: moka counts with a delay.
    pub(crate) fn settle(&self) {
        self.entries.run_pending_tasks();
    }
}

impl Entry {
    fn new(
        key: Box<[u8]>,
        content: Content,
        anchor: Option<Box<AnchorLink>>,
        purged: Sequence,
    ) -> Self {
        Self {
            key,
            content,
            anchor,
            purged,
        }
    }

    /// The same entry with other content.
    fn again(&self, content: Content, purged: Sequence) -> Self {
        Self::new(self.key.clone(), content, self.anchor.clone(), purged)
    }

    fn responses(&self) -> &[Arc<StoredResponse>] {
        match &self.content {
            Content::Response(only) => std::slice::from_ref(only),
            Content::Responses(list) => &list.0,
            Content::Anchor(_) => &[],
        }
    }

    fn weigh(&self) -> u32 {
        let responses = self.responses();
        let list = match &self.content {
            Content::Responses(list) => {
                block(size_of::<List>()) + block(COUNTS + size_of_val(&*list.0))
            }
            Content::Response(_) | Content::Anchor(_) => 0,
        };
        let link = self
            .anchor
            .as_ref()
            .map_or(0, |_| block(size_of::<AnchorLink>()));
        let stored: usize = responses.iter().map(|stored| stored.weight()).sum();
        let weight =
            NODE + block(size_of::<Self>() + COUNTS) + block(self.key.len()) + list + link + stored;
        u32::try_from(weight).unwrap_or(u32::MAX)
    }
}

fn count_removed(metrics: &Metrics, cause: RemovalCause) {
    match cause {
        RemovalCause::Size | RemovalCause::Expired => metrics.count(Event::EvictedForSpace),
        RemovalCause::Explicit => metrics.count(Event::EvictedPurged),
        // An entry takes its own place whenever something about it changes; where a response does,
        // `put` counts it.
        RemovalCause::Replaced => {}
    }
}

/// What moka itself holds for an entry: bucket, key, counters and places in its two queues;
/// measured as resident memory against accounted bytes.
const NODE: usize = 320;

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
