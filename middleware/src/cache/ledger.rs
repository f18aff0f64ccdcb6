//! What was purged when, in the order that lower tiers live by (see `place`).
//!
//! The memory tier is told of each purge and needs no more than `versions`. A record of a lower tier may
//! have been written by another instance or in an earlier life, so it is judged by names alone: its URL,
//! its tags, the prefixes and patterns that it falls under. A name is known here only because it was
//! purged; what is stored leaves no trace. All tables are bounded, and of what they forget they know the
//! latest place: a record that is older is *suspect*, which means validated before use, never valid.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cache::glob::Glob;
use crate::cache::key;
use crate::cache::place::Place;
use crate::cache::purge_message::{PurgeMessage, Purged};
use crate::cache::shared::Purge;
use crate::cache::store::memory::PassThrough;
use crate::cache::tags::{NameHash, NameHasher};

/// What purges mean for a record of a lower tier; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Below {
    Valid,
    /// A soft purge has marked it: to be validated before use.
    Stale,
    /// Perhaps it was purged, nobody knows any more: to be validated before use.
    Suspect,
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Known {
    /// Of all purges noted.
    latest: Place,
    /// Of what was purged up to here, nobody knows all.
    floor: Place,
    everything: Version,
    names: Names,
    urls: Urls,
    patterns: Patterns,
    pending: Pending,
}

/// When something was last purged, in either way.
#[derive(Clone, Copy, Debug, Default)]
struct Version {
    hard: Place,
    soft: Place,
}

/// What one purge reaches, as records are compared with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    everything: bool,
    /// Everything perhaps.
    anything: bool,
    /// A path, and its query as the client wrote it.
    url: Option<(NameHash, Option<Box<str>>)>,
    names: Vec<NameHash>,
    pattern: Option<Glob>,
}

/// What is to be judged: a record of a lower tier.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// When its upstream was asked.
    pub(crate) born: Place,
    /// The bytes of its key.
    pub(crate) key: &'a [u8],
    pub(crate) tags: &'a [NameHash],
}

/// The names that purges know a record by.
struct Named<'a> {
    place: key::Place<'a>,
    path: NameHash,
    names: Vec<NameHash>,
}

impl Ledger {
    /// Without any purge, and trusting what was born at `floor` or later.
    pub(crate) fn new(floor: Place) -> Self {
        Self::bounded(floor, MOST_NAMES, MOST_URLS, MOST_QUERY_BYTES)
    }

    fn bounded(floor: Place, names: usize, urls: usize, bytes: usize) -> Self {
        Self {
            known: RwLock::new(Known {
                latest: Place::FIRST,
                floor,
                everything: Version::default(),
                names: Names::new(names),
                urls: Urls::new(urls, bytes),
                patterns: Patterns::default(),
                pending: Pending::default(),
            }),
        }
    }

    /// Notes a purge at the place that `of` makes of the latest one.
    pub(crate) fn note_next(
        &self,
        reach: Reach,
        purge: Purge,
        of: impl FnOnce(Place) -> Place,
    ) -> Place {
        let mut known = self.write();
        let place = of(known.latest);
        known.note(reach, purge, place);
        place
    }

    /// Notes a purge at `place`. To note one twice changes nothing.
    pub(crate) fn note(&self, reach: Reach, purge: Purge, place: Place) {
        self.write().note(reach, purge, place);
    }

    /// Notes a purge whose place is not known yet: whatever it reaches counts as born before it.
    pub(crate) fn begin(&self, ticket: u64, reach: Reach, purge: Purge) {
        self.write().pending.add(ticket, reach, purge);
    }

    /// The purge of `ticket` has its place, and was noted there.
    pub(crate) fn settle(&self, ticket: u64) {
        self.write().pending.remove(ticket);
    }

    /// What was purged up to `floor` is not known, what was purged later is.
    pub(crate) fn know_from(&self, floor: Place) {
        self.write().floor = floor;
    }

    /// What was purged up to `floor` is not known for sure.
    pub(crate) fn doubt_until(&self, floor: Place) {
        let mut known = self.write();
        known.floor = known.floor.max(floor);
    }

    /// The latest purge that was noted.
    pub(crate) fn latest(&self) -> Place {
        self.read().latest
    }

