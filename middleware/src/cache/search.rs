//! What upstreams say by `No-Vary-Search`, by path, and where responses lie that say it
//! (draft-ietf-httpbis-no-vary-search §6).
//!
//! A response that says so is stored under a key that has in it what matters of its query, and which
//! rule that is by. A later request for the path tries its own key, and that which each known rule makes
//! of its query. So a response is only ever found by the rule that it came with itself, and nothing that
//! a client sends can widen one. A rule that is forgotten for want of room, and said again, is another
//! rule: what was stored by the old one is not found any more, so it cannot come back after purges that
//! did not know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use config::cache::CacheSettings;
use http::HeaderMap;
use moka::ops::compute::Op;

use crate::cache::errand::Errand;
use crate::cache::invalidate::{PurgeLog, Sequence};
use crate::cache::key::{CacheKey, KeyHash, Kind, OwnKey, write_part};
use crate::cache::reason::Reason;
use crate::cache::shared::{PurgedBy, SharedCache};
use crate::cache::storable::Storing;
use crate::cache::store::memory::Lookup;
use crate::cache::store::pass_through::PassThrough;
use crate::fields::no_vary_search::NoVarySearch;

/// The rules that are known, by path.
#[derive(Debug)]
pub(crate) struct Searches {
    known: moka::sync::Cache<KeyHash, Arc<Known>, PassThrough>,
    next: AtomicU64,
    /// Whether any rule was ever said: else nothing is looked for.
    is_any: AtomicBool,
}

/// The rules of one path, the latest first.
#[derive(Debug)]
struct Known {
    /// Compared whenever it is found: two paths may have one hash.
    path: Box<[u8]>,
    rules: Box<[Arc<SearchRule>]>,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct SearchRule {
    /// Never the same twice.
    pub(crate) id: u64,
    pub(crate) said: Arc<NoVarySearch>,
    /// Purges after this one know the rule; all before may not.
    known_since: AtomicU64,
}

impl Searches {
    pub(crate) fn new() -> Self {
        let weigh = |_: &KeyHash, known: &Arc<Known>| {
            let rules = known.rules.iter().map(|rule| rule.said.weight() + RULE);
            let weight = known.path.len() + rules.sum::<usize>() + PATH;
            u32::try_from(weight).unwrap_or(u32::MAX)
        };
        Self {
            known: moka::sync::Cache::builder()
                .max_capacity(MOST_BYTES)
                .weigher(weigh)
                .build_with_hasher(PassThrough::default()),
            next: AtomicU64::new(1),
            is_any: AtomicBool::new(false),
        }
    }

    /// Bytes that the rules take, as they are counted.
    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.known.run_pending_tasks();
        self.known.weighted_size()
    }

    fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    fn of(&self, path: &CacheKey) -> Option<Arc<Known>> {
        let known = self.known.get(&path.hash)?;
        (known.path == path.bytes).then_some(known)
    }

    /// Makes `said` the latest rule of `path`.
    fn learn(&self, path: &CacheKey, said: &Arc<NoVarySearch>, log: &PurgeLog) -> Arc<SearchRule> {
        if let Some(known) = self.of(path)
            && let Some(first) = known.rules.first()
            && first.said == *said
        {
            return first.clone();
        }
        self.is_any.store(true, Ordering::Release);
        let mut learned = None;
        self.known.entry(path.hash).and_compute_with(|old| {
            let old = old.map(moka::Entry::into_value);
            let old = old.filter(|old| old.path == path.bytes);
            let rules = || old.iter().flat_map(|old| old.rules.iter());
            let known = rules().find(|rule| rule.said == *said).cloned();
            let rule = known.unwrap_or_else(|| {
                Arc::new(SearchRule {
                    id: self.next.fetch_add(1, Ordering::Relaxed),
                    said: said.clone(),
                    known_since: AtomicU64::new(u64::MAX),
                })
            });
            let others = rules().filter(|other| other.id != rule.id).cloned();
            let rules = std::iter::once(rule.clone()).chain(others).take(MOST_RULES);
            let path = path.bytes.clone();
            let rules = rules.collect();
            learned = Some(rule);
            Op::Put(Arc::new(Known { path, rules }))
        });
        let rule = learned.expect("what is computed is computed once at least");
        // Only now can purges see it.
        fence(Ordering::SeqCst);
        rule.known_since
            .fetch_min(log.now().number(), Ordering::SeqCst);
        rule
    }
}

impl SearchRule {
    /// Writes the key of what lies by this rule for the requests of `own`.
    fn write_key(&self, own: &OwnKey<'_>, key: &mut Vec<u8>) {
        self.write_purge_key(own, key);
        if !own.projection.is_empty() {
            if let Some(kind) = key.first_mut() {
                *kind = Kind::Search as u8;
            }
            key.extend_from_slice(own.projection);
        }
    }

    /// Writes the key by which all of that is purged: the same, where one URL has one key.
    fn write_purge_key(&self, own: &OwnKey<'_>, key: &mut Vec<u8>) {
        key.clear();
        key.push(match own.is_projected {
            true => Kind::SearchAnchor as u8,
            false => Kind::Search as u8,
        });
        key.extend_from_slice(own.place);
        key.extend_from_slice(&self.id.to_le_bytes());
        write_part(key, |key| self.said.write(own.query, key));
    }

