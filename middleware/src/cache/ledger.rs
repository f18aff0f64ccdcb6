//! What was purged when, in the order that lower tiers live by (see `place`).
//!
//! The memory tier is told of each purge and needs no more than `versions`. A record of a lower tier may
//! have been written by another instance or in an earlier life, so it is judged by names alone: its URL,
//! its tags, the prefixes and patterns that it falls under. A name is known here only because it was
//! purged; what is stored leaves no trace. All tables are bounded, and of what they forget they know the
//! latest place: a record that is older is *suspect*, which means validated before use, never valid.

mod tables;

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cache::glob::Glob;
use crate::cache::key;
use crate::cache::ledger::tables::{
    MOST_NAMES, MOST_QUERY_BYTES, MOST_URLS, Names, Patterns, Urls, Version, of_purge,
};
use crate::cache::place::Place;
use crate::cache::purge_message::{PurgeMessage, Purged};
use crate::cache::shared::Purge;
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
    /// Whether all that was purged later is known, as far as it was heard.
    is_trusted: bool,
    everything: Version,
    names: Names,
    urls: Urls,
    patterns: Patterns,
    pending: Pending,
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
    /// Without any purge. Where somebody else has to be heard first, it is not trusted.
    pub(crate) fn new(is_trusted: bool) -> Self {
        Self::bounded(is_trusted, MOST_NAMES, MOST_URLS, MOST_QUERY_BYTES)
    }

    fn bounded(is_trusted: bool, names: usize, urls: usize, bytes: usize) -> Self {
        Self {
            known: RwLock::new(Known {
                latest: Place::FIRST,
                floor: Place::FIRST,
                is_trusted,
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

    /// Something may have been purged that is not known, of whatever place.
    pub(crate) fn distrust(&self) {
        self.write().is_trusted = false;
    }

    /// What was purged after `floor` is known.
    pub(crate) fn trust_from(&self, floor: Place) {
        let mut known = self.write();
        known.floor = known.floor.max(floor);
        known.is_trusted = true;
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.read().is_trusted
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
        let of_floor = if born < known.floor || !known.is_trusted {
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

/// Purges remembered one by one that have no place yet; beyond it, every record is suspect until they do.
const MOST_PENDING: usize = 1024;

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
