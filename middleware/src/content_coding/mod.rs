//! Content codings (RFC 9110 §8.4): Brotli, zstd and gzip, negotiated, with copies kept in the cache.
//!
//! In goes a request as the client sent it, `Accept-Encoding` included; down go its preconditions
//! without our markers. Up comes identity content, as a rule; out goes content coded as the client
//! likes best, under a tag of its own (`"abc~br"`), or unchanged with the reason why
//! ([`negotiate::Uncoded`]).
//!
//! - What is stored is coded once for each coding, in the background, and sent from there
//!   ([`coded_copies`]). Until then, and for what is not stored, content is coded on the fly: at once
//!   if it is here and short, on another thread if it is long, or as it comes.
//! - Nothing that comes in pieces is held back: whenever the source pauses, what there is is flushed.
//! - Answers with secrets are coded by the policy of [`guard`] alone.
//! - What the upstream coded is never coded again, but decoded for those who do not take it.
//!
//! ```
//! # use middleware::content_coding::{Coding, negotiate};
//! # use config::content_coding::ContentCodingSettings;
//! # use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
//! use middleware::content_coding::reading::{Asked, Reading};
//! use negotiate::{Content, decide};
//!
//! let request = Request::get("/").header("accept-encoding", "gzip, br").body(()).unwrap();
//! let fields = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/css"))]);
//! let read = Reading::of(&fields);
//! let content = Content { status: StatusCode::OK, read, length: None, shared: false };
//! let decision = decide(&ContentCodingSettings::default(), &Asked::of(&request), content);
//! assert_eq!(decision.coded().expect("text is coded").on_the_fly(), Coding::Br);
//! ```

pub mod coded_copies;
mod decode;
mod encode;
pub mod guard;
mod head;
pub mod negotiate;
mod not_modified;
pub mod reading;
mod recoded;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::content_coding::ContentCodingSettings;
use futures_util::FutureExt;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue};
use http::response::Parts;
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use self::encode::Effort;
use self::negotiate::{Choice, Content, Decision};
use self::reading::{Asked, Reading};
use self::recoded::Recoded;
use crate::body::{Buffered, Patience};
use crate::cache::SharedCache;
use crate::cache::stored::StoredResponse;
use crate::facts::ResponseFacts;
use crate::fields::entity_tag;
use crate::metrics::{Event, Metrics};
use crate::{Body, Error, Inner, Request, Response, ResponseFuture, Result};

/// A content coding that Pillion makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br = 0,
    /// Zstandard (RFC 8878).
    Zstd = 1,
    /// gzip (RFC 1952).
    Gzip = 2,
}

impl Coding {
    /// As it is written in fields and in the marker of a tag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// By its name in any letter case, or an old name.
    fn named(name: &[u8]) -> Option<Self> {
        [Self::Br, Self::Zstd, Self::Gzip]
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
            .or_else(|| name.eq_ignore_ascii_case(b"x-gzip").then_some(Self::Gzip))
    }
}

/// Codes identity content for clients that take it.
#[derive(Clone, Debug)]
pub struct ContentCodingLayer {
    coder: Coder,
}

impl ContentCodingLayer {
    /// One route's settings; coded copies are kept in `copies`.
    pub fn new(settings: ContentCodingSettings, copies: SharedCache, metrics: &Metrics) -> Self {
        let tools = Tools {
            cache: copies,
            metrics: metrics.clone(),
        };
        Self {
            coder: Coder {
                settings,
                tools: Arc::new(tools),
            },
        }
    }
}

/// See [`ContentCodingLayer`].
#[derive(Clone, Debug)]
pub struct ContentCoding<S> {
    inner: S,
    coder: Coder,
}

impl<S> Layer<S> for ContentCodingLayer {
    type Service = ContentCoding<S>;

    fn layer(&self, inner: S) -> ContentCoding<S> {
        ContentCoding {
            inner,
            coder: self.coder.clone(),
        }
    }
}

impl<S: Inner> Service<Request> for ContentCoding<S> {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> ResponseFuture {
        let asked = Asked::of(&request);
        if asked.names_tags {
            entity_tag::strip_coding(request.headers_mut());
        }
        // `Accept-Encoding` stays: the cache asks for identity where it would store, and a bypass asks
        // for what the client asked for.
        let answer = self.inner.call(request);
        if !self.coder.settings.enabled {
            return answer;
        }
        match answer.try_ready() {
            Ok(Ok(response)) => self.coder.answer(&asked, response),
            Ok(error) => ResponseFuture::ready(error),
            Err(waiting) => {
                let coder = self.coder.clone();
                ResponseFuture::boxed(async move {
                    let response = waiting.await?;
                    coder.answer(&asked, response).await
                })
            }
        }
    }
}

