//! Purges in an order that lower tiers know too, and those who are told of each.
//!
//! Without lower tiers there is nothing of this. With them, a purge here has its place at once where this
//! instance's clock makes the order; where a Stream does, it has none until the Stream has told, and
//! reaches all records until then.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::cache::key::{self, Target};
use crate::cache::ledger::{Below, Ledger, Reach, Subject};
use crate::cache::place::Place;
use crate::cache::purge_message::{PurgeMessage, Purged, Unreadable};
use crate::cache::shared::{Purge, SharedCache};
use crate::cache::tags::{NameHash, NameHasher};
use crate::cache::versions::Of;

/// Who says which purge came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderedBy {
    /// This instance's clock: nobody else uses what it stores.
    Clock,
    /// A Stream that all instances read.
    Stream,
}

/// Is told of every purge, after it has taken effect in memory, by the thread that purges.
pub trait PurgeListener: std::fmt::Debug + Send + Sync {
    /// One was done. Must not block for long.
    fn purged(&self, news: &PurgeNews);

    /// Done when all that [`purged`](Self::purged) was told so far is where it does not get lost; false
    /// where it may get lost.
    fn settled(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(std::future::ready(true))
    }
}

/// One purge, as others are told of it.
#[derive(Clone, Debug)]
pub struct PurgeNews {
    /// In the form that [`SharedCache::restore`] takes.
    pub message: Bytes,
    /// Its place; of one of our own that has none yet, one that it will not be before.
    pub place: Place,
    /// Of one of our own: its number in this process.
    pub ticket: Option<u64>,
    /// How it came.
    pub from: From,
}

/// Where a purge came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From this instance.
    Own,
    /// From this instance, and was told before; now it has its place.
    Placed,
    /// From another one.
    Other,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Order {
    by: OrderedBy,
    hasher: NameHasher,
    ledger: Ledger,
    /// All purges up to here have taken effect. Written after they have.
    applied: AtomicU64,
    tickets: AtomicU64,
    listeners: RwLock<Vec<Arc<dyn PurgeListener>>>,
    /// Takes every record for valid: for the test that shows what that leads to.
    #[cfg(test)]
    pub(crate) is_blind: std::sync::atomic::AtomicBool,
}

impl Order {
    pub(crate) fn new(by: OrderedBy) -> Self {
        Self {
            by,
            hasher: NameHasher::stable(),
            // A Stream has to be read first.
            ledger: Ledger::new(by == OrderedBy::Clock),
            applied: AtomicU64::new(0),
            tickets: AtomicU64::new(1),
            listeners: RwLock::default(),
            #[cfg(test)]
            is_blind: false.into(),
        }
    }

    fn applied(&self) -> Place {
        Place::of_number(self.applied.load(Ordering::Acquire))
    }

    fn raise_applied(&self, to: Place) {
        self.applied.fetch_max(to.number(), Ordering::AcqRel);
    }

    fn reach(&self, message: &PurgeMessage) -> Reach {
        Reach::of(message, &self.hasher)
    }

