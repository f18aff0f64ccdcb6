//! Purging by more than a URL: by tags, groups, path prefixes and patterns. Nothing is looked for: what
//! is purged is found invalid when it is next asked for. Only a rehearsal looks, and tells what it found.

use http::Uri;

use crate::cache::glob::Glob;
use crate::cache::key::{self, KeyHash, Target};
use crate::cache::purge_message::{MOST_NAMES, PurgeMessage, Purged};
use crate::cache::shared::{Purge, SharedCache};
use crate::cache::stored::StoredResponse;
use crate::cache::tags::{DEEPEST, NameHash};
use crate::cache::versions::{Of, Standing};
use crate::facts::Scheme;

/// What is to be purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything.
    All,
    /// What is stored for one URL, all variants of it.
    Url {
        /// Of the target.
        scheme: Scheme,
        /// Of the target: host and port as clients name them.
        authority: String,
        /// Path and query of the target.
        uri: Uri,
    },
    /// What has one of these tags, exactly as they are spelled.
    Tags(Vec<String>),
    /// What is in one of these groups of one origin (RFC 9875).
    Groups {
        /// Of the origin.
        scheme: Scheme,
        /// Of the origin.
        authority: String,
        /// Exactly as they are spelled.
        names: Vec<String>,
    },
    /// What has a path that begins with these segments, [`MOST_SEGMENTS`] at most.
    Prefix {
        /// Host and port as clients name them; every one if `None`.
        host: Option<String>,
        /// Compared in normal form.
        path: String,
    },
    /// What has a URL of this pattern: without its scheme, or from its path on; a `*` is any text.
    Pattern(String),
}

/// What a purge would hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// Stored responses, each variant counted.
    pub responses: usize,
    /// Some of their URLs: [`MOST_SHOWN`] at most.
    pub urls: Vec<String>,
}

