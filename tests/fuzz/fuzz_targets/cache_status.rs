//! `Cache-Status`, ours beside those of caches nearer to the upstream. Laws: theirs stay as they are;
//! ours is one well-formed member after them, whatever is told.
#![no_main]

use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use middleware::cache::reason::Reason;
use middleware::facts::{CacheOutcome, CacheStatus, Fwd};
use middleware::fields::cache_status::{CACHE_STATUS, append};
use sfv::{BareItem, Item, List, ListEntry, Parser};

fuzz_target!(|input: (u8, u8, u16, bool, Option<i64>, &[u8])| {
    let (outcome, reason, code, flag, ttl, theirs) = input;
    let Ok(theirs) = HeaderValue::from_bytes(theirs) else {
        return;
    };
    let status = CacheStatus {
        outcome: OUTCOMES[usize::from(outcome) % OUTCOMES.len()],
        fwd_status: StatusCode::from_u16(code).ok(),
        stored: flag,
        collapsed: !flag,
        ttl,
        reason: Reason::ALL.get(usize::from(reason)).copied(),
    };
    let mut fields = HeaderMap::new();
    fields.append(CACHE_STATUS, theirs.clone());
    append(&mut fields, &status);
    let lines: Vec<_> = fields.get_all(CACHE_STATUS).iter().collect();
    assert!(lines.len() == 2 && lines[0] == theirs);

    // A structured field's integer has 15 digits (RFC 9651 §3.3.1); no lifetime comes near.
    if ttl.is_none_or(|ttl| ttl.unsigned_abs() < 1_000_000_000_000_000) {
        let ours: List = Parser::new(lines[1].as_bytes()).parse().expect("a list");
        let [ListEntry::Item(Item { bare_item, params })] = &*ours else {
            panic!("not one member: {ours:?}");
        };
        assert!(matches!(bare_item, BareItem::Token(name) if name.as_str() == "pillion"));
        assert!(params.contains_key("hit") != params.contains_key("fwd"));
    }
});

const OUTCOMES: [CacheOutcome; 11] = [
    CacheOutcome::Hit,
    CacheOutcome::HitStale,
    CacheOutcome::Revalidated,
    CacheOutcome::Fwd(Fwd::Bypass),
    CacheOutcome::Fwd(Fwd::Method),
    CacheOutcome::Fwd(Fwd::UriMiss),
    CacheOutcome::Fwd(Fwd::VaryMiss),
    CacheOutcome::Fwd(Fwd::Miss),
    CacheOutcome::Fwd(Fwd::Request),
    CacheOutcome::Fwd(Fwd::Stale),
    CacheOutcome::Fwd(Fwd::Partial),
];
