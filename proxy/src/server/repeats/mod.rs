//! Answers that a core gave lately from memory, as they were written, for requests of the same bytes.
//!
//! A hit costs three times as much to read and write as HTTP as it costs to look up. Clients that keep their
//! connection (API clients, proxies, monitors) ask in the same bytes again and again, and for a second the
//! answer is the same too, but for its request's name. So the connection, beneath HTTP, knows a head that
//! was answered less than a second ago by its bytes, asks the cache whether it would answer from the same
//! stored response ([`middleware::repeat`]), and writes what HTTP wrote then. Everything else goes to HTTP:
//! what is new, what has another byte, what comes with more than a head, and each second the first that asks.
//!
//! - [`Repeats`]: what a core keeps, a bounded number of answers.
//! - [`Repeater`](repeater::Repeater): where one connection is; it must be sure that a head begins here.
//! - [`Saying`](saying::Saying): how an answer on its way through HTTP becomes one that is kept.

pub(crate) mod repeater;
pub(crate) mod saying;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use middleware::clock::{Clock, Now};
use middleware::facts::{Peer, RequestId, Scheme};
use middleware::repeat::Repeat;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::server::repeats::saying::Kept;
use crate::server::service::RequestIds;

/// One core's; see the module.
#[derive(Debug)]
pub(crate) struct Repeats {
    clock: Clock,
    /// Taken by this core alone, and never across an await.
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    slots: Slots,
    ids: RequestIds,
    /// Where an answer's head is written.
    top: Vec<u8>,
}

#[derive(Debug)]
struct Slots {
    /// Each head has one that may be its own; none before the first head.
    all: Vec<Slot>,
    /// The latest that was looked at by itself.
    looked_at: usize,
    /// Against clients that would choose the slots of others.
    seed: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Of the head that came last. What is kept is known by its bytes.
    hash: u64,
    /// When it came.
    last: Option<Instant>,
    /// How often others may still ask for the slot in vain.
    stays: u8,
    kept: Option<Box<Kept>>,
}

/// What an answer depends on beside its request's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct By {
    scheme: Scheme,
    /// Whether the client is a process of this machine, by a Unix socket: nobody listens in between.
    is_local: bool,
}

impl By {
    pub(crate) fn of(scheme: Scheme, peer: Peer) -> Self {
        let is_local = peer == Peer::Unix;
        Self { scheme, is_local }
    }
}

/// What is to be done about a head.
#[derive(Debug)]
pub(crate) enum Heard<W> {
    /// It was answered: what writing it came to, and how to enter it.
    Said(W, Entry),
    /// HTTP is to answer, and its answer to be kept.
    Wanted,
    /// HTTP is to answer.
    New,
}

/// A repetition that is to be entered.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) repeat: Arc<Repeat>,
    pub(crate) received: Now,
    pub(crate) id: RequestId,
}

impl Repeats {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            table: Mutex::new(Table {
                slots: Slots {
                    all: Vec::new(),
                    looked_at: 0,
                    seed: RandomState::new().hash_one(0_u64),
                },
                ids: RequestIds::seeded(),
                top: Vec::new(),
            }),
        }
    }

    /// What becomes of a request that is `head` and nothing else. `write` is given the head and the content of
    /// the answer, where it is said again.
    pub(crate) fn hear<W>(
        &self,
        head: &[u8],
        by: By,
        write: impl FnOnce(&[u8], &Bytes) -> W,
    ) -> Heard<W> {
        if head.len() > LONGEST_HEAD {
            return Heard::New;
        }
        let now = self.clock.now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { slots, ids, top } = &mut *table;
        let (hash, slot) = slots.of(head);
        if slot.hash != hash {
            if slot.stays > 0 {
                slot.stays -= 1;
            } else {
                *slot = Slot {
                    hash,
                    last: Some(now.mono),
                    stays: STAYS,
                    kept: None,
                };
            }
            return Heard::New;
        }
        slot.stays = STAYS;
        let last = slot.last.replace(now.mono);
        if let Some(kept) = &slot.kept
            && kept.is_of(head, by, now)
            && let Some(stored) = kept.repeat.stands()
            && let Some(content) = kept.content(&stored)
        {
            let id = ids.next();
            kept.write_top(&id, top);
            let written = write(top, content);
            let entry = Entry {
                repeat: kept.repeat.clone(),
                received: now,
                id,
            };
            return Heard::Said(written, entry);
        }
        slot.kept = None;
        match last {
            // Seldomer than that, nothing would come of it.
            Some(last) if now.mono.saturating_duration_since(last) < OFTEN => Heard::Wanted,
            _ => Heard::New,
        }
    }

    /// Keeps what HTTP wrote to a head that was [wanted](Heard::Wanted).
    fn keep(&self, kept: Kept) {
        let now = self.clock.now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (hash, slot) = table.slots.of(&kept.head);
        if slot.hash == hash {
            slot.kept = Some(Box::new(kept));
            table.slots.forget_one(now);
        }
    }
}

impl Slots {
    /// The hash of `head`, and its slot.
    fn of(&mut self, head: &[u8]) -> (u64, &mut Slot) {
        if self.all.is_empty() {
            self.all.resize_with(SLOTS, Slot::default);
        }
        let hash = xxh3_64_with_seed(head, self.seed);
        let place = usize::try_from(hash % SLOTS as u64).expect("less than the number of slots");
        (hash, &mut self.all[place])
    }

    /// Lets go of the next one's answer, if it has had its time: for each that is kept one is looked at.
    fn forget_one(&mut self, now: Now) {
        self.looked_at = (self.looked_at + 1) % SLOTS;
        if let Some(slot) = self.all.get_mut(self.looked_at)
            && slot.kept.as_ref().is_some_and(|kept| !kept.is_good(now))
        {
            slot.kept = None;
        }
    }
}

/// Slots of a core. What one keeps is some 3 KiB, and 20 KiB at most.
const SLOTS: usize = 512;
/// See [`Slot::stays`].
const STAYS: u8 = 3;
/// What comes less often than this is not kept.
const OFTEN: Duration = Duration::from_secs(1);
/// Bytes of a request's head, or of an answer's, that are worth a slot.
const LONGEST_HEAD: usize = 4 << 10;

#[cfg(test)]
mod tests;
