//! Carries out what the rules decide about an answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use config::content_coding::ContentCodingSettings;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, VARY};
use http::response::Parts;
use http::{Extensions, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::body::{Buffered, Patience};
use crate::cache::SharedCache;
use crate::cache::stored::StoredResponse;
use crate::content_coding::coded_copies::{self, Seat};
use crate::content_coding::encode::{self, Effort};
use crate::content_coding::negotiate::{self, Choice, Content, Decision, Uncoded};
use crate::content_coding::reading::{Asked, Reading};
use crate::content_coding::recoded::Recoded;
use crate::content_coding::{Coding, decode, guard, head, not_modified};
use crate::facts::{self, CacheOutcome, CacheStatus, ResponseFacts};
use crate::fields::entity_tag;
use crate::metrics::{Event, Metrics};
use crate::{Body, Error, ErrorKind, Response, ResponseFuture, Side};

/// Settings, and one reference count that is the core's own.
#[derive(Clone, Debug)]
pub(super) struct Coder {
    pub(super) settings: ContentCodingSettings,
    pub(super) tools: Arc<Tools>,
}

#[derive(Debug)]
pub(super) struct Tools {
    cache: SharedCache,
    pub(super) metrics: Metrics,
    /// Answers that would have been coded, where that is only observed.
    pub(super) observed: AtomicU64,
}

impl Coder {
    pub(super) fn new(
        settings: ContentCodingSettings,
        cache: SharedCache,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            tools: Arc::new(Tools {
                cache,
                metrics,
                observed: AtomicU64::new(0),
            }),
        }
    }

    /// Whether anything is decided.
    pub(super) fn is_on(&self) -> bool {
        self.settings.enabled
    }

    /// Whether what is decided is only told.
    pub(super) fn is_observing(&self) -> bool {
        !self.settings.mode.is_apply()
    }

    /// Carries out what the rules decide about `response`. Ready at once, unless content must be read
    /// first, or coded on another thread.
    ///
    /// `None` where it stays what it is, but for fields that are changed where they lie.
    pub(super) fn answer(&self, asked: &Asked, response: &mut Response) -> Option<ResponseFuture> {
        let content = content(response, asked);
        let decision = negotiate::decide(&self.settings, asked, content);
        let says_vary =
            content.read.may_vary() && of_answer(response).is_some_and(|facts| facts.says_vary);
        if negotiate::varies(&self.settings, decision, content) {
            if response.status() == StatusCode::NOT_MODIFIED {
                not_modified::retag(&self.settings, asked, response);
            }
            if !says_vary {
                head::vary(response.headers_mut(), &content.read);
            }
        } else if says_vary {
            response.headers_mut().remove(VARY);
        }
        match decision {
            Decision::Leave(reason) => {
                self.leave(reason, response);
                None
            }
            Decision::Decode(coding) => {
                let (mut head, body) = std::mem::take(response).into_parts();
                head::decode(&mut head.headers, &content.read);
                if asked.is_head {
                    return Some(respond(head, body));
                }
                Some(match self.tools.cache.copies().seat_for_stream() {
                    Some(seat) => respond(head, decoded(coding, body, seat)),
                    None => ResponseFuture::ready(Err(overloaded())),
                })
            }
            Decision::Code { best, jitter } => {
                let (mut head, body) = std::mem::take(response).into_parts();
                if jitter {
                    let padding = padding(&head, &body);
                    head.headers.insert(guard::X_PAD, padding);
                    // Each answer gets another length.
                    let facts = head.extensions.get_or_insert_default::<ResponseFacts>();
                    facts.repeat = None;
                }
                let read = content.read;
                Some(self.code(best, asked, Answer { head, read, body }))
            }
        }
    }

    fn leave(&self, reason: Uncoded, response: &mut Response) {
        if let Uncoded::Breach(_) = reason {
            // Each answer counts.
            facts::of_response(response).repeat = None;
            self.tools.metrics.count(Event::BreachGuarded);
        }
        tracing::trace!(?reason, "Content goes uncoded.");
    }

    fn code(&self, best: Choice, asked: &Asked, answer: Answer) -> ResponseFuture {
        if let Some(stored) = stored(&answer.head.extensions) {
            let found = coded_copies::find(stored, best);
            if let Some(missing) = found.missing
                && !asked.is_head
                && answer.is_hit()
                && !answer.is_held_back(asked)
            {
                let Tools { cache, metrics, .. } = &*self.tools;
                coded_copies::make(stored, missing, cache, metrics);
            }
            if let Some((coding, copy)) = found.copy {
                if copy.is_empty() {
                    return respond(answer.head, answer.body);
                }
                let (length, copy) = (copy.len(), copy.clone());
                let body = if asked.is_head {
                    Body::empty()
                } else {
                    Body::from(copy)
                };
                return answer.coded(coding, Some(length), body);
            }
        }
        let coding = best.on_the_fly();
        if asked.is_head {
            return answer.coded(coding, None, Body::empty());
        }
        self.code_on_the_fly(coding, asked, answer)
    }

    fn code_on_the_fly(&self, coding: Coding, asked: &Asked, mut answer: Answer) -> ResponseFuture {
        let body = std::mem::take(&mut answer.body);
        // A 304 will take its place: then its content is never read, and need not be coded.
        if answer.is_held_back(asked) {
            return self.code_as_it_comes(coding, answer, body);
        }
        let turn = encode::turn(coding) as u64;
        if !body.is_stream() {
            let short = body.size_hint().lower() <= turn;
            let content = segments(body);
            return match short {
                true => self.code_here(coding, answer, content),
                false => self.code_elsewhere(coding, answer, content),
            };
        }
        let in_sight = body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= turn);
        if !in_sight || answer.read.is_stream {
            return self.code_as_it_comes(coding, answer, body);
        }
        // Coded whole it is smaller, and has a length to be sent with.
        let coder = self.clone();
        ResponseFuture::boxed(async move {
            let limit = encode::turn(coding);
            match body.buffer_promptly(limit, IN_SIGHT).await? {
                Buffered::Whole(content) => {
                    let content = Arc::new([content]);
                    coder.code_here(coding, answer, content).await
                }
                Buffered::TooLong(body) => coder.code_as_it_comes(coding, answer, body).await,
            }
        })
    }

    fn code_here(&self, coding: Coding, answer: Answer, content: Arc<[Bytes]>) -> ResponseFuture {
        let coded = encode::whole(&content, coding, Effort::Quick);
        self.respond_with(coded, coding, answer, content)
    }

    fn code_elsewhere(
        &self,
        coding: Coding,
        answer: Answer,
        content: Arc<[Bytes]>,
    ) -> ResponseFuture {
        let Some(seat) = self.tools.cache.copies().seat_for_whole() else {
            // Turn by turn on this core then: of many who ask at once, none is left without.
            return self.code_as_it_comes(coding, answer, Body::segments(content));
        };
        let coder = self.clone();
        ResponseFuture::boxed(async move {
            let given = content.clone();
            let code = move || {
                let _seat = seat;
                encode::whole(&given, coding, Effort::Quick)
            };
            let coded = coder.tools.cache.tasks().spawn_blocking(code).await;
            let coded = coded.unwrap_or_else(|error| {
                tracing::warn!(%error, "A coder failed; content goes uncoded.");
                None
            });
            coder.respond_with(coded, coding, answer, content).await
        })
    }

    fn code_as_it_comes(&self, coding: Coding, answer: Answer, body: Body) -> ResponseFuture {
        match self.tools.cache.copies().seat_for_stream() {
            Some(seat) => answer.coded(coding, None, self.streamed(coding, body, seat)),
            None => respond(answer.head, body),
        }
    }

    /// `coded`, or the `content` itself if that is shorter.
    fn respond_with(
        &self,
        coded: Option<Bytes>,
        coding: Coding,
        answer: Answer,
        content: Arc<[Bytes]>,
    ) -> ResponseFuture {
        let Some(coded) = coded else {
            return respond(answer.head, Body::segments(content));
        };
        let length = content.iter().map(|segment| segment.len() as u64).sum();
        count(&self.tools.metrics, coding, length, coded.len() as u64);
        answer.coded(coding, Some(coded.len()), Body::from(coded))
    }

    pub(super) fn streamed(&self, coding: Coding, body: Body, seat: Seat) -> Body {
        let length = body.size_hint().exact();
        let codec = move || encode::streaming(coding, length);
        let failed = |error| {
            Error::internal()
                .detail("content could not be coded")
                .caused_by(error)
        };
        let metrics = self.tools.metrics.clone();
        let count = move |bytes_in, bytes_out| count(&metrics, coding, bytes_in, bytes_out);
        let turn = encode::turn(coding);
        Body::stream(Recoded::new(body, codec, turn, failed, count, seat))
    }
}

