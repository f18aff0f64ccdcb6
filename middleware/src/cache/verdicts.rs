//! What was decided lately about answers that came from the upstream, for `explain`.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::StatusCode;

use crate::cache::key::KeyHash;
use crate::cache::reason::Reason;

/// One decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) key: KeyHash,
    pub(crate) at: SystemTime,
    /// Why the request was forwarded.
    pub(crate) forwarded: Reason,
    /// The answer's status, if there was one.
    pub(crate) status: Option<StatusCode>,
    /// Whether it was stored, or why not.
    pub(crate) stored: Result<(), Reason>,
}

/// A table of the latest verdicts, one a place; a later one overwrites.
#[derive(Debug)]
pub(crate) struct Verdicts(Box<[Mutex<Option<Verdict>>]>);

impl Verdicts {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn note(&self, verdict: Verdict) {
        let mut place = self
            .place(verdict.key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(verdict);
    }

    /// The latest verdict about `key`, if it is still known.
    pub(crate) fn latest(&self, key: KeyHash) -> Option<Verdict> {
        let place = self
            .place(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        place.filter(|verdict| verdict.key == key)
    }

    fn place(&self, key: KeyHash) -> &Mutex<Option<Verdict>> {
        let index = usize::try_from(key & (PLACES as u128 - 1)).unwrap_or_default();
        self.0
            .get(index)
            .expect("the index is below the number of places")
    }
}

/// A power of two. Some 300 KiB.
const PLACES: usize = 4096;
