use std::collections::HashSet;

use super::*;

/// With nothing known but the settings.
fn advised(reason: Reason, settings: &CacheSettings) -> Advice {
    let rules = KeyRules::of(settings);
    let request = HeaderMap::new();
    let case = Case {
        route: "/a/*",
        settings,
        rules: &rules,
        memory: 64 << 20,
        request: &request,
        answer: None,
        stored: None,
    };
    case.advice(reason)
}

#[test]
fn every_reason_has_a_change_or_says_why_there_is_none() {
    for reason in Reason::ALL {
        let advice = advised(*reason, &CacheSettings::default());
        assert_ne!(
            advice.changes.is_empty(),
            advice.no_change.is_none(),
            "{reason:?}"
        );
        assert!(
            advice.no_change.is_none_or(|why| why.ends_with('.')),
            "{reason:?}"
        );
        let told: HashSet<_> = advice.changes.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), advice.changes.len(), "{reason:?}: each once");
    }
}

/// Whoever pastes the line into a file must not be told that there is no such key.
#[test]
fn advice_is_written_as_the_configuration_takes_it() {
    let mut count = 0;
    for reason in Reason::ALL {
        for change in advised(*reason, &CacheSettings::default()).changes {
            let Change::Config { toml, .. } = change else {
                continue;
            };
            let text = format!("{toml}\n[upstream.app]\nurl = 'http://127.0.0.1:3000'\n");
            let loaded = config::load_text(&text, None, &config::Overrides::default(), &|_| None);
            assert!(loaded.is_ok(), "{reason:?}: {toml}\n{loaded:?}");
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

#[test]
fn sizes_and_times_are_large_enough_and_never_overflow() {
    for (bytes, expected) in [
        (1, "\"1B\""),
        (1025, "\"2KiB\""),
        (8 << 20, "\"8MiB\""),
        ((8 << 20) + 1, "\"16MiB\""),
        (3 << 30, "\"4GiB\""),
    ] {
        assert_eq!(size(bytes), expected);
    }
    assert_eq!(power_of_two(u64::MAX), 1 << 63);
    for (age, expected) in [(0, 60), (60, 600), (86_400, 604_800), (1 << 31, 1 << 32)] {
        assert_eq!(longer_than(Duration::from_secs(age)), expected);
    }
    assert!(longer_than(Duration::MAX) > 0);
}
