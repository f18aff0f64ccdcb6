//! What all routes and cores share: the store, the requests in flight, what was purged and decided lately.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use config::cache::CacheSettings;
use http::{HeaderMap, Method, Uri};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::Request;
use crate::cache::collapse::Flights;
use crate::cache::figures::Figures;
use crate::cache::fill::Bounds;
use crate::cache::ghost::Ghost;
use crate::cache::hottest::Tables;
use crate::cache::invalidate::{PurgeLog, Sequence};
use crate::cache::journal::{JOURNALS, Journal, Record};
use crate::cache::key::{CacheKey, KeyHash, KeyHasher, KeyRules, Target};
use crate::cache::order::{Order, OrderedBy};
use crate::cache::outage::Outage;
use crate::cache::purge::What;
use crate::cache::search::Searches;
use crate::cache::store::memory::{Lookup, MemoryStore};
use crate::cache::store::tiers::Tiers;
use crate::cache::tags::NameHash;
use crate::cache::verdicts::Verdicts;
use crate::cache::versions::{Standing, Versions};
use crate::clock::Clock;
use crate::content_coding::coded_copies::InProgress;
use crate::facts::Scheme;
use crate::metrics::{Event, Metrics};

/// The cache behind all routes on all cores; a handle.
#[derive(Clone, Debug)]
pub struct SharedCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: MemoryStore,
    flights: Arc<Flights>,
    purges: PurgeLog,
    versions: Versions,
    /// The order of purges that lower tiers live by; `None` without any.
    order: Option<Order>,
    /// What lies below memory, where anything does.
    tiers: OnceLock<Tiers>,
    verdicts: Verdicts,
    searches: Searches,
    hasher: KeyHasher,
    /// What is followed where nothing is stored.
    ghost: Arc<Ghost>,
    /// The rules that routes make keys by; a purge has to know them all. Those of routes that a
    /// reload has taken away vanish with their last layer.
    rules: RwLock<Vec<Weak<KeyRules>>>,
    bounds: Bounds,
    clock: Clock,
    tasks: TaskTracker,
    copies: InProgress,
    counts: Counts,
    metrics: Metrics,
    /// One for each core that writes one.
    journals: Mutex<Vec<Journal>>,
    /// Whether what the sidecars share is away.
    outage: Outage,
    /// One for each core that counts its hits.
    hot_tables: Tables,
    /// Hears of every purge that somebody ordered.
    orders: broadcast::Sender<What>,
    /// Whether an answer to QUERY was ever asked for: else a purge need not look for any.
    has_queries: AtomicBool,
}

/// Counted off the hit path only.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) collapsed: AtomicU64,
    pub(crate) validated_in_background: AtomicU64,
}

/// How a purge finds what is stored for one key.
#[derive(Clone, Debug)]
pub(crate) struct PurgedBy {
    /// What the log of purges calls the URL.
    pub(crate) url: KeyHash,
    /// The key by which all that the URL has is removed together, where it has many keys: by fields
    /// and cookies of the request, or by the content of a QUERY.
    pub(crate) anchor: Option<CacheKey>,
}

/// What a purge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Purge {
    /// Removes.
    Hard,
    /// Marks as stale, so that the next use validates.
    Soft,
}

impl SharedCache {
    /// An empty cache of at most `memory` bytes, all overhead counted, beside a ghost of a thousand keys.
    pub fn new(memory: u64, clock: Clock, tasks: TaskTracker, metrics: &Metrics) -> Self {
        Self::with_ghost(memory, 1 << 10, clock, tasks, metrics)
    }

    /// As [`new`](Self::new), where at most `keys` keys are followed in place of what is not stored.
    pub fn with_ghost(
        memory: u64,
        keys: usize,
        clock: Clock,
        tasks: TaskTracker,
        metrics: &Metrics,
    ) -> Self {
        Self::hashing_by(KeyHasher::new(), memory, keys, clock, tasks, metrics)
    }

    /// The same with keys hashed as a test says.
    pub(crate) fn hashing_by(
        hasher: KeyHasher,
        memory: u64,
        keys: usize,
        clock: Clock,
        tasks: TaskTracker,
        metrics: &Metrics,
    ) -> Self {
        let bounds = Bounds {
            // One response may be half of the cache, and what is being received a quarter more.
            most: memory / 2,
            held: Arc::default(),
            most_held: (memory / 4).max(LEAST_HELD),
        };
        Self(Arc::new(Shared {
            store: MemoryStore::new(memory, metrics),
            flights: Arc::new(Flights::new(clock.now())),
            purges: PurgeLog::new(),
            versions: Versions::new(),
            order: None,
            tiers: OnceLock::new(),
            verdicts: Verdicts::new(),
            searches: Searches::new(),
            ghost: Ghost::new(keys, clock.now(), hasher.seed()),
            hasher,
            rules: RwLock::default(),
            bounds,
            clock,
            tasks,
            copies: InProgress::default(),
            counts: Counts::default(),
            metrics: metrics.clone(),
            journals: Mutex::default(),
            outage: Outage::default(),
            hot_tables: Tables::default(),
            orders: broadcast::Sender::new(ORDERS),
            has_queries: AtomicBool::new(false),
        }))
    }

