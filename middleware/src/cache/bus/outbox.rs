//! Purges that others have not been told of yet. Bounded: instead of what is beyond, they are told that
//! anything may have been purged.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::cache::place::Place;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) ticket: u64,
    /// An [`Entry`](super::element::Entry) as it is written.
    pub(crate) entry: Vec<u8>,
    /// Whether it stands for everything that others were not told of.
    pub(crate) is_anything: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Wakes whoever sends.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Parcel>,
    bytes: usize,
    /// Tickets of what was given up since there were too many.
    given_up: Vec<u64>,
    /// Sent, and where they are if that was heard. The latest last.
    sent: VecDeque<(Parcel, Option<Place>)>,
}

impl Outbox {
    pub(crate) fn push(&self, parcel: Parcel) {
        let mut state = self.lock();
        if !parcel.is_anything && !state.given_up.is_empty() {
            // What stands for all of these is to come still.
            state.given_up.push(parcel.ticket);
        } else {
            state.bytes += parcel.entry.len();
            state.waiting.push_back(parcel);
        }
        if state.waiting.len() > MOST_WAITING || state.bytes > MOST_BYTES {
            let given_up: Vec<u64> = state
                .waiting
                .drain(..)
                .map(|parcel| parcel.ticket)
                .collect();
            state.given_up.extend(given_up);
            state.bytes = 0;
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The tickets of what was given up. Whoever takes them has told [`push`](Self::push) of what stands
    /// for them *before*.
    pub(crate) fn take_given_up(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().given_up)
    }

    pub(crate) fn has_given_up(&self) -> bool {
        !self.lock().given_up.is_empty()
    }

    /// What is to be sent next, together. From now on it may be heard.
    pub(crate) fn take(&self) -> Vec<Parcel> {
        let mut state = self.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(parcel) = state.waiting.pop_front() {
            bytes += parcel.entry.len();
            state.bytes -= parcel.entry.len();
            state.sent.push_back((parcel.clone(), None));
            taken.push(parcel);
            if taken.len() == MOST_TOGETHER || bytes >= BYTES_TOGETHER {
                break;
            }
        }
        while state.sent.len() > MOST_SENT {
            state.sent.pop_front();
        }
        taken
    }

    /// Puts what could not be sent back, to be sent first; but for what was heard nevertheless.
    pub(crate) fn put_back(&self, parcels: Vec<Parcel>) {
        let mut state = self.lock();
        let heard = |(parcel, place): &(Parcel, Option<Place>)| place.map(|_| parcel.ticket);
        let heard: Vec<u64> = state.sent.iter().filter_map(heard).collect();
        state.sent.retain(|(_, place)| place.is_some());
        let unheard = parcels.into_iter().rev();
        for parcel in unheard.filter(|parcel| !heard.contains(&parcel.ticket)) {
            state.bytes += parcel.entry.len();
            state.waiting.push_front(parcel);
        }
    }

    /// That of `ticket` was heard at `place`.
    pub(crate) fn note_place(&self, ticket: u64, place: Place) {
        let mut state = self.lock();
        let known = state
            .sent
            .iter_mut()
            .rev()
            .find(|(sent, _)| sent.ticket == ticket);
        if let Some((_, at)) = known {
            *at = Some(place);
        }
    }

    /// Where that of `ticket` is, if it was heard.
    pub(crate) fn place(&self, ticket: u64) -> Option<Place> {
        let state = self.lock();
        let known = state
            .sent
            .iter()
            .rev()
            .find(|(sent, _)| sent.ticket == ticket);
        known.and_then(|(_, place)| *place)
    }

    /// Sends again what was sent lately and is not there: all but the `tickets` that are, and what was
    /// heard before `horizon`.
    pub(crate) fn send_again(&self, is_there: impl Fn(u64) -> bool, horizon: Place) -> usize {
        let mut state = self.lock();
        let is_missing = |(parcel, place): &(Parcel, Option<Place>)| {
            !is_there(parcel.ticket) && place.is_none_or(|place| place >= horizon)
        };
        let missing: Vec<Parcel> = state
            .sent
            .iter()
            .filter(|sent| is_missing(sent))
            .map(|(parcel, _)| parcel.clone())
            .collect();
        state.sent.retain(|sent| !is_missing(sent));
        for parcel in missing.iter().rev() {
            state.bytes += parcel.entry.len();
            state.waiting.push_front(parcel.clone());
        }
        drop(state);
        self.filled.notify_one();
        missing.len()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.given_up.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Purges that wait one by one while Redis is away.
pub(crate) const MOST_WAITING: usize = 4096;
const MOST_BYTES: usize = 8 << 20;
/// Purges sent by one script.
const MOST_TOGETHER: usize = 128;
const BYTES_TOGETHER: usize = 256 << 10;
/// Purges remembered after they were sent.
const MOST_SENT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(ticket: u64) -> Parcel {
        Parcel {
            ticket,
            entry: vec![0; 10],
            is_anything: false,
        }
    }

    fn tickets(parcels: &[Parcel]) -> Vec<u64> {
        parcels.iter().map(|parcel| parcel.ticket).collect()
    }

    #[test]
    fn what_could_not_be_sent_is_sent_first() {
        let outbox = Outbox::default();
        (1..=3).for_each(|ticket| outbox.push(parcel(ticket)));
        let taken = outbox.take();
        assert_eq!(tickets(&taken), [1, 2, 3]);
        outbox.push(parcel(4));
        outbox.put_back(taken);
        let taken = outbox.take();
        assert_eq!(tickets(&taken), [1, 2, 3, 4]);
        assert_eq!(outbox.lock().bytes, 0);
        // The answer was lost, and yet it was sent.
        outbox.note_place(2, Place::FIRST);
        outbox.put_back(taken);
        assert_eq!(tickets(&outbox.take()), [1, 3, 4]);
        assert_eq!(outbox.place(2), Some(Place::FIRST));
    }

    #[test]
    fn too_many_become_one() {
        let outbox = Outbox::default();
        let most = MOST_WAITING as u64;
        (0..=most).for_each(|ticket| outbox.push(parcel(ticket)));
        assert!(outbox.take().is_empty());
        // Until somebody has told that anything may be purged, more are given up as well.
        outbox.push(parcel(most + 1));
        assert_eq!(outbox.waiting(), MOST_WAITING + 2);
        outbox.push(Parcel {
            is_anything: true,
            ..parcel(most + 2)
        });
        assert_eq!(outbox.take_given_up().len(), MOST_WAITING + 2);
        outbox.push(parcel(most + 3));
        assert_eq!(tickets(&outbox.take()), [most + 2, most + 3]);
    }

    #[test]
    fn what_is_missing_is_sent_again_once() {
        let outbox = Outbox::default();
        (1..=4).for_each(|ticket| outbox.push(parcel(ticket)));
        outbox.take();
        for (ticket, place) in [(1, 10), (2, 20), (3, 30)] {
            outbox.note_place(ticket, Place::of_number(place));
        }
        assert_eq!(outbox.place(3), Some(Place::of_number(30)));
        assert_eq!(outbox.place(4), None);
        // The first is long ago, the second is there.
        let count = outbox.send_again(|ticket| ticket == 2, Place::of_number(15));
        assert_eq!(count, 2);
        let again = outbox.take();
        assert_eq!(tickets(&again), [3, 4]);
        // Nobody has heard these, so they may be lost again; those are not here any more.
        assert_eq!(outbox.send_again(|_| false, Place::of_number(25)), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let outbox = Outbox::default();
        for ticket in 0..3000 {
            outbox.push(parcel(ticket));
            outbox.take();
        }
        assert_eq!(outbox.lock().sent.len(), MOST_SENT);
        for _ in 0..2000 {
            outbox.push(Parcel {
                entry: vec![0; 9000],
                ..parcel(1)
            });
        }
        assert!(outbox.lock().bytes <= MOST_BYTES);
    }
}
