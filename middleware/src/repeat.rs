//! Saying an answer again to a request of the same bytes.
//!
//! Clients that keep a connection ask for the same thing in the same words, and a second later the answer
//! has other words itself: its `Age`. So a connection may keep an answer that came from memory as it was
//! written, and write it again to the same bytes while it would be made of the same stored response
//! ([`Repeat::stands`]), until the second is over ([`Repeat::until`]). Only the request's name in it is
//! another one, and each repetition is entered as any answer is ([`Repeat::enter`]).
//!
//! Who decides is asked by facts: the connection says that it would repeat the answer
//! ([`RequestFacts::repeats`](crate::facts::RequestFacts::repeats)), the cache says what the answer stands by
//! ([`ResponseFacts::repeat`](crate::facts::ResponseFacts::repeat)), the request log how it is entered. A layer
//! that makes something of an answer which is not for each request alike (by chance, by who asks, by how
//! many ask) takes the one or the other away.

use std::fmt::Debug;
use std::sync::Arc;

use crate::cache::stored::StoredResponse;
use crate::clock::Now;
use crate::facts::{Peer, RequestId};

/// What it takes to say an answer again; see the module.
#[derive(Debug)]
pub struct Repeat {
    until: Now,
    stands: Box<dyn Stands>,
    /// `None` until the request log has seen it.
    enters: Option<Box<dyn Enters>>,
}

/// What an answer was made of.
pub trait Stands: Debug + Send + Sync {
    /// The stored response, if the same request would be answered with it now. Notes its use.
    fn stands(&self) -> Option<Arc<StoredResponse>>;
}

/// How an answer is counted and logged.
pub trait Enters: Debug + Send + Sync {
    /// Enters it once more, for the request that was `received` then.
    fn enter(&self, received: Now, id: RequestId, peer: Peer);
}

impl Repeat {
    /// Of an answer that says the same `until` then, by both clocks.
    pub fn new(until: Now, stands: Box<dyn Stands>) -> Self {
        Self {
            until,
            stands,
            enters: None,
        }
    }

    /// Tells how it is entered.
    pub fn is_entered_by(&mut self, enters: Box<dyn Enters>) {
        self.enters = Some(enters);
    }

    /// Until when the answer says what it would say if it were made anew: before that, by both clocks.
    pub fn until(&self) -> Now {
        self.until
    }

    /// The stored response that it was made of, if it would be made of it now and is known how to be entered.
    pub fn stands(&self) -> Option<Arc<StoredResponse>> {
        self.enters.as_ref()?;
        self.stands.stands()
    }

    /// Enters that it was said once more.
    pub fn enter(&self, received: Now, id: RequestId, peer: Peer) {
        if let Some(enters) = &self.enters {
            enters.enter(received, id, peer);
        }
    }
}