    /// Whether a purge after `born` may have passed it by.
    fn is_unknown_to_purges_since(&self, born: Sequence) -> bool {
        born.number() < self.known_since.load(Ordering::SeqCst)
    }
}

/// Where a response lies that says `No-Vary-Search`.
#[derive(Clone, Debug)]
pub(crate) struct SearchPlace {
    pub(crate) key: CacheKey,
    pub(crate) purged_by: PurgedBy,
    rule: Arc<SearchRule>,
}

impl SharedCache {
    /// What is stored for a request with these fields, whose own key is `key`: by that, or by a rule
    /// that holds for its path; the latest of them (RFC 9111 §4).
    pub(crate) fn find(
        &self,
        settings: &CacheSettings,
        hash: KeyHash,
        key: &[u8],
        request: &HeaderMap,
    ) -> Lookup {
        let own = self.lookup(hash, key, request);
        if settings.no_vary_search && self.searches().is_any() {
            self.find_widely(key, request, own)
        } else {
            own
        }
    }

    #[cold]
    fn find_widely(&self, key: &[u8], request: &HeaderMap, own: Lookup) -> Lookup {
        let Some((own_key, known)) = self.known_rules_of(key) else {
            return own;
        };
        let mut best = own;
        let mut key = Vec::new();
        for rule in &known.rules {
            rule.write_key(&own_key, &mut key);
            let mut found = self.lookup(self.hasher().hash(&key), &key, request);
            if let Lookup::Stored {
                stored, chosen_by, ..
            } = &mut found
            {
                *chosen_by = chosen_by.or(Some(Reason::NoVarySearch));
                let is_later = match &best {
                    Lookup::Stored { stored: known, .. } => {
                        stored.received().mono > known.received().mono
                    }
                    Lookup::Nothing | Lookup::OtherVariant(_) => true,
                };
                if is_later {
                    best = found;
                }
            } else if matches!(best, Lookup::Nothing) {
                best = found;
            }
        }
        best
    }

    /// The keys by which is purged what the known rules make of a URL, whose own one is `key`.
    pub(crate) fn search_keys(&self, key: &[u8]) -> Vec<KeyHash> {
        // After the purge was noted: then either this sees the rule, or whoever learns it the purge.
        fence(Ordering::SeqCst);
        if !self.searches().is_any() {
            return Vec::new();
        }
        let Some((own, known)) = self.known_rules_of(key) else {
            return Vec::new();
        };
        let mut key = Vec::new();
        let hash = |rule: &Arc<SearchRule>| {
            rule.write_purge_key(&own, &mut key);
            self.hasher().hash(&key)
        };
        known.rules.iter().map(hash).collect()
    }

    /// What is known of the rules for the path of `key`, for people.
    pub(crate) fn print_searches(&self, key: &[u8]) -> Vec<String> {
        let known = self.known_rules_of(key);
        let rules = known.iter().flat_map(|(_, known)| known.rules.iter());
        rules
            .map(|rule| format!("no-vary-search: {}", rule.said))
            .collect()
    }

    fn known_rules_of<'a>(&self, key: &'a [u8]) -> Option<(OwnKey<'a>, Arc<Known>)> {
        let own = OwnKey::split(key)?;
        let known = self.searches().of(&self.path_key(&own))?;
        Some((own, known))
    }

    fn path_key(&self, own: &OwnKey<'_>) -> CacheKey {
        let mut key = vec![Kind::Path as u8];
        key.extend_from_slice(own.place);
        self.hasher().key(&key)
    }
}

impl Errand {
    /// Finds the place for what is about to be stored: by what it says of queries, or by its own key.
    pub(crate) fn find_place(&mut self, storing: &Storing) {
        self.place = None;
        let (Some(said), Some(own)) = (&storing.search, OwnKey::split(&self.key.bytes)) else {
            return;
        };
        let shared = &self.shared;
        let path = shared.path_key(&own);
        let rule = shared.searches().learn(&path, said, shared.purges());
        let mut written = Vec::new();
        rule.write_key(&own, &mut written);
        let key = shared.hasher().key(&written);
        rule.write_purge_key(&own, &mut written);
        let purged = shared.hasher().key(&written);
        self.place = Some(SearchPlace {
            purged_by: PurgedBy {
                url: purged.hash,
                anchor: (purged != key).then_some(purged),
            },
            key,
            rule,
        });
    }

    /// Whether the place was purged since the upstream was asked, or may have been.
    pub(crate) fn is_place_purged(&self) -> bool {
        let purges = self.shared.purges();
        self.place.as_ref().is_some_and(|place| {
            purges.has_since(self.born, place.purged_by.url)
                || place.rule.is_unknown_to_purges_since(self.born) && purges.now() != self.born
        })
    }
}

/// Rules of one path; an app that says more changes its mind with every answer.
const MOST_RULES: usize = 4;
/// Bytes that all rules may take.
const MOST_BYTES: u64 = 1 << 20;
/// What a rule and a path take beside what they say.
const RULE: usize = 64;
const PATH: usize = 384;
