//! What a stored response belongs to: its tags, and the path prefixes it lies under, as hashes.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use config::tags::TagSettings;
use http::HeaderMap;

use crate::cache::key::Place;
use crate::cache::reason::Reason;
use crate::cache::stored::{COUNTS, block};
use crate::facts::Scheme;
use crate::fields::tags::{self, Source};
use crate::pattern::normal_path;

/// 64 bits of a name, by which it has its version. Two names with one hash are purged together, which
/// costs a fetch and nothing else; with the 65,536 purged tags that are remembered at most, a
/// response's tag meets another's hash once in 2^48.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct NameHash(pub(crate) u64);

/// Hashes names with a key. The key is this process's own, and the hash one that cannot be inverted,
/// so nobody who chooses tags or paths can make them fall together. Where instances share what they
/// store, they share a key that everybody knows: then it takes 2^64 attempts to hit a given name, for
/// which the reward is a fetch.
#[derive(Clone, Copy)]
pub(crate) struct NameHasher([u8; 32]);

impl std::fmt::Debug for NameHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameHasher")
    }
}

impl NameHasher {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&RandomState::new().hash_one(0_u64).to_le_bytes());
        }
        Self(key)
    }

    /// The same in all instances and all their lives.
    pub(crate) fn stable() -> Self {
        Self(blake3::derive_key("pillion names of purges 1", b""))
    }

    /// All that one path has, whatever the query.
    pub(crate) fn path(&self, scheme: Scheme, authority: &[u8], path: &str) -> NameHash {
        let authority = authority.to_ascii_lowercase();
        let parts = [scheme.as_str().as_bytes(), &authority, path.as_bytes()];
        self.hash(Kind::Path, &parts)
    }

    /// A tag, wherever it was said.
    pub(crate) fn tag(&self, name: &[u8]) -> NameHash {
        self.hash(Kind::Tag, &[name])
    }

    /// A group of one origin (RFC 9875 §2.1).
    pub(crate) fn group(&self, scheme: Scheme, authority: &[u8], name: &[u8]) -> NameHash {
        let authority = authority.to_ascii_lowercase();
        self.hash(Kind::Group, &[scheme.as_str().as_bytes(), &authority, name])
    }

    /// The first [`DEEPEST`] segments of a path, on one host or on all.
    pub(crate) fn prefix(&self, host: Option<&[u8]>, path: &str) -> NameHash {
        let mut segments = segments(path);
        segments.truncate(DEEPEST);
        self.of_segments(host, &segments)
    }

    /// All prefixes that `place` lies under.
    pub(crate) fn prefixes(&self, place: Place<'_>) -> Vec<NameHash> {
        let segments = segments(place.path);
        let deepest = segments.len().min(DEEPEST);
        let cut = |depth| segments.get(..depth).unwrap_or_default();
        let hosts = [None, Some(place.authority)];
        let of_host = |host| (0..=deepest).map(move |depth| self.of_segments(host, cut(depth)));
        hosts.into_iter().flat_map(of_host).collect()
    }

    fn of_segments(&self, host: Option<&[u8]>, segments: &[String]) -> NameHash {
        let host = host.map(<[u8]>::to_ascii_lowercase);
        let mut parts = vec![
            if host.is_some() { &b"host"[..] } else { b"" },
            host.as_deref().unwrap_or_default(),
        ];
        parts.extend(segments.iter().map(String::as_bytes));
        self.hash(Kind::Prefix, &parts)
    }

    fn hash(&self, kind: Kind, parts: &[&[u8]]) -> NameHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind as u8]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        let first = hash.as_bytes().first_chunk();
        NameHash(u64::from_le_bytes(*first.expect("a hash has 32 bytes")))
    }
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Tag,
    Group,
    Prefix,
    Path,
}

/// A path's segments as prefixes are compared: in one spelling, dots resolved, empty ones left out, so
/// that no other way of writing a path escapes a purge.
fn segments(path: &str) -> Vec<String> {
    let normal = normal_path(path);
    let segments = normal.split('/').filter(|segment| !segment.is_empty());
    segments.map(with_upper_escapes).collect()
}