    /// Notes one of our own before it is carried out.
    fn begin(&self, message: &PurgeMessage, now: std::time::SystemTime) -> (u64, Place) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (reach, purge) = (self.reach(message), message.purge);
        let place = match self.by {
            OrderedBy::Clock => {
                let next = |latest: Place| latest.max(self.applied()).following(now);
                let place = self.ledger.note_next(reach, purge, next);
                self.raise_applied(place);
                place
            }
            OrderedBy::Stream => {
                self.ledger.begin(ticket, reach, purge);
                self.ledger.latest().max(self.applied()).following(now)
            }
        };
        (ticket, place)
    }

    fn tell(&self, news: &PurgeNews) {
        for listener in self.listeners() {
            listener.purged(news);
        }
    }

    fn listeners(&self) -> Vec<Arc<dyn PurgeListener>> {
        let listeners = self.listeners.read();
        listeners.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SharedCache {
    /// Has `listener` told of every purge from now on. Nothing happens without an order.
    pub fn on_purge(&self, listener: Arc<dyn PurgeListener>) {
        if let Some(order) = self.order() {
            let listeners = order.listeners.write();
            let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
            listeners.push(listener);
        }
    }

    /// Done when nobody who is told of purges would lose one that was done before; false where somebody
    /// may.
    pub async fn settled(&self) -> bool {
        let listeners = self.order().map(Order::listeners).unwrap_or_default();
        let mut is_settled = true;
        for listener in listeners {
            is_settled &= listener.settled().await;
        }
        is_settled
    }

    /// All purges up to here have taken effect. What is asked of the upstream from now on is newer.
    pub(crate) fn place(&self) -> Place {
        self.order().map_or(Place::FIRST, Order::applied)
    }

    /// What purges mean for a record of a lower tier, whose upstream was asked at `born`. Only where
    /// there is an order.
    pub(crate) fn standing_below(&self, born: Place, key: &[u8], tags: &[NameHash]) -> Below {
        let Some(order) = self.order() else {
            return Below::Suspect;
        };
        #[cfg(test)]
        if order.is_blind.load(Ordering::Relaxed) {
            return Below::Valid;
        }
        let subject = Subject { born, key, tags };
        let is_query = |query: Option<&str>| self.is_query_of(key, query);
        order.ledger.standing(&subject, &order.hasher, is_query)
    }

    /// Whether `query`, as a client wrote it, makes the query of `key`. If in doubt, it does.
    fn is_query_of(&self, key: &[u8], query: Option<&str>) -> bool {
        let Some(place) = key::place(key) else {
            return true;
        };
        let (mut known, mut written) = (self.known_rules().into_iter(), Vec::new());
        let Some(rules) = known.find(|rules| rules.wrote(key)) else {
            return true;
        };
        let target = Target {
            scheme: place.scheme,
            authority: place.authority,
            path: place.path,
            query,
        };
        rules.write_plain(target, &mut written);
        !place.is_whole || key::place(&written).is_none_or(|other| other.query == place.query)
    }

    /// Has everything that memory holds validated before its next use. What lower tiers hold stays as
    /// it is.
    pub(crate) fn suspect_all(&self) {
        let root = self.versions().hasher().prefix(None, "/");
        let versions = self.versions();
        versions.purge(Of::Prefix, [root], Purge::Soft, self.purges());
    }

    /// Carries a purge of our own out, and tells of it if anybody is to know: what came of it, and the
    /// ticket by which it is told.
    pub(crate) fn in_order<T>(
        &self,
        message: impl FnOnce() -> PurgeMessage,
        carry_out: impl FnOnce() -> T,
    ) -> (T, Option<u64>) {
        let Some(order) = self.order() else {
            return (carry_out(), None);
        };
        let message = message();
        // Before memory, so that nothing is promoted from below after it was purged above.
        let (ticket, place) = order.begin(&message, self.clock().now().wall);
        let done = carry_out();
        order.tell(&PurgeNews {
            message: message.write(),
            place,
            ticket: Some(ticket),
            from: From::Own,
        });
        (done, Some(ticket))
    }

    /// Carries out what another instance has purged at `place`. All that were purged before it are
    /// carried out already.
    pub(crate) fn apply(&self, written: &Bytes, message: &PurgeMessage, place: Place) {
        let Some(order) = self.order() else {
            return;
        };
        order
            .ledger
            .note(order.reach(message), message.purge, place);
        self.carry_out(message);
        if let Some(what) = message.ordered() {
            self.tell_order(&what);
        }
        order.raise_applied(place);
        order.tell(&PurgeNews {
            message: written.clone(),
            place,
            ticket: None,
            from: From::Other,
        });
    }

    /// Notes that a purge of our own, which was carried out long ago, is at `place`.
    pub(crate) fn placed(
        &self,
        written: &Bytes,
        message: &PurgeMessage,
        place: Place,
        ticket: u64,
    ) {
        let Some(order) = self.order() else {
            return;
        };
        order
            .ledger
            .note(order.reach(message), message.purge, place);
        order.ledger.settle(ticket);
        order.raise_applied(place);
        order.tell(&PurgeNews {
            message: written.clone(),
            place,
            ticket: Some(ticket),
            from: From::Placed,
        });
    }

    /// Notes what was purged in an earlier life, from a journal of [`PurgeNews`]. Order and repetition
    /// do not matter.
    ///
    /// # Errors
    /// When it cannot be read. Then something was purged, and nobody knows what.
    pub fn restore(&self, written: &[u8], place: Place) -> Result<(), Unreadable> {
        let message = PurgeMessage::read(written)?;
        if let Some(order) = self.order() {
            order
                .ledger
                .note(order.reach(&message), message.purge, place);
            if order.by == OrderedBy::Clock {
                order.raise_applied(place);
            }
        }
        Ok(())
    }

    /// Has every record that was asked for before `until` validated before its next use: what was purged
    /// by then is not known any more.
    pub(crate) fn doubt_until(&self, until: Place) {
        if let Some(order) = self.order() {
            order.ledger.doubt_until(until);
            if order.by == OrderedBy::Clock {
                order.raise_applied(until);
            }
        }
    }

    /// Has every record that was written in an earlier life validated before its next use: what was
    /// purged then is not known.
    pub fn distrust_below(&self) {
        if let Some(order) = self.order() {
            let now = order.ledger.latest().max(order.applied());
            let now = now.following(self.clock().now().wall);
            order.ledger.doubt_until(now);
            if order.by == OrderedBy::Clock {
                order.raise_applied(now);
            }
        }
    }

    /// All instances are to validate whatever they have.
    pub(crate) fn purge_anything(&self) {
        self.in_order(PurgeMessage::anything, || self.suspect_all());
    }

    /// The purge of `ticket` will never have a place; one that stands for it will.
    pub(crate) fn give_up(&self, ticket: u64) {
        if let Some(order) = self.order() {
            order.ledger.settle(ticket);
        }
    }

    /// The Stream was heard up to `place`.
    pub(crate) fn heard_up_to(&self, place: Place) {
        if let Some(order) = self.order() {
            order.raise_applied(place);
        }
    }

    /// Something was purged at `place`, and nobody here knows what.
    pub(crate) fn doubt(&self, place: Place) {
        if let Some(order) = self.order() {
            order.ledger.doubt_until(place);
            self.suspect_all();
        }
    }

    /// Something may have been purged that was not heard here. Nothing is trusted until
    /// [`trust_from`](Self::trust_from) says so.
    pub(crate) fn distrust(&self) {
        if let Some(order) = self.order() {
            order.ledger.distrust();
            self.suspect_all();
        }
    }

    /// All that was purged after `floor` has been heard.
    pub(crate) fn trust_from(&self, floor: Place) {
        if let Some(order) = self.order() {
            order.ledger.trust_from(floor);
        }
    }

    /// Whether nothing is known to have been missed.
    pub(crate) fn is_trusted(&self) -> bool {
        self.order().is_none_or(|order| order.ledger.is_trusted())
    }

    fn carry_out(&self, message: &PurgeMessage) {
        let purge = message.purge;
        match &message.what {
            Purged::All if purge == Purge::Hard => drop(self.remove_all()),
            Purged::All | Purged::Anything => self.suspect_all(),
            Purged::Url(url) => {
                let target = url.target();
                let own = url.groups.as_ref().map(|_| self.groups_of(target));
                self.purge_counted(target, purge);
                let told = url.groups.as_deref().unwrap_or_default();
                self.purge_known(Of::Tag, told, purge);
                // What shares a group with what only this instance has of the URL.
                let own = own.unwrap_or_default().into_iter();
                let untold = own.filter(|group| !told.contains(group)).collect();
                self.purge_names(Of::Tag, untold, purge);
            }
            Purged::Names { of, names } => {
                self.purge_known(*of, names, purge);
            }
            Purged::Pattern(pattern) => match crate::cache::glob::Glob::parse(pattern) {
                Some(glob) => self.versions().purge_pattern(glob, purge, self.purges()),
                None => self.suspect_all(),
            },
        }
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
