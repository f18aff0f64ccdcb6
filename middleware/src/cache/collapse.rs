//! Collapsed forwarding: requests for the same thing, at the same time, are forwarded once.
//!
//! The first one leads; others follow and wait for its answer's head. If that may be stored, they
//! share it; if not, all of them go by themselves at once, and for a while nobody waits for that key
//! any more (a pass marker), so nothing that is for one client ever reaches another and no
//! uncacheable URL is served one by one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::watch;

use crate::ErrorKind;
use crate::cache::fill::Fill;
use crate::cache::key::{CacheKey, KeyHash};
use crate::cache::reason::Reason;
use crate::cache::store::pass_through::PassThrough;
use crate::cache::stored::StoredResponse;
use crate::clock::Now;

/// What the leader's followers hear.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// No head yet.
    Pending,
    /// Stored, with all its content.
    Stored(Arc<StoredResponse>),
    /// Found below memory, there by this rule; nothing was forwarded.
    Found(Arc<StoredResponse>, Option<Reason>),
    /// Its head may be stored, its content is still arriving.
    Filling(Arc<Fill>),
    /// Not to be shared: each goes by itself, all at once.
    Alone,
    /// It says nothing about the others: they may try once more to share.
    Again,
    /// The upstream failed.
    Failed(Failure),
}

/// How the upstream failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Error(ErrorKind),
    Status(StatusCode),
}

/// Who a request is among those for the same thing.
pub(crate) enum Joined {
    /// The first.
    Lead(Flight),
    /// One that may wait for the first.
    Follow(watch::Receiver<Outcome>),
    /// By itself, for there is nothing to share.
    Alone,
}

/// All requests in flight that others may follow, and the pass markers.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
    /// One word a place: the hash's upper half and until when, in seconds after `start`. A marker
    /// that is overwritten by another costs one wait, nothing else.
    passes: Box<[AtomicU64]>,
    start: Instant,
}

/// Bounded by the requests in flight.
type Shard = HashMap<KeyHash, InFlight, PassThrough>;

#[derive(Debug)]
struct InFlight {
    key: Box<[u8]>,
    outcome: watch::Receiver<Outcome>,
}

/// The lead of one flight. Dropping it ends the flight; if nothing was told by then, followers try again.
#[derive(Debug)]
pub(crate) struct Flight {
    flights: Arc<Flights>,
    key: KeyHash,
    outcome: watch::Sender<Outcome>,
}

/// Those who wait for a flight, seen from where the flight itself is not at hand.
#[derive(Debug)]
pub(crate) struct Followers(watch::Sender<Outcome>);

impl Followers {
    /// Whether anybody waits. The map of flights holds one receiver itself.
    pub(crate) fn are_there(&self) -> bool {
        self.0.receiver_count() > 1
    }
}

impl Flights {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            passes: (0..PASSES).map(|_| AtomicU64::new(0)).collect(),
            start: now.mono,
        }
    }

    /// Leads or follows the flight of `key`.
    pub(crate) fn join(self: &Arc<Self>, key: &CacheKey) -> Joined {
        match self.shard(key.hash).entry(key.hash) {
            Entry::Occupied(flight) if flight.get().key == key.bytes => {
                Joined::Follow(flight.get().outcome.clone())
            }
            Entry::Occupied(_) => Joined::Alone,
            Entry::Vacant(place) => {
                let (sender, outcome) = watch::channel(Outcome::Pending);
                place.insert(InFlight {
                    key: key.bytes.clone(),
                    outcome,
                });
                Joined::Lead(Flight {
                    flights: self.clone(),
                    key: key.hash,
                    outcome: sender,
                })
            }
        }
    }

    /// Follows the flight of `key`, if there is one.
    pub(crate) fn follow(&self, key: &CacheKey) -> Option<watch::Receiver<Outcome>> {
        let shard = self.shard(key.hash);
        let flight = shard.get(&key.hash)?;
        (flight.key == key.bytes).then(|| flight.outcome.clone())
    }

    /// Whether answers for `key` turned out not to be shareable lately.
    pub(crate) fn is_pass(&self, key: KeyHash, now: Now) -> bool {
        let (place, tag) = self.pass(key);
        let marker = place.load(Ordering::Relaxed);
        marker >> 32 == tag && marker & LOW > self.second(now)
    }

    /// Marks `key` as not shareable for [`PASS`].
    pub(crate) fn mark_pass(&self, key: KeyHash, now: Now) {
        let (place, tag) = self.pass(key);
        let until = self.second(now) + PASS.as_secs();
        let marker = tag << 32 | until & LOW;
        if place.load(Ordering::Relaxed) != marker {
            place.store(marker, Ordering::Relaxed);
        }
    }

    /// Forgets the marker of `key`: an answer could be stored after all.
    pub(crate) fn clear_pass(&self, key: KeyHash) {
        let (place, tag) = self.pass(key);
        let marker = place.load(Ordering::Relaxed);
        if marker >> 32 == tag && marker != 0 {
            place.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, key: KeyHash) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(key >> 64 & (SHARDS as u128 - 1)).unwrap_or_default();
        lock(
            self.shards
                .get(index)
                .expect("the index is below the number of shards"),
        )
    }

    fn pass(&self, key: KeyHash) -> (&AtomicU64, u64) {
        let index = usize::try_from(key & (PASSES as u128 - 1)).unwrap_or_default();
        let place = self
            .passes
            .get(index)
            .expect("the index is below the number of places");
        (place, u64::try_from(key >> 96).unwrap_or_default())
    }

    fn second(&self, now: Now) -> u64 {
        now.mono.saturating_duration_since(self.start).as_secs()
    }
}

