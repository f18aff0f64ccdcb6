//! When names, URLs and patterns were last purged: bounded tables that know what they forgot.

use std::collections::{HashMap, VecDeque};

use crate::cache::glob::Glob;
use crate::cache::key;
use crate::cache::ledger::Below;
use crate::cache::place::Place;
use crate::cache::shared::Purge;
use crate::cache::store::pass_through::PassThrough;
use crate::cache::tags::NameHash;

/// When something was last purged, in either way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Version {
    hard: Place,
    soft: Place,
}

impl Version {
    pub(super) fn raise(&mut self, to: Place, purge: Purge) {
        let version = match purge {
            Purge::Hard => &mut self.hard,
            Purge::Soft => &mut self.soft,
        };
        *version = to.max(*version);
    }

    /// Of something that was forgotten at `floor`, and so may have been purged until then.
    fn forgotten(floor: Place) -> Self {
        Self {
            hard: Place::FIRST,
            soft: floor,
        }
    }

    pub(super) fn latest(self) -> Place {
        self.hard.max(self.soft)
    }

    pub(super) fn standing(self, born: Place) -> Below {
        if self.hard > born {
            Below::Gone
        } else if self.soft > born {
            Below::Stale
        } else {
            Below::Valid
        }
    }
}

pub(super) fn of_forgotten(floor: Place, born: Place) -> Below {
    if floor > born {
        Below::Suspect
    } else {
        Below::Valid
    }
}

/// Names in the order of their purges, so that the oldest is forgotten first; elements that are not
/// their name's latest are void.
#[derive(Debug, Default)]
pub(super) struct Queue(pub(super) VecDeque<(Place, NameHash)>);

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
pub(super) struct Names {
    pub(super) versions: HashMap<NameHash, Version, PassThrough>,
    pub(super) queue: Queue,
    /// Of all names that are not in `versions`.
    pub(super) floor: Place,
    most: usize,
}

impl Names {
    pub(super) fn new(most: usize) -> Self {
        Self {
            versions: HashMap::default(),
            queue: Queue::default(),
            floor: Place::FIRST,
            most,
        }
    }

    pub(super) fn raise(&mut self, name: NameHash, to: Place, purge: Purge) {
        let floor = self.floor;
        let is_known = self.versions.contains_key(&name);
        if to <= floor && !is_known {
            return;
        }
        let version = self.versions.entry(name);
        let version = version.or_insert_with(|| Version::forgotten(floor));
        let before = version.latest();
        version.raise(to, purge);
        let latest = version.latest();
        if latest > before || !is_known {
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

    pub(super) fn standing<'a>(
        &self,
        names: impl Iterator<Item = &'a NameHash>,
        born: Place,
    ) -> Below {
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
pub(super) struct Urls {
    pub(super) paths: HashMap<NameHash, OfPath, PassThrough>,
    pub(super) queue: Queue,
    /// Of all paths that are not in `paths`.
    pub(super) floor: Place,
    /// Bytes that the queries hold.
    pub(super) bytes: usize,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct OfPath {
    /// Of all queries that are not in `queries`.
    any: Version,
    pub(super) queries: Vec<(Option<Box<str>>, Version)>,
    latest: Place,
}

impl Urls {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            paths: HashMap::default(),
            queue: Queue::default(),
            floor: Place::FIRST,
            bytes: 0,
            most,
            most_bytes,
        }
    }

    pub(super) fn raise(
        &mut self,
        path: NameHash,
        query: Option<Box<str>>,
        to: Place,
        purge: Purge,
    ) {
        let floor = self.floor;
        if to <= floor && !self.paths.contains_key(&path) {
            return;
        }
        let of_path = self.paths.entry(path).or_insert_with(|| OfPath {
            any: Version::forgotten(floor),
            ..OfPath::default()
        });
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

    pub(super) fn standing(
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

pub(super) fn size_of_query(query: Option<&str>) -> usize {
    size_of::<(Option<Box<str>>, Version)>() + query.map_or(0, str::len)
}

#[derive(Debug, Default)]
pub(super) struct Patterns {
    pub(super) latest: VecDeque<(Place, Glob, Purge)>,
    /// Of the patterns that are forgotten.
    pub(super) floor: Place,
}

impl Patterns {
    pub(super) fn add(&mut self, at: Place, glob: Glob, purge: Purge) {
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

    pub(super) fn standing(&self, place: key::Place<'_>, born: Place) -> Below {
        let later = self.latest.iter().filter(|(at, ..)| *at > born);
        let hits = later.filter(|(_, glob, _)| glob.matches(place));
        hits.map(|(_, _, purge)| of_purge(*purge))
            .max()
            .unwrap_or(Below::Valid)
            .max(of_forgotten(self.floor, born))
    }
}

pub(super) fn of_purge(purge: Purge) -> Below {
    match purge {
        Purge::Hard => Below::Gone,
        Purge::Soft => Below::Stale,
    }
}

/// Purged tags, groups and prefixes remembered: some 6 MiB at most.
pub(super) const MOST_NAMES: usize = 1 << 16;
/// Paths of purged URLs remembered: some 4 MiB, and the queries.
pub(super) const MOST_URLS: usize = 1 << 14;
/// Queries remembered one by one for each path; beyond it, a purge of one is a purge of the rest.
const MOST_QUERIES: usize = 32;
/// Bytes of all queries remembered; beyond it, the same.
pub(super) const MOST_QUERY_BYTES: usize = 4 << 20;
/// Patterns remembered.
pub(super) const MOST_PATTERNS: usize = 64;
