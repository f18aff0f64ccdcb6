//! The closed sets behind labels: outcome, method, status, what the cache did and why.

use http::{Method, StatusCode};

use crate::ErrorKind;
use crate::facts::{CacheOutcome, CacheStatus, Fwd};

/// What became of a request: the closed set of the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale one.
    Stale,
    /// Answered from a stored one that the upstream confirmed.
    Revalidated,
    /// Forwarded, because nothing stored could answer.
    Miss,
    /// Answered by another request's forwarding.
    Collapsed,
    /// Forwarded, because the cache was told to keep out of it.
    Bypass,
    /// Forwarded; no cache had a say (method, upgrade, cache off).
    Pass,
    /// Answered by Pillion, because something failed.
    Error,
}

impl Outcome {
    /// As the label is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
            Self::Pass => "pass",
            Self::Error => "error",
        }
    }

    /// What `cache` and `error` say about an answer.
    pub fn of(cache: Option<CacheStatus>, error: Option<ErrorKind>) -> Self {
        match (error, cache) {
            (Some(_), _) => Self::Error,
            (None, None) => Self::Pass,
            (None, Some(status)) => match status.outcome {
                CacheOutcome::Hit => Self::Hit,
                CacheOutcome::HitStale => Self::Stale,
                CacheOutcome::Revalidated => Self::Revalidated,
                CacheOutcome::Fwd(_) if status.collapsed => Self::Collapsed,
                CacheOutcome::Fwd(Fwd::Bypass) => Self::Bypass,
                CacheOutcome::Fwd(Fwd::Method) => Self::Pass,
                CacheOutcome::Fwd(_) => Self::Miss,
            },
        }
    }
}

/// The label `method`: the registered ones that are common, and `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MethodLabel(u8);

impl MethodLabel {
    const NAMES: [&'static str; 11] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT",
        "other",
    ];

    pub(super) fn of(method: &Method) -> Self {
        let index = Self::NAMES.iter().position(|name| *name == method.as_str());
        let other = Self::NAMES.len() - 1;
        Self(u8::try_from(index.unwrap_or(other)).expect("a short list"))
    }

    pub(super) fn name(self) -> &'static str {
        Self::NAMES
            .get(usize::from(self.0))
            .copied()
            .unwrap_or("other")
    }
}

/// 0 for a status that nobody registered: an upstream may make up nine hundred of them. 499 is what
/// we log for a client that went away unanswered.
pub(super) fn registered(status: StatusCode) -> u16 {
    match status.as_u16() {
        499 => 499,
        code => status.canonical_reason().map_or(0, |_| code),
    }
}

pub(super) fn code_label(code: u16) -> String {
    if code == 0 {
        String::from("other")
    } else {
        code.to_string()
    }
}

pub(crate) fn lookup_label(outcome: CacheOutcome) -> &'static str {
    match outcome {
        CacheOutcome::Hit => "hit",
        CacheOutcome::HitStale => "hit-stale",
        CacheOutcome::Revalidated => "revalidated",
        CacheOutcome::Fwd(Fwd::Bypass) => "bypass",
        CacheOutcome::Fwd(Fwd::Method) => "method",
        CacheOutcome::Fwd(Fwd::UriMiss) => "uri-miss",
        CacheOutcome::Fwd(Fwd::VaryMiss) => "vary-miss",
        CacheOutcome::Fwd(Fwd::Miss) => "miss",
        CacheOutcome::Fwd(Fwd::Request) => "request",
        CacheOutcome::Fwd(Fwd::Stale) => "stale",
        CacheOutcome::Fwd(Fwd::Partial) => "partial",
    }
}
