//! Purging by more than a URL: by tags, groups and path prefixes. Nothing is looked for: what is purged
//! is found invalid when it is next asked for.

use crate::cache::key::Target;
use crate::cache::shared::{Purge, SharedCache};
use crate::cache::tags::{DEEPEST, NameHash};
use crate::cache::versions::Of;
use crate::facts::Scheme;

impl SharedCache {
    /// Purges all that has one of `tags`, exactly as they are spelled. Returns how many purges the log
    /// counts for that, as the others here do.
    pub fn purge_tags<T: AsRef<[u8]>>(&self, tags: &[T], purge: Purge) -> usize {
        let hasher = self.versions().hasher();
        let names = tags.iter().map(|tag| hasher.tag(tag.as_ref())).collect();
        self.purge_names(Of::Tag, names, purge)
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
    }

    fn purge_names(&self, of: Of, names: Vec<NameHash>, purge: Purge) -> usize {
        if names.is_empty() {
            return 0;
        }
        self.versions().purge(of, names, purge, self.purges());
        1
    }

    /// Makes invalid what is stored for `target`, and what shares a group with it (RFC 9875 §2.2.1);
    /// what shares a group with that stays (no cascade). Returns how many purges the log counts.
    pub(crate) fn invalidate_target(&self, target: Target<'_>) -> usize {
        let groups = self.groups_of(target);
        let (_, purges) = self.purge_counted(target, Purge::Hard);
        purges + self.purge_names(Of::Tag, groups, Purge::Hard)
    }
}

/// Segments by which prefixes are told apart.
pub const MOST_SEGMENTS: usize = DEEPEST;
