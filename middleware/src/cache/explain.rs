//! What the cache would do with a request now, and what it did lately: for people, in order, with
//! the shortest change that would flip it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::cache::CacheSettings;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::Request;
use crate::cache::advice::{Case, Head};
use crate::cache::decide::{Asked, Candidate, Decision, decide, overrides};
use crate::cache::freshness::Source;
use crate::cache::journal::{Answered, Done, Held, Record};
use crate::cache::key::{KeyRules, Target};
use crate::cache::reason::Reason;
use crate::cache::shared::SharedCache;
use crate::cache::store::memory::Lookup;
use crate::cache::stored::StoredResponse;
use crate::content_coding::Coding;
use crate::explanation::{Part, Step};
use crate::facts;

/// The answer of `explain`.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Method and URI that were asked about.
    pub request: String,
    /// What makes requests the same here: the URI and the configured fields and cookies.
    pub key: Vec<String>,
    /// What would be done now.
    pub would: Would,
    /// The decisions in their order: what is stored, whether it may be used, and, where it would be
    /// forwarded, what became of the upstream's last answer. Whoever tells of the whole way takes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Step>,
    /// What is stored and would be chosen for this request.
    pub stored: Option<Stored>,
    /// How many responses are stored under the key, told apart by `Vary`.
    pub variants: usize,
    /// What happened when a request with this key was last forwarded, if it is still known.
    pub last: Option<Last>,
}

/// What would be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Would {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale one.
    Stale,
    /// Forwarded to validate what is stored.
    Validate,
    /// Forwarded.
    Forward,
    /// Answered 504, as `only-if-cached` demands.
    GatewayTimeout,
}

/// A stored response in brief.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// Bytes of identity content.
    pub length: u64,
    /// Which bytes these are of how many (`0-99/1000`), where it is not all of them.
    pub parts: Vec<String>,
    /// Seconds since the upstream made it.
    pub age: u64,
    /// Seconds it is fresh in all.
    pub lifetime: u64,
    /// Seconds it is still fresh; negative once stale.
    pub ttl: i64,
    /// What gave the lifetime.
    pub lifetime_from: Source,
    /// Its validators.
    pub etag: Option<String>,
    /// Its validators.
    pub last_modified: Option<String>,
    /// Fields that `Vary` names and that choose it.
    pub selected_by: Vec<String>,
    /// Codings that copies are kept in.
    pub coded_copies: Vec<&'static str>,
    /// Whether a soft purge has marked it stale.
    pub soft_purged: bool,
}

/// What happened when a request was forwarded.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Last {
    /// Seconds ago.
    pub ago: u64,
    /// The rule by which it was forwarded.
    pub forwarded: &'static str,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// Whether the answer was stored.
    pub stored: bool,
    /// The rule by which it was not.
    pub not_stored: Option<&'static str>,
}

impl SharedCache {
    /// What would be done with `request`, which has its facts as the listener and the forwarding
    /// layer make them, on the route called `route` with `settings`. Nothing is forwarded and nothing
    /// changes.
    pub fn explain(&self, request: &Request, settings: &CacheSettings, route: &str) -> Explanation {
        let rules = KeyRules::of(settings);
        let target = Target::of(request);
        let case = Case {
            route,
            settings,
            rules: &rules,
            memory: self.memory(),
            request: request.headers(),
            answer: None,
            stored: None,
        };
        let mut explanation = Explanation {
            request: format!("{} {}", request.method(), target.print()),
            key: rules.print(target, request.headers()),
            would: Would::Forward,
            chain: Vec::new(),
            stored: None,
            variants: 0,
            last: None,
        };
        let mut asked = match Asked::of(request, settings) {
            Ok(asked) => asked,
            Err((_, reason)) => {
                explanation.chain.push(case.step(Part::Cache, reason));
                return explanation;
            }
        };
        let mut key = Vec::new();
        rules.write_key(request, &mut key);
        let hash = self.hasher().hash(&key);
        let now = facts::of_request(request).received;
        let lookup = self.find(settings, hash, &key, request.headers());
        if settings.no_vary_search {
            explanation.key.extend(self.print_searches(&key));
        }
        explanation.variants = lookup.variants();
        let found = lookup.found(&mut asked, request.headers(), now);
        let mut case = case;
        let whole;
        if let Lookup::Stored {
            stored, is_purged, ..
        } = &lookup
        {
            let candidate = stored.candidate(now, *is_purged);
            let brief = stored.brief(candidate);
            explanation
                .chain
                .push(Step::said(Part::Cache, brief.sentence()));
            explanation.stored = Some(brief);
            let fields = stored.fields.map();
            whole = stored.apart().with(&fields).unwrap_or(fields);
            case.stored = Some((candidate, &whole));
        }
        let (would, reason) = said(decide(&asked, found, settings, &rules));
        explanation.would = would;
        let rule = reason.map(|reason| case.step(Part::Cache, reason));
        explanation.chain.extend(rule);
        if let Lookup::Stored {
            chosen_by: Some(reason),
            ..
        } = &lookup
        {
            let step = case.step(Part::Cache, *reason);
            explanation.chain.push(step);
        }
        if would == Would::Forward && overrides(request.headers(), &rules) {
            let step = case.step(Part::Storing, Reason::Override);
            explanation.chain.push(step);
        }
        explanation.last = self.last(hash, now.wall);
        // Why nothing is stored is what one wants to know where nothing is.
        if would != Would::Hit {
            explanation.chain.extend(self.last_time(hash, case));
        }
        explanation
    }

