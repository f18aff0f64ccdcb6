//! Writing down what is decided, for one route on one core.

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use http_body::Body as _;

use crate::cache::advice::Head;
use crate::cache::errand::{Errand, Kept, declared_length};
use crate::cache::hottest::Hottest;
use crate::cache::journal::{
    Answered, Done, FORWARDED, HITS, Held, Journal, LONGEST_URL, Lines, Pace, Record, millis,
    millis_of,
};
use crate::cache::key::{KeyHash, Target};
use crate::cache::reason::Reason;
use crate::cache::stored::StoredResponse;
use crate::cache::verdicts::Verdict;
use crate::cache::{Cache, CacheLayer};
use crate::clock::{Clock, Now};
use crate::facts::{self, Peer, RequestId, Scheme};
use crate::{Request, Response, Result};

/// Where one route's decisions on one core are written down.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) journal: Journal,
    pub(crate) route: Arc<str>,
    /// Where hits are counted, if they are.
    pub(crate) hottest: Option<Hottest>,
    /// Of the hits that are written down.
    pub(crate) hits: Pace,
    /// Of what is forwarded and written down.
    pub(crate) forwarded: Pace,
}

/// What is kept of a request that is forwarded, until it is known what came of it.
#[derive(Debug)]
pub(crate) struct Asking {
    recorder: Arc<Recorder>,
    key: KeyHash,
    id: RequestId,
    method: Method,
    scheme: Scheme,
    uri: Uri,
    is_local: bool,
    has_content: bool,
    received: Now,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Became<'a> {
    pub(crate) done: Done,
    /// What was found stored.
    pub(crate) stored: Option<&'a Kept>,
    pub(crate) is_other_variant: bool,
    pub(crate) answer: Option<Head<'a>>,
    pub(crate) now: Now,
}

impl Recorder {
    /// Writes down what was answered here at once.
    pub(crate) fn answered(
        self: &Arc<Self>,
        request: &Request,
        key: KeyHash,
        stored: Option<&Kept>,
        is_other_variant: bool,
        done: Done,
    ) {
        let asking = Asking::of(self, request, key);
        let became = Became {
            done,
            stored,
            is_other_variant,
            answer: None,
            now: asking.received,
        };
        asking.write(request.headers(), became);
    }
}

impl CacheLayer {
    /// Writes what is decided down in `journal`, as decided on `route`.
    /// Hits are counted in `hottest`, if there is one.
    pub fn recorded(self, journal: Journal, hottest: Option<Hottest>, route: Arc<str>) -> Self {
        let begun = self.shared.clock().mono();
        Self {
            recorder: Some(Arc::new(Recorder {
                journal,
                route,
                hottest,
                hits: Pace::of(HITS, begun),
                forwarded: Pace::of(FORWARDED, begun),
            })),
            ..self
        }
    }
}

impl<S> Cache<S> {
    /// Writes a hit down, if it is time for one.
    pub(crate) fn write_hit(
        &self,
        request: &Request,
        key: KeyHash,
        kept: &Kept,
        done: Done,
        now: Now,
    ) {
        let Some(recorder) = &self.layer.recorder else {
            return;
        };
        self.layer.note_hottest(key, &self.key, &kept.stored);
        if recorder.hits.is_due(now.mono) {
            recorder.answered(request, key, Some(kept), false, done);
        }
    }

    /// What is kept of a request that is forwarded, if it is time to write one down.
    pub(crate) fn asking(&self, request: &Request, key: KeyHash, now: Now) -> Option<Asking> {
        let recorder = self.layer.recorder.as_ref()?;
        let pace = &recorder.forwarded;
        pace.is_due(now.mono)
            .then(|| Asking::of(recorder, request, key))
    }

    /// The same of one that is no matter for the cache, by this `reason`.
    pub(crate) fn passed_by(
        &self,
        request: &Request,
        now: Now,
        reason: Reason,
    ) -> Option<PassedBy> {
        let asking = self.asking(request, 0, now)?;
        Some(PassedBy {
            asking,
            fields: request.headers().clone(),
            reason,
            clock: self.layer.shared.clock().clone(),
        })
    }
}

impl CacheLayer {
    /// Counts an answer from `stored`, which lies under `key`, where hits are counted.
    pub(crate) fn note_hottest(&self, hash: KeyHash, key: &[u8], stored: &StoredResponse) {
        let recorder = self.recorder.as_ref();
        // What credentials were needed for is not fetched without them.
        if let Some(hottest) = recorder.and_then(|recorder| recorder.hottest.as_ref())
            && !stored.is_authorized
        {
            hottest.note(hash, key);
        }
    }
}

