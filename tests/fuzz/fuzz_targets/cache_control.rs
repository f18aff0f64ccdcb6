//! `Cache-Control`. Laws: lines are judged one by one and the strictest counts, so one more line never
//! loosens anything; lifetimes are bounded.
#![no_main]

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::cache_control::{
    MOST_SECONDS, RequestDirectives, ResponseDirectives, Scope,
};

fuzz_target!(|lines: (&[u8], &[u8])| {
    let (Ok(one), Ok(two)) = (
        HeaderValue::from_bytes(lines.0),
        HeaderValue::from_bytes(lines.1),
    ) else {
        return;
    };
    let fields = |lines: &[&HeaderValue]| {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(CACHE_CONTROL, (*line).clone());
        }
        fields
    };
    let (a, b, both) = (fields(&[&one]), fields(&[&two]), fields(&[&one, &two]));

    let said = ResponseDirectives::of(&both);
    let (a_said, b_said) = (ResponseDirectives::of(&a), ResponseDirectives::of(&b));
    assert_eq!(said.no_store, a_said.no_store || b_said.no_store);
    assert_eq!(said.public, a_said.public || b_said.public);
    assert_eq!(said.max_age, least(a_said.max_age, b_said.max_age));
    assert_eq!(said.s_maxage, least(a_said.s_maxage, b_said.s_maxage));
    assert_eq!(
        said.stale_while_revalidate,
        least(a_said.stale_while_revalidate, b_said.stale_while_revalidate)
    );
    assert_eq!(
        said.stale_if_error,
        least(a_said.stale_if_error, b_said.stale_if_error)
    );
    for (said, one, two) in [
        (&said.no_cache, &a_said.no_cache, &b_said.no_cache),
        (&said.private, &a_said.private, &b_said.private),
    ] {
        assert_eq!(said.is_all(), one.is_all() || two.is_all());
        assert_eq!(
            *said == Scope::None,
            *one == Scope::None && *two == Scope::None
        );
        let all_named = one.fields().iter().chain(two.fields());
        assert!(said.is_all() || all_named.eq(said.fields()));
    }
    let most = Duration::from_secs(MOST_SECONDS);
    assert!(
        said.max_age
            .max(said.s_maxage)
            .is_none_or(|age| age <= most)
    );

    let asked = RequestDirectives::of(&both);
    let (a_asked, b_asked) = (RequestDirectives::of(&a), RequestDirectives::of(&b));
    assert_eq!(asked.no_store, a_asked.no_store || b_asked.no_store);
    assert_eq!(asked.no_cache, a_asked.no_cache || b_asked.no_cache);
    assert_eq!(asked.max_age, least(a_asked.max_age, b_asked.max_age));
    assert_eq!(asked.max_stale, least(a_asked.max_stale, b_asked.max_stale));
    assert_eq!(asked.min_fresh, a_asked.min_fresh.max(b_asked.min_fresh));
});

fn least(one: Option<Duration>, two: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(two).min()
}