    /// The stored response that would be chosen for `request`, fresh or not.
    pub fn selected(
        &self,
        request: &Request,
        settings: &CacheSettings,
    ) -> Option<Arc<StoredResponse>> {
        let mut key = Vec::new();
        KeyRules::of(settings).write_key(request, &mut key);
        let hash = self.hasher().hash(&key);
        match self.find(settings, hash, &key, request.headers()) {
            // What has parts only is not what a whole answer would be made of.
            Lookup::Stored { stored, .. } => Some(stored).filter(|stored| stored.parts().is_none()),
            Lookup::Nothing | Lookup::OtherVariant(_) => None,
        }
    }

    fn last(&self, key: u128, now: SystemTime) -> Option<Last> {
        let verdict = self.verdicts().latest(key)?;
        Some(Last {
            ago: seconds(now.duration_since(verdict.at).unwrap_or_default()),
            forwarded: verdict.forwarded.name(),
            status: verdict.status.map(|status| status.as_u16()),
            stored: verdict.stored.is_ok(),
            not_stored: verdict.stored.err().map(Reason::name),
        })
    }

    /// What became of the last such request that was forwarded, where that is not to be seen from
    /// what is stored.
    fn last_time(&self, key: u128, case: Case<'_>) -> Vec<Step> {
        let Some(verdict) = self.verdicts().latest(key) else {
            return Vec::new();
        };
        let recent = self.recent();
        let record = recent.iter().find(|record| record.key == key);
        let answer = record.and_then(|record| record.answer.as_ref());
        let fields = answer.map(|answer| answer.fields.to_fields());
        let nothing = HeaderMap::new();
        let case = Case {
            answer: verdict.status.map(|status| Head {
                status,
                fields: fields.as_ref().unwrap_or(&nothing),
                length: answer.and_then(|answer| answer.length),
            }),
            ..case
        };
        let storing = match verdict.stored {
            Ok(()) => Step::said(Part::Storing, "The last answer was stored."),
            Err(reason) => case.step(Part::Storing, reason),
        };
        vec![storing]
    }

