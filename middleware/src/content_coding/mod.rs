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
//! use negotiate::{Asked, Content, decide};
//!
//! let request = Request::get("/").header("accept-encoding", "gzip, br").body(()).unwrap();
//! let fields = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/css"))]);
//! let content = Content { status: StatusCode::OK, fields: &fields, length: None, shared: false };
//! let decision = decide(&ContentCodingSettings::default(), Asked::of(&request), content);
//! assert_eq!(decision.coded().expect("text is coded").on_the_fly(), Coding::Br);
//! ```

pub mod coded_copies;
mod decode;
mod encode;
pub mod guard;
mod head;
pub mod negotiate;
mod not_modified;
mod recoded;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use config::content_coding::ContentCodingSettings;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, IF_NONE_MATCH};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use self::encode::Effort;
use self::negotiate::{Asked, Choice, Content, Decision, Uncoded};
use self::recoded::Recoded;
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
        let if_none_match = NoneMatch::of(request.headers());
        // `Accept-Encoding` stays: the cache asks for identity where it would store, and a bypass asks
        // for what the client asked for.
        entity_tag::strip_coding(request.headers_mut());
        if !self.coder.settings.enabled {
            return self.inner.call(request);
        }
        match self.inner.call(request).try_ready() {
            Ok(Ok(response)) => self.coder.answer(asked, if_none_match, response),
            Ok(error) => ResponseFuture::ready(error),
            Err(waiting) => {
                let coder = self.coder.clone();
                ResponseFuture::boxed(async move {
                    let response = waiting.await?;
                    coder.answer(asked, if_none_match, response).await
                })
            }
        }
    }
}

/// All lines of a request's `If-None-Match`, as one. A reference, where it is one.
#[derive(Clone, Debug, Default)]
struct NoneMatch(Option<HeaderValue>);

impl NoneMatch {
    fn of(fields: &HeaderMap) -> Self {
        let mut lines = fields.get_all(IF_NONE_MATCH).iter();
        let (first, second) = (lines.next(), lines.next());
        if second.is_none() {
            return Self(first.cloned());
        }
        let lines: Vec<_> = fields
            .get_all(IF_NONE_MATCH)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        Self(HeaderValue::from_bytes(&lines.join(&b", "[..])).ok())
    }

    fn fields(self) -> Option<HeaderMap> {
        Some(HeaderMap::from_iter([(IF_NONE_MATCH, self.0?)]))
    }

    /// Whether the layer above will answer 304 in place of this: then its content is never read.
    fn holds_back(self, head: &Parts) -> bool {
        head.status == StatusCode::OK
            && self.fields().is_some_and(|fields| {
                entity_tag::none_match_holds_back(&fields, head.headers.get(ETAG))
            })
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
    /// Carries out what the rules decide about `response`. Ready at once, unless long content must
    /// be coded on another thread.
    fn answer(&self, asked: Asked, none_match: NoneMatch, response: Response) -> ResponseFuture {
        let (mut head, body) = response.into_parts();
        let content = content(&head, asked, &body);
        let decision = negotiate::decide(&self.settings, asked, content);
        if negotiate::varies(&self.settings, decision, content) {
            if head.status == StatusCode::NOT_MODIFIED {
                not_modified::retag(&self.settings, asked, none_match.0.as_ref(), &mut head);
            }
            head::vary(&mut head.headers);
        }
        match decision {
            Decision::Code { best, jitter } => {
                if jitter {
                    let padding = padding(&head, &body);
                    head.headers.insert(guard::X_PAD, padding);
                }
                self.code(best, asked, none_match, head, body)
            }
            Decision::Decode(coding) => {
                head::decode(&mut head.headers);
                let body = if asked.is_head {
                    body
                } else {
                    decoded(coding, body)
                };
                respond(head, body)
            }
            Decision::Leave(reason) => {
                if let Uncoded::Breach(_) = reason {
                    self.tools.metrics.count(Event::BreachGuarded);
                }
                tracing::trace!(?reason, "Content goes uncoded.");
                respond(head, body)
            }
        }
    }

    fn code(
        &self,
        best: Choice,
        asked: Asked,
        none_match: NoneMatch,
        mut head: Parts,
        body: Body,
    ) -> ResponseFuture {
        if let Some(stored) = stored(&head) {
            let found = coded_copies::find(stored, best);
            if let (Some(missing), false) = (found.missing, asked.is_head) {
                let Tools { cache, metrics } = &*self.tools;
                coded_copies::make(stored, missing, cache, metrics);
            }
            if let Some((coding, copy)) = found.copy {
                if copy.is_empty() {
                    return respond(head, body);
                }
                let copy = copy.clone();
                head::code(&mut head.headers, coding, Some(copy.len()));
                let copy = if asked.is_head {
                    Body::empty()
                } else {
                    Body::from(copy)
                };
                return respond(head, copy);
            }
        }
        let coding = best.on_the_fly();
        if asked.is_head {
            head::code(&mut head.headers, coding, None);
            return respond(head, body);
        }
        self.code_on_the_fly(coding, none_match, head, body)
    }

    fn code_on_the_fly(
        &self,
        coding: Coding,
        none_match: NoneMatch,
        mut head: Parts,
        body: Body,
    ) -> ResponseFuture {
        if body.is_stream() || none_match.holds_back(&head) {
            head::code(&mut head.headers, coding, None);
            return respond(head, self.streamed(coding, body));
        }
        let length = body.size_hint().lower();
        let content = segments(body);
        if length <= encode::turn(coding) as u64 {
            let coded = encode::whole(&content, coding, Effort::Quick);
            return self.respond_with(coded, content, coding, head);
        }
        let coder = self.clone();
        ResponseFuture::boxed(async move {
            let given = content.clone();
            let tasks = coder.tools.cache.tasks();
            let coded = tasks
                .spawn_blocking(move || encode::whole(&given, coding, Effort::Quick))
                .await
                .map_err(|error| Error::internal().caused_by(error))?;
            coder.respond_with(coded, content, coding, head).await
        })
    }

    /// `coded`, or the `content` itself if that is shorter.
    fn respond_with(
        &self,
        coded: Option<Bytes>,
        content: Arc<[Bytes]>,
        coding: Coding,
        mut head: Parts,
    ) -> ResponseFuture {
        let Some(coded) = coded else {
            return respond(head, Body::segments(content));
        };
        let length = content.iter().map(|segment| segment.len() as u64).sum();
        count(&self.tools.metrics, coding, length, coded.len() as u64);
        head::code(&mut head.headers, coding, Some(coded.len()));
        respond(head, Body::from(coded))
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

/// What the rules look at. The length of what a HEAD is for stands in its head, if anywhere.
fn content<'a>(head: &'a Parts, asked: Asked, body: &Body) -> Content<'a> {
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
        fields: &head.headers,
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
    metrics.add(given, bytes_in);
    metrics.add(made, bytes_out);
}

/// Coded bytes that are decoded before other requests of the core get their turn.
const DECODED_AT_ONCE: usize = 16 << 10;
