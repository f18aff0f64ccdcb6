//! What lies under one key in memory, and how it is seen that it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::stored::{COUNTS, StoredResponse, block};
use crate::metrics::{Event, Metrics};

/// All that is stored under one key: up to `variants` responses, told apart by `Vary`. One lookup
/// finds identity content, variants and coded copies.
#[derive(Debug)]
pub(super) struct Entry {
    /// Compared on every hit: two keys may have one hash.
    pub(super) key: Box<[u8]>,
    pub(super) content: Content,
    /// Where the URL has many keys: what must still be there for this one to be valid.
    pub(super) anchor: Option<Box<AnchorLink>>,
    /// What was born before this is stale by a soft purge.
    pub(super) purged: Sequence,
    /// Whether it was removed or has another in its place; else it leaves for want of room.
    is_taken: AtomicBool,
    leaving: Arc<Leaving>,
}

/// Where it is counted what leaves memory.
#[derive(Debug)]
pub(super) struct Leaving {
    metrics: Metrics,
    /// Whether all of memory is given up: then nothing leaves for want of room.
    has_ended: AtomicBool,
}

/// The responses under one key, latest first.
pub(crate) type Variants = Arc<[Arc<StoredResponse>]>;

#[derive(Clone, Debug)]
pub(super) enum Content {
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
pub(super) struct List(pub(super) Variants);

impl Content {
    /// `responses`, of which there is at least one.
    pub(super) fn of(responses: Vec<Arc<StoredResponse>>) -> Self {
        match <[_; 1]>::try_from(responses) {
            Ok([only]) => Self::Response(only),
            Err(responses) => Self::Responses(Box::new(List(responses.into()))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnchorLink {
    pub(super) key: KeyHash,
    pub(super) id: u64,
}

impl Entry {
    pub(super) fn new(
        key: Box<[u8]>,
        content: Content,
        anchor: Option<Box<AnchorLink>>,
        purged: Sequence,
        leaving: &Arc<Leaving>,
    ) -> Self {
        Self {
            key,
            content,
            anchor,
            purged,
            is_taken: AtomicBool::new(false),
            leaving: leaving.clone(),
        }
    }

    /// The same entry with other content.
    pub(super) fn again(&self, content: Content, purged: Sequence) -> Self {
        let anchor = self.anchor.clone();
        Self::new(self.key.clone(), content, anchor, purged, &self.leaving)
    }

    /// Notes that another entry has its place: it takes its own whenever something about it changes. Where
    /// a response does, `put` counts it.
    pub(super) fn note_replaced(&self) {
        self.is_taken.store(true, Ordering::Relaxed);
    }

    /// Notes that it was removed.
    pub(super) fn note_removed(&self) {
        if !self.is_taken.swap(true, Ordering::Relaxed) {
            self.leaving.metrics.count(Event::EvictedPurged);
        }
    }

    pub(super) fn responses(&self) -> &[Arc<StoredResponse>] {
        match &self.content {
            Content::Response(only) => std::slice::from_ref(only),
            Content::Responses(list) => &list.0,
            Content::Anchor(_) => &[],
        }
    }

    pub(super) fn weigh(&self) -> u32 {
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

impl Drop for Entry {
    /// Moka tells of what leaves only to who has every change take locks of its own, so it is seen here: a
    /// little later, when no thread may be reading it any more.
    fn drop(&mut self) {
        let has_ended = self.leaving.has_ended.load(Ordering::Relaxed);
        if !(*self.is_taken.get_mut() || has_ended) {
            self.leaving.metrics.count(Event::EvictedForSpace);
        }
    }
}

impl Leaving {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.clone(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// What leaves from now on does so because all of memory is given up.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

/// What moka itself holds for an entry: bucket, key, counters and places in its two queues;
/// measured as resident memory against accounted bytes.
const NODE: usize = 320;
