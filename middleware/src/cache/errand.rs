//! One request on its way to the upstream, and what is done with the answer: store it, share it,
//! freshen what is stored, or let that stand in for an error.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, IF_MODIFIED_SINCE};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use crate::cache::advice::Head;
use crate::cache::collapse::{Failure, Flight, Outcome};
use crate::cache::decide::{Asked, Candidate, may_stand_in};
use crate::cache::early::took;
use crate::cache::freshness::Times;
use crate::cache::key::{CacheKey, KeyHash};
use crate::cache::offer;
use crate::cache::papers::Papers;
use crate::cache::parts;
use crate::cache::reason::Reason;
use crate::cache::replay::{annotate, content_for, replay, replay_for};
use crate::cache::storable::{Exchange, Storing, storable};
use crate::cache::stored::{Origin, StoredResponse};
use crate::cache::validate;
use crate::clock::Now;
use crate::facts::{CacheOutcome, CacheStatus};
use crate::{Error, ErrorKind, Response, Result, Side};

/// See the module. Made when a request is about to be forwarded. A handle: it goes through many hands,
/// and what it holds is some 700 bytes.
pub(crate) struct Errand(Box<Papers>);

impl From<Papers> for Errand {
    fn from(papers: Papers) -> Self {
        Self(Box::new(papers))
    }
}

impl Deref for Errand {
    type Target = Papers;

    fn deref(&self) -> &Papers {
        &self.0
    }
}

impl DerefMut for Errand {
    fn deref_mut(&mut self) -> &mut Papers {
        &mut self.0
    }
}

/// A stored response, and whether a soft purge has marked it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) stored: Arc<StoredResponse>,
    pub(crate) is_purged: bool,
    /// Why it was chosen, where that is not by its key and what the request says; where it lay, if that
    /// was not in memory.
    pub(crate) chosen_by: Option<Reason>,
    /// Whether it lies below memory only.
    pub(crate) is_below: bool,
}

impl Kept {
    /// Whether it has all of the content.
    pub(crate) fn is_whole(&self) -> bool {
        self.stored.parts().is_none()
    }

    pub(crate) fn candidate(&self, now: Now) -> Candidate {
        self.stored.candidate(now, self.is_purged)
    }
}

