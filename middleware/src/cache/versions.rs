//! Version counters of tags and path prefixes: what is purged together, without lists of what that is.
//!
//! Each name has a version, and a purge gives it the next one. A stored response has the version at
//! which all of its names stood when it was asked for, and is valid while none of them has a later
//! one. So a purge costs the same however much it hits, nothing is scanned, and what is fetched while
//! a purge comes in is invalid by the same comparison. Versions of all names come from the one order
//! of purges, which a store shared between processes can carry as well.
//!
//! A pattern of URLs has no name to be remembered by: the latest patterns are remembered themselves,
//! and each stored response is compared with each of them once, when it is next asked for.
//!
//! Names are remembered up to a bound. The version of those that are forgotten is taken to be the
//! latest version forgotten: that can purge more than was asked for, never less.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cache::glob::Glob;
use crate::cache::invalidate::{PurgeLog, Sequence};
use crate::cache::key::{self, Place};
use crate::cache::shared::Purge;
use crate::cache::store::pass_through::PassThrough;
use crate::cache::stored::StoredResponse;
use crate::cache::tags::{NameHash, NameHasher};

/// What purges of its names mean for a stored response; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Valid,
    /// A soft purge has marked it.
    Stale,
    Gone,
}

/// What a purge is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Of {
    Tag,
    Prefix,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Versions {
    hasher: NameHasher,
    known: RwLock<Known>,
    /// The latest version of any tag, and of any prefix or pattern. Written under the lock, after `known`, so
    /// that whoever reads one finds it there; read without it, on every hit.
    latest_tag: AtomicU64,
    latest_path: AtomicU64,
}

#[derive(Debug)]
struct Known {
    latest: Sequence,
    tags: Table,
    prefixes: Table,
    patterns: Patterns,
}

/// The versions of one kind of names.
#[derive(Debug)]
struct Table {
    versions: HashMap<NameHash, Version, PassThrough>,
    /// Names by their latest purge, oldest first. An element that is not its name's latest is void.
    order: VecDeque<(Sequence, NameHash)>,
    /// Of all names that are not in `versions`.
    floor: Version,
    most: usize,
}

/// When a name was last purged, in either way.
#[derive(Clone, Copy, Debug, Default)]
struct Version {
    hard: Sequence,
    soft: Sequence,
}

impl Versions {
    pub(crate) fn new() -> Self {
        Self::bounded(MOST_TAGS, MOST_PREFIXES)
    }

    /// With names that other instances hash alike.
    pub(crate) fn stable() -> Self {
        Self {
            hasher: NameHasher::stable(),
            ..Self::new()
        }
    }

    fn bounded(tags: usize, prefixes: usize) -> Self {
        Self {
            hasher: NameHasher::new(),
            known: RwLock::new(Known {
                latest: Sequence::default(),
                tags: Table::new(tags),
                prefixes: Table::new(prefixes),
                patterns: Patterns::default(),
            }),
            latest_tag: AtomicU64::new(0),
            latest_path: AtomicU64::new(0),
        }
    }

    pub(crate) fn hasher(&self) -> &NameHasher {
        &self.hasher
    }

    /// Gives `names` their next version, which is taken from `log`.
    pub(crate) fn purge(
        &self,
        of: Of,
        names: impl IntoIterator<Item = NameHash>,
        purge: Purge,
        log: &PurgeLog,
    ) {
        let mut known = self.write();
        let version = log.advance();
        known.latest = version;
        let (table, latest) = match of {
            Of::Tag => (&mut known.tags, &self.latest_tag),
            Of::Prefix => (&mut known.prefixes, &self.latest_path),
        };
        for name in names {
            table.raise(name, version, purge);
        }
        latest.store(version.number(), Ordering::Release);
    }

    /// Purges all URLs that `glob` matches.
    pub(crate) fn purge_pattern(&self, glob: Glob, purge: Purge, log: &PurgeLog) {
        let mut known = self.write();
        let version = log.advance();
        known.latest = version;
        known.patterns.add(version, glob, purge);
        self.latest_path.store(version.number(), Ordering::Release);
    }

    /// What purges mean for `stored`, which lies under `key`. Where nothing it may belong to was purged
    /// since it was last asked for, that is two loads.
    pub(crate) fn standing(&self, stored: &StoredResponse, key: &[u8]) -> Standing {
        let valid_at = stored.valid_at().number();
        let is_newer = |latest: &AtomicU64| latest.load(Ordering::Acquire) > valid_at;
        if is_newer(&self.latest_path) || (!stored.tags().is_empty() && is_newer(&self.latest_tag))
        {
            return self.compare(stored, key);
        }
        Standing::Valid
    }

