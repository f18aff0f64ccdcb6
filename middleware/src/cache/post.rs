//! A POST whose answer is the representation that a GET would get (RFC 9110 §9.3.3, RFC 9111 §3).
//!
//! "Responses to POST requests are only cacheable when they include explicit freshness information
//! and a Content-Location header field that has the same value as the POST's target URI." Such an
//! answer is kept for later GETs and HEADs, never for a POST, and nobody waits for it. It invalidates
//! what was stored before, like any other that works.

use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_LOCATION;
use http_body::Body as _;

use crate::cache::decide::Asked;
use crate::cache::errand::{Errand, declared_length};
use crate::cache::freshness::Source;
use crate::cache::invalidate::{Changed, has_worked};
use crate::cache::reason::Reason;
use crate::cache::storable::Storing;
use crate::cache::{Cache, passed};
use crate::clock::Now;
use crate::facts::{self, Fwd};
use crate::{Inner, Request, Response, ResponseFuture};

impl<S: Inner + Clone> Cache<S> {
    /// Forwards a POST, invalidates if it works, and keeps its answer for GET if it may.
    pub(crate) fn post(&mut self, request: Request) -> ResponseFuture {
        let (rules, shared) = (&self.layer.rules, self.layer.shared.clone());
        let changed = Changed::of(&request);
        rules.write_key(&request, &mut self.key);
        let hash = shared.hasher().hash(&self.key);
        let requested = facts::of_request(&request).received;
        let asked = Asked::by_fields(&request, &self.layer.settings);
        let why = (Fwd::Method, Reason::Method);
        let mut errand = self.errand(&request, asked, hash, requested, why, None);
        errand.born = shared.purges().now();
        self.inner.call(request).map(move |result| {
            let mut response = result?;
            let is_own = changed.is_about_itself(&response);
            if !(has_worked(response.status()) && is_own) {
                if has_worked(response.status()) {
                    changed.invalidate(&response, &shared);
                }
                passed(&mut response, Fwd::Method, None);
                return Ok(response);
            }
            // This answer's own purge is no reason against it; anybody else's since it was asked for is.
            let before = shared.purges().now();
            let is_overtaken = errand.is_purged();
            let count = changed.invalidate(&response, &shared);
            errand.born = shared.purges().now();
            let is_overtaken = is_overtaken || !errand.born.is_after(before, count);
            let now = shared.clock().now();
            Ok(errand.posted(response, is_overtaken, now))
        })
    }
}

impl Errand {
    /// What becomes of an answer to POST that says it is what a GET would get.
    fn posted(self, mut answer: Response, is_overtaken: bool, now: Now) -> Response {
        let declared = declared_length(answer.headers()).or(answer.body().size_hint().exact());
        let storing = self
            .storing(answer.status(), answer.headers(), declared, now)
            .and_then(|storing| may_answer_get(answer.status(), storing))
            .and_then(|storing| match is_overtaken {
                true => Err(Reason::Purged),
                false => Ok(storing),
            });
        match storing {
            Err(reason) => {
                passed(&mut answer, Fwd::Method, Some(reason));
                answer
            }
            Ok(storing) if answer.body().is_end_stream() || !answer.body().is_stream() => {
                self.keep_whole(answer, storing, None, now)
            }
            Ok(storing) => self.keep_arriving(answer, storing, declared, None, now),
        }
    }
}

/// Only what is fresh by the upstream's own word, and only a 200: a GET is not answered "Created".
fn may_answer_get(status: StatusCode, storing: Storing) -> Result<Storing, Reason> {
    let terms = storing.terms;
    let is_explicit = matches!(
        terms.source,
        Source::SMaxage | Source::MaxAge | Source::Targeted | Source::Expires
    );
    if status != StatusCode::OK {
        Err(Reason::Status)
    } else if is_explicit && terms.lifetime > Duration::ZERO {
        Ok(storing)
    } else {
        Err(Reason::NoLifetime)
    }
}

impl Changed {
    /// Whether `response` says by one `Content-Location` that it is about the very URL that was asked.
    fn is_about_itself(&self, response: &Response) -> bool {
        let mut lines = response.headers().get_all(CONTENT_LOCATION).iter();
        let (Some(only), None) = (lines.next(), lines.next()) else {
            return false;
        };
        only.to_str().is_ok_and(|only| self.is_same(only))
    }
}
