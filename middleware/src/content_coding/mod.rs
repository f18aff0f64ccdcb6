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
mod coder;
mod decode;
mod encode;
pub mod guard;
mod head;
pub mod negotiate;
mod not_modified;
mod observing;
pub mod reading;
mod recoded;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll};

use config::content_coding::ContentCodingSettings;
use http::HeaderValue;
use tower::{Layer, Service};

use self::coder::Coder;
use self::reading::Asked;
use crate::cache::SharedCache;
use crate::fields::entity_tag;
use crate::metrics::Metrics;
use crate::{Error, Inner, Request, Response, ResponseFuture, Result};

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
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Br, Self::Zstd, Self::Gzip];

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
        Self::ALL
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
        Self {
            coder: Coder::new(settings, copies, metrics.clone()),
        }
    }
}

/// Whether the layer says of each answer that it gets whether it varies by content coding.
pub fn settles_vary(settings: &ContentCodingSettings) -> bool {
    settings.enabled && settings.mode.is_apply()
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
        let mut answer = self.inner.call(request);
        if !self.coder.is_on() {
            return answer;
        }
        if self.coder.is_observing() {
            let coder = self.coder.clone();
            return answer.change(move |result| {
                if let Ok(response) = result {
                    coder.observe(&asked, response);
                }
            });
        }
        match answer.as_ready() {
            Some(Ok(response)) => self.coder.answer(&asked, response).unwrap_or(answer),
            Some(Err(_)) => answer,
            None => {
                let coder = self.coder.clone();
                answer.change_or_replace(move |result| match result {
                    Ok(response) => coder.answer(&asked, response),
                    Err(_) => None,
                })
            }
        }
    }
}