/// Settings, and one reference count that is the core's own.
#[derive(Clone, Debug)]
struct Coder {
    settings: ContentCodingSettings,
    tools: Arc<Tools>,
}

#[derive(Debug)]
struct Tools {
    cache: SharedCache,
    metrics: Metrics,
}

impl Coder {
    /// Carries out what the rules decide about `response`. Ready at once, unless content must be read
    /// first, or coded on another thread.
    fn answer(&self, asked: &Asked, response: Response) -> ResponseFuture {
        let (mut head, body) = response.into_parts();
        let content = content(&head, asked, &body);
        let decision = negotiate::decide(&self.settings, asked, content);
        if negotiate::varies(&self.settings, decision, content) {
            if head.status == StatusCode::NOT_MODIFIED {
                not_modified::retag(&self.settings, asked, &mut head);
            }
            head::vary(&mut head.headers, &content.read);
        }
        match decision {
            Decision::Code { best, jitter } => {
                if jitter {
                    let padding = padding(&head, &body);
                    head.headers.insert(guard::X_PAD, padding);
                }
                self.code(
                    best,
                    asked,
                    Answer {
                        head,
                        read: content.read,
                        body,
                    },
                )
            }
            Decision::Decode(coding) => {
                head::decode(&mut head.headers, &content.read);
                let body = if asked.is_head {
                    body
                } else {
                    decoded(coding, body)
                };
                respond(head, body)
            }
            Decision::Leave(reason) => {
                if let negotiate::Uncoded::Breach(_) = reason {
                    self.tools.metrics.count(Event::BreachGuarded);
                }
                tracing::trace!(?reason, "Content goes uncoded.");
                respond(head, body)
            }
        }
    }

    fn code(&self, best: Choice, asked: &Asked, answer: Answer) -> ResponseFuture {
        if let Some(stored) = stored(&answer.head) {
            let found = coded_copies::find(stored, best);
            if let Some(missing) = found.missing
                && !asked.is_head
                && !answer.is_held_back(asked)
            {
                let Tools { cache, metrics } = &*self.tools;
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
            return answer.coded(coding, None, self.streamed(coding, body));
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
            return answer.coded(coding, None, self.streamed(coding, body));
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
                Buffered::TooLong(body) => {
                    let body = coder.streamed(coding, body);
                    answer.coded(coding, None, body).await
                }
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
        let coder = self.clone();
        ResponseFuture::boxed(async move {
            let given = content.clone();
            let tasks = coder.tools.cache.tasks();
            let coded = tasks
                .spawn_blocking(move || encode::whole(&given, coding, Effort::Quick))
                .await
                .map_err(|error| Error::internal().caused_by(error))?;
            coder.respond_with(coded, coding, answer, content).await
        })
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

    fn streamed(&self, coding: Coding, body: Body) -> Body {
        let codec = encode::streaming(coding, body.size_hint().exact());
        let failed = |error| {
            Error::internal()
                .detail("content could not be coded")
                .caused_by(error)
        };
        let metrics = self.tools.metrics.clone();
        let count = move |bytes_in, bytes_out| count(&metrics, coding, bytes_in, bytes_out);
        let turn = encode::turn(coding);
        Body::stream(Recoded::new(body, codec, turn, failed, count))
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

    /// Whether the layer above will answer 304 in place of this.
    fn is_held_back(&self, asked: &Asked) -> bool {
        let tag = self.head.headers.get(ETAG);
        let mut lines = asked.if_none_match.iter();
        self.head.status == StatusCode::OK
            && lines.any(|line| entity_tag::line_holds_back(line, tag))
    }
}

/// What the rules look at. The length of what a HEAD is for stands in its head, if anywhere.
fn content(head: &Parts, asked: &Asked, body: &Body) -> Content {
    let facts = head.extensions.get::<ResponseFacts>();
    let stored = facts.and_then(|facts| facts.stored.as_ref());
    let being_stored = facts.is_some_and(|facts| facts.cache.is_some_and(|cache| cache.stored));
    let declared = || {
        head.headers
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    };
    let length = match stored {
        Some(stored) => Some(stored.length()),
        None if asked.is_head => declared(),
        None => body.size_hint().exact(),
    };
    Content {
        status: head.status,
        read: Reading::of(&head.headers),
        length,
        shared: stored.is_some() || being_stored,
    }
}

fn stored(head: &Parts) -> Option<&Arc<StoredResponse>> {
    head.extensions.get::<ResponseFacts>()?.stored.as_ref()
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

fn decoded(coding: Coding, body: Body) -> Body {
    let codec = decode::decoder(coding);
    Body::stream(Recoded::new(
        body,
        codec,
        DECODED_AT_ONCE,
        decode::failed,
        |_, _| {},
    ))
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
