//! What the ghost has to tell: for each part of each route, what each plan would have saved, how often
//! its copies would have been wrong, and the lines of TOML that would carry it out.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use serde::Serialize;

use crate::cache::ghost::counts::{Plan, Totals};
use crate::cache::ghost::table::Record;
use crate::cache::ghost::{AS_CONFIGURED, GhostRoute, PLANS, TTLS, lock};
use crate::cache::shared::SharedCache;

/// The answer of `/explain/savings`.
#[derive(Clone, Debug, Serialize)]
pub struct Savings {
    /// What is followed now.
    pub followed: Sample,
    /// Busiest first. Parts without requests are left out.
    pub routes: Vec<RouteSavings>,
}

/// How much of the traffic the numbers come from.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Keys that are followed.
    pub keys: u64,
    /// Keys that are counted, of all there are; 1 is all, and then no number is an estimate.
    pub part: f64,
    /// Bytes of content that would be fresh in the cache now, as configured and by each `ttl`.
    pub memory: Memory,
}

/// Bytes of content by plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// As configured, switched on.
    pub as_configured: u64,
    /// With a `ttl` of 1, 5, 30 and 300 seconds.
    pub ttl: [u64; TTLS.len()],
}

/// One part of one route.
#[derive(Clone, Debug, Serialize)]
pub struct RouteSavings {
    /// The configured route; `*` is the default.
    pub route: String,
    /// What the rules below are for.
    pub pattern: String,
    /// What the cache does there now: `on`, `observe` or `off`.
    pub cache: &'static str,
    /// For how long it has been followed.
    pub seconds: u64,
    /// GET requests that were followed. Where the cache is on, those whose answer had no lifetime.
    pub requests: u64,
    /// Content of their answers.
    pub bytes: u64,
    /// What the upstream took for them, until the head of each answer.
    pub upstream_seconds: f64,
    /// Requests with `Authorization` or `Cookie`, not among `requests`. What comes for them is stored
    /// only if the app says that it is for all.
    pub credentialed: u64,
    /// Requests for ranges, not among `requests`.
    pub ranges: u64,
    /// Answers among `requests` that no lifetime would let be stored, by the rule against it.
    pub not_stored: BTreeMap<&'static str, u64>,
    /// With the cache on, and nothing else changed; `None` where it is on.
    pub as_configured: Option<Saved>,
    /// With each `ttl`.
    pub ttl: Vec<Saved>,
}

/// What a plan would have saved.
#[derive(Clone, Debug, Serialize)]
pub struct Saved {
    /// Seconds; `None` as configured.
    pub ttl: Option<u64>,
    /// Requests answered without waiting for the upstream.
    pub hits: u64,
    /// Of all `requests`, 0 to 1.
    pub hit_rate: f64,
    /// Requests that the upstream would not have seen.
    pub upstream_requests: u64,
    /// Content that the upstream would not have sent.
    pub bytes: u64,
    /// Time that the upstream would not have spent.
    pub upstream_seconds: f64,
    /// Copies that could be compared with what was fetched in their place.
    pub checked: u64,
    /// Those of them that were different: the upstream had changed its answer meanwhile.
    pub wrong: u64,
    /// Of those checked, 0 to 1; `None` where none was.
    pub wrong_rate: Option<f64>,
    /// Requests with credentials that would have got a copy made for somebody without.
    pub credentialed_served: u64,
    /// Those of them whose own answer was different.
    pub credentialed_wrong: u64,
    /// The TOML that does it.
    pub rule: String,
    /// What it risks, in a sentence or two.
    pub risk: String,
    /// Whether there is something to gain, and none of the copies would have been wrong.
    pub harmless: bool,
}

impl SharedCache {
    /// What the ghost cache has seen so far.
    pub fn savings(&self) -> Savings {
        let ghost = self.ghost();
        let now = ghost.time(self.clock().now().mono);
        let (mut keys, mut part, mut shards) = (0, 0.0, 0);
        let mut memory = [0.0; PLANS];
        ghost.table.for_each(|shard| {
            keys += shard.len() as u64;
            part += shard.part();
            shards += 1;
            for (key, record) in shard.records() {
                let weight = shard.weight(*key).unwrap_or_default();
                add_fresh(&mut memory, record, weight, now);
            }
        });
        let [as_configured, ttl @ ..] = memory.map(whole);
        let live: Vec<_> = lock(&ghost.routes)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut routes: Vec<_> = live.iter().flat_map(|route| route.savings(now)).collect();
        routes.sort_by(|left, right| {
            let seen = |route: &RouteSavings| route.requests + route.credentialed;
            seen(right).cmp(&seen(left))
        });
        Savings {
            followed: Sample {
                keys,
                part: part / f64::from(shards),
                memory: Memory { as_configured, ttl },
            },
            routes,
        }
    }
}