impl SharedCache {
    /// Purges `what`: how many stored responses that were in memory, where it is known without looking
    /// for them.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn purge(&self, what: &What, purge: Purge) -> Result<Option<usize>, NoPattern> {
        self.purge_noted(what, purge).map(|(count, _)| count)
    }

    /// The same, and the tickets by which other instances are told, if there is an order of purges.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn purge_noted(
        &self,
        what: &What,
        purge: Purge,
    ) -> Result<(Option<usize>, Vec<u64>), NoPattern> {
        let done = self.purge_what(what, purge)?;
        self.tell_order(what);
        Ok(done)
    }

    fn purge_what(
        &self,
        what: &What,
        purge: Purge,
    ) -> Result<(Option<usize>, Vec<u64>), NoPattern> {
        let hasher = self.versions().hasher();
        let tickets = match what {
            What::All => {
                let (count, ticket) = self.purge_everything(purge);
                return Ok((count, ticket.into_iter().collect()));
            }
            What::Url {
                scheme,
                authority,
                uri,
            } => {
                let target = Target::new(*scheme, authority.as_bytes(), uri);
                let (count, ticket) = self.purge_one(target, purge);
                return Ok((Some(count), ticket.into_iter().collect()));
            }
            What::Tags(tags) => {
                let names = tags.iter().map(|tag| hasher.tag(tag.as_bytes())).collect();
                self.purge_names(Of::Tag, names, purge).1
            }
            What::Groups {
                scheme,
                authority,
                names,
            } => {
                let name =
                    |name: &String| hasher.group(*scheme, authority.as_bytes(), name.as_bytes());
                let names = names.iter().map(name).collect();
                self.purge_names(Of::Tag, names, purge).1
            }
            What::Prefix { host, path } => {
                let name = hasher.prefix(host.as_deref().map(str::as_bytes), path);
                self.purge_names(Of::Prefix, vec![name], purge).1
            }
            What::Pattern(pattern) => {
                let glob = Glob::parse(pattern).ok_or(NoPattern)?;
                let what = Purged::Pattern(pattern.clone());
                let (_, ticket) = self.in_order(
                    || PurgeMessage { what, purge },
                    || self.versions().purge_pattern(glob, purge, self.purges()),
                );
                ticket.into_iter().collect()
            }
        };
        Ok((None, tickets))
    }

    /// See [`What::All`].
    pub(crate) fn purge_everything(&self, purge: Purge) -> (Option<usize>, Option<u64>) {
        let what = Purged::All;
        let message = || PurgeMessage { what, purge };
        self.in_order(message, || match purge {
            Purge::Hard => Some(self.remove_all()),
            Purge::Soft => {
                self.suspect_all();
                None
            }
        })
    }

    /// See [`purge_uri`](Self::purge_uri).
    pub(crate) fn purge_one(&self, target: Target<'_>, purge: Purge) -> (usize, Option<u64>) {
        let message = || PurgeMessage::url(target, purge, None);
        self.in_order(message, || self.purge_counted(target, purge).0)
    }

    /// What a purge of `what` would hit now. Goes through all that is stored.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn would_purge(&self, what: &What) -> Result<Rehearsal, NoPattern> {
        let aim = self.aim(what)?;
        let mut found = Rehearsal::default();
        self.store().visit(|of_url, key, responses| {
            let is_there =
                |stored: &StoredResponse| self.versions().standing(stored, key) != Standing::Gone;
            let hit = responses
                .iter()
                .filter(|stored| is_there(stored) && aim.hits(of_url, key, stored, self));
            let count = hit.count();
            found.responses += count;
            if count > 0 && found.urls.len() < MOST_SHOWN {
                found
                    .urls
                    .extend(key::place(key).map(|place| place.print()));
            }
        });
        found.urls.sort_unstable();
        found.urls.dedup();
        Ok(found)
    }

    fn aim(&self, what: &What) -> Result<Aim, NoPattern> {
        let hasher = self.versions().hasher();
        let tag = |tag: &String| hasher.tag(tag.as_bytes());
        Ok(match what {
            What::All => Aim::All,
            What::Url {
                scheme,
                authority,
                uri,
            } => Aim::Keys(self.uri_keys(Target::new(*scheme, authority.as_bytes(), uri))),
            What::Tags(tags) => Aim::Tags(tags.iter().map(tag).collect()),
            What::Groups {
                scheme,
                authority,
                names,
            } => {
                let group =
                    |name: &String| hasher.group(*scheme, authority.as_bytes(), name.as_bytes());
                Aim::Tags(names.iter().map(group).collect())
            }
            What::Prefix { host, path } => {
                Aim::Prefix(hasher.prefix(host.as_deref().map(str::as_bytes), path))
            }
            What::Pattern(pattern) => Aim::Pattern(Glob::parse(pattern).ok_or(NoPattern)?),
        })
    }

    /// Purges all that has one of `tags`, exactly as they are spelled. Returns how many purges the log
    /// counts for that, as the others here do.
    pub fn purge_tags<T: AsRef<[u8]>>(&self, tags: &[T], purge: Purge) -> usize {
        let hasher = self.versions().hasher();
        let names = tags.iter().map(|tag| hasher.tag(tag.as_ref())).collect();
        self.purge_names(Of::Tag, names, purge).0
    }

    /// Purges all of one origin that is in one of `groups` (RFC 9875).
    pub fn purge_groups<T: AsRef<[u8]>>(
        &self,
        scheme: Scheme,
        authority: &[u8],
        groups: &[T],
        purge: Purge,
    ) -> usize {
        let hasher = self.versions().hasher();
        let name = |group: &T| hasher.group(scheme, authority, group.as_ref());
        self.purge_names(Of::Tag, groups.iter().map(name).collect(), purge)
            .0
    }

    /// Purges all whose path begins with the segments of one of `prefixes`, on one host (with its
    /// port, as clients name it) or on all. A prefix of more than [`MOST_SEGMENTS`] segments is cut
    /// there, which purges more.
    pub fn purge_prefixes<T: AsRef<str>>(
        &self,
        host: Option<&str>,
        prefixes: &[T],
        purge: Purge,
    ) -> usize {
        let hasher = self.versions().hasher();
        let host = host.map(str::as_bytes);
        let name = |prefix: &T| hasher.prefix(host, prefix.as_ref());
        self.purge_names(Of::Prefix, prefixes.iter().map(name).collect(), purge)
            .0
    }

    /// How many purges the log counts for that, and by which tickets others are told.
    pub(crate) fn purge_names(
        &self,
        of: Of,
        names: Vec<NameHash>,
        purge: Purge,
    ) -> (usize, Vec<u64>) {
        let (mut purges, mut tickets) = (0, Vec::new());
        for names in names.chunks(MOST_NAMES) {
            let message = || PurgeMessage {
                what: Purged::Names {
                    of,
                    names: names.to_vec(),
                },
                purge,
            };
            let (count, ticket) = self.in_order(message, || self.purge_known(of, names, purge));
            purges += count;
            tickets.extend(ticket);
        }
        (purges, tickets)
    }

    /// In memory alone.
    pub(crate) fn purge_known(&self, of: Of, names: &[NameHash], purge: Purge) -> usize {
        if names.is_empty() {
            return 0;
        }
        let names = names.iter().copied();
        self.versions().purge(of, names, purge, self.purges());
        1
    }

    /// Makes invalid what is stored for `target`, and what shares a group with it (RFC 9875 §2.2.1);
    /// what shares a group with that stays (no cascade). Returns how many purges the log counts.
    pub(crate) fn invalidate_target(&self, target: Target<'_>) -> usize {
        let mut groups = self.groups_of(target);
        let more = groups.split_off(groups.len().min(MOST_NAMES));
        let purge = Purge::Hard;
        let message = || PurgeMessage::url(target, purge, Some(groups.clone()));
        let (purges, _) = self.in_order(message, || {
            let (_, purges) = self.purge_counted(target, purge);
            purges + self.purge_known(Of::Tag, &groups, purge)
        });
        purges + self.purge_names(Of::Tag, more, purge).0
    }
}

/// [`What`] as stored responses are compared with it.
enum Aim {
    All,
    Keys(Vec<KeyHash>),
    Tags(Vec<NameHash>),
    Prefix(NameHash),
    Pattern(Glob),
}

impl Aim {
    fn hits(
        &self,
        of_url: KeyHash,
        key: &[u8],
        stored: &StoredResponse,
        shared: &SharedCache,
    ) -> bool {
        let place = || key::place(key);
        match self {
            Self::All => true,
            Self::Keys(keys) => keys.contains(&of_url),
            Self::Tags(tags) => stored.tags().hashes().any(|tag| tags.contains(&tag)),
            Self::Prefix(prefix) => place().is_some_and(|place| {
                let prefixes = shared.versions().hasher().prefixes(place);
                prefixes.contains(prefix)
            }),
            Self::Pattern(glob) => place().is_some_and(|place| glob.matches(place)),
        }
    }
}

/// What was given as a pattern cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPattern;

impl std::fmt::Display for NoPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this is no pattern of URLs: it is empty, has spaces, or more than 1024 bytes")
    }
}

impl std::error::Error for NoPattern {}

/// Segments by which prefixes are told apart.
pub const MOST_SEGMENTS: usize = DEEPEST;
/// URLs that a rehearsal tells.
pub const MOST_SHOWN: usize = 20;
