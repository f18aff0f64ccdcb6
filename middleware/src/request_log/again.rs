//! Entering an answer that is said again ([`crate::repeat`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, Uri};

use super::record::{Asked, Record};
use super::{Books, Ending, Head, finished};
use crate::clock::Now;
use crate::facts::{Peer, RequestId, ResponseFacts};
use crate::metrics::Event;
use crate::repeat::Enters;

/// The entry of an answer whose content was at hand, to be made again for the same words.
#[derive(Debug)]
pub(super) struct Again {
    books: Arc<Books>,
    asked: Asked,
    status: StatusCode,
    facts: ResponseFacts,
    bytes: u64,
}

impl Again {
    /// `asked` in the words that will be repeated, and answered so; `None` where somebody was told for whom
    /// it was asked, which the words alone do not say.
    pub(super) fn of(
        books: &Arc<Books>,
        asked: &Asked,
        status: StatusCode,
        facts: &ResponseFacts,
        bytes: u64,
    ) -> Option<Self> {
        if facts.told.is_some() || facts.error.is_some() || facts.upstream.is_some() {
            return None;
        }
        let mut asked = asked.clone();
        asked.copy()?;
        Some(Self {
            books: books.clone(),
            asked,
            status,
            facts: ResponseFacts {
                cache: facts.cache,
                route: facts.route.clone(),
                observed: facts.observed,
                ..ResponseFacts::default()
            },
            bytes,
        })
    }
}

impl Enters for Again {
    fn enter(&self, received: Now, id: RequestId, peer: Peer) {
        let books = &self.books;
        let after = books.clock.mono().saturating_duration_since(received.mono);
        let finished = finished(
            &self.asked,
            self.status,
            &self.facts,
            after,
            after,
            self.bytes,
        );
        books.metrics.record(&finished);
        books.metrics.metrics().count(Event::Repeated);
        if books.log.is_wanted(self.status, Ending::Complete, &id) {
            self.write(received, id, peer, after);
        }
    }
}

impl Again {
    fn write(&self, received: Now, id: RequestId, peer: Peer, after: Duration) {
        self.books.log.write(Record {
            asked: self.asked.again(received, id, peer.address()),
            head: Head {
                status: self.status,
                facts: self.facts.clone(),
                after,
            },
            bytes: self.bytes,
            total: after,
            error: None,
            is_aborted: false,
        });
    }
}

impl Asked {
    /// Moves the words into memory of their own: as they came, they are parts of all that was read.
    fn copy(&mut self) -> Option<()> {
        self.uri = Uri::try_from(self.uri.to_string()).ok()?;
        if let Some(shown) = &mut self.shown {
            for value in [&mut shown.host, &mut shown.agent].into_iter().flatten() {
                *value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
            }
        }
        Some(())
    }

    /// The same words in another request.
    fn again(&self, received: Now, id: RequestId, client: Option<IpAddr>) -> Self {
        Self {
            received,
            id,
            client,
            ..self.clone()
        }
    }
}