    /// What purges mean for `subject`. `is_query` tells whether a query, as a client wrote it, is that of
    /// the record, by the rules that its key was made by.
    pub(crate) fn standing(
        &self,
        subject: &Subject<'_>,
        hasher: &NameHasher,
        is_query: impl Fn(Option<&str>) -> bool,
    ) -> Below {
        let known = self.read();
        let born = subject.born;
        let of_floor = if born < known.floor {
            Below::Suspect
        } else {
            Below::Valid
        };
        if born >= known.latest && known.pending.is_empty() {
            return of_floor;
        }
        // A key that is not ours to read cannot be compared.
        let Some(named) = Named::of(subject, hasher) else {
            return Below::Gone;
        };
        let names = || named.names.iter();
        of_floor
            .max(known.everything.standing(born))
            .max(known.names.standing(names(), born))
            .max(known.urls.standing(named.path, born, &is_query))
            .max(known.patterns.standing(named.place, born))
            .max(known.pending.standing(&named, &is_query))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn note(&mut self, reach: Reach, purge: Purge, place: Place) {
        self.latest = self.latest.max(place);
        if reach.everything {
            self.everything.raise(place, purge);
        }
        if reach.anything {
            self.floor = self.floor.max(place);
        }
        for name in reach.names {
            self.names.raise(name, place, purge);
        }
        if let Some((path, query)) = reach.url {
            self.urls.raise(path, query, place, purge);
        }
        if let Some(glob) = reach.pattern {
            self.patterns.add(place, glob, purge);
        }
    }
}

impl Reach {
    pub(crate) fn of(message: &PurgeMessage, hasher: &NameHasher) -> Self {
        match &message.what {
            Purged::All => Self {
                everything: true,
                ..Self::default()
            },
            Purged::Anything => Self {
                anything: true,
                ..Self::default()
            },
            Purged::Url(url) => {
                let target = url.target();
                let path = hasher.path(target.scheme, target.authority, target.path);
                Self {
                    url: Some((path, url.query.as_deref().map(Box::from))),
                    names: url.groups.clone().unwrap_or_default(),
                    ..Self::default()
                }
            }
            Purged::Names { names, .. } => Self {
                names: names.clone(),
                ..Self::default()
            },
            Purged::Pattern(pattern) => match Glob::parse(pattern) {
                Some(glob) => Self {
                    pattern: Some(glob),
                    ..Self::default()
                },
                // Somebody else's idea of a pattern.
                None => Self {
                    anything: true,
                    ..Self::default()
                },
            },
        }
    }

    fn hits(&self, named: &Named<'_>, is_query: impl Fn(Option<&str>) -> bool) -> bool {
        let of_url = |(path, query): &(NameHash, Option<Box<str>>)| {
            *path == named.path && (!named.place.is_whole || is_query(query.as_deref()))
        };
        self.everything
            || self.url.as_ref().is_some_and(of_url)
            || self.names.iter().any(|name| named.names.contains(name))
            || self
                .pattern
                .as_ref()
                .is_some_and(|glob| glob.matches(named.place))
    }
}

impl<'a> Named<'a> {
    fn of(subject: &Subject<'a>, hasher: &NameHasher) -> Option<Self> {
        let place = key::place(subject.key)?;
        let mut names = hasher.prefixes(place);
        names.extend(subject.tags);
        Some(Self {
            place,
            path: hasher.path(place.scheme, place.authority, place.path),
            names,
        })
    }
}

impl Version {
    fn raise(&mut self, to: Place, purge: Purge) {
        let version = match purge {
            Purge::Hard => &mut self.hard,
            Purge::Soft => &mut self.soft,
        };
        *version = to.max(*version);
    }

    fn latest(self) -> Place {
        self.hard.max(self.soft)
    }

