//! Invalidation (RFC 9111 §4.4): which URLs an unsafe request changes, and a log of what was purged,
//! so that an answer fetched before a purge is not stored after it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::cache::key::{KeyHash, Target};

/// A moment in the order of purges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Whether there were exactly `count` purges after `earlier`.
    pub(crate) fn is_after(self, earlier: Self, count: usize) -> bool {
        usize::try_from(self.0 - earlier.0) == Ok(count)
    }
}

/// The latest purges, by key. Bounded: about what it has forgotten it says "purged", so the worst
/// that a flood of purges does is that slow answers are not stored.
#[derive(Debug)]
pub(crate) struct PurgeLog {
    /// Number of the latest purge; written under the lock, read without it.
    latest: AtomicU64,
    recent: Mutex<Recent>,
    /// Sees no purge: for the test that shows what that leads to.
    #[cfg(test)]
    pub(crate) is_blind: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct Recent {
    purges: VecDeque<(Sequence, KeyHash)>,
    /// Everything up to this one is forgotten, or was a purge of everything.
    floor: Sequence,
}

impl PurgeLog {
    pub(crate) fn new() -> Self {
        Self {
            latest: AtomicU64::new(0),
            recent: Mutex::default(),
            #[cfg(test)]
            is_blind: false.into(),
        }
    }

    /// To be noted when a fetch starts.
    pub(crate) fn now(&self) -> Sequence {
        Sequence(self.latest.load(Ordering::Acquire))
    }

    /// Notes that `key` is about to be removed. Call this *before* removing.
    pub(crate) fn note(&self, key: KeyHash) -> Sequence {
        self.append(|recent, sequence| {
            if recent.purges.len() == MOST_REMEMBERED
                && let Some((forgotten, _)) = recent.purges.pop_front()
            {
                recent.floor = forgotten;
            }
            recent.purges.push_back((sequence, key));
        })
    }

    /// The place in the order of a purge that is noted elsewhere (see `versions`).
    pub(crate) fn advance(&self) -> Sequence {
        self.append(|_, _| {})
    }

    /// Notes that everything is about to be removed.
    pub(crate) fn note_all(&self) -> Sequence {
        self.append(|recent, sequence| {
            recent.purges.clear();
            recent.floor = sequence;
        })
    }

    /// Whether `key` was purged after `born`. Call this *after* storing: then either this sees the
    /// purge, or the purge sees what was stored.
    pub(crate) fn has_since(&self, born: Sequence, key: KeyHash) -> bool {
        fence(Ordering::SeqCst);
        #[cfg(test)]
        if self.is_blind.load(Ordering::Relaxed) {
            return false;
        }
        if self.now() == born {
            return false;
        }
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.floor > born
            || recent
                .purges
                .iter()
                .rev()
                .take_while(|(sequence, _)| *sequence > born)
                .any(|(_, purged)| *purged == key)
    }

