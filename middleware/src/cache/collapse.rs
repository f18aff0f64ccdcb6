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
#[derive(Debug, Default)]
struct Shard {
    flights: HashMap<KeyHash, InFlight, PassThrough>,
    /// Of the next one that begins here.
    next: u64,
}

#[derive(Debug)]
struct InFlight {
    key: Box<[u8]>,
    /// Tells it from those that had its key before, and will.
    number: u64,
    told: Told,
}

/// What was told last, and who hears it. Most flights are followed by nobody, so the channel is made
/// for the first who does.
#[derive(Debug)]
enum Told {
    Nobody(Outcome),
    All(watch::Sender<Outcome>),
}

/// The lead of one flight. Dropping it ends the flight; if nothing was told by then, followers try again.
#[derive(Debug)]
pub(crate) struct Flight {
    place: FlightPlace,
    has_ended: bool,
}

/// Where a flight is, as long as it lasts.
#[derive(Clone, Debug)]
struct FlightPlace {
    flights: Arc<Flights>,
    key: KeyHash,
    number: u64,
}

/// Those who wait for a flight, seen from where the flight itself is not at hand.
#[derive(Debug)]
pub(crate) struct Followers(FlightPlace);

impl Followers {
    /// Whether anybody waits.
    pub(crate) fn are_there(&self) -> bool {
        self.0.has_followers()
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
        let mut shard = self.shard(key.hash);
        let Shard { flights, next } = &mut *shard;
        match flights.entry(key.hash) {
            Entry::Occupied(mut flight) if flight.get().key == key.bytes => {
                Joined::Follow(flight.get_mut().told.hear())
            }
            Entry::Occupied(_) => Joined::Alone,
            Entry::Vacant(place) => {
                let number = *next;
                *next += 1;
                place.insert(InFlight {
                    key: key.bytes.clone(),
                    number,
                    told: Told::Nobody(Outcome::Pending),
                });
                Joined::Lead(Flight {
                    place: FlightPlace {
                        flights: self.clone(),
                        key: key.hash,
                        number,
                    },
                    has_ended: false,
                })
            }
        }
    }

    /// Follows the flight of `key`, if there is one.
    pub(crate) fn follow(&self, key: &CacheKey) -> Option<watch::Receiver<Outcome>> {
        let mut shard = self.shard(key.hash);
        let flight = shard.flights.get_mut(&key.hash)?;
        (flight.key == key.bytes).then(|| flight.told.hear())
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
        let count = |shard| lock(shard).flights.len();
        self.shards.iter().map(count).sum()
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

impl Told {
    /// For one more who follows.
    fn hear(&mut self) -> watch::Receiver<Outcome> {
        match self {
            Self::All(sender) => sender.subscribe(),
            Self::Nobody(told) => {
                let told = std::mem::replace(told, Outcome::Pending);
                let (sender, receiver) = watch::channel(told);
                *self = Self::All(sender);
                receiver
            }
        }
    }
}

impl FlightPlace {
    fn has_followers(&self) -> bool {
        let shard = self.flights.shard(self.key);
        let flight = shard.flights.get(&self.key);
        let flight = flight.filter(|flight| flight.number == self.number);
        flight.is_some_and(|flight| match &flight.told {
            Told::Nobody(_) => false,
            Told::All(sender) => sender.receiver_count() > 0,
        })
    }
}

impl Flight {
    /// Tells all followers, and those who join until the flight is dropped.
    pub(crate) fn tell(&self, outcome: Outcome) {
        let FlightPlace { flights, key, .. } = &self.place;
        let mut shard = flights.shard(*key);
        let Some(flight) = shard.flights.get_mut(key) else {
            return;
        };
        match &mut flight.told {
            Told::Nobody(told) => {
                let before = std::mem::replace(told, outcome);
                drop(shard);
                drop(before);
            }
            Told::All(sender) => {
                let sender = sender.clone();
                drop(shard);
                sender.send_replace(outcome);
            }
        }
    }

    /// Tells all followers the last that there is to tell.
    pub(crate) fn end(mut self, outcome: Outcome) {
        if let Some(sender) = self.leave() {
            sender.send_replace(outcome);
        }
    }

    /// Whether anybody waits.
    pub(crate) fn has_followers(&self) -> bool {
        self.place.has_followers()
    }

    /// Those who wait.
    pub(crate) fn followers(&self) -> Followers {
        Followers(self.place.clone())
    }

    /// Takes it out of the map, so that whoever tries again does not find it: those who have followed.
    fn leave(&mut self) -> Option<watch::Sender<Outcome>> {
        if std::mem::replace(&mut self.has_ended, true) {
            return None;
        }
        let FlightPlace { flights, key, .. } = &self.place;
        let flight = flights.shard(*key).flights.remove(key)?;
        match flight.told {
            Told::Nobody(_) => None,
            Told::All(sender) => Some(sender),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(sender) = self.leave() else {
            return;
        };
        sender.send_if_modified(|outcome| {
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
    fn the_end_is_told_to_all_who_follow_and_to_nobody_after() {
        let flights = Arc::new(Flights::new(Clock::system().now()));
        let lead = || match flights.join(&key("a", 1)) {
            Joined::Lead(flight) => flight,
            _ => panic!("nobody leads"),
        };
        lead().end(Outcome::Alone);
        assert_eq!(flights.count(), 0);
        let flight = lead();
        // What was told before anybody heard it is told whoever comes.
        flight.tell(Outcome::Alone);
        let (early, late) = (flights.follow(&key("a", 1)), flights.follow(&key("a", 1)));
        let (mut early, late) = (early.unwrap(), late.unwrap());
        assert!(matches!(*early.borrow_and_update(), Outcome::Alone));
        flight.tell(Outcome::Pending);
        flight.end(Outcome::Failed(Failure::Error(ErrorKind::DnsError)));
        assert!(matches!(*early.borrow_and_update(), Outcome::Failed(_)));
        assert!(matches!(*late.borrow(), Outcome::Failed(_)));
        assert_eq!(flights.count(), 0);
        assert!(flights.follow(&key("a", 1)).is_none());
    }

    #[test]
    fn followers_are_those_of_one_flight_and_not_of_the_next() {
        let flights = Arc::new(Flights::new(Clock::system().now()));
        let lead = || match flights.join(&key("a", 1)) {
            Joined::Lead(flight) => flight,
            _ => panic!("nobody leads"),
        };
        let first = lead();
        let followers = first.followers();
        assert!(!followers.are_there());
        let waiting = flights.follow(&key("a", 1)).unwrap();
        assert!(followers.are_there() && first.has_followers());
        drop(waiting);
        assert!(!followers.are_there(), "who has gone waits no more");
        let again = flights.follow(&key("a", 1)).unwrap();
        drop(first);
        assert!(matches!(*again.borrow(), Outcome::Again));
        let second = lead();
        let _waiting = flights.follow(&key("a", 1)).unwrap();
        assert!(second.has_followers() && !followers.are_there());
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