    #[cold]
    fn compare(&self, stored: &StoredResponse, key: &[u8]) -> Standing {
        // Both tables under one lock: what is valid now is valid at the latest version of either.
        let known = self.read();
        let valid_at = stored.valid_at();
        let tags = stored.tags().hashes();
        let mut standing = known.tags.standing(tags, valid_at);
        if self.latest_path.load(Ordering::Acquire) > valid_at.number() {
            // A key that is not ours to read cannot be compared.
            let of_path = key::place(key).map_or(Standing::Gone, |place| {
                // Whoever compares it may know it by the key of one of the queries that it answers: what
                // no pattern says of that one may be said of another, and is not to be forgotten.
                let place = match stored.is_wide {
                    true => place.of_any_query(),
                    false => place,
                };
                let prefixes = self.hasher.prefixes(place).into_iter();
                let of_prefixes = known.prefixes.standing(prefixes, valid_at);
                of_prefixes.max(known.patterns.standing(place, valid_at))
            });
            standing = standing.max(of_path);
        }
        if standing == Standing::Valid {
            stored.confirm_at(known.latest);
        }
        standing
    }

    /// Names whose purges are remembered.
    pub(crate) fn count(&self) -> usize {
        let known = self.read();
        known.tags.versions.len() + known.prefixes.versions.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new(most: usize) -> Self {
        Self {
            versions: HashMap::default(),
            order: VecDeque::new(),
            floor: Version::default(),
            most,
        }
    }

    fn raise(&mut self, name: NameHash, to: Sequence, purge: Purge) {
        let version = self.versions.entry(name).or_insert(self.floor);
        match purge {
            Purge::Hard => version.hard = to,
            Purge::Soft => version.soft = to,
        }
        self.order.push_back((to, name));
        while self.versions.len() > self.most {
            self.forget_one();
        }
        if self.order.len() > 2 * self.most {
            let versions = &self.versions;
            let is_latest = |(at, name): &(Sequence, NameHash)| {
                versions
                    .get(name)
                    .is_some_and(|known| known.latest() == *at)
            };
            self.order.retain(is_latest);
        }
    }

    /// Forgets the name whose latest purge is the longest ago.
    fn forget_one(&mut self) {
        while let Some((at, name)) = self.order.pop_front() {
            let is_latest = |known: &Version| known.latest() == at;
            if self.versions.get(&name).is_some_and(is_latest)
                && let Some(forgotten) = self.versions.remove(&name)
            {
                self.floor.hard = self.floor.hard.max(forgotten.hard);
                self.floor.soft = self.floor.soft.max(forgotten.soft);
                return;
            }
        }
    }

    /// The worst that purges of `names` after `valid_at` mean.
    fn standing(&self, names: impl Iterator<Item = NameHash>, valid_at: Sequence) -> Standing {
        let standing = |name| {
            let version = self.versions.get(&name).unwrap_or(&self.floor);
            version.standing(valid_at)
        };
        names.map(standing).max().unwrap_or(Standing::Valid)
    }
}

impl Version {
    fn latest(&self) -> Sequence {
        self.hard.max(self.soft)
    }

    fn standing(&self, valid_at: Sequence) -> Standing {
        if self.hard > valid_at {
            Standing::Gone
        } else if self.soft > valid_at {
            Standing::Stale
        } else {
            Standing::Valid
        }
    }
}

/// The latest purges by pattern.
#[derive(Debug, Default)]
struct Patterns {
    latest: VecDeque<(Sequence, Glob, Purge)>,
    /// Of the patterns that are forgotten: whatever was not compared with one of them counts as hit.
    floor: Sequence,
}

impl Patterns {
    fn add(&mut self, at: Sequence, glob: Glob, purge: Purge) {
        if self.latest.len() == MOST_PATTERNS
            && let Some((forgotten, ..)) = self.latest.pop_front()
        {
            self.floor = forgotten;
        }
        self.latest.push_back((at, glob, purge));
    }

    fn standing(&self, place: Place<'_>, valid_at: Sequence) -> Standing {
        if self.floor > valid_at {
            return Standing::Gone;
        }
        let later = self.latest.iter().rev();
        let later = later.take_while(|(at, ..)| *at > valid_at);
        let hits = later.filter(|(_, glob, _)| glob.matches(place));
        let standing = hits.map(|(_, _, purge)| match purge {
            Purge::Hard => Standing::Gone,
            Purge::Soft => Standing::Stale,
        });
        standing.max().unwrap_or(Standing::Valid)
    }
}

/// Purged tags remembered; some 4 MiB at most.
const MOST_TAGS: usize = 1 << 16;
/// Purged prefixes remembered.
const MOST_PREFIXES: usize = 1 << 12;
/// Patterns remembered. A response that was not asked for since the oldest of more is purged by it.
const MOST_PATTERNS: usize = 64;

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;
