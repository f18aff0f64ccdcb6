use config::cache::Cookies;
use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::cache::testing::{asked_by, request};

fn rules(change: impl FnOnce(&mut CacheSettings)) -> KeyRules {
    let mut settings = CacheSettings::default();
    change(&mut settings);
    KeyRules::of(&settings)
}

fn key(rules: &KeyRules, uri: &str) -> Vec<u8> {
    let mut key = Vec::new();
    rules.write_key(&request("GET", uri, &[]), &mut key);
    key
}

fn key_with(rules: &KeyRules, lines: &[(&str, &str)]) -> Vec<u8> {
    let mut key = Vec::new();
    rules.write_key(&request("GET", "/", lines), &mut key);
    key
}

#[test]
fn different_queries_are_different_keys() {
    let rules = rules(|_| {});
    let keys: std::collections::HashSet<_> =
        ["/a", "/a?", "/a?b", "/a?b=", "/a?b=1", "/A", "/%61", "/a/"]
            .map(|uri| key(&rules, uri))
            .into();
    assert_eq!(keys.len(), 8);
}

#[test]
fn get_and_head_share_a_key_and_hosts_are_compared_in_lower_case() {
    let rules = rules(|_| {});
    let (mut get, mut head) = (Vec::new(), Vec::new());
    rules.write_key(&request("GET", "/", &[("host", "Example.COM")]), &mut get);
    rules.write_key(&request("HEAD", "/", &[("host", "example.com")]), &mut head);
    assert_eq!(get, head);
    assert_ne!(get, key_with(&rules, &[("host", "example.com:8080")]));
}

#[test]
fn schemes_are_told_apart() {
    let rules = rules(|_| {});
    let (mut plain, mut secure) = (Vec::new(), Vec::new());
    rules.write_key(&asked_by("GET", "/", &[], Scheme::Http), &mut plain);
    rules.write_key(&asked_by("GET", "/", &[], Scheme::Https), &mut secure);
    assert_ne!(plain, secure);
}

#[test]
fn queries_may_be_sorted_and_thinned() {
    let sorted = rules(|settings| settings.key.sort_query = true);
    assert_eq!(key(&sorted, "/?b=2&a=1"), key(&sorted, "/?a=1&b=2"));
    assert_ne!(key(&sorted, "/?a=1&a=2"), key(&sorted, "/?a=2&a=1"));
    let thinned = rules(|settings| settings.key.drop = vec!["utm_*".into(), "id".into()]);
    assert_eq!(key(&thinned, "/?utm_a=1&b=2&id=3"), key(&thinned, "/?b=2"));
    assert_eq!(key(&thinned, "/?utm_a=1"), key(&thinned, "/"));
    assert_ne!(key(&thinned, "/?idx=3"), key(&thinned, "/"));
}

#[test]
fn configured_fields_and_cookies_are_part_of_the_key() {
    let rules = rules(|settings| {
        settings.key.headers = vec!["x-tenant".into()];
        settings.key.cookies = vec!["lang".into()];
    });
    let base = key_with(&rules, &[]);
    let tenant = key_with(&rules, &[("x-tenant", "a")]);
    let empty = key_with(&rules, &[("x-tenant", "")]);
    let german = key_with(&rules, &[("cookie", "x=1; lang=de")]);
    assert_eq!(german, key_with(&rules, &[("cookie", "lang=de; y=2")]));
    assert_eq!(base, key_with(&rules, &[("cookie", "language=de")]));
    let keys = std::collections::HashSet::from([base, tenant, empty, german]);
    assert_eq!(keys.len(), 4);
}

#[test]
fn rules_that_dare_more_share_nothing() {
    let strict = rules(|_| {});
    let loose = rules(|settings| settings.cookies = Cookies::Ignore);
    assert_ne!(key(&strict, "/"), key(&loose, "/"));
    assert!(strict.is_same(&rules(|settings| settings.max_body = 1)));
}

#[test]
fn projected_cookies_are_the_allowed_ones() {
    let rules = rules(|settings| settings.key.cookies = vec!["lang".into(), "b".into()]);
    let mut fields = HeaderMap::new();
    fields.append(
        COOKIE,
        HeaderValue::from_static("b=2; session=secret; lang=de"),
    );
    assert_eq!(rules.projected_cookies(&fields).unwrap(), b"lang=de; b=2");
    assert_eq!(rules.projected_cookies(&HeaderMap::new()), None);
}

/// What a key is made from.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    host: String,
    path: String,
    query: Option<String>,
    tenant: Vec<String>,
    cookie: Option<String>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let text = "[a-c/=&;]{0,4}";
    (
        "[a-c]{1,3}",
        "[a-c/]{0,4}",
        proptest::option::of("[a-c=&]{0,4}"),
        proptest::collection::vec(text, 0..3),
        proptest::option::of("[a-c=]{0,4}"),
    )
        .prop_map(|(host, path, query, tenant, cookie)| Parts {
            host,
            path: format!("/{path}"),
            query,
            tenant,
            cookie,
        })
}

fn key_of(rules: &KeyRules, parts: &Parts) -> Vec<u8> {
    let uri = match &parts.query {
        Some(query) => format!("{}?{query}", parts.path),
        None => parts.path.clone(),
    };
    let cookie = parts.cookie.as_ref().map(|value| format!("lang={value}"));
    let mut lines = vec![("host", &*parts.host)];
    lines.extend(parts.tenant.iter().map(|value| ("x-tenant", &**value)));
    lines.extend(cookie.iter().map(|value| ("cookie", &**value)));
    let mut key = Vec::new();
    rules.write_key(&request("GET", &uri, &lines), &mut key);
    key
}

proptest! {
    #[test]
    fn keys_are_equal_only_if_all_parts_are(one in parts(), other in parts()) {
        let rules = rules(|settings| {
            settings.key.headers = vec!["x-tenant".into()];
            settings.key.cookies = vec!["lang".into()];
        });
        prop_assert_eq!(key_of(&rules, &one) == key_of(&rules, &other), one == other);
    }
}

proptest! {
    #[test]
    fn the_place_is_read_back_from_a_key(host in "[a-zA-Z.:0-9]{0,12}", path in "/[a-z/%.]{0,12}", query in "[a-z=&]{0,8}") {
        let settings = CacheSettings::default();
        let uri = format!("{path}?{query}");
        for scheme in [Scheme::Http, Scheme::Https] {
            let request = asked_by("GET", &uri, &[("host", &host)], scheme);
            let mut key = Vec::new();
            KeyRules::of(&settings).write_key(&request, &mut key);
            let place = place(&key).unwrap();
            prop_assert_eq!(place.scheme, scheme);
            let authority = host.to_ascii_lowercase();
            prop_assert_eq!(place.authority, authority.as_bytes());
            prop_assert_eq!(place.path, path.as_str());
            prop_assert_eq!(place.query, Some(query.as_str()));
        }
    }
}
