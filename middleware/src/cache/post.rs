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

use crate::cache::Cache;
use crate::cache::advice::Head;
use crate::cache::changed::Changed;
use crate::cache::decide::Asked;
use crate::cache::errand::{Errand, declared_length};
use crate::cache::freshness::Source;
use crate::cache::invalidate::has_worked;
use crate::cache::journal::Done;
use crate::cache::pass::passed;
use crate::cache::reason::Reason;
use crate::cache::recorder::Asking;
use crate::cache::storable::Storing;
use crate::cache::stored::StoredResponse;
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
        errand.asking = self.asking(&request, hash, requested);
        self.inner.call(request).map(move |result| {
            let mut response = match result {
                Ok(response) => response,
                Err(error) => {
                    errand.passed_by(None, shared.clock().now());
                    return Err(error);
                }
            };
            let settings = errand.settings.clone();
            errand.take_aside(&mut response, None);
            let has_worked = has_worked(response.status());
            let is_own = has_worked && changed.is_about_itself(&response);
            let before = shared.purges().now();
            let now = shared.clock().now();
            let storing = is_own.then(|| errand.judge_post(&response, now));
            let count = match has_worked {
                true => changed.invalidate(&response, &settings.invalidate, &shared),
                false => 0,
            };
            let Some(storing) = storing else {
                errand.passed_by(Some(&response), now);
                passed(&mut response, Fwd::Method, None);
                return Ok(response);
            };
            // Its own purges are no reason against it. Any other's meanwhile is: which came first at
            // the upstream, nobody knows.
            errand.born = shared.purges().now();
            let is_alone = errand.born.is_after(before, count);
            let storing =
                storing.and_then(|storing| is_alone.then_some(storing).ok_or(Reason::Purged));
            Ok(errand.posted(response, storing, now))
        })
    }
}

impl Errand {
    /// Whether an answer to POST that says it is what a GET would get may be stored, as far as is known
    /// before its own purges.
    fn judge_post(&self, answer: &Response, now: Now) -> Result<Storing, Reason> {
        let declared = declared_length(answer.headers()).or(answer.body().size_hint().exact());
        let storing = self.storing(answer.status(), answer.headers(), declared, false, now)?;
        let storing = may_answer_get(answer.status(), storing)?;
        let origin = self.origin(now);
        let head = StoredResponse::head(answer.status(), answer.headers(), storing.clone(), origin);
        match self.is_older_than_purge(&head) {
            true => Err(Reason::Purged),
            false => Ok(storing),
        }
    }

    /// Writes down that it was not a matter for the cache: nothing is to be known of it by the key that
    /// a GET has.
    fn passed_by(&mut self, answer: Option<&Response>, now: Now) {
        self.asking = self.asking.take().map(Asking::without_key);
        let head = answer.map(|answer| Head {
            length: declared_length(answer.headers()),
            ..Head::new(answer.status(), answer.headers())
        });
        self.record(Done::Bypassed(Reason::Method), head, now);
    }

    /// What becomes of it.
    fn posted(
        mut self,
        mut answer: Response,
        storing: Result<Storing, Reason>,
        now: Now,
    ) -> Response {
        let declared = declared_length(answer.headers()).or(answer.body().size_hint().exact());
        match storing {
            Err(reason) => {
                self.asking = self.asking.take().map(Asking::without_key);
                let head = Head {
                    length: declared,
                    ..Head::new(answer.status(), answer.headers())
                };
                self.record(Done::NotStored(Reason::Method, reason), Some(head), now);
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
        // Only for its own URL: what it says of queries, it says of answers to POST.
        Ok(Storing {
            search: None,
            ..storing
        })
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
