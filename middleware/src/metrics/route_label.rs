//! The `route` label: the configured pattern, or the beginning of a path with its ids folded; with
//! a cap, so that no client can fill the table or the scraper's memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::lock;
use super::mix::Mixed;

/// Index of a name, the same on every core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RouteIndex(pub(super) u16);

impl RouteIndex {
    /// Every route without a name of its own.
    pub(super) const OTHER: Self = Self(0);
}

/// All names, shared by the cores; only ever grows, up to [`MAX_NAMES`].
#[derive(Debug)]
pub(super) struct RouteNames {
    names: Mutex<Vec<Arc<str>>>,
    /// How many there are, so that a core need not lock to learn that it knows them all.
    count: AtomicUsize,
}

impl Default for RouteNames {
    fn default() -> Self {
        Self {
            names: Mutex::new(vec![Arc::from("other")]),
            count: AtomicUsize::new(1),
        }
    }
}

impl RouteNames {
    /// Of index `route`.
    pub(super) fn name(&self, route: RouteIndex) -> Arc<str> {
        let names = lock(&self.names);
        let name = names.get(usize::from(route.0)).or(names.first());
        name.cloned().unwrap_or_else(|| Arc::from("other"))
    }
}

/// What one core knows of [`RouteNames`].
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    indices: HashMap<Arc<str>, RouteIndex, Mixed>,
    /// How many of the shared names were taken over.
    seen: usize,
    /// Reused for each folded path.
    folded: String,
}

/// What [`KnownNames::route`] made of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Named(RouteIndex),
    /// A name that may not be added, since the answer was a failure: `other`.
    Unnamed,
    /// The table is full: `other`, and counted.
    Overflow,
}

impl KnownNames {
    /// The index of the configured route `name`; the default route is split up by path, but only
    /// a success (`may_add`) makes a new name, or a scanner would fill the table.
    pub(super) fn route(
        &mut self,
        shared: &RouteNames,
        name: &str,
        path: &str,
        may_add: bool,
    ) -> Found {
        if name != DEFAULT_ROUTE {
            return self.find(shared, name, true);
        }
        let mut folded = std::mem::take(&mut self.folded);
        fold_into(&mut folded, path);
        let found = self.find(shared, &folded, may_add);
        self.folded = folded;
        found
    }

    fn find(&mut self, shared: &RouteNames, name: &str, may_add: bool) -> Found {
        if let Some(index) = self.indices.get(name) {
            return Found::Named(*index);
        }
        let count = shared.count.load(Ordering::Acquire);
        if self.seen == count && (!may_add || count == MAX_NAMES) {
            return if may_add {
                Found::Overflow
            } else {
                Found::Unnamed
            };
        }
        let mut names = lock(&shared.names);
        self.take_over(&names);
        if let Some(index) = self.indices.get(name) {
            return Found::Named(*index);
        }
        if !may_add {
            return Found::Unnamed;
        }
        if names.len() >= MAX_NAMES {
            return Found::Overflow;
        }
        names.push(Arc::from(name));
        shared.count.store(names.len(), Ordering::Release);
        self.take_over(&names);
        self.indices
            .get(name)
            .map_or(Found::Overflow, |index| Found::Named(*index))
    }

    fn take_over(&mut self, names: &[Arc<str>]) {
        for (index, name) in names.iter().enumerate().skip(self.seen) {
            let index = u16::try_from(index).expect("the cap fits 16 bits");
            // Its own allocation, so that no reference count is shared between cores.
            self.indices.insert(Arc::from(&**name), RouteIndex(index));
        }
        self.seen = names.len();
    }
}

