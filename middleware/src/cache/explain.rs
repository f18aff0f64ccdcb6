//! What the cache would do with a request now, and what it did lately: for people, in order, with
//! the shortest change that would flip it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::cache::CacheSettings;
use serde::Serialize;

use crate::Request;
use crate::cache::decide::{Asked, Decision, Found, decide, overrides};
use crate::cache::freshness::Source;
use crate::cache::key::{KeyRules, Target};
use crate::cache::reason::Reason;
use crate::cache::shared::SharedCache;
use crate::cache::store::memory::Lookup;
use crate::cache::stored::StoredResponse;
use crate::content_coding::Coding;
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
    /// The rules that say so, the deciding one first.
    pub because: Vec<Rule>,
    /// What is stored and would be chosen for this request.
    pub stored: Option<Stored>,
    /// How many responses are stored under the key, told apart by `Vary`.
    pub variants: usize,
    /// What happened when a request with this key was last forwarded, if it is still known.
    pub last: Option<Last>,
}

/// What would be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// One rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// As in `Cache-Status` and metrics.
    pub rule: &'static str,
    /// What it means.
    pub sentence: &'static str,
    /// The shortest change that would flip the decision.
    pub advice: Option<&'static str>,
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
#[derive(Clone, Debug, Serialize)]
pub struct Last {
    /// Seconds ago.
    pub ago: u64,
    /// Why it was forwarded.
    pub forwarded: Rule,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// Whether the answer was stored.
    pub stored: bool,
    /// Why not.
    pub not_stored: Option<Rule>,
}

impl From<Reason> for Rule {
    fn from(reason: Reason) -> Self {
        Self {
            rule: reason.name(),
            sentence: reason.sentence(),
            advice: reason.advice(),
        }
    }
}

impl SharedCache {
    /// What would be done with `request`, which has its facts as the listener and the forwarding
    /// layer make them, on a route with `settings`. Nothing is forwarded and nothing changes.
    pub fn explain(&self, request: &Request, settings: &CacheSettings) -> Explanation {
        let rules = KeyRules::of(settings);
        let target = Target::of(request);
        let mut explanation = Explanation {
            request: format!("{} {}", request.method(), target.print()),
            key: rules.print(target, request.headers()),
            would: Would::Forward,
            because: Vec::new(),
            stored: None,
            variants: 0,
            last: None,
        };
        let mut asked = match Asked::of(request, settings) {
            Ok(asked) => asked,
            Err((_, reason)) => {
                explanation.because.push(reason.into());
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
        let (found, stored, variants) = match &lookup {
            Lookup::Nothing => (Found::Nothing, None, 0),
            Lookup::OtherVariant(variants) => (Found::OtherVariant, None, variants.len()),
            Lookup::Stored {
                stored,
                is_purged,
                variants,
                ..
            } => {
                let candidate = stored.candidate(now, *is_purged);
                let brief = stored.brief(candidate.ttl(), stored.age(now), *is_purged);
                let found = stored.found(*is_purged, &mut asked, request.headers(), now);
                (found, Some(brief), *variants)
            }
        };
        let (would, reason) = said(decide(&asked, found, settings, &rules));
        explanation.would = would;
        explanation.because.extend(reason.map(Rule::from));
        if let Lookup::Stored {
            chosen_by: Some(reason),
            ..
        } = &lookup
        {
            explanation.because.push((*reason).into());
        }
        if would == Would::Forward && overrides(request.headers(), &rules) {
            explanation.because.push(Reason::Override.into());
        }
        explanation.stored = stored;
        explanation.variants = variants;
        explanation.last = self.last(hash, now.wall);
        // Why nothing is stored is what one wants to know where nothing is.
        let last = explanation.last.as_ref().and_then(|last| last.not_stored);
        if would != Would::Hit {
            explanation.because.extend(last);
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
            Lookup::Stored { stored, .. } => Some(stored).filter(|stored| stored.parts.is_none()),
            Lookup::Nothing | Lookup::OtherVariant(_) => None,
        }
    }

    fn last(&self, key: u128, now: SystemTime) -> Option<Last> {
        let verdict = self.verdicts().latest(key)?;
        Some(Last {
            ago: seconds(now.duration_since(verdict.at).unwrap_or_default()),
            forwarded: verdict.forwarded.into(),
            status: verdict.status.map(|status| status.as_u16()),
            stored: verdict.stored.is_ok(),
            not_stored: verdict.stored.err().map(Rule::from),
        })
    }
}

fn said(decision: Decision) -> (Would, Option<Reason>) {
    match decision {
        Decision::Serve => (Would::Hit, None),
        Decision::ServeStale { reason, .. } => (Would::Stale, Some(reason)),
        Decision::Validate(_, reason) => (Would::Validate, Some(reason)),
        Decision::Forward(_, reason) => (Would::Forward, Some(reason)),
        Decision::GatewayTimeout => (Would::GatewayTimeout, Some(Reason::OnlyIfCached)),
    }
}

impl StoredResponse {
    fn brief(&self, ttl: i64, age: Duration, soft_purged: bool) -> Stored {
        let text = |name| {
            let value = self.fields.get::<http::HeaderName>(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Stored {
            status: self.status.as_u16(),
            length: self.length(),
            parts: self
                .parts
                .as_ref()
                .map_or_else(Vec::new, |parts| parts.print()),
            age: seconds(age),
            lifetime: seconds(self.terms.lifetime),
            ttl,
            lifetime_from: self.terms.source,
            etag: text(http::header::ETAG),
            last_modified: text(http::header::LAST_MODIFIED),
            selected_by: self.selection.names().map(ToString::to_string).collect(),
            coded_copies: [
                (Coding::Br, "br"),
                (Coding::Zstd, "zstd"),
                (Coding::Gzip, "gzip"),
            ]
            .into_iter()
            .filter_map(|(coding, name)| self.coded(coding).map(|_| name))
            .collect(),
            soft_purged,
        }
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
}
