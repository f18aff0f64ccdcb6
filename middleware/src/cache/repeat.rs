//! What an answer from memory stands by, so that it may be said again ([`crate::repeat`]).

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::cache::decide::{Asked, Candidate};
use crate::cache::errand::Kept;
use crate::cache::key::KeyHash;
use crate::cache::store::memory::Lookup;
use crate::cache::stored::StoredResponse;
use crate::cache::{Cache, CacheLayer};
use crate::clock::Now;
use crate::facts;
use crate::fields::cache_control::RequestDirectives;
use crate::repeat::{Repeat, Stands};
use crate::{Inner, Request};

impl<S: Inner + Clone> Cache<S> {
    /// What the answer to `request` from `kept`, which is fresh, stands by; `None` where nobody asks for that, or
    /// where it stands by more than the look-up tells.
    pub(crate) fn repeat(
        &self,
        request: &Request,
        hash: KeyHash,
        kept: &Kept,
        candidate: Candidate,
        asked: &Asked,
    ) -> Option<Arc<Repeat>> {
        let facts = facts::of_request(request);
        if !facts.repeats {
            return None;
        }
        // A client's own bounds of age are not those of its seconds; a part is made for who asks for it.
        let is_plain = asked.directives == RequestDirectives::default() && !asked.has_range;
        let weight = self.layer.settings.early_refresh;
        let left = kept.stored.left_before_lots(candidate, weight)?;
        if !is_plain || !kept.is_whole() {
            return None;
        }
        let stands = Memory {
            layer: self.layer.clone(),
            hash,
            key: self.key.as_slice().into(),
            fields: copied(request.headers())?,
            stored: Arc::downgrade(&kept.stored),
        };
        let until = until(facts.received, candidate.age, left)?;
        Some(Arc::new(Repeat::new(until, Box::new(stands))))
    }
}

/// The same in memory of its own: as they came, they are parts of all that was read.
fn copied(fields: &HeaderMap) -> Option<HeaderMap> {
    let mut copied = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        copied.try_append(name.clone(), value).ok()?;
    }
    Some(copied)
}

/// When an answer of this `age` has to say something else: at its next full second, or when what is `left` is over.
fn until(now: Now, age: Duration, left: Duration) -> Option<Now> {
    let second = Duration::from_nanos(u64::from(NANOS - age.subsec_nanos()));
    let same = second.min(left);
    Some(Now {
        wall: now.wall.checked_add(same)?,
        mono: now.mono.checked_add(same)?,
    })
}

/// See [`Stands`].
#[derive(Debug)]
struct Memory {
    layer: Arc<CacheLayer>,
    hash: KeyHash,
    key: Box<[u8]>,
    /// Of the request: by these a variant is chosen.
    fields: HeaderMap,
    /// It keeps the address from being another's, and nothing else of it alive.
    stored: Weak<StoredResponse>,
}

impl Stands for Memory {
    fn stands(&self) -> Option<Arc<StoredResponse>> {
        let CacheLayer {
            settings, shared, ..
        } = &*self.layer;
        let found = shared.find(settings, self.hash, &self.key, &self.fields);
        let Lookup::Stored {
            stored,
            is_purged: false,
            ..
        } = found
        else {
            return None;
        };
        let is_same = self.stored.as_ptr() == Arc::as_ptr(&stored) && !stored.is_outdated();
        is_same.then(|| {
            stored.note_use();
            self.layer.note_hottest(self.hash, &self.key, &stored);
            stored
        })
    }
}

/// Of a second.
const NANOS: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_answer_says_the_same_until_its_next_second_or_its_end() {
        let now = Clock::standing().now();
        let millis = Duration::from_millis;
        for (age, left, expected) in [
            (0, 60_000, 1000),
            (250, 60_000, 750),
            (59_999, 60_000, 1),
            (5000, 300, 300),
            (5900, 300, 100),
        ] {
            let until = until(now, millis(age), millis(left)).unwrap();
            assert_eq!(until.mono - now.mono, millis(expected), "{age} {left}");
            let wall = until.wall.duration_since(now.wall).unwrap();
            assert_eq!(wall, millis(expected), "{age} {left}");
        }
        assert!(until(now, millis(0), Duration::MAX).is_some());
    }
}