    /// What was decided about the request of `record`, on its route with `settings`.
    pub fn explain_record(&self, record: &Record, settings: &CacheSettings) -> Vec<Step> {
        let rules = KeyRules::of(settings);
        let request = record.request.to_fields();
        let held = record.stored.as_ref();
        let held_fields = held.map(|held| held.fields.to_fields()).unwrap_or_default();
        let candidate = held.and_then(|held| record.candidate(held, settings));
        let answer = record.answer.as_ref();
        let answer_fields = answer.map(|answer| answer.fields.to_fields());
        let nothing = HeaderMap::new();
        let status = answer.and_then(|answer| StatusCode::from_u16(answer.status).ok());
        let asked = Case {
            route: &record.route,
            settings,
            rules: &rules,
            memory: self.memory(),
            request: &request,
            answer: None,
            stored: candidate.map(|candidate| (candidate, &held_fields)),
        };
        let answered = Case {
            answer: status.map(|status| Head {
                status,
                fields: answer_fields.as_ref().unwrap_or(&nothing),
                length: answer.and_then(|answer| answer.length),
            }),
            ..asked
        };
        let found = held.map(|held| Step::said(Part::Cache, held.sentence()));
        let stored = |answer: &Answered| {
            let sentence = format!("The answer with status {} was stored.", answer.status);
            Step::said(Part::Storing, sentence)
        };
        let decided = match record.done {
            Done::Hit => vec![Step::said(
                Part::Cache,
                "It is fresh, so it was the answer.",
            )],
            Done::Collapsed => vec![Step::said(
                Part::Cache,
                "Another request for the same was under way, and its answer served both.",
            )],
            Done::GatewayTimeout => vec![asked.step(Part::Cache, Reason::OnlyIfCached)],
            Done::Stale(reason) | Done::Bypassed(reason) => vec![asked.step(Part::Cache, reason)],
            Done::Stored(reason) => std::iter::once(asked.step(Part::Cache, reason))
                .chain(answer.map(stored))
                .collect(),
            Done::NotStored(reason, against) => vec![
                asked.step(Part::Cache, reason),
                answered.step(Part::Storing, against),
            ],
        };
        let chosen_by = held.and_then(|held| held.chosen_by);
        let chosen_by = chosen_by.map(|reason| asked.step(Part::Cache, reason));
        let found = found.into_iter().chain(chosen_by);
        found.chain(decided).collect()
    }
}

impl Held {
    fn sentence(&self) -> String {
        let Self { status, length, .. } = self;
        let age = self.age / 1000;
        let purged = match self.is_purged {
            true => ", marked as stale by a purge",
            false => "",
        };
        format!("A response was stored: status {status}, {length} bytes, {age} s old{purged}.")
    }
}

impl Case<'_> {
    /// `reason` as a step of the chain.
    fn step(&self, part: Part, reason: Reason) -> Step {
        Step {
            part,
            rule: Some(reason.name()),
            sentence: reason.sentence().into(),
            field: self.field(reason),
            advice: self.advice(reason),
        }
    }
}

pub(crate) fn said(decision: Decision) -> (Would, Option<Reason>) {
    match decision {
        Decision::Serve => (Would::Hit, None),
        Decision::ServeStale { reason, .. } => (Would::Stale, Some(reason)),
        Decision::Validate(_, reason) => (Would::Validate, Some(reason)),
        Decision::Forward(_, reason) => (Would::Forward, Some(reason)),
        Decision::GatewayTimeout => (Would::GatewayTimeout, Some(Reason::OnlyIfCached)),
    }
}

impl Lookup {
    /// How many responses are stored under the key.
    fn variants(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::OtherVariant(variants) => variants.len(),
            Self::Stored { variants, .. } => *variants,
        }
    }
}

impl StoredResponse {
    fn brief(&self, candidate: Candidate) -> Stored {
        let text = |name: http::HeaderName| {
            let value = self.fields.first(name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        Stored {
            status: self.status.as_u16(),
            length: self.length(),
            parts: self.parts().map_or_else(Vec::new, |parts| parts.print()),
            age: seconds(candidate.age),
            lifetime: seconds(self.terms().lifetime),
            ttl: candidate.ttl(),
            lifetime_from: self.terms().source,
            etag: text(http::header::ETAG),
            last_modified: text(http::header::LAST_MODIFIED),
            selected_by: self.selection().names().map(ToString::to_string).collect(),
            coded_copies: [
                (Coding::Br, "br"),
                (Coding::Zstd, "zstd"),
                (Coding::Gzip, "gzip"),
            ]
            .into_iter()
            .filter_map(|(coding, name)| self.coded(coding).map(|_| name))
            .collect(),
            soft_purged: candidate.is_purged,
        }
    }
}

impl Stored {
    fn sentence(&self) -> String {
        let Self {
            status,
            length,
            age,
            lifetime,
            ..
        } = self;
        let left = self.ttl.max(0);
        let source = self.lifetime_from.name();
        format!(
            "A response is stored: status {status}, {length} bytes, {age} s old, \
             fresh for {left} s of {lifetime} s (by {source})."
        )
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
}
