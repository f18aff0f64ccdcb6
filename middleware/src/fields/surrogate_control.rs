//! `Surrogate-Control` (Edge Architecture Specification 1.0 §2.3): cache control for reverse proxies,
//! older than RFC 9213 and in a form of its own. Counts only where the operator says so.
//!
//! `max-age=60+30` is fresh for 60 s and may be served stale for 30 s more; a directive with
//! parameters (`no-store;akamai`) is for the surrogates that it names. Directives of `Cache-Control`
//! that common CDNs take here are taken too; `content` and unknown ones say nothing.
//!
//! ```
//! use std::time::Duration;
//! use middleware::fields::surrogate_control;
//!
//! let mut fields = http::HeaderMap::new();
//! fields.insert("surrogate-control", "max-age=60+30, content=\"ESI/1.0\"".parse().unwrap());
//! let said = surrogate_control::of(&fields).unwrap();
//! assert_eq!(said.max_age, Some(Duration::from_secs(60)));
//! assert_eq!(said.stale_while_revalidate, Some(Duration::from_secs(30)));
//! ```

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::cache_control::{ResponseDirectives, Scope, delta_seconds};
use super::list::{Quotes, split};

/// The field.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// What the field says to us; `None` if it says nothing about caching.
pub fn of(fields: &HeaderMap) -> Option<ResponseDirectives> {
    let mut said = ResponseDirectives::default();
    let mut says_something = false;
    for line in fields.get_all(SURROGATE_CONTROL) {
        for member in split(line.as_bytes(), Quotes::Escaping) {
            let (directive, is_ours) = addressed(member);
            says_something |= is_ours && note(&mut said, directive);
        }
    }
    says_something.then_some(said)
}

/// A member without its parameters, and whether they leave it to us.
fn addressed(member: &[u8]) -> (&[u8], bool) {
    let mut is_quoted = false;
    let mut parts = member.split(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b';' && !is_quoted
    });
    let directive = parts.next().unwrap_or_default().trim_ascii();
    let mut names = parts.map(<[u8]>::trim_ascii).peekable();
    let is_for_all = names.peek().is_none();
    let is_ours = is_for_all || names.any(|name| name.eq_ignore_ascii_case(OUR_NAME));
    (directive, is_ours)
}

/// Adds one directive: false if it says nothing about caching. A number that cannot be read is zero.
fn note(said: &mut ResponseDirectives, directive: &[u8]) -> bool {
    let mut parts = directive.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let value = parts.next().unwrap_or_default();
    let seconds = || delta_seconds(value).unwrap_or_default();
    match name.as_slice() {
        b"no-store" => said.no_store = true,
        b"no-cache" => said.no_cache = Scope::All,
        b"private" => said.private = Scope::All,
        b"must-revalidate" => said.must_revalidate = true,
        b"max-age" => {
            let mut parts = value.splitn(2, |byte| *byte == b'+');
            let fresh = parts.next().and_then(delta_seconds);
            lower(&mut said.max_age, fresh.unwrap_or_default());
            if let Some(stale) = parts.next() {
                let stale = delta_seconds(stale).unwrap_or_default();
                lower(&mut said.stale_while_revalidate, stale);
            }
        }
        b"stale-while-revalidate" => lower(&mut said.stale_while_revalidate, seconds()),
        b"stale-if-error" => lower(&mut said.stale_if_error, seconds()),
        _ => return false,
    }
    true
}

/// Of several, the smallest counts.
fn lower(seen: &mut Option<Duration>, this: Duration) {
    *seen = Some(seen.map_or(this, |seen| seen.min(this)));
}

/// What a parameter calls us.
const OUR_NAME: &[u8] = b"pillion";

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn said(line: &str) -> Option<ResponseDirectives> {
        let mut fields = HeaderMap::new();
        fields.insert(SURROGATE_CONTROL, HeaderValue::from_str(line).unwrap());
        of(&fields)
    }

    #[test]
    fn lifetimes_are_in_seconds_and_may_have_an_extension() {
        for (line, fresh, stale) in [
            ("max-age=60", 60, None),
            ("Max-Age=60+30", 60, Some(30)),
            ("max-age=60+", 60, Some(0)),
            ("max-age=x+30", 0, Some(30)),
            ("max-age", 0, None),
            ("max-age=60, max-age=10+5", 10, Some(5)),
            ("max-age=60, stale-while-revalidate=7", 60, Some(7)),
        ] {
            let said = said(line).unwrap();
            assert_eq!(said.max_age, Some(Duration::from_secs(fresh)), "{line}");
            let stale = stale.map(Duration::from_secs);
            assert_eq!(said.stale_while_revalidate, stale, "{line}");
        }
    }

    #[test]
    fn what_is_for_others_or_no_matter_of_caching_says_nothing() {
        for line in [
            "",
            "content=\"ESI/1.0\"",
            "no-store;akamai",
            "max-age=5;a;b",
            "no-store-remote",
            "content=\"no-store, private\"",
            "content=\";pillion\"",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
        assert!(said("no-store;akamai;Pillion").unwrap().no_store);
        assert!(said("no-store;akamai, private").unwrap().private.is_all());
        assert!(!said("no-store;akamai, private").unwrap().no_store);
    }

    proptest! {
        #[test]
        fn lines_mean_what_one_line_with_all_of_them_means(
            one in "(no-store|max-age|private|=|[0-9]{1,2}|[ ;,+x]|pillion){0,8}",
            two in "(no-store|max-age|private|=|[0-9]{1,2}|[ ;,+x\"]|pillion){0,8}",
        ) {
            let mut fields = HeaderMap::new();
            fields.append(SURROGATE_CONTROL, HeaderValue::from_str(&one).unwrap());
            fields.append(SURROGATE_CONTROL, HeaderValue::from_str(&two).unwrap());
            let both = of(&fields);
            prop_assert_eq!(&both, &said(&format!("{one}, {two}")));
            let foreign = HeaderValue::from_static("no-store;somebody, max-age=1;else");
            fields.append(SURROGATE_CONTROL, foreign);
            prop_assert_eq!(both, of(&fields));
        }

        #[test]
        fn anything_can_be_read(line in prop::collection::vec(0x20_u8..=0xff, 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let mut fields = HeaderMap::new();
                fields.insert(SURROGATE_CONTROL, value.clone());
                let before = of(&fields);
                // What forbids is heard beside anything else.
                fields.append(SURROGATE_CONTROL, HeaderValue::from_static("no-store"));
                let after = of(&fields);
                prop_assert!(after.is_some_and(|said| said.no_store));
                prop_assert!(before.is_none_or(|said| said.max_age.is_none_or(|age| age.as_secs() <= 1 << 31)));
            }
        }
    }
}
