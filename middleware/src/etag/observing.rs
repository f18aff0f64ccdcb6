//! What would be tagged, where that is only observed: content is hashed as it passes, never held back.
//!
//! No client ever comes back with a tag that it was not given, so whether a tag would have been of use
//! is told by what the same client was sent before for the same URL. Bounded: a place is taken over by
//! whoever needs it next.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use config::etag::EtagSettings;
use http::header::HOST;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::body::Patience;
use crate::clock::timer_now;
use crate::facts::{self, RequestFacts};
use crate::metrics::{Event, Metrics};
use crate::{Body, Error, Request, Response, Result};

/// What one core's route remembers.
#[derive(Clone, Debug)]
pub(super) struct Observer(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    metrics: Metrics,
    /// So that nobody outside can make two requests fall together.
    keys: RandomState,
    /// Who was sent what: hashes of client and URL, and of content. Made when first needed.
    sent: OnceLock<Mutex<Sent>>,
}

type Sent = Box<[(u64, u64)]>;

impl Observer {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(Arc::new(Memory {
            metrics: metrics.clone(),
            keys: RandomState::new(),
            sent: OnceLock::new(),
        }))
    }

    pub(super) fn begin(&self, request: &Request, settings: EtagSettings) -> Observing {
        let facts = request.extensions().get::<RequestFacts>();
        let client = facts.and_then(|facts| facts.client);
        let host = request.headers().get(HOST).map(|host| host.as_bytes());
        Observing {
            memory: self.0.clone(),
            max_body: settings.max_body,
            who: self.0.keys.hash_one((client, host, request.uri())),
        }
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Observing {
    memory: Arc<Memory>,
    max_body: usize,
    who: u64,
}

impl Observing {
    /// Looks at the answer, which stays as it is.
    pub(super) fn see(self, response: &mut Response) {
        if !super::may_tag(response, self.max_body) {
            return;
        }
        if let Some(content) = response.body().as_whole() {
            let mut hasher = self.memory.hasher();
            hasher.update(content);
            let would = self.memory.count(self.who, hasher.digest());
            facts::of_response(response).observed.etag = Some(would);
        } else if response.body().is_stream() {
            let patience = super::patience(response.headers());
            let body = std::mem::take(response.body_mut());
            *response.body_mut() = Body::stream(Passing::new(self, body, patience));
        }
    }
}

impl Memory {
    fn hasher(&self) -> Box<Xxh3> {
        Box::new(Xxh3::with_seed(self.keys.hash_one(0)))
    }

    /// Counts content that would have been tagged, and whether its tag would have come back.
    fn count(&self, who: u64, content: u64) -> Event {
        let sent = self
            .sent
            .get_or_init(|| Mutex::new(vec![(0, 0); PLACES].into()));
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(who % PLACES as u64).unwrap_or_default();
        let would = match sent.get_mut(index) {
            Some(place) if *place == (who, content) => Event::ObservedMatch,
            Some(place) => {
                *place = (who, content);
                Event::ObservedTag
            }
            None => Event::ObservedTag,
        };
        drop(sent);
        self.metrics.count(would);
        would
    }
}

/// Content on its way, as long as it might be tagged.
struct Passing {
    body: Body,
    /// `None` once it is clear.
    watched: Option<(Observing, Box<Xxh3>)>,
    bytes: usize,
    declared: Option<u64>,
    /// When it would have been let go.
    deadline: Instant,
}

impl Passing {
    fn new(observing: Observing, body: Body, patience: Patience) -> Self {
        let hasher = observing.memory.hasher();
        Self {
            declared: body.size_hint().exact(),
            body,
            watched: Some((observing, hasher)),
            bytes: 0,
            deadline: timer_now() + patience.total,
        }
    }

    fn take(&mut self, data: &Bytes) {
        self.bytes = self.bytes.saturating_add(data.len());
        if let Some((observing, hasher)) = &mut self.watched {
            hasher.update(data);
            if self.bytes > observing.max_body || timer_now() > self.deadline {
                self.watched = None;
            }
        }
        // HTTP stops asking once it has what the head promised.
        if self.body.is_end_stream() || self.declared == Some(self.bytes as u64) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some((observing, hasher)) = self.watched.take()
            && timer_now() <= self.deadline
        {
            observing.memory.count(observing.who, hasher.digest());
        }
    }
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => self.take(data),
                // Content with trailers is never tagged.
                None => self.watched = None,
            },
            Some(Err(_)) => self.watched = None,
            None => self.end(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Clients and URLs that are remembered: 16 KiB.
const PLACES: usize = 1024;
