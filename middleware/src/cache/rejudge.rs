//! Judging again what was decided before, by other settings: with the same rules, and without anything
//! that happened only at that moment.

use std::time::{Duration, UNIX_EPOCH};

use config::cache::CacheSettings;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::cache::decide::{Asked, Candidate, Found, decide, overrides};
use crate::cache::explain::Would;
use crate::cache::freshness::{Source, Times};
use crate::cache::journal::{Answered, Done, Held, Record};
use crate::cache::key::KeyRules;
use crate::cache::parts::Parts;
use crate::cache::reason::Reason;
use crate::cache::storable::{Exchange, Storing, storable};
use crate::clock::Now;
use crate::facts::{Peer, RequestFacts, RequestId, Scheme};
use crate::{Body, Request};

/// What the rules say about a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Judged {
    /// What is done with the request.
    pub would: Would,
    /// The rule by which it is not answered from a fresh stored response.
    pub rule: Option<Reason>,
    /// What becomes of the upstream's answer; `None` where it is not asked, or what it would say is
    /// not known.
    pub storing: Option<Kept>,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// It is stored, with a lifetime of these seconds by this source.
    Stored(u64, Source),
    /// It is not, by this rule.
    Not(Reason),
}

impl Record {
    /// The request as the router saw it, as far as it is kept; `None` if its URL was too long to be.
    pub fn to_request(&self, now: Now) -> Option<Request> {
        let (scheme, rest) = self.url.split_once("://")?;
        let path = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(path)?;
        let target = match target.strip_prefix('?') {
            Some(query) => format!("/?{query}"),
            None if target.is_empty() => "/".to_owned(),
            None => target.to_owned(),
        };
        let mut request = Request::new(if self.has_content {
            Body::from("x")
        } else {
            Body::empty()
        });
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = target.parse::<Uri>().ok()?;
        *request.headers_mut() = self.request.to_fields();
        let host = HeaderValue::from_str(authority).ok()?;
        request.headers_mut().insert(HOST, host);
        let peer = match self.is_local {
            true => Peer::Unix,
            false => Peer::Ip(([127, 0, 0, 1], 0).into()),
        };
        let scheme = match scheme {
            "https" => Scheme::Https,
            _ => Scheme::Http,
        };
        let id = RequestId::Kept((*self.id).into());
        let facts = RequestFacts::new(now, id, peer, scheme);
        request.extensions_mut().insert(facts);
        Some(request)
    }

    /// What `settings` would have made of it. What happened only then (an upstream that failed, a
    /// purge, content that broke off) is left out.
    pub fn judged(&self, request: &Request, settings: &CacheSettings) -> Judged {
        let rules = KeyRules::of(settings);
        let mut asked = match Asked::of(request, settings) {
            Ok(asked) => asked,
            Err((_, reason)) => {
                return Judged {
                    would: Would::Forward,
                    rule: Some(reason),
                    storing: None,
                };
            }
        };
        let found = match &self.stored {
            None if self.is_other_variant => Found::OtherVariant,
            None => Found::Nothing,
            Some(held) => match self.candidate(held, settings) {
                // Which parts those were is not written down, but that they did not do.
                Some(_) if self.lacked_parts() => Found::OtherParts,
                Some(candidate) => Found::Stored(candidate),
                // It would never have been stored.
                None => Found::Nothing,
            },
        };
        let (would, rule) = crate::cache::explain::said(decide(&asked, found, settings, &rules));
        asked.is_overriding = overrides(request.headers(), &rules);
        let is_forwarded = matches!(would, Would::Forward | Would::Validate);
        let answer = self.answer.as_ref().filter(|_| is_forwarded);
        let storing = answer.map(|answer| {
            let (status, fields) = self.news(answer);
            let storing = self.storing(&asked, request.headers(), (status, &fields), settings);
            match storing {
                Ok(storing) => Kept::Stored(storing.terms.lifetime.as_secs(), storing.terms.source),
                Err(reason) => Kept::Not(reason),
            }
        });
        Judged {
            would,
            rule,
            storing,
        }
    }

    /// Whether only other parts were stored.
    fn lacked_parts(&self) -> bool {
        matches!(
            self.done,
            Done::Stored(Reason::OtherParts) | Done::NotStored(Reason::OtherParts, _)
        )
    }

    /// What is stored, on the terms that `settings` give it; `None` if they do not let it be stored.
    pub(crate) fn candidate(&self, held: &Held, settings: &CacheSettings) -> Option<Candidate> {
        let asked = Asked {
            has_authorization: held.is_authorized,
            ..Asked::default()
        };
        let rules = KeyRules::of(settings);
        let fields = held.fields.to_fields();
        let received = UNIX_EPOCH + Duration::from_millis(self.at);
        let resident = Duration::from_millis(held.age.saturating_sub(held.initial_age));
        let received = received.checked_sub(resident).unwrap_or(UNIX_EPOCH);
        let exchange = Exchange {
            asked: &asked,
            request: &HeaderMap::new(),
            status: StatusCode::from_u16(held.status).ok()?,
            fields: &fields,
            length: Some(held.length),
            // It was stored, so if it is a part it can be.
            is_part: held.status == 206 && settings.partial,
            times: Times {
                requested: received,
                received,
            },
        };
        let storing = storable(exchange, settings, &rules).ok()?;
        Some(Candidate {
            terms: storing.terms,
            age: Duration::from_millis(held.age),
            is_purged: held.is_purged,
            is_outdated: held.is_outdated,
        })
    }

    /// Status and fields by which an answer is judged: a 304 that confirmed is judged as what it
    /// confirmed.
    fn news(&self, answer: &Answered) -> (u16, HeaderMap) {
        let confirmed = self.stored.as_ref().filter(|_| answer.status == 304);
        let status = confirmed.map_or(answer.status, |held| held.status);
        (status, answer.fields.to_fields())
    }

    fn storing(
        &self,
        asked: &Asked,
        request: &HeaderMap,
        (status, fields): (u16, &HeaderMap),
        settings: &CacheSettings,
    ) -> Result<Storing, Reason> {
        let after = self.answer.as_ref().map_or(0, |answer| answer.after);
        let requested = UNIX_EPOCH + Duration::from_millis(self.at);
        let length = self.answer.as_ref().and_then(|answer| answer.length);
        let exchange = Exchange {
            asked,
            request,
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            fields,
            length,
            is_part: status == 206 && settings.partial && Parts::of(fields, length).is_some(),
            times: Times {
                requested,
                received: requested + Duration::from_millis(after),
            },
        };
        storable(exchange, settings, &KeyRules::of(settings))
    }
}