/// An answer that is to be coded.
struct Answer {
    head: Parts,
    read: Reading,
    body: Body,
}

impl Answer {
    fn coded(mut self, coding: Coding, length: Option<usize>, body: Body) -> ResponseFuture {
        head::code(&mut self.head.headers, &self.read, coding, length);
        respond(self.head, body)
    }

    /// Whether what is stored was used again. Only then is a copy worth its time: most of what is
    /// stored never is.
    fn is_hit(&self) -> bool {
        let facts = self.head.extensions.get::<ResponseFacts>();
        let status = facts.and_then(|facts| facts.cache);
        status.is_some_and(|status| !matches!(status.outcome, CacheOutcome::Fwd(_)))
    }

    /// Whether the layer above will answer 304 in place of this.
    fn is_held_back(&self, asked: &Asked) -> bool {
        let tag = self.head.headers.get(ETAG);
        let mut lines = asked.if_none_match.iter();
        self.head.status == StatusCode::OK
            && lines.any(|line| entity_tag::line_holds_back(line, tag))
    }
}

/// What the rules look at. The length of what a HEAD is for stands in its head, if anywhere.
pub(super) fn content(response: &Response, asked: &Asked) -> Content {
    let facts = response.extensions().get::<ResponseFacts>();
    let stored = facts.and_then(|facts| facts.stored.as_ref());
    // What others share while it is being stored is for everybody too.
    let is_shared = |cache: CacheStatus| cache.stored || cache.collapsed;
    let being_stored = facts.is_some_and(|facts| facts.cache.is_some_and(is_shared));
    let declared = || {
        response
            .headers()
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    };
    let length = match stored {
        Some(stored) => Some(stored.length()),
        None if asked.is_head => declared(),
        None => response.body().size_hint().exact(),
    };
    Content {
        status: response.status(),
        read: stored.map_or_else(
            || Reading::of(response.headers()),
            |stored| stored.reading(),
        ),
        length,
        shared: stored.is_some() || being_stored,
    }
}

