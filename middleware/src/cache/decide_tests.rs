use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn terms() -> Terms {
    Terms::fresh_for(seconds(60))
}

fn aged(age: u64, change: impl FnOnce(&mut Terms)) -> Candidate {
    let mut terms = terms();
    change(&mut terms);
    Candidate {
        terms,
        age: seconds(age),
        is_purged: false,
        is_outdated: false,
    }
}

fn ask(change: impl FnOnce(&mut RequestDirectives)) -> Asked {
    let mut asked = Asked::default();
    change(&mut asked.directives);
    asked
}

fn judge(asked: &Asked, candidate: Candidate) -> Decision {
    let settings = CacheSettings::default();
    decide(
        asked,
        Found::Stored(candidate),
        &settings,
        &KeyRules::of(&settings),
    )
}

fn plain(candidate: Candidate) -> Decision {
    judge(&Asked::default(), candidate)
}

const STALE: Decision = Decision::Validate(Fwd::Stale, Reason::Stale);

#[test]
fn fresh_while_the_lifetime_is_longer_than_the_age() {
    assert_eq!(plain(aged(59, |_| {})), Decision::Serve);
    assert_eq!(plain(aged(60, |_| {})), STALE);
    assert_eq!(
        plain(aged(0, |terms| terms.lifetime = Duration::ZERO)),
        STALE
    );
}

#[test]
fn no_cache_validates_and_must_revalidate_only_once_stale() {
    assert_eq!(
        plain(aged(0, |terms| terms.no_cache = true)),
        Decision::Validate(Fwd::Stale, Reason::NoCache)
    );
    assert_eq!(
        plain(aged(0, |terms| terms.must_revalidate = true)),
        Decision::Serve
    );
    assert_eq!(plain(aged(60, |terms| terms.must_revalidate = true)), STALE);
}

#[test]
fn request_directives_take_age_into_account() {
    let request = |reason| Decision::Validate(Fwd::Request, reason);
    let max_age = |most| ask(|directives| directives.max_age = Some(seconds(most)));
    assert_eq!(judge(&max_age(10), aged(10, |_| {})), Decision::Serve);
    assert_eq!(
        judge(&max_age(9), aged(10, |_| {})),
        request(Reason::ClientMaxAge)
    );
    let min_fresh = |least| ask(|directives| directives.min_fresh = Some(seconds(least)));
    assert_eq!(judge(&min_fresh(50), aged(10, |_| {})), Decision::Serve);
    assert_eq!(
        judge(&min_fresh(51), aged(10, |_| {})),
        request(Reason::ClientMinFresh)
    );
    // "no less than its current age plus the specified time in seconds" (RFC 9111 §5.2.1.3).
    let stale = aged(70, |terms| terms.stale_while_revalidate = Some(seconds(60)));
    assert_eq!(judge(&min_fresh(0), stale), request(Reason::ClientMinFresh));
    let no_cache = ask(|directives| directives.no_cache = true);
    assert_eq!(
        judge(&no_cache, aged(0, |_| {})),
        request(Reason::ClientNoCache)
    );
    let no_store = ask(|directives| directives.no_store = true);
    assert_eq!(
        judge(&no_store, aged(0, |_| {})),
        Decision::Forward(Fwd::Request, Reason::ClientNoStore)
    );
}

#[test]
fn a_reload_does_not_validate_what_is_immutable_while_fresh() {
    let reload = ask(|directives| directives.max_age = Some(Duration::ZERO));
    let immutable = |age| aged(age, |terms| terms.immutable = true);
    assert_eq!(judge(&reload, immutable(5)), Decision::Serve);
    assert_eq!(
        judge(&reload, immutable(60)),
        Decision::Validate(Fwd::Request, Reason::ClientMaxAge)
    );
    assert_eq!(
        judge(&reload, aged(5, |_| {})),
        Decision::Validate(Fwd::Request, Reason::ClientMaxAge)
    );
    let no_cache = ask(|directives| directives.no_cache = true);
    assert_eq!(
        judge(&no_cache, immutable(5)),
        Decision::Validate(Fwd::Request, Reason::ClientNoCache)
    );
}

#[test]
fn max_stale_applies_unless_forbidden() {
    let accepts = |most| ask(|directives| directives.max_stale = Some(most));
    let served = Decision::ServeStale {
        validate: false,
        reason: Reason::ClientMaxStale,
    };
    assert_eq!(judge(&accepts(seconds(10)), aged(70, |_| {})), served);
    assert_eq!(judge(&accepts(Duration::MAX), aged(7000, |_| {})), served);
    assert_eq!(judge(&accepts(seconds(9)), aged(70, |_| {})), STALE);
    assert_eq!(judge(&accepts(Duration::ZERO), aged(60, |_| {})), STALE);
    for forbid in [
        (|terms: &mut Terms| terms.must_revalidate = true) as fn(&mut Terms),
        |terms| terms.s_maxage = true,
    ] {
        assert_eq!(judge(&accepts(Duration::MAX), aged(70, forbid)), STALE);
    }
    let no_cache = aged(70, |terms| terms.no_cache = true);
    assert_ne!(judge(&accepts(Duration::MAX), no_cache), served);
}

#[test]
fn stale_while_revalidate_reaches_to_the_end_of_its_window() {
    let windowed = |age| {
        aged(age, |terms| {
            terms.stale_while_revalidate = Some(seconds(10))
        })
    };
    let served = Decision::ServeStale {
        validate: true,
        reason: Reason::StaleWhileRevalidate,
    };
    assert_eq!(plain(windowed(60)), served);
    assert_eq!(plain(windowed(70)), served);
    assert_eq!(plain(windowed(71)), STALE);
}