    fn append(&self, change: impl FnOnce(&mut Recent, Sequence)) -> Sequence {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = Sequence(self.latest.load(Ordering::Relaxed) + 1);
        change(&mut recent, sequence);
        self.latest.store(sequence.0, Ordering::Release);
        drop(recent);
        fence(Ordering::SeqCst);
        sequence
    }
}

/// Whether a successful request with `method` may change what is stored (RFC 9110 §9.2.1); an
/// unknown method may.
pub(crate) fn is_unsafe(method: &Method) -> bool {
    !(method.is_safe() || method.as_str() == "QUERY")
}

/// Whether the answer says that an unsafe request did its work (RFC 9111 §4.4).
pub(crate) fn has_worked(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// The paths and queries, beside its own, that the answer to an unsafe request says it changed:
/// `Location` and `Content-Location`, as far as they are of the same origin (RFC 9111 §4.4).
pub(crate) fn also_changed(target: Target<'_>, fields: &HeaderMap) -> Vec<String> {
    let resolve = |name: HeaderName| {
        let reference = fields.get(name)?.to_str().ok()?;
        resolve(target, reference)
    };
    [LOCATION, CONTENT_LOCATION]
        .into_iter()
        .filter_map(resolve)
        .collect()
}

/// Path and query of `reference`, taken relative to `base` (RFC 3986 §5.2), if its origin is the same.
pub(crate) fn resolve(base: Target<'_>, reference: &str) -> Option<String> {
    let reference = reference.trim_ascii();
    let reference = reference.split('#').next().unwrap_or_default();
    if let Some(rest) = after_scheme(reference) {
        let (scheme, rest) = rest;
        return scheme
            .eq_ignore_ascii_case(base.scheme.as_str())
            .then(|| of_same_authority(base, rest))
            .flatten();
    }
    if reference.starts_with("//") {
        return of_same_authority(base, reference);
    }
    if reference.starts_with('/') {
        return Some(in_normal_form(reference));
    }
    if reference.is_empty() {
        return None;
    }
    if reference.starts_with('?') {
        return Some(format!("{}{reference}", base.path));
    }
    let directory = base
        .path
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    Some(in_normal_form(&format!("{directory}/{reference}")))
}

/// A path and query without dot segments.
fn in_normal_form(reference: &str) -> String {
    match reference.split_once('?') {
        Some((path, query)) => format!("{}?{query}", without_dots(path)),
        None => without_dots(reference),
    }
}

/// The scheme of an absolute URI, and what follows its colon.
fn after_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some((scheme, rest))
}

/// Path and query of `//authority/path?query`, if the authority is ours.
fn of_same_authority(base: Target<'_>, reference: &str) -> Option<String> {
    let rest = reference.strip_prefix("//")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let is_ours = authority.as_bytes().eq_ignore_ascii_case(base.authority);
    is_ours.then(|| {
        if path.starts_with('/') {
            in_normal_form(path)
        } else {
            format!("/{path}")
        }
    })
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in path.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    if ends_in_directory {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Purges remembered one by one; at a thousand a second, four seconds of them.
const MOST_REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::facts::Scheme;

    #[test]
    fn a_purge_is_seen_by_what_was_born_before_it() {
        let log = PurgeLog::new();
        let before = log.now();
        log.note(7);
        let after = log.now();
        assert!(log.has_since(before, 7));
        assert!(!log.has_since(before, 8));
        assert!(!log.has_since(after, 7));
        log.note_all();
        assert!(log.has_since(after, 8));
        assert!(!log.has_since(log.now(), 8));
    }

    #[test]
    fn what_is_forgotten_counts_as_purged() {
        let log = PurgeLog::new();
        let before = log.now();
        for key in 0..=MOST_REMEMBERED {
            log.note(key as KeyHash);
        }
        assert!(log.has_since(before, KeyHash::MAX));
        let late = Sequence(1);
        assert!(!log.has_since(late, KeyHash::MAX));
        assert!(log.recent.lock().unwrap().purges.len() <= MOST_REMEMBERED);
    }

    #[test]
    fn unknown_methods_are_unsafe() {
        for (method, expected) in [
            ("GET", false),
            ("HEAD", false),
            ("OPTIONS", false),
            ("QUERY", false),
            ("POST", true),
            ("PUT", true),
            ("PATCH", true),
            ("DELETE", true),
            ("FROBNICATE", true),
        ] {
            assert_eq!(is_unsafe(&method.parse().unwrap()), expected, "{method}");
        }
    }

    #[test]
    fn locations_of_the_same_origin_are_changed_too() {
        let base = Target {
            scheme: Scheme::Http,
            authority: b"example.com",
            path: "/a/b",
            query: Some("q"),
        };
        for (location, expected) in [
            ("/c", Some("/c")),
            ("/c?d=1#e", Some("/c?d=1")),
            ("c", Some("/a/c")),
            ("../c?d", Some("/c?d")),
            ("/x/../c?d/../e", Some("/c?d/../e")),
            ("/./c", Some("/c")),
            ("http://example.com/x/../c", Some("/c")),
            ("//example.com/./c/", Some("/c/")),
            ("/c/", Some("/c/")),
            ("/", Some("/")),
            ("./", Some("/a/")),
            ("?d", Some("/a/b?d")),
            ("http://example.com/c", Some("/c")),
            ("HTTP://EXAMPLE.com?d", Some("/?d")),
            ("//example.com/c", Some("/c")),
            ("https://example.com/c", None),
            ("http://example.com:8080/c", None),
            ("http://example.org/c", None),
            ("//example.org/c", None),
            ("mailto:a@example.com", None),
            ("", None),
            ("#e", None),
        ] {
            assert_eq!(resolve(base, location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn both_location_fields_count() {
        let base = Target {
            scheme: Scheme::Http,
            authority: b"a",
            path: "/",
            query: None,
        };
        let mut fields = HeaderMap::new();
        fields.insert(LOCATION, HeaderValue::from_static("/x"));
        fields.insert(CONTENT_LOCATION, HeaderValue::from_static("/y"));
        assert_eq!(also_changed(base, &fields), ["/x", "/y"]);
    }
}