impl Flight {
    /// Tells all followers, and those who join until the flight is dropped.
    pub(crate) fn tell(&self, outcome: Outcome) {
        self.outcome.send_replace(outcome);
    }

    /// Whether anybody waits.
    pub(crate) fn has_followers(&self) -> bool {
        self.outcome.receiver_count() > 1
    }

    /// Those who wait.
    pub(crate) fn followers(&self) -> Followers {
        Followers(self.outcome.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Out of the map first, so that whoever tries again does not find this flight.
        self.flights.shard(self.key).remove(&self.key);
        self.outcome.send_if_modified(|outcome| {
            let is_untold = matches!(outcome, Outcome::Pending);
            if is_untold {
                *outcome = Outcome::Again;
            }
            is_untold
        });
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long nobody waits for a key whose answer could not be shared; one that can be stored ends it sooner.
pub(crate) const PASS: Duration = Duration::from_secs(60);
/// Locks that requests in flight are spread over; a power of two.
const SHARDS: usize = 64;
/// Pass markers; a power of two. 128 KiB.
const PASSES: usize = 1 << 14;
const LOW: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn key(text: &str, hash: KeyHash) -> CacheKey {
        CacheKey {
            hash,
            bytes: text.as_bytes().into(),
        }
    }

    #[test]
    fn the_first_leads_and_others_follow_until_it_ends() {
        let flights = Arc::new(Flights::new(Clock::system().now()));
        let Joined::Lead(flight) = flights.join(&key("a", 1)) else {
            panic!("the first leads");
        };
        assert!(!flight.has_followers());
        let Joined::Follow(outcome) = flights.join(&key("a", 1)) else {
            panic!("the second follows");
        };
        assert!(flight.has_followers());
        assert!(matches!(flights.join(&key("b", 2)), Joined::Lead(_)));
        flight.tell(Outcome::Alone);
        assert!(matches!(*outcome.borrow(), Outcome::Alone));
        drop(flight);
        assert!(matches!(*outcome.borrow(), Outcome::Alone));
        assert_eq!(flights.count(), 0);
    }

    #[test]
    fn keys_with_one_hash_are_told_apart() {
        let flights = Arc::new(Flights::new(Clock::system().now()));
        let _flight = flights.join(&key("a", 1));
        assert!(matches!(flights.join(&key("b", 1)), Joined::Alone));
        assert!(flights.follow(&key("b", 1)).is_none());
    }

    #[test]
    fn a_leader_that_vanishes_lets_its_followers_try_again() {
        let flights = Arc::new(Flights::new(Clock::system().now()));
        let flight = flights.join(&key("a", 1));
        let outcome = flights.follow(&key("a", 1)).unwrap();
        drop(flight);
        assert!(matches!(*outcome.borrow(), Outcome::Again));
    }

    #[test]
    fn a_pass_marker_ends_by_itself_or_when_something_is_stored() {
        let clock = Clock::adjustable();
        let flights = Flights::new(clock.now());
        let (one, same_place) = (1 << 96 | 5, 2 << 96 | 5);
        assert!(!flights.is_pass(one, clock.now()));
        flights.mark_pass(one, clock.now());
        assert!(flights.is_pass(one, clock.now()));
        assert!(!flights.is_pass(same_place, clock.now()));
        flights.clear_pass(same_place);
        clock.advance(PASS - Duration::from_secs(1));
        assert!(flights.is_pass(one, clock.now()));
        clock.advance(Duration::from_secs(1));
        assert!(!flights.is_pass(one, clock.now()));
        flights.mark_pass(one, clock.now());
        flights.clear_pass(one);
        assert!(!flights.is_pass(one, clock.now()));
    }
}