fn of_answer(response: &Response) -> Option<&ResponseFacts> {
    response.extensions().get()
}

pub(super) fn stored(extensions: &Extensions) -> Option<&Arc<StoredResponse>> {
    extensions.get::<ResponseFacts>()?.stored.as_ref()
}

/// Padding that follows from the content, or from what its head says of it where it is still to come.
fn padding(head: &Parts, body: &Body) -> HeaderValue {
    if let Some(whole) = body.as_whole() {
        return guard::padding(whole);
    }
    let told = [ETAG, CONTENT_LENGTH].map(|name| head.headers.get(name).map(HeaderValue::as_bytes));
    guard::padding(&told.map(Option::unwrap_or_default).concat())
}

fn respond(head: Parts, body: Body) -> ResponseFuture {
    ResponseFuture::ready(Ok(Response::from_parts(head, body)))
}

/// The bytes of a body that is no stream.
fn segments(mut body: Body) -> Arc<[Bytes]> {
    if let Some(whole) = body.as_whole() {
        return Arc::new([whole.clone()]);
    }
    let mut segments = Vec::new();
    while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
        segments.extend(frame.into_data());
    }
    segments.into()
}

pub(super) fn decoded(coding: Coding, body: Body, seat: Seat) -> Body {
    let codec = move || decode::decoder(coding);
    let (turn, failed) = (DECODED_AT_ONCE, decode::failed);
    Body::stream(Recoded::new(body, codec, turn, failed, |_, _| {}, seat))
}

/// Content that the client cannot take as it is, and that nobody has a seat to decode.
fn overloaded() -> Error {
    Error::new(ErrorKind::DestinationUnavailable, Side::Proxy)
        .detail("too many answers are being decoded")
}

fn count(metrics: &Metrics, coding: Coding, bytes_in: u64, bytes_out: u64) {
    let (given, made) = Event::coded(coding);
    metrics.count(Event::coded_reply(coding));
    metrics.add(given, bytes_in);
    metrics.add(made, bytes_out);
}

/// Coded bytes that are decoded before other requests of the core get their turn.
const DECODED_AT_ONCE: usize = 16 << 10;
/// How long short content of declared length is waited for, to be coded whole.
const IN_SIGHT: Patience = Patience {
    pause: Duration::from_millis(5),
    total: Duration::from_millis(50),
};
