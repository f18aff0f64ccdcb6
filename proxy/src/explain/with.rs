//! What would change of what was decided lately, if the configuration were another: for people.

use std::collections::BTreeMap;
use std::fmt;

use config::Settings;
use middleware::cache::journal::Record;
use middleware::cache::rejudge::Kept;
use middleware::clock::Now;
use serde::Deserialize;

use super::again::{Verdict, judge};

/// One of the latest decisions, as `/explain/recent` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Recent {
    /// What was written down.
    pub record: Record,
    /// What the configuration in force makes of it; `None` where too little is known.
    pub judged: Option<Verdict>,
}

/// The difference that a configuration makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Decisions that were judged again.
    pub judged: usize,
    /// Decisions of which too little is known.
    pub unknown: usize,
    /// Changes by route, before and after.
    pub changes: BTreeMap<(String, String, String), Changed>,
}

/// Decisions that change alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// How many.
    pub count: usize,
    /// The latest of them: method and URL.
    pub example: String,
}

/// Judges `recent`, latest first, by `settings`, and compares.
pub fn compare(recent: &[Recent], settings: &Settings, now: Now) -> Difference {
    let mut difference = Difference::default();
    for Recent { record, judged } in recent {
        let (Some(before), Some(after)) = (judged, judge(record, settings, now)) else {
            difference.unknown += 1;
            continue;
        };
        difference.judged += 1;
        if *before == after {
            continue;
        }
        let key = (
            before.route.clone(),
            said(before, ""),
            said(&after, &before.route),
        );
        let changed = difference.changes.entry(key).or_insert_with(|| Changed {
            count: 0,
            example: format!("{} {}", record.method, record.url),
        });
        changed.count += 1;
    }
    difference
}

/// In words; the route only where it is another than `route`.
fn said(verdict: &Verdict, route: &str) -> String {
    let cache = &verdict.cache;
    let would = serde_json::to_value(cache.would).unwrap_or_default();
    let mut said = would.as_str().unwrap_or("unknown").to_owned();
    if let Some(rule) = cache.rule {
        said.push_str(&format!(" ({})", rule.name()));
    }
    match cache.storing {
        Some(Kept::Stored(lifetime, source)) => {
            said.push_str(&format!(", stored for {lifetime} s ({})", source.name()));
        }
        Some(Kept::Not(rule)) => said.push_str(&format!(", not stored ({})", rule.name())),
        None => {}
    }
    if let Some(coding) = &verdict.coding {
        said.push_str(&format!(", {coding}"));
    }
    if !route.is_empty() && verdict.route != route {
        said.push_str(&format!(", by route {}", verdict.route));
    }
    said
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed: usize = self.changes.values().map(|changed| changed.count).sum();
        writeln!(
            f,
            "{} of the latest {} decisions would be others.",
            changed, self.judged
        )?;
        if self.unknown > 0 {
            writeln!(f, "Of {} more too little is known.", self.unknown)?;
        }
        let mut changes: Vec<_> = self.changes.iter().collect();
        changes.sort_by_key(|(_, changed)| std::cmp::Reverse(changed.count));
        for ((route, before, after), Changed { count, example }) in changes {
            writeln!(f, "\n{count:>6}  on {route}: {before}")?;
            writeln!(f, "     →  {after}")?;
            writeln!(f, "        {example}")?;
        }
        Ok(())
    }
}
