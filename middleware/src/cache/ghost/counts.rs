//! What was seen on one route, in numbers.
//!
//! Requests, bytes and times are counted exactly. What would have been fetched all the same is counted
//! for the followed keys and stands for all, times their weight; what would have been saved is the
//! difference. That is closer than counting what is saved, since the few keys that most requests are
//! for are fetched as seldom as others, and need not be among those that are followed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::ghost::PLANS;
use crate::cache::ghost::table::Likeness;
use crate::cache::reason::Reason;

/// A part of a route, by the beginning of the path; the whole route where it has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(u16);

/// What a plan would have done with one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) is_served: bool,
    /// Whether the upstream would have been asked: also behind a stale answer.
    pub(super) is_fetched: bool,
    /// Of the copy and what was fetched, where one would have been served.
    pub(super) likeness: Likeness,
}

/// Why requests were not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excluded {
    /// `Authorization` or `Cookie`.
    Credentials,
    Range,
}

/// All parts of one route.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The first one is everything that has no name of its own.
    groups: Vec<(String, Totals)>,
}

/// One part.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) upstream: Duration,
    pub(super) credentialed: u64,
    pub(super) ranges: u64,
    /// Why answers would not have been stored by any plan.
    pub(super) refused: BTreeMap<&'static str, u64>,
    pub(super) plans: [Plan; PLANS],
}

/// What one plan would have done, weighed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// Requests that would not have been answered from what is stored.
    pub(super) missed: f64,
    /// Requests to the upstream, with what they brought and took.
    pub(super) fetched: f64,
    pub(super) bytes: f64,
    pub(super) upstream: f64,
    /// Copies that could be compared with what was fetched, and those that were different.
    pub(super) checked: f64,
    pub(super) wrong: f64,
    /// Requests with credentials that would have got a copy, and a different one than their own answer.
    pub(super) shared: f64,
    pub(super) shared_wrong: f64,
}

impl Counts {
    /// The part that `path` belongs to: of the default route, its first segment, if that is a name
    /// and there is room for it.
    pub(super) fn group(&mut self, path: &str, is_default: bool) -> Group {
        if self.groups.is_empty() {
            self.groups.push((String::from("/*"), Totals::default()));
        }
        let Some(first) = first_segment(path).filter(|_| is_default) else {
            return Group(0);
        };
        let is_same = |(name, _): &(String, Totals)| {
            name.strip_prefix('/')
                .and_then(|name| name.strip_suffix("/*"))
                == Some(first)
        };
        let index = match self.groups.iter().position(is_same) {
            Some(index) => index,
            None if self.groups.len() < MOST_GROUPS => {
                let name = format!("/{first}/*");
                self.groups.push((name, Totals::default()));
                self.groups.len() - 1
            }
            None => 0,
        };
        Group(u16::try_from(index).expect("few groups"))
    }

    pub(super) fn totals(&mut self, group: Group) -> &mut Totals {
        if self.groups.is_empty() {
            self.groups.push((String::from("/*"), Totals::default()));
        }
        let index = usize::from(group.0).min(self.groups.len() - 1);
        &mut self.groups[index].1
    }

    pub(super) fn groups(&self) -> &[(String, Totals)] {
        &self.groups
    }
}

impl Totals {
    pub(super) fn exclude(&mut self, why: Excluded) {
        match why {
            Excluded::Credentials => self.credentialed += 1,
            Excluded::Range => self.ranges += 1,
        }
    }

    pub(super) fn refuse(&mut self, reason: Reason) {
        *self.refused.entry(reason.name()).or_default() += 1;
    }
}

impl Plan {
    pub(super) fn count(&mut self, outcome: Outcome, weight: f64, bytes: u64, took: Duration) {
        if !outcome.is_served {
            self.missed += weight;
        }
        if outcome.is_fetched {
            self.fetched += weight;
            self.bytes += weight * bytes as f64;
            self.upstream += weight * took.as_secs_f64();
        }
        match outcome.likeness {
            Likeness::Same => self.checked += weight,
            Likeness::Different => {
                self.checked += weight;
                self.wrong += weight;
            }
            Likeness::Unknown => {}
        }
    }

    pub(super) fn count_shared(&mut self, outcome: Outcome, weight: f64) {
        if outcome.is_served {
            self.shared += weight;
            if outcome.likeness == Likeness::Different {
                self.shared_wrong += weight;
            }
        }
    }
}

/// The first segment of a path that goes on after it, if it reads like the name of a part of a site
/// and could stand in a pattern.
fn first_segment(path: &str) -> Option<&str> {
    let (first, _) = path.strip_prefix('/')?.split_once('/')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let digits = first.bytes().filter(u8::is_ascii_digit).count();
    let is_name = (1..=LONGEST_NAME).contains(&first.len())
        && first.bytes().all(is_plain)
        && first.bytes().any(|byte| byte.is_ascii_alphabetic())
        && digits < MANY_DIGITS
        && !first.starts_with('.');
    is_name.then_some(first)
}

/// Parts of the default route; further ones count into the rest.
const MOST_GROUPS: usize = 64;
/// Longer segments are ids.
const LONGEST_NAME: usize = 40;
/// So are those with as many digits.
const MANY_DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_grouped_by_what_could_be_a_pattern() {
        for (path, group) in [
            ("/", None),
            ("/page", None),
            ("/assets/app.js", Some("assets")),
            ("/api/v1/x", Some("api")),
            ("//x", None),
            ("/17/x", None),
            ("/2024-01-17-x/y", None),
            ("/a%20b/c", None),
            ("/{id}/c", None),
            ("/*/c", None),
            ("/../c", None),
            ("*", None),
        ] {
            assert_eq!(first_segment(path), group, "{path}");
        }
    }

    #[test]
    fn a_scanner_finds_a_bound() {
        let mut counts = Counts::default();
        for n in 0..1000 {
            counts.group(&format!("/name{n}x/y"), true);
        }
        assert_eq!(counts.groups().len(), MOST_GROUPS);
        assert_eq!(counts.group("/further/y", true), Group(0));
        assert_eq!(counts.group("/name3x/y", false), Group(0));
        assert_eq!(counts.groups()[4].0, "/name3x/*");
        assert_eq!(counts.group("/name3x/z", true), Group(4));
    }
}
