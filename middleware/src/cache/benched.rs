//! Parts of the cache that benches measure by themselves. Not for anything else.

use std::time::{Duration, SystemTime};

use config::cache::CacheSettings;
use http::HeaderMap;

use crate::Request;
use crate::cache::freshness::{Times, explicit_lifetime, initial_age};
use crate::cache::key::{KeyHasher, KeyRules};
use crate::cache::shared::SharedCache;
use crate::fields::cache_control::ResponseDirectives;

/// Keys as one route makes them.
#[derive(Debug)]
pub struct Keys {
    rules: KeyRules,
    hasher: KeyHasher,
    key: Vec<u8>,
}

impl Keys {
    /// By the rules of `settings`.
    pub fn of(settings: &CacheSettings) -> Self {
        Self {
            rules: KeyRules::of(settings),
            hasher: KeyHasher::new(),
            key: Vec::new(),
        }
    }

    /// Writes the key of `request` and hashes it, as a hit does.
    pub fn hash(&mut self, request: &Request) -> u128 {
        self.rules.write_key(request, &mut self.key);
        self.hasher.hash(&self.key)
    }
}

/// The explicit lifetime and the initial age of an answer with these fields.
pub fn freshness(fields: &HeaderMap, requested: SystemTime) -> Option<(Duration, Duration)> {
    let received = requested + Duration::from_millis(3);
    let directives = ResponseDirectives::of(fields);
    let (lifetime, _) = explicit_lifetime(&directives, false, fields, received)?;
    let times = Times {
        requested,
        received,
    };
    Some((lifetime, initial_age(fields, times)))
}

/// Names (tags and groups, and prefixes) whose purges are remembered.
pub fn remembered_names(shared: &SharedCache) -> usize {
    shared.versions().count()
}