impl Errand {
    /// The key of the flight that this request may share: the cache key, and for an authorised
    /// request its credentials as well. `salt` tells apart those who found that `Vary` does.
    pub(crate) fn flight_key(&self, salt: &[u8]) -> Cow<'_, CacheKey> {
        if !self.asked.has_authorization && salt.is_empty() {
            return Cow::Borrowed(&self.key);
        }
        let mut bytes = self.key.bytes.to_vec();
        if self.asked.has_authorization {
            // A hash that cannot be forged: whoever has the same one has the same credentials.
            let mut credentials = blake3::Hasher::new();
            for line in self.fields.get_all(AUTHORIZATION) {
                credentials.update(&(line.len() as u64).to_le_bytes());
                credentials.update(line.as_bytes());
            }
            bytes.push(1);
            bytes.extend_from_slice(credentials.finalize().as_bytes());
        } else {
            bytes.push(0);
        }
        bytes.extend_from_slice(salt);
        Cow::Owned(self.shared.hasher().key(&bytes))
    }

    /// Where pass markers lie for the flight of `key`: answers to cookies may be unshareable where
    /// others are not.
    pub(crate) fn pass_key(&self, key: &CacheKey) -> KeyHash {
        key.hash ^ KeyHash::from(self.has_telling_cookie())
    }

    /// Does what follows from the upstream's answer. `flight` is there if others may share it.
    pub(crate) fn finish(
        mut self,
        mut result: Result<Response>,
        flight: Option<Flight>,
    ) -> Result<Response> {
        let now = self.shared.clock().now();
        if let Some(again) = self.asked_again.as_ref().and_then(|again| again.get()) {
            self.requested = *again;
        }
        let mut about = None;
        if let Ok(answer) = &mut result {
            about = self.is_about(answer);
            self.take_aside(answer, about.as_ref());
        }
        match result {
            Err(error) => self.failed(error, flight, now),
            Ok(answer) if answer.status() == StatusCode::NOT_MODIFIED => match about {
                Some(kept) => Ok(self.confirmed(&kept, &answer, flight, now)),
                None => Ok(self.passed_on(answer, flight, now)),
            },
            Ok(answer) if answer.status().is_server_error() => {
                match self.stand_in(Some(answer.status()), now) {
                    None if self.is_early(now) => Ok(self.kept_fresh(answer, flight)),
                    Some(stale) => {
                        tell(flight.as_ref(), || {
                            Outcome::Failed(Failure::Status(answer.status()))
                        });
                        Ok(stale)
                    }
                    None => Ok(self.answered(answer, flight, now)),
                }
            }
            Ok(answer) => match about {
                Some(kept) => Ok(self.heard(&kept, answer, now)),
                None => Ok(self.answered(answer, flight, now)),
            },
        }
    }

    /// The stored response that `answer` is about and is no answer in itself: what a 304 confirms, or
    /// what a 200 to HEAD is news of.
    fn is_about(&self, answer: &Response) -> Option<Kept> {
        let may_learn = !(self.asked.directives.no_store || self.asked.is_overriding);
        match answer.status() {
            StatusCode::NOT_MODIFIED if self.validates => self.stored.clone(),
            StatusCode::NOT_MODIFIED => {
                let stored = offer::named(self.variants.as_ref()?, answer.headers())?;
                Some(Kept {
                    stored: stored.clone(),
                    is_purged: false,
                    chosen_by: None,
                    is_below: false,
                })
            }
            StatusCode::OK if self.asked.is_head && may_learn => {
                self.stored.clone().filter(Kept::is_whole)
            }
            _ => None,
        }
    }

    /// What is stored, in place of an error, if anything permits it.
    pub(crate) fn stand_in(&self, status: Option<StatusCode>, now: Now) -> Option<Response> {
        let kept = self.stored.as_ref()?;
        let candidate = kept.candidate(now);
        if !kept.is_whole() {
            return None;
        }
        may_stand_in(&self.asked, candidate, &self.settings, &self.rules).then(|| {
            let nothing = HeaderMap::new();
            let answer = status.map(|status| Head::new(status, &nothing));
            self.note(answer, Err(Reason::StaleIfError), now);
            let status = CacheStatus {
                outcome: CacheOutcome::HitStale,
                fwd_status: status,
                stored: false,
                collapsed: false,
                ttl: Some(candidate.ttl()),
                reason: Some(Reason::StaleIfError),
            };
            replay(&kept.stored, self.asked.is_head, now, status)
        })
    }

    fn failed(self, mut error: Error, flight: Option<Flight>, now: Now) -> Result<Response> {
        if error.side() != Side::Upstream {
            return Err(error);
        }
        tell(flight.as_ref(), || {
            Outcome::Failed(Failure::Error(error.kind()))
        });
        if let Some(stale) = self.stand_in(None, now) {
            return Ok(stale);
        }
        self.note(None, Err(Reason::UpstreamFailed), now);
        error.facts_mut().cache = Some(CacheStatus {
            fwd_status: None,
            ..self.status(StatusCode::BAD_GATEWAY, Err(Reason::UpstreamFailed), None)
        });
        Err(error)
    }

    /// A 304 about what is stored: its fields take those of the 304, and it is fresh anew.
    fn confirmed(
        mut self,
        kept: &Kept,
        answer: &Response,
        flight: Option<Flight>,
        now: Now,
    ) -> Response {
        // Content that came to a request with Authorization stays such (RFC 9111 §3.5), whoever hears
        // that it still holds.
        self.asked.has_authorization |= kept.stored.is_authorized;
        let known = kept.stored.fields.map();
        if !validate::is_about(&known, answer.headers()) {
            return self.misnamed(kept, answer, flight, now);
        }
        let mut merged = validate::merged(&known, answer.headers());
        let length = Some(kept.stored.length());
        let is_part = !kept.is_whole();
        let storing = self.storing(kept.stored.status, &merged, length, is_part, now);
        let freshened = storing.and_then(|storing| {
            self.find_place(&storing);
            let origin = self.origin(now);
            let freshened = Arc::new(kept.stored.freshened(&merged, storing, origin));
            self.freshen(&freshened, kept).map(|()| freshened)
        });
        let stored = freshened.as_ref().map(|_| ()).map_err(|reason| *reason);
        let head = Head::new(StatusCode::NOT_MODIFIED, &merged);
        self.note(Some(head), stored, now);
        let status = |ttl| CacheStatus {
            outcome: CacheOutcome::Revalidated,
            fwd_status: Some(StatusCode::NOT_MODIFIED),
            stored: stored.is_ok(),
            collapsed: false,
            ttl,
            reason: Some(stored.err().unwrap_or(self.reason)),
        };
        match freshened {
            Ok(freshened) => {
                self.write_down(&freshened, now);
                self.offer(flight, &freshened, now, || {
                    Outcome::Stored(freshened.clone())
                });
                let ttl = freshened.candidate(now, false).ttl();
                replay_for(&self.asked, &freshened, now, status(Some(ttl)))
            }
            Err(reason) => {
                self.unshared(reason, StatusCode::NOT_MODIFIED, flight.as_ref(), now);
                let body = content_for(&self.asked, &kept.stored, &mut merged);
                let mut response = Response::new(body);
                *response.status_mut() = kept.stored.status;
                *response.headers_mut() = merged;
                annotate(&mut response, status(None));
                response
            }
        }
    }

    /// A 304 that names other content than it was asked about. This client gets what is stored, as it
    /// is; the next one makes the upstream say all of it again.
    fn misnamed(
        &self,
        kept: &Kept,
        answer: &Response,
        flight: Option<Flight>,
        now: Now,
    ) -> Response {
        let (reason, answered) = (Reason::OtherTag, StatusCode::NOT_MODIFIED);
        self.shared.store().remove_one(&kept.stored);
        self.forget_below();
        let head = Head::new(answered, answer.headers());
        self.note(Some(head), Err(reason), now);
        self.unshared(reason, answered, flight.as_ref(), now);
        let status = CacheStatus {
            outcome: CacheOutcome::Revalidated,
            fwd_status: Some(answered),
            stored: false,
            collapsed: false,
            ttl: None,
            reason: Some(reason),
        };
        replay_for(&self.asked, &kept.stored, now, status)
    }

    /// A 304 to the client's own precondition: for this client alone. It has the fields by which a
    /// 200 would be judged (RFC 9110 §15.4.5), so what stands against storing that is told already.
    fn passed_on(self, mut answer: Response, flight: Option<Flight>, now: Now) -> Response {
        let (reason, status) = (Reason::NotModified, answer.status());
        let verdict = match self.storing(StatusCode::OK, answer.headers(), None, false, now) {
            // It leaves out Last-Modified, which may be where a lifetime comes from.
            Err(Reason::NoLifetime) if self.fields.contains_key(IF_MODIFIED_SINCE) => reason,
            Err(against) => against,
            Ok(_) => reason,
        };
        self.unshared(reason, status, flight.as_ref(), now);
        let head = Head::new(status, answer.headers());
        self.note(Some(head), Err(verdict), now);
        let status = self.status(status, Err(reason), None);
        annotate(&mut answer, status);
        self.haunt(verdict, &mut answer, now);
        answer
    }

    /// A full answer.
    fn answered(mut self, answer: Response, flight: Option<Flight>, now: Now) -> Response {
        let declared = declared_length(answer.headers()).or(answer.body().size_hint().exact());
        let part = self.part_of(&answer, declared);
        match self.storing(
            answer.status(),
            answer.headers(),
            declared,
            part.is_some(),
            now,
        ) {
            Err(reason) => self.refused(answer, reason, declared, flight, now),
            // What the upstream says of single fields of one part is not known of the others.
            Ok(storing) if part.is_some() && !storing.without.is_empty() => {
                self.refused(answer, Reason::PartialContent, declared, flight, now)
            }
            Ok(mut storing) => {
                if part.is_some() {
                    storing.without.extend(parts::OF_PART);
                }
                self.part = part;
                if answer.body().is_end_stream() || !answer.body().is_stream() {
                    self.keep_whole(answer, storing, flight, now)
                } else {
                    self.keep_arriving(answer, storing, declared, flight, now)
                }
            }
        }
    }

    pub(crate) fn storing(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        length: Option<u64>,
        is_part: bool,
        now: Now,
    ) -> Result<Storing, Reason> {
        self.storing_for(&self.asked, status, fields, length, is_part, now)
    }

    pub(crate) fn storing_for(
        &self,
        asked: &Asked,
        status: StatusCode,
        fields: &HeaderMap,
        length: Option<u64>,
        is_part: bool,
        now: Now,
    ) -> Result<Storing, Reason> {
        let with_apart = self.apart.with(fields);
        let exchange = Exchange {
            asked,
            request: &self.fields,
            status,
            fields: with_apart.as_ref().unwrap_or(fields),
            length,
            is_part,
            times: Times {
                requested: self.requested.wall,
                received: now.wall,
            },
        };
        let storing = storable(exchange, &self.settings, &self.rules)?;
        let tags = self.tags.clone()?;
        let apart = self.apart.clone();
        Ok(Storing {
            tags,
            apart,
            ..storing
        })
    }

    /// Passes an answer on that is for this client alone.
    fn refused(
        self,
        mut answer: Response,
        reason: Reason,
        declared: Option<u64>,
        flight: Option<Flight>,
        now: Now,
    ) -> Response {
        self.unshared(reason, answer.status(), flight.as_ref(), now);
        let head = Head {
            length: declared,
            ..Head::new(answer.status(), answer.headers())
        };
        self.note(Some(head), Err(reason), now);
        let status = self.status(answer.status(), Err(reason), None);
        annotate(&mut answer, status);
        self.haunt(reason, &mut answer, now);
        answer
    }

    /// The key that the answer is stored under.
    pub(crate) fn place_key(&self) -> &CacheKey {
        self.place.as_ref().map_or(&self.key, |place| &place.key)
    }

    pub(crate) fn origin(&self, now: Now) -> Origin {
        Origin {
            key: self.place_key().hash,
            born: self.born,
            place: self.born_at,
            took: took(self.requested, now),
            received: now,
            is_authorized: self.asked.has_authorization,
        }
    }

    /// For an answer of the upstream; what stands against storing it outranks why it was asked.
    pub(crate) fn status(
        &self,
        status: StatusCode,
        stored: Result<(), Reason>,
        ttl: Option<i64>,
    ) -> CacheStatus {
        let is_news = !matches!(self.reason, Reason::NothingStored | Reason::Method);
        let asked = is_news.then_some(self.reason);
        CacheStatus {
            outcome: CacheOutcome::Fwd(self.fwd),
            fwd_status: Some(status),
            stored: stored.is_ok(),
            collapsed: false,
            ttl,
            reason: stored.err().or(asked),
        }
    }
}

/// Whether an error says nothing about the one request that met it, so that those who wait for the
/// same thing need not find it out one by one.
pub(crate) fn is_of_upstream(kind: ErrorKind) -> bool {
    use ErrorKind as K;
    matches!(
        kind,
        K::DnsTimeout
            | K::DnsError
            | K::DestinationUnavailable
            | K::ConnectionRefused
            | K::ConnectionTimeout
            | K::ConnectionLimitReached
            | K::TlsProtocolError
            | K::TlsCertificateError
    )
}

pub(crate) fn tell(flight: Option<&Flight>, outcome: impl FnOnce() -> Outcome) {
    if let Some(flight) = flight {
        flight.tell(outcome());
    }
}

/// `Content-Length`, where it is one number.
pub(crate) fn declared_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