/// The first two segments of `path`, ids folded: `/users/17/posts` is `/users/{id}`.
fn fold_into(folded: &mut String, path: &str) {
    folded.clear();
    let mut rest = Some(path.strip_prefix('/').unwrap_or(path));
    for _ in 0..2 {
        let Some(segments) = rest else { return };
        let end = segments.bytes().position(|byte| byte == b'/');
        let (segment, after) = segments.split_at(end.unwrap_or(segments.len()));
        folded.push('/');
        folded.push_str(if is_id(segment) { "{id}" } else { segment });
        rest = after.strip_prefix('/');
    }
    if rest.is_some() {
        folded.push_str("/*");
    }
}

/// Whether `segment` names one thing among many: digits, a UUID, long hexadecimal, or anything
/// that nobody would call a route (long, or with characters that need quoting in a label).
fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if bytes.is_empty() {
        return false;
    }
    if bytes.len() > MAX_SEGMENT {
        return true;
    }
    // One look at each byte, since every request of the default route comes this way.
    let (mut digits, mut hex) = (0, true);
    for byte in bytes {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' | b'-' => {}
            b'g'..=b'z' | b'G'..=b'Z' | b'.' | b'_' | b'~' => hex = false,
            _ => return true,
        }
    }
    digits == bytes.len()
        || (bytes.len() >= 8 && digits > 0 && hex)
        // Slugs and tokens: `order-20240117`, `01HV3ZK2Q8…`.
        || digits >= 6
}

/// What the configuration calls the route that takes what no other takes.
const DEFAULT_ROUTE: &str = "*";
/// All names together, `other` included.
const MAX_NAMES: usize = 201;
/// Longer segments are folded.
const MAX_SEGMENT: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(path: &str) -> String {
        let mut text = String::new();
        fold_into(&mut text, path);
        text
    }

    #[test]
    fn ids_are_folded() {
        for (path, name) in [
            ("/", "/"),
            ("/about", "/about"),
            ("/users/17", "/users/{id}"),
            ("/users/17/posts/4", "/users/{id}/*"),
            ("/assets/app-4f3a9c21.js", "/assets/app-4f3a9c21.js"),
            ("/o/123e4567-e89b-12d3-a456-426614174000", "/o/{id}"),
            ("/c/9f86d081884c7d65", "/c/{id}"),
            ("/c/deadbeef", "/c/deadbeef"),
            ("/caf%C3%A9", "/{id}"),
            ("/a\"b", "/{id}"),
            ("//x", "//x"),
            ("/v1/items", "/v1/items"),
            ("*", "/{id}"),
        ] {
            assert_eq!(folded(path), name, "{path}");
        }
    }

    #[test]
    fn failures_make_no_names_and_the_table_has_a_cap() {
        let shared = RouteNames::default();
        let mut core = KnownNames::default();
        assert_eq!(core.route(&shared, "*", "/wp-admin", false), Found::Unnamed);
        assert!(matches!(
            core.route(&shared, "*", "/a", true),
            Found::Named(_)
        ));
        // A failure on a name that is known counts there.
        assert!(matches!(
            core.route(&shared, "*", "/a", false),
            Found::Named(_)
        ));
        let mut overflowed = 0;
        for n in 0..500 {
            let name = format!("/name{}x{}", n / 100, n % 100);
            if core.route(&shared, "*", &name, true) == Found::Overflow {
                overflowed += 1;
            }
        }
        assert_eq!(overflowed, 500 - (MAX_NAMES - 2));
        // Another core knows the same names by the same numbers.
        let mut second = KnownNames::default();
        assert_eq!(
            second.route(&shared, "*", "/a", false),
            core.route(&shared, "*", "/a", false)
        );
        assert_eq!(second.route(&shared, "*", "/new", true), Found::Overflow);
    }

    #[test]
    fn a_configured_route_is_named_as_written() {
        let shared = RouteNames::default();
        let mut core = KnownNames::default();
        let Found::Named(index) = core.route(&shared, "/users/{id}", "/users/7", false) else {
            panic!("a configured route is always named");
        };
        assert_eq!(&*shared.name(index), "/users/{id}");
    }
}