/// `%2f` as `%2F` (RFC 3986 §6.2.2.1).
fn with_upper_escapes(segment: &str) -> String {
    let mut left = 0;
    let upper = |c: char| {
        if c == '%' {
            left = 2;
            return c;
        }
        let is_digit = left > 0 && c.is_ascii_hexdigit();
        left = if is_digit { left - 1 } else { 0 };
        if is_digit { c.to_ascii_uppercase() } else { c }
    };
    segment.chars().map(upper).collect()
}

/// The tags of one response, told apart by the field that named them. Without any, nothing is held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags(Option<Arc<[Tag]>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tag {
    source: Source,
    hash: NameHash,
}

impl Tags {
    /// What `fields` name, as an answer for `place`. A field that is not there says what it said in
    /// `before`, the stored response that a 304 confirms (RFC 9111 §3.2).
    ///
    /// # Errors
    /// When there are more than `settings` allow: to forget one would be to miss a purge.
    pub(crate) fn read(
        fields: &HeaderMap,
        before: Option<&Self>,
        place: Place<'_>,
        hasher: &NameHasher,
        settings: &TagSettings,
    ) -> Result<Self, Reason> {
        let (mut found, mut bytes, mut count) = (Vec::new(), 0, 0);
        tags::read(fields, |source, name| {
            bytes += name.len();
            count += 1;
            if count > settings.count || bytes > settings.size {
                return;
            }
            let hash = match source {
                Source::CacheGroups => hasher.group(place.scheme, place.authority, name),
                _ => hasher.tag(name),
            };
            found.push(Tag { source, hash });
        });
        let kept = before.into_iter().flat_map(Self::iter);
        found.extend(kept.filter(|tag| !fields.contains_key(tag.source.field())));
        if count > settings.count || bytes > settings.size || found.len() > settings.count {
            return Err(Reason::TooManyTags);
        }
        found.sort_unstable();
        found.dedup();
        Ok(Self((!found.is_empty()).then(|| found.into())))
    }

    /// These and `others`.
    pub(crate) fn joined(&self, others: &Self) -> Self {
        if others.is_empty() {
            return self.clone();
        }
        let mut all: Vec<Tag> = self.iter().chain(others.iter()).collect();
        all.sort_unstable();
        all.dedup();
        Self(Some(all.into()))
    }

    pub(crate) fn count(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn hashes(&self) -> impl Iterator<Item = NameHash> {
        self.iter().map(|tag| tag.hash)
    }

    /// The groups of RFC 9875 among them.
    pub(crate) fn groups(&self) -> impl Iterator<Item = NameHash> {
        let groups = self.iter().filter(|tag| tag.source == Source::CacheGroups);
        groups.map(|tag| tag.hash)
    }

    /// These.
    pub(crate) fn of(tags: Vec<(Source, NameHash)>) -> Self {
        let tag = |(source, hash)| Tag { source, hash };
        let mut tags: Vec<Tag> = tags.into_iter().map(tag).collect();
        tags.sort_unstable();
        tags.dedup();
        Self((!tags.is_empty()).then(|| tags.into()))
    }

    /// With the field that named each.
    pub(crate) fn told_apart(&self) -> impl Iterator<Item = (Source, NameHash)> {
        self.iter().map(|tag| (tag.source, tag.hash))
    }

    fn iter(&self) -> impl Iterator<Item = Tag> {
        self.0.iter().flat_map(|tags| tags.iter().copied())
    }

    /// Bytes of memory behind it.
    pub(crate) fn weight(&self) -> usize {
        let tags = self.0.as_deref();
        tags.map_or(0, |tags| block(COUNTS + size_of_val(tags)))
    }
}

/// The fields that name tags.
pub(crate) fn of(fields: &HeaderMap) -> HeaderMap {
    let mut of_tags = HeaderMap::new();
    for name in Source::ALL.map(Source::field) {
        for line in fields.get_all(&name) {
            of_tags.append(name.clone(), line.clone());
        }
    }
    of_tags
}

/// Takes away the fields that are meant for caches like this one alone.
pub(crate) fn strip(fields: &mut HeaderMap) {
    if !tags::are_there(fields) {
        return;
    }
    for source in Source::ALL {
        if !source.is_for_all() {
            fields.remove(source.field());
        }
    }
}

/// Segments of the longest prefix that can be purged.
pub(crate) const DEEPEST: usize = 4;

#[cfg(test)]
#[path = "tags_tests.rs"]
mod tests;