    fn standing(self, born: Place) -> Below {
        if self.hard > born {
            Below::Gone
        } else if self.soft > born {
            Below::Stale
        } else {
            Below::Valid
        }
    }
}

fn of_forgotten(floor: Place, born: Place) -> Below {
    if floor > born {
        Below::Suspect
    } else {
        Below::Valid
    }
}

/// Names in the order of their purges, so that the oldest is forgotten first; elements that are not
/// their name's latest are void.
#[derive(Debug, Default)]
struct Queue(VecDeque<(Place, NameHash)>);

impl Queue {
    fn push(
        &mut self,
        place: Place,
        name: NameHash,
        most: usize,
        latest: impl Fn(NameHash) -> Place,
    ) {
        self.0.push_back((place, name));
        if self.0.len() > 2 * most {
            self.0.retain(|(at, name)| latest(*name) == *at);
        }
    }
}

#[derive(Debug)]
struct Names {
    versions: HashMap<NameHash, Version, PassThrough>,
    queue: Queue,
    /// Of all names that are not in `versions`.
    floor: Place,
    most: usize,
}

impl Names {
    fn new(most: usize) -> Self {
        Self {
            versions: HashMap::default(),
            queue: Queue::default(),
            floor: Place::FIRST,
            most,
        }
    }

    fn raise(&mut self, name: NameHash, to: Place, purge: Purge) {
        let version = self.versions.entry(name).or_default();
        let before = version.latest();
        version.raise(to, purge);
        let latest = version.latest();
        if latest > before {
            let versions = &self.versions;
            let of = |name| {
                versions
                    .get(&name)
                    .map_or(Place::FIRST, |known| known.latest())
            };
            self.queue.push(latest, name, self.most, of);
        }
        while self.versions.len() > self.most {
            let Some((at, name)) = self.queue.0.pop_front() else {
                break;
            };
            if self
                .versions
                .get(&name)
                .is_some_and(|known| known.latest() == at)
            {
                self.versions.remove(&name);
                self.floor = self.floor.max(at);
            }
        }
    }

    fn standing<'a>(&self, names: impl Iterator<Item = &'a NameHash>, born: Place) -> Below {
        let standing = |name| match self.versions.get(name) {
            Some(version) => version.standing(born),
            None => of_forgotten(self.floor, born),
        };
        names.map(standing).max().unwrap_or(Below::Valid)
    }
}

/// Purged URLs by their paths: which queries of it were purged is told by the rules of whoever asks,
/// since a route may sort a query or leave parts of it out.
#[derive(Debug)]
struct Urls {
    paths: HashMap<NameHash, OfPath, PassThrough>,
    queue: Queue,
    /// Of all paths that are not in `paths`.
    floor: Place,
    /// Bytes that the queries hold.
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct OfPath {
    /// Of all queries that are not in `queries`.
    any: Version,
    queries: Vec<(Option<Box<str>>, Version)>,
    latest: Place,
}

impl Urls {
    fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            paths: HashMap::default(),
            queue: Queue::default(),
            floor: Place::FIRST,
            bytes: 0,
            most,
            most_bytes,
        }
    }

    fn raise(&mut self, path: NameHash, query: Option<Box<str>>, to: Place, purge: Purge) {
        let of_path = self.paths.entry(path).or_default();
        let length = size_of_query(query.as_deref());
        let known = of_path
            .queries
            .iter_mut()
            .find(|(known, _)| *known == query);
        if let Some((_, version)) = known {
            version.raise(to, purge);
        } else if of_path.queries.len() < MOST_QUERIES && self.bytes + length <= self.most_bytes {
            let mut version = Version::default();
            version.raise(to, purge);
            of_path.queries.push((query, version));
            self.bytes += length;
        } else {
            of_path.any.raise(to, purge);
        }
        if to > of_path.latest {
            of_path.latest = to;
            let paths = &self.paths;
            let of = |name| paths.get(&name).map_or(Place::FIRST, |known| known.latest);
            self.queue.push(to, path, self.most, of);
        }
        while self.paths.len() > self.most {
            let Some((at, path)) = self.queue.0.pop_front() else {
                break;
            };
            if self
                .paths
                .get(&path)
                .is_some_and(|known| known.latest == at)
                && let Some(forgotten) = self.paths.remove(&path)
            {
                let queries = forgotten.queries.iter();
                let bytes = queries.map(|(query, _)| size_of_query(query.as_deref()));
                self.bytes -= bytes.sum::<usize>();
                self.floor = self.floor.max(at);
            }
        }
    }

    fn standing(
        &self,
        path: NameHash,
        born: Place,
        is_query: impl Fn(Option<&str>) -> bool,
    ) -> Below {
        let Some(of_path) = self.paths.get(&path) else {
            return of_forgotten(self.floor, born);
        };
        let later = of_path.queries.iter();
        let later = later.filter(|(_, version)| version.latest() > born);
        let hits = later.filter(|(query, _)| is_query(query.as_deref()));
        hits.map(|(_, version)| version.standing(born))
            .max()
            .unwrap_or(Below::Valid)
            .max(of_path.any.standing(born))
    }
}