fn add_fresh(memory: &mut [f64; PLANS], record: &Record, weight: f64, now: Duration) {
    for (bytes, fill) in memory.iter_mut().zip(&record.fills) {
        if let Some(fill) = fill.filter(|fill| fill.is_fresh(now)) {
            *bytes += weight * f64::from(fill.sight.length);
        }
    }
}

impl GhostRoute {
    fn savings(&self, now: Duration) -> Vec<RouteSavings> {
        let counts = lock(&self.counts);
        let seen = |totals: &Totals| totals.requests + totals.credentialed + totals.ranges > 0;
        let part = |(pattern, totals): &(String, Totals)| {
            let pattern = match &*self.name {
                super::DEFAULT_ROUTE => pattern.clone(),
                name => name.to_owned(),
            };
            seen(totals).then(|| self.part(pattern, totals, now))
        };
        counts.groups().iter().filter_map(part).collect()
    }

    fn part(&self, pattern: String, totals: &Totals, now: Duration) -> RouteSavings {
        let saved = |(index, plan): (usize, &Plan)| {
            let ttl = index.checked_sub(1).and_then(|index| TTLS.get(index));
            self.saved(&pattern, ttl.copied(), totals, plan)
        };
        let mut plans: Vec<_> = totals.plans.iter().enumerate().map(saved).collect();
        let as_configured = plans.remove(AS_CONFIGURED);
        RouteSavings {
            route: self.name.to_string(),
            cache: match (self.own.enabled, self.own.is_applied()) {
                (false, _) => "off",
                (true, false) => "observe",
                (true, true) => "on",
            },
            seconds: now.saturating_sub(self.since).as_secs(),
            requests: totals.requests,
            bytes: totals.bytes,
            upstream_seconds: totals.upstream.as_secs_f64(),
            credentialed: totals.credentialed,
            ranges: totals.ranges,
            not_stored: totals.refused.clone(),
            as_configured: (!self.own.is_applied()).then_some(as_configured),
            ttl: plans,
            pattern,
        }
    }

    fn saved(&self, pattern: &str, ttl: Option<Duration>, totals: &Totals, plan: &Plan) -> Saved {
        let requests = totals.requests as f64;
        let hits = (requests - plan.missed).max(0.0);
        let wrong_rate = (plan.checked > 0.0).then(|| plan.wrong / plan.checked);
        let harmless = hits >= 0.5 && plan.wrong == 0.0 && plan.shared_wrong == 0.0;
        Saved {
            ttl: ttl.map(|ttl| ttl.as_secs()),
            hits: whole(hits),
            hit_rate: if requests > 0.0 { hits / requests } else { 0.0 },
            upstream_requests: whole(requests - plan.fetched),
            bytes: whole(totals.bytes as f64 - plan.bytes),
            upstream_seconds: (totals.upstream.as_secs_f64() - plan.upstream).max(0.0),
            checked: whole(plan.checked),
            wrong: whole(plan.wrong),
            wrong_rate,
            credentialed_served: whole(plan.shared),
            credentialed_wrong: whole(plan.shared_wrong),
            rule: self.rule(pattern, ttl),
            risk: risk(hits, plan),
            harmless: harmless && plan.checked > 0.0,
        }
    }

    /// The lines that switch the plan on.
    fn rule(&self, pattern: &str, ttl: Option<Duration>) -> String {
        let on = match (self.own.enabled, self.own.is_applied()) {
            (false, _) => Some("enabled = true".to_owned()),
            (true, false) => Some("mode = \"apply\"".to_owned()),
            (true, true) => None,
        };
        let ttl = ttl.map(|ttl| format!("ttl = \"{}s\"", ttl.as_secs()));
        let keys: Vec<_> = on.into_iter().chain(ttl).collect();
        format!(
            "[[route]]\nmatch = {pattern:?}\ncache = {{ {} }}",
            keys.join(", ")
        )
    }
}

fn risk(hits: f64, plan: &Plan) -> String {
    if hits < 0.5 && plan.shared < 0.5 {
        return String::from("Nothing would have been reused.");
    }
    let (checked, wrong) = (whole(plan.checked), whole(plan.wrong));
    let mut text = match (checked, wrong) {
        (0, _) => String::from(
            "No copy could be compared with what was fetched, so nothing is known of its risk.",
        ),
        (checked, 0) => format!("None of {checked} copies would have been out of date."),
        (checked, wrong) => format!(
            "{wrong} of {checked} copies ({:.1} %) would have been out of date.",
            100.0 * plan.wrong / plan.checked
        ),
    };
    let (shared, other) = (whole(plan.shared), whole(plan.shared_wrong));
    if other > 0 {
        text.push_str(&format!(
            " {other} of {shared} requests with Cookie or Authorization would have got another answer \
             than their own: these pages differ by user."
        ));
    }
    text
}

/// A number of things that an estimate gave.
fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}