    /// The same cache, with an order of purges that lower tiers are judged by. To be called before it is
    /// shared.
    ///
    /// # Panics
    /// When it is shared already.
    #[must_use]
    pub fn ordered(mut self, by: OrderedBy) -> Self {
        let shared = Arc::get_mut(&mut self.0).expect("nobody else has the cache yet");
        shared.versions = Versions::stable();
        shared.order = Some(Order::new(by));
        self
    }

    /// A new journal for one of `cores` cores, which share what journals may hold.
    pub fn journal(&self, cores: usize) -> Journal {
        let journal = Journal::new(JOURNALS / cores.max(1));
        let journals = self.0.journals.lock();
        let mut journals = journals.unwrap_or_else(PoisonError::into_inner);
        journals.push(journal.clone());
        drop(journals);
        journal
    }

    /// What was decided lately, as far as it was written down; latest first.
    pub fn recent(&self) -> Vec<Arc<Record>> {
        let journals = self.0.journals.lock();
        let journals = journals.unwrap_or_else(PoisonError::into_inner).clone();
        let mut records: Vec<_> = journals.iter().flat_map(Journal::read).collect();
        // Stable, so of two about one request the later one stays in front.
        records.reverse();
        records.sort_by_key(|record| std::cmp::Reverse(record.at));
        records
    }

    /// What is being coded now.
    pub(crate) fn copies(&self) -> &InProgress {
        &self.0.copies
    }

    /// Purges all that is stored for one URL, however many keys it has: how many responses that
    /// were, as far as it is known. What is being fetched meanwhile is not stored.
    pub fn purge_uri(&self, scheme: Scheme, authority: &str, uri: &Uri, purge: Purge) -> usize {
        self.purge_target(Target::new(scheme, authority.as_bytes(), uri), purge)
    }

    /// Removes everything and gives its memory back: how many keys that were.
    pub fn purge_all(&self) -> usize {
        self.purge_everything(Purge::Hard).0.unwrap_or_default()
    }

    /// The same, of memory alone.
    pub(crate) fn remove_all(&self) -> usize {
        self.0.purges.note_all();
        self.0.ghost.forget_all();
        self.0.store.remove_all()
    }

