//! What was decided lately about answers that came from the upstream, for `explain`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

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

impl Verdict {
    fn may_be_stored_whole(&self) -> bool {
        self.stored == Err(Reason::NotModified)
    }

    /// Whether `later` knows less: a 304 does not show what stood against storing a whole answer
    /// (its length, say), and fetching it again and again to find out would be a waste.
    fn outweighs(&self, later: &Self) -> bool {
        let was_refused = self.stored.is_err() && self.status != Some(StatusCode::NOT_MODIFIED);
        let age = later.at.duration_since(self.at).unwrap_or_default();
        self.key == later.key && later.may_be_stored_whole() && was_refused && age < LASTING
    }
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
        if !place.is_some_and(|earlier| earlier.outweighs(&verdict)) {
            *place = Some(verdict);
        }
    }

    /// Whether the latest about `key` is a 304 to a client's own precondition, with nothing against
    /// storing the whole answer. Says so once.
    pub(crate) fn claim_whole(&self, key: KeyHash) -> bool {
        let mut place = self
            .place(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        place
            .take_if(|verdict| verdict.key == key && verdict.may_be_stored_whole())
            .is_some()
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

/// How long a refusal to store is believed against a 304.
const LASTING: Duration = Duration::from_secs(600);
/// A power of two. Some 300 KiB.
const PLACES: usize = 4096;