#[test]
fn only_if_cached_is_answered_504_where_it_would_be_forwarded() {
    let only = ask(|directives| directives.only_if_cached = true);
    let settings = CacheSettings::default();
    let rules = KeyRules::of(&settings);
    for found in [
        Found::Nothing,
        Found::OtherVariant,
        Found::Stored(aged(60, |_| {})),
    ] {
        assert_eq!(
            decide(&only, found, &settings, &rules),
            Decision::GatewayTimeout
        );
    }
    assert_eq!(judge(&only, aged(0, |_| {})), Decision::Serve);
}

#[test]
fn heuristic_freshness_does_not_answer_credentials() {
    let heuristic = aged(0, |terms| terms.source = Source::Heuristic);
    assert_eq!(plain(heuristic), Decision::Serve);
    for asked in [
        Asked {
            has_cookie: true,
            ..Asked::default()
        },
        Asked {
            has_authorization: true,
            ..Asked::default()
        },
    ] {
        assert_eq!(
            judge(&asked, heuristic),
            Decision::Validate(Fwd::Miss, Reason::HeuristicCredentials)
        );
        assert_eq!(judge(&asked, aged(0, |_| {})), Decision::Serve);
    }
}

#[test]
fn a_soft_purge_makes_stale() {
    let purged = Candidate {
        is_purged: true,
        ..aged(0, |_| {})
    };
    assert_eq!(
        plain(purged),
        Decision::Validate(Fwd::Stale, Reason::SoftPurged)
    );
    assert_eq!(purged.ttl(), 0);
    let accepts = ask(|directives| directives.max_stale = Some(Duration::MAX));
    assert_eq!(
        judge(&accepts, purged),
        Decision::Validate(Fwd::Stale, Reason::SoftPurged)
    );
}

/// "otherwise, the cache SHOULD consider the stored response to be stale" (RFC 9111 §4.3.5)
#[test]
fn what_a_head_contradicts_is_stale() {
    let outdated = Candidate {
        is_outdated: true,
        ..aged(0, |_| {})
    };
    let expected = Decision::Validate(Fwd::Stale, Reason::HeadDiffers);
    assert_eq!((plain(outdated), outdated.ttl()), (expected, 0));
    let accepts = ask(|directives| directives.max_stale = Some(Duration::MAX));
    assert_eq!(judge(&accepts, outdated), expected);
    let windowed = aged(0, |terms| {
        terms.stale_while_revalidate = Some(Duration::MAX);
    });
    let outdated = Candidate {
        is_outdated: true,
        ..windowed
    };
    assert_eq!(plain(outdated), expected, "no window is for other content");
}

#[test]
fn standing_in_for_an_error_needs_a_window() {
    let settings = CacheSettings::default();
    let rules = KeyRules::of(&settings);
    let may = |asked: &Asked, candidate| may_stand_in(asked, candidate, &settings, &rules);
    let windowed = |age| aged(age, |terms| terms.stale_if_error = Some(seconds(10)));
    let nobody = Asked::default();
    assert!(may(&nobody, windowed(70)));
    assert!(!may(&nobody, windowed(71)));
    assert!(!may(&nobody, aged(70, |_| {})));
    let asked = ask(|directives| directives.stale_if_error = Some(seconds(10)));
    assert!(may(&asked, aged(70, |_| {})));
    assert!(!may(&asked, aged(70, |terms| terms.must_revalidate = true)));
    let reload = ask(|directives| directives.no_cache = true);
    assert!(!may(&reload, windowed(70)));
}

#[test]
fn some_fields_replace_method_or_target() {
    let fields = |name: &'static str| {
        let mut fields = HeaderMap::new();
        fields.insert(name, http::HeaderValue::from_static("x"));
        fields
    };
    let mut settings = CacheSettings::default();
    let rules = KeyRules::of(&settings);
    for (name, expected) in [
        ("x-original-url", true),
        ("x-http-method-override", true),
        ("x-forwarded-for", false),
        ("accept", false),
    ] {
        assert_eq!(overrides(&fields(name), &rules), expected, "{name}");
    }
    settings.key.headers = vec!["x-original-url".into()];
    assert!(!overrides(
        &fields("x-original-url"),
        &KeyRules::of(&settings)
    ));
}

proptest! {
    #[test]
    fn nothing_overflows_and_only_what_is_fresh_is_served_as_such(
        lifetime in 0_u64..=1 << 31,
        age in any::<u64>(),
        min_fresh in proptest::option::of(any::<u64>()),
        max_stale in proptest::option::of(any::<u64>()),
        window in proptest::option::of(0_u64..=1 << 31),
    ) {
        let candidate = aged(age, |terms| {
            terms.lifetime = seconds(lifetime);
            terms.stale_while_revalidate = window.map(seconds);
        });
        let asked = ask(|directives| {
            directives.min_fresh = min_fresh.map(seconds);
            directives.max_stale = max_stale.map(seconds);
        });
        let decision = judge(&asked, candidate);
        let _ttl = candidate.ttl();
        if decision == Decision::Serve {
            prop_assert!(lifetime > age);
        }
        if let Decision::ServeStale { .. } = decision {
            prop_assert!(lifetime <= age);
            let most = max_stale.unwrap_or(0).max(window.unwrap_or(0));
            prop_assert!(age - lifetime <= most);
        }
    }
}