    /// Numbers about the cache, as of now.
    pub fn figures(&self) -> Figures {
        let shared = &*self.0;
        shared.store.settle();
        let store = shared.store.figures();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            entries: store.entries,
            bytes: store.bytes,
            budget: store.budget,
            filling: count(&shared.bounds.held),
            flights: shared.flights.count() as u64,
            stored: shared.metrics.total(Event::CacheStored),
            evicted: store.evicted,
            purged: store.purged,
            collapsed: count(&shared.counts.collapsed),
            validated_in_background: count(&shared.counts.validated_in_background),
        }
    }

    /// Where whatever is done for the cache in the background is tracked.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// The clock by which stored responses age.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The key rules of `settings`, the same for all routes and cores that have equal ones.
    pub(crate) fn rules(&self, settings: &CacheSettings) -> Arc<KeyRules> {
        let rules = KeyRules::of(settings);
        let mut known = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|rules| rules.strong_count() > 0);
        let same = known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| known.is_same(&rules));
        same.unwrap_or_else(|| {
            let rules = Arc::new(rules);
            known.push(Arc::downgrade(&rules));
            rules
        })
    }

    /// The rules that keys are made by now.
    pub(crate) fn known_rules(&self) -> Vec<Arc<KeyRules>> {
        let known = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    }

    /// See [`purge_uri`](Self::purge_uri).
    pub(crate) fn purge_target(&self, target: Target<'_>, purge: Purge) -> usize {
        self.purge_one(target, purge).0
    }

    /// In memory alone: how many responses were purged, and how many purges the log counts for that.
    pub(crate) fn purge_counted(&self, target: Target<'_>, purge: Purge) -> (usize, usize) {
        let known = self.known_rules();
        let mut key = Vec::new();
        let (mut count, mut purges) = (0, known.len());
        for rules in known {
            self.write_uri_key(&rules, target, &mut key);
            let hash = self.0.hasher.hash(&key);
            let sequence = self.0.purges.note(hash);
            for widened in self.search_keys(&key) {
                let sequence = self.0.purges.note(widened);
                purges += 1;
                count += self.purge_key(widened, sequence, purge);
            }
            self.0.ghost.forget(hash);
            count += self.purge_key(hash, sequence, purge);
            if !rules.is_projected() && self.0.has_queries.load(Ordering::Acquire) {
                rules.write_anchor(target, &mut key);
                count += self.purge_key(self.0.hasher.hash(&key), sequence, purge);
            }
        }
        (count, purges)
    }

    fn purge_key(&self, key: KeyHash, sequence: Sequence, purge: Purge) -> usize {
        match purge {
            Purge::Hard => self.0.store.remove(key),
            Purge::Soft => self.0.store.mark_stale(key, sequence),
        }
    }

    /// The groups of what is stored for `target`, as far as its keys are known: not where one URL has
    /// many.
    pub(crate) fn groups_of(&self, target: Target<'_>) -> Vec<NameHash> {
        let mut groups = Vec::new();
        for key in self.uri_keys(target) {
            self.0.store.groups(key, &mut groups);
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The hashes of the keys that `target` is purged by: its own, and those of its anchors.
    pub(crate) fn uri_keys(&self, target: Target<'_>) -> Vec<KeyHash> {
        let (mut key, mut hashes) = (Vec::new(), Vec::new());
        for rules in self.known_rules() {
            self.write_uri_key(&rules, target, &mut key);
            hashes.push(self.0.hasher.hash(&key));
            hashes.extend(self.search_keys(&key));
            if !rules.is_projected() {
                rules.write_anchor(target, &mut key);
                hashes.push(self.0.hasher.hash(&key));
            }
        }
        hashes
    }

    /// The key that a URL is purged by: its one key, or the anchor of its many.
    fn write_uri_key(&self, rules: &KeyRules, target: Target<'_>, key: &mut Vec<u8>) {
        if rules.is_projected() {
            rules.write_anchor(target, key);
        } else {
            rules.write_plain(target, key);
        }
    }

    /// What `request`, whose key is `key`, is purged by.
    pub(crate) fn purged_by(&self, rules: &KeyRules, request: &Request, key: KeyHash) -> PurgedBy {
        let is_query = *request.method() == Method::QUERY;
        if !(is_query || rules.is_projected()) {
            return PurgedBy {
                url: key,
                anchor: None,
            };
        }
        if is_query {
            // Before anything is stored, so that no purge overlooks it.
            self.0.has_queries.store(true, Ordering::Release);
        }
        let (target, mut written) = (Target::of(request), Vec::new());
        self.write_uri_key(rules, target, &mut written);
        let url = self.0.hasher.hash(&written);
        rules.write_anchor(target, &mut written);
        PurgedBy {
            url,
            anchor: Some(self.0.hasher.key(&written)),
        }
    }

    /// What is stored under `key` (whose hash is `hash`) for a request with these fields, and was not
    /// purged by a tag or prefix. What was is removed.
    pub(crate) fn lookup(&self, hash: KeyHash, key: &[u8], request: &HeaderMap) -> Lookup {
        loop {
            let mut lookup = self.0.store.lookup(hash, key, request);
            if let Lookup::Stored {
                stored, is_purged, ..
            } = &mut lookup
            {
                match self.0.versions.standing(stored, key) {
                    Standing::Valid => {}
                    Standing::Stale => *is_purged = true,
                    Standing::Gone => {
                        self.0.store.remove_one(stored);
                        continue;
                    }
                }
            }
            return lookup;
        }
    }

    pub(crate) fn store(&self) -> &MemoryStore {
        &self.0.store
    }

    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.0.flights
    }

    pub(crate) fn purges(&self) -> &PurgeLog {
        &self.0.purges
    }

    pub(crate) fn versions(&self) -> &Versions {
        &self.0.versions
    }

    pub(crate) fn place_of_tiers(&self) -> &OnceLock<Tiers> {
        &self.0.tiers
    }

    pub(crate) fn order(&self) -> Option<&Order> {
        self.0.order.as_ref()
    }

    pub(crate) fn searches(&self) -> &Searches {
        &self.0.searches
    }

    pub(crate) fn hot_tables(&self) -> &Tables {
        &self.0.hot_tables
    }

    /// Every purge that is ordered from now on, when it has been carried out. Who hears them too
    /// late is told that some were missed.
    pub fn orders(&self) -> broadcast::Receiver<What> {
        self.0.orders.subscribe()
    }

    /// To be called where an ordered purge was carried out, wherever the order came from.
    pub(crate) fn tell_order(&self, what: &What) {
        if self.0.orders.receiver_count() > 0 {
            self.0.orders.send(what.clone()).ok();
        }
    }

    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.0.verdicts
    }

    pub(crate) fn outage(&self) -> &Outage {
        &self.0.outage
    }

    pub(crate) fn ghost(&self) -> &Arc<Ghost> {
        &self.0.ghost
    }

    pub(crate) fn hasher(&self) -> KeyHasher {
        self.0.hasher
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What everything stored may use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.0.store.budget()
    }

    /// The bounds of one fill on a route that stores bodies of up to `most` bytes.
    pub(crate) fn bounds(&self, most: u64) -> Bounds {
        Bounds {
            most: most.min(self.0.bounds.most),
            ..self.0.bounds.clone()
        }
    }
}

/// Ordered purges that may be told later.
const ORDERS: usize = 64;
/// However small the cache, this much may be received at once.
const LEAST_HELD: u64 = 16 << 20;