/// A request that is forwarded without being a matter for the cache.
#[derive(Debug)]
pub(crate) struct PassedBy {
    asking: Asking,
    fields: HeaderMap,
    reason: Reason,
    clock: Clock,
}

impl PassedBy {
    pub(crate) fn ended(self, result: &Result<Response>) {
        let answer = result.as_ref().ok().map(|response| Head {
            length: declared_length(response.headers()),
            ..Head::new(response.status(), response.headers())
        });
        let became = Became {
            done: Done::Bypassed(self.reason),
            stored: None,
            is_other_variant: false,
            answer,
            now: self.clock.now(),
        };
        self.asking.write(&self.fields, became);
    }
}

impl Asking {
    fn of(recorder: &Arc<Recorder>, request: &Request, key: KeyHash) -> Self {
        let facts = facts::of_request(request);
        Self {
            recorder: recorder.clone(),
            key,
            id: facts.id.clone(),
            method: request.method().clone(),
            scheme: facts.scheme,
            uri: request.uri().clone(),
            is_local: facts.peer == Peer::Unix,
            has_content: !request.body().is_end_stream(),
            received: facts.received,
        }
    }

    /// The same, not to be found by its key.
    pub(crate) fn without_key(self) -> Self {
        Self { key: 0, ..self }
    }

    /// Writes it down; `fields` are the request's.
    pub(crate) fn write(&self, fields: &HeaderMap, became: Became<'_>) {
        let authority = fields.get(http::header::HOST);
        let authority = authority.map_or(&b""[..], |host| host.as_bytes());
        let mut url = Target::new(self.scheme, authority, &self.uri).print();
        if url.len() > LONGEST_URL {
            let end = url.floor_char_boundary(LONGEST_URL);
            url.truncate(end);
        }
        let Became {
            done,
            stored,
            is_other_variant,
            answer,
            now,
        } = became;
        self.recorder.journal.write(Record {
            key: self.key,
            at: millis_of(self.received.wall),
            id: self.id.to_string().into(),
            route: (*self.recorder.route).into(),
            method: self.method.as_str().into(),
            url: url.into(),
            is_local: self.is_local,
            has_content: self.has_content,
            request: Lines::of_request(fields),
            done,
            stored: stored.map(|kept| self.held(kept)),
            is_other_variant,
            answer: answer.map(|answer| Answered {
                status: answer.status.as_u16(),
                fields: Lines::of_answer(answer.fields),
                length: answer.length,
                after: millis(now.mono.saturating_duration_since(self.received.mono)),
            }),
        });
    }

    fn held(&self, kept: &Kept) -> Held {
        let stored = &kept.stored;
        let fields = stored.fields.map();
        let whole = stored.apart().with(&fields);
        Held {
            status: stored.status.as_u16(),
            fields: Lines::of_answer(whole.as_ref().unwrap_or(&fields)),
            length: stored.length(),
            initial_age: millis(stored.terms().initial_age),
            age: millis(stored.age(self.received)),
            is_purged: kept.is_purged,
            is_outdated: kept.candidate(self.received).is_outdated,
            chosen_by: kept.chosen_by,
            is_authorized: stored.is_authorized,
        }
    }
}

impl Errand {
    /// Notes what came of the upstream's answer.
    pub(crate) fn note(&self, answer: Option<Head<'_>>, stored: Result<(), Reason>, now: Now) {
        self.shared.verdicts().note(Verdict {
            key: self.key.hash,
            at: now.wall,
            forwarded: self.reason,
            status: answer.map(|answer| answer.status),
            stored,
        });
        let done = match stored {
            Ok(()) => Done::Stored(self.reason),
            Err(reason) => Done::NotStored(self.reason, reason),
        };
        self.record(done, answer, now);
    }

    /// Writes down what was done.
    pub(crate) fn record(&self, done: Done, answer: Option<Head<'_>>, now: Now) {
        if let Some(asking) = &self.asking {
            // What was taken out of the answer by now has decided nevertheless.
            let whole = answer.map(|answer| {
                let mut whole = self.apart.with(answer.fields);
                if self.tags.is_err() {
                    let whole = whole.get_or_insert_with(|| answer.fields.clone());
                    whole.extend(self.too_many_tags.clone());
                }
                whole
            });
            let answer = answer.map(|answer| Head {
                fields: whole.iter().flatten().next().unwrap_or(answer.fields),
                ..answer
            });
            let became = Became {
                done,
                stored: self.stored.as_ref(),
                is_other_variant: self.is_other_variant,
                answer,
                now,
            };
            asking.write(&self.fields, became);
        }
    }
}
