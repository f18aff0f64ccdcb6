//! Following: a request waits for the head of another one's answer and shares it, if it may.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::cache::collapse::{Failure, Outcome};
use crate::cache::decide::{Candidate, Decision, Found, decide};
use crate::cache::errand::{Errand, is_of_upstream};
use crate::cache::fill::Fill;
use crate::cache::journal::Done;
use crate::cache::reason::Reason;
use crate::cache::replay::{replay, replay_head};
use crate::cache::stored::StoredResponse;
use crate::cache::{Cache, hit};
use crate::clock::Now;
use crate::facts::{CacheOutcome, CacheStatus};
use crate::{Body, Error, Inner, Request, Response, ResponseFuture, Result};

/// How often a request has tried to share another's answer, and what it learned by it.
#[derive(Default)]
pub(crate) struct Attempt {
    pub(crate) count: u8,
    /// This request's values of the fields that `Vary` turned out to name.
    pub(crate) salt: Vec<u8>,
}

impl<S: Inner + Clone> Cache<S> {
    /// Waits for the head of another request's answer, but no longer than `collapse_wait`.
    pub(crate) fn follow(
        &self,
        request: Request,
        mut errand: Errand,
        mut outcome: watch::Receiver<Outcome>,
        attempt: Attempt,
    ) -> ResponseFuture {
        let mut this = self.clone();
        ResponseFuture::boxed(async move {
            let told = told(&mut outcome, errand.settings.collapse_wait).await;
            let now = errand.shared.clock().now();
            let next = match told {
                Ok(told) => this.share(&errand, told, request.headers(), attempt, now),
                Err(_elapsed) => {
                    errand.reason = Reason::CollapseTimeout;
                    Next::Alone
                }
            };
            match next {
                Next::Answer(answer) => answer,
                Next::Alone => {
                    // Its answer is as old as the request that it makes now, not as its waiting.
                    errand.requested = now;
                    this.alone(request, errand).await
                }
                Next::Again(attempt) => {
                    drop(errand);
                    this.serve(request, now, attempt).await
                }
            }
        })
    }

    /// What a follower makes of what it was told.
    fn share(
        &self,
        errand: &Errand,
        told: Outcome,
        request: &HeaderMap,
        attempt: Attempt,
        now: Now,
    ) -> Next {
        let mut again = Attempt {
            count: attempt.count + 1,
            salt: attempt.salt,
        };
        let head = match &told {
            Outcome::Stored(stored) | Outcome::Found(stored, _) => Some(&**stored),
            Outcome::Filling(fill) => Some(&*fill.head),
            _ => None,
        };
        if let Some(head) = head {
            if !head.answers(request) {
                again.salt = head.selection().written_for(request);
                return Next::Again(again);
            }
            let found = Found::Stored(head.candidate(now, false));
            let is_reusable = matches!(
                decide(&errand.asked, found, &errand.settings, &errand.rules),
                Decision::Serve | Decision::ServeStale { .. }
            );
            if !is_reusable || errand.is_older_than_purge(head) {
                return Next::Again(again);
            }
        }
        match told {
            Outcome::Stored(stored) => Next::Answer(Ok(errand.shared_whole(&stored, now))),
            Outcome::Found(stored, detail) => {
                Next::Answer(Ok(errand.found_whole(&stored, detail, now)))
            }
            Outcome::Filling(fill) => match errand.shared_answer(&fill, now) {
                Some(answer) => Next::Answer(Ok(answer)),
                None => Next::Again(again),
            },
            Outcome::Alone => Next::Alone,
            Outcome::Again | Outcome::Pending => Next::Again(again),
            Outcome::Failed(failure) => {
                let status = match failure {
                    Failure::Status(status) => Some(status),
                    Failure::Error(_) => None,
                };
                match (errand.stand_in(status, now), failure) {
                    (Some(stale), _) => Next::Answer(Ok(stale)),
                    (None, Failure::Error(kind)) if is_of_upstream(kind) => {
                        Next::Answer(Err(Error::upstream(kind)))
                    }
                    (None, _) => Next::Alone,
                }
            }
        }
    }
}

impl Errand {
    /// The answer from what another request's forwarding brought.
    pub(crate) fn shared_answer(&self, fill: &Arc<Fill>, now: Now) -> Option<Response> {
        let body = if self.asked.is_head {
            Body::empty()
        } else {
            Body::stream(fill.reader()?)
        };
        let status = self.collapsed(&fill.head, now);
        Some(replay_head(&fill.head, now, status, body))
    }

    /// The answer from what another request's forwarding stored.
    pub(crate) fn shared_whole(&self, stored: &Arc<StoredResponse>, now: Now) -> Response {
        let status = self.collapsed(stored, now);
        replay(stored, self.asked.is_head, now, status)
    }

    /// The answer from what another request found below memory.
    fn found_whole(
        &self,
        stored: &Arc<StoredResponse>,
        detail: Option<Reason>,
        now: Now,
    ) -> Response {
        self.record(Done::Hit, None, now);
        let status = hit(stored.candidate(now, false), CacheOutcome::Hit, detail);
        replay(stored, self.asked.is_head, now, status)
    }

    fn collapsed(&self, stored: &StoredResponse, now: Now) -> CacheStatus {
        self.shared
            .counts()
            .collapsed
            .fetch_add(1, Ordering::Relaxed);
        self.record(Done::Collapsed, None, now);
        CacheStatus {
            outcome: CacheOutcome::Fwd(self.fwd),
            fwd_status: None,
            stored: false,
            collapsed: true,
            ttl: Some(stored.candidate(now, false).ttl()),
            reason: None,
        }
    }

    /// Of an answer that another sidecar's forwarding brought, and where it lay.
    pub(crate) fn collapsed_by(&self, candidate: Candidate, from: Option<Reason>) -> CacheStatus {
        let collapsed = &self.shared.counts().collapsed;
        collapsed.fetch_add(1, Ordering::Relaxed);
        CacheStatus {
            outcome: CacheOutcome::Fwd(self.fwd),
            fwd_status: None,
            stored: false,
            collapsed: true,
            ttl: Some(candidate.ttl()),
            reason: from,
        }
    }
}

/// What the leader tells within `patience`, which begins anew when the leader does: one that has waited for
/// another sidecar tells that it is still pending.
async fn told(
    outcome: &mut watch::Receiver<Outcome>,
    patience: Duration,
) -> std::result::Result<Outcome, Elapsed> {
    loop {
        let told = outcome.borrow_and_update().clone();
        if !matches!(told, Outcome::Pending) {
            return Ok(told);
        }
        if timeout(patience, outcome.changed()).await?.is_err() {
            return Ok(Outcome::Again);
        }
    }
}

/// What a follower does next.
enum Next {
    Answer(Result<Response>),
    Alone,
    Again(Attempt),
}