fn size_of_query(query: Option<&str>) -> usize {
    size_of::<(Option<Box<str>>, Version)>() + query.map_or(0, str::len)
}

#[derive(Debug, Default)]
struct Patterns {
    latest: VecDeque<(Place, Glob, Purge)>,
    /// Of the patterns that are forgotten.
    floor: Place,
}

impl Patterns {
    fn add(&mut self, at: Place, glob: Glob, purge: Purge) {
        let is_known = |known: &(Place, Glob, Purge)| known.0 == at && known.1 == glob;
        if self.latest.iter().any(is_known) {
            return;
        }
        if self.latest.len() == MOST_PATTERNS
            && let Some((forgotten, ..)) = self.latest.pop_front()
        {
            self.floor = self.floor.max(forgotten);
        }
        self.latest.push_back((at, glob, purge));
    }

    fn standing(&self, place: key::Place<'_>, born: Place) -> Below {
        let later = self.latest.iter().filter(|(at, ..)| *at > born);
        let hits = later.filter(|(_, glob, _)| glob.matches(place));
        hits.map(|(_, _, purge)| of_purge(*purge))
            .max()
            .unwrap_or(Below::Valid)
            .max(of_forgotten(self.floor, born))
    }
}

fn of_purge(purge: Purge) -> Below {
    match purge {
        Purge::Hard => Below::Gone,
        Purge::Soft => Below::Stale,
    }
}

/// Purges without a place: of this instance, before it has heard where in the order they are.
#[derive(Debug, Default)]
struct Pending {
    purges: HashMap<u64, (Reach, Purge)>,
    /// Tickets of those beyond what is remembered; the queue that they wait in has its bound.
    beyond: HashSet<u64>,
}

impl Pending {
    fn add(&mut self, ticket: u64, reach: Reach, purge: Purge) {
        if self.purges.len() < MOST_PENDING {
            self.purges.insert(ticket, (reach, purge));
        } else {
            self.beyond.insert(ticket);
        }
    }

    fn remove(&mut self, ticket: u64) {
        if self.purges.remove(&ticket).is_none() {
            self.beyond.remove(&ticket);
        }
    }

    fn is_empty(&self) -> bool {
        self.purges.is_empty() && self.beyond.is_empty()
    }

    fn standing(&self, named: &Named<'_>, is_query: impl Fn(Option<&str>) -> bool) -> Below {
        let of_beyond = match self.beyond.is_empty() {
            true => Below::Valid,
            false => Below::Suspect,
        };
        let standing = |(reach, purge): &(Reach, Purge)| {
            if reach.hits(named, &is_query) {
                of_purge(*purge)
            } else if reach.anything {
                Below::Suspect
            } else {
                Below::Valid
            }
        };
        let worst = self.purges.values().map(standing).max();
        worst.unwrap_or(Below::Valid).max(of_beyond)
    }
}

/// Purged tags, groups and prefixes remembered: some 6 MiB at most.
const MOST_NAMES: usize = 1 << 16;
/// Paths of purged URLs remembered: some 4 MiB, and the queries.
const MOST_URLS: usize = 1 << 14;
/// Queries remembered one by one for each path; beyond it, a purge of one is a purge of the rest.
const MOST_QUERIES: usize = 32;
/// Bytes of all queries remembered; beyond it, the same.
const MOST_QUERY_BYTES: usize = 4 << 20;
/// Patterns remembered.
const MOST_PATTERNS: usize = 64;
/// Purges remembered one by one that have no place yet; beyond it, every record is suspect until they do.
const MOST_PENDING: usize = 1024;

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
