//! The policy against BREACH: compression beside secrets leaks them to whoever can trigger requests
//! in a victim's session, reflect text in the answers, and see their lengths.
//!
//! Browsers label requests that another site triggered (Fetch Metadata), so answers to credentials
//! are coded for requests of the same site alone, and then get a field of random length. Padding only
//! raises the attacker's cost; what ends it is [`Breach::Strict`].

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use config::content_coding::Breach;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, HeaderName, REFERER, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, Request};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::facts::{Peer, RequestFacts};
use crate::fields::list;
use crate::fields::media_type::MediaType;

/// What of a request the policy looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Whether it carries `Cookie`, `Authorization` or `X-CSRF-Token`.
    pub credentials: bool,
    /// Who triggered it.
    pub site: Site,
    /// Whether it came by a Unix socket: from a program of this machine, never from a network that
    /// somebody listens to. Loopback TCP is not that: a TLS terminator may stand in front of it.
    pub local: bool,
}

/// Who triggered a request, as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A page of the same site, or the user (`Sec-Fetch-Site: none`).
    Same,
    /// Another site's page.
    Cross,
    /// It does not say, and `Referer` is another host's or absent.
    Unknown,
}

/// Whom an answer is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: it is stored in the shared cache, or could be by its own word.
    Public,
    /// One user: its own fields say so.
    Private,
    /// It does not say.
    Unstated,
}

/// What the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Code it.
    Compress,
    /// Code it, and add a field of random length.
    CompressWithJitter,
    /// Leave it.
    DoNot(Refusal),
}

/// Why an answer is left uncoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Credentials, and `breach = "strict"`.
    Strict,
    /// Credentials, and another site triggered the request.
    CrossSite,
    /// Credentials, a page, and no word of who triggered the request.
    UnknownSite,
}

/// The table of semantics §4.
pub fn judge(
    policy: Breach,
    asker: Asker,
    audience: Audience,
    media_type: Option<MediaType<'_>>,
) -> Verdict {
    let secrets = asker.credentials || audience == Audience::Private;
    if policy == Breach::Off || asker.local || audience == Audience::Public || !secrets {
        return Verdict::Compress;
    }
    let is_html = media_type.is_some_and(MediaType::is_html);
    match asker.site {
        Site::Cross => Verdict::DoNot(Refusal::CrossSite),
        Site::Unknown if is_html => Verdict::DoNot(Refusal::UnknownSite),
        _ if policy == Breach::Strict => Verdict::DoNot(Refusal::Strict),
        Site::Same | Site::Unknown => Verdict::CompressWithJitter,
    }
}

impl Asker {
    /// What `request` says, before it goes down.
    pub fn of<B>(request: &Request<B>) -> Self {
        let fields = request.headers();
        let facts = request.extensions().get::<RequestFacts>();
        Self {
            credentials: [COOKIE, AUTHORIZATION, X_CSRF_TOKEN]
                .iter()
                .any(|name| fields.contains_key(name)),
            site: Site::of(fields),
            local: facts.is_some_and(|facts| facts.peer == Peer::Unix),
        }
    }
}

impl Site {
    fn of(fields: &HeaderMap) -> Self {
        match fields.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
            Some(b"same-origin" | b"same-site" | b"none") => Self::Same,
            Some(_) => Self::Cross,
            None if refers_to_itself(fields) => Self::Same,
            None => Self::Unknown,
        }
    }
}

impl Audience {
    /// Whom an answer with these fields is for; `shared`: it is, or is just being, stored in the
    /// shared cache.
    ///
    /// Two rules of the table may both hold. Then a word of privacy counts more than `public`, and
    /// being stored counts more than both, unless what is stored differs by `Cookie`: that is one
    /// user's again.
    pub fn of(fields: &HeaderMap, shared: bool) -> Self {
        if has(fields, &VARY, &["cookie"]) {
            Self::Private
        } else if shared {
            Self::Public
        } else if fields.contains_key(SET_COOKIE)
            || has(fields, &CACHE_CONTROL, &["private", "no-store"])
        {
            Self::Private
        } else if has(fields, &CACHE_CONTROL, &["public", "s-maxage"]) {
            Self::Public
        } else {
            Self::Unstated
        }
    }
}

/// A field value of 1 to 63 bytes. One half of the length is drawn anew each time; the other follows
/// from `content` and a key of this process, so that averaging over equal answers does not take it out.
pub fn padding(content: &[u8]) -> HeaderValue {
    static KEY: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    let fixed = xxh3_64_with_seed(content, *KEY) % 32;
    // Each `RandomState` has keys of its own, so this is SipHash over secret keys: a random number.
    let drawn = RandomState::new().hash_one(*KEY) % 32;
    let length = usize::try_from(fixed + drawn).expect("at most 62") + 1;
    let padding = PADDING.get(..length).expect("at most 63 of 64");
    let mut value = HeaderValue::from_static(padding);
    // Never indexed (RFC 7541 §7.1.3): by reference into HPACK's table every length would be one byte.
    value.set_sensitive(true);
    value
}

/// Where [`padding`] goes.
pub const X_PAD: HeaderName = HeaderName::from_static("x-pad");

/// Whether `Referer` names the host that is asked.
fn refers_to_itself(fields: &HeaderMap) -> bool {
    let (Some(referer), Some(host)) = (fields.get(REFERER), fields.get(HOST)) else {
        return false;
    };
    let authority = referer
        .to_str()
        .ok()
        .and_then(|referer| referer.split_once("://"))
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match (authority, host.to_str()) {
        (Some(authority), Ok(host)) => {
            without_port(authority).eq_ignore_ascii_case(without_port(host))
        }
        _ => false,
    }
}

/// A site knows no ports.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a list field has a member that is, or begins as a directive with, one of `names`.
fn has(fields: &HeaderMap, name: &HeaderName, names: &[&str]) -> bool {
    list::members(fields, name).any(|member| {
        let directive = member.split(|byte| *byte == b'=').next();
        let directive = list::trim(directive.unwrap_or_default());
        names
            .iter()
            .any(|name| directive.eq_ignore_ascii_case(name.as_bytes()))
    })
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const PADDING: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        HeaderMap::from_iter(pairs)
    }

    fn asker(pairs: &[(&'static str, &'static str)]) -> Asker {
        let mut request = Request::new(());
        *request.headers_mut() = fields(pairs);
        Asker::of(&request)
    }

    #[test]
    fn the_table() {
        use Audience::{Private, Public, Unstated};
        use Site::{Cross, Same, Unknown};
        use Verdict::{Compress, CompressWithJitter as Jitter, DoNot};
        const CROSS: Verdict = DoNot(Refusal::CrossSite);
        const UNKNOWN: Verdict = DoNot(Refusal::UnknownSite);
        const STRICT: Verdict = DoNot(Refusal::Strict);
        // credentials, audience, site, page: balanced, strict
        let cases = [
            (false, Unstated, Cross, true, Compress, Compress),
            (true, Public, Cross, true, Compress, Compress),
            (false, Public, Unknown, true, Compress, Compress),
            (true, Unstated, Cross, true, CROSS, CROSS),
            (true, Unstated, Cross, false, CROSS, CROSS),
            (false, Private, Cross, false, CROSS, CROSS),
            (true, Unstated, Unknown, true, UNKNOWN, UNKNOWN),
            (false, Private, Unknown, true, UNKNOWN, UNKNOWN),
            (true, Unstated, Unknown, false, Jitter, STRICT),
            (true, Unstated, Same, true, Jitter, STRICT),
            (false, Private, Same, true, Jitter, STRICT),
            (true, Private, Same, false, Jitter, STRICT),
        ];
        for (credentials, audience, site, page, balanced, strict) in cases {
            let essence: &[u8] = if page {
                b"text/html"
            } else {
                b"application/json"
            };
            let media_type = MediaType::parse(essence);
            let asker = |local| Asker {
                credentials,
                site,
                local,
            };
            let judge = |policy, asker| judge(policy, asker, audience, media_type);
            let case = (credentials, audience, site, page);
            assert_eq!(judge(Breach::Balanced, asker(false)), balanced, "{case:?}");
            assert_eq!(judge(Breach::Strict, asker(false)), strict, "{case:?}");
            assert_eq!(judge(Breach::Off, asker(false)), Compress, "{case:?}");
            assert_eq!(judge(Breach::Balanced, asker(true)), Compress, "{case:?}");
            assert_eq!(judge(Breach::Strict, asker(true)), Compress, "{case:?}");
        }
    }

    #[test]
    fn who_asks() {
        for (name, expected) in [
            ("cookie", true),
            ("authorization", true),
            ("x-csrf-token", true),
            ("x-other", false),
        ] {
            assert_eq!(asker(&[(name, "x")]).credentials, expected, "{name}");
        }
        let cases: [(&[(&str, &str)], Site); 14] = [
            (&[("sec-fetch-site", "same-origin")], Site::Same),
            (&[("sec-fetch-site", "same-site")], Site::Same),
            (&[("sec-fetch-site", "none")], Site::Same),
            (&[("sec-fetch-site", "cross-site")], Site::Cross),
            (&[("sec-fetch-site", "new-kind")], Site::Cross),
            (&[], Site::Unknown),
            (&[("host", "a.test")], Site::Unknown),
            (
                &[("host", "a.test"), ("referer", "http://a.test/x")],
                Site::Same,
            ),
            (
                &[("host", "A.test:80"), ("referer", "https://a.TEST:8443?x")],
                Site::Same,
            ),
            (
                &[("host", "[::1]:80"), ("referer", "http://[::1]/")],
                Site::Same,
            ),
            (
                &[("host", "a.test"), ("referer", "http://b.test/a.test")],
                Site::Unknown,
            ),
            (
                &[("host", "a.test"), ("referer", "http://a.test.evil/")],
                Site::Unknown,
            ),
            (
                &[("host", "a.test"), ("referer", "http://evil@a.test/")],
                Site::Unknown,
            ),
            (&[("host", "a.test"), ("referer", "a.test")], Site::Unknown),
        ];
        for (pairs, expected) in cases {
            assert_eq!(asker(pairs).site, expected, "{pairs:?}");
        }
    }

    #[test]
    fn whom_an_answer_is_for() {
        use Audience::{Private, Public, Unstated};
        let cases: [(&[(&str, &str)], Audience, Audience); 10] = [
            (&[], Unstated, Public),
            (&[("cache-control", "max-age=60")], Unstated, Public),
            (&[("cache-control", "Public, max-age=60")], Public, Public),
            (&[("cache-control", "s-maxage=60")], Public, Public),
            (&[("cache-control", "private")], Private, Public),
            (&[("cache-control", "private=\"x\"")], Private, Public),
            (&[("cache-control", "no-store")], Private, Public),
            (
                &[("set-cookie", "a=b"), ("cache-control", "public")],
                Private,
                Public,
            ),
            (
                &[("vary", "Origin, Cookie"), ("cache-control", "public")],
                Private,
                Private,
            ),
            (&[("vary", "X-Cookie")], Unstated, Public),
        ];
        for (pairs, alone, shared) in cases {
            assert_eq!(Audience::of(&fields(pairs), false), alone, "{pairs:?}");
            assert_eq!(Audience::of(&fields(pairs), true), shared, "{pairs:?}");
        }
    }

    #[test]
    fn padding_differs_between_equal_answers_and_is_never_indexed() {
        let drawn: Vec<_> = (0..200).map(|_| padding(b"the same")).collect();
        let lengths: HashSet<_> = drawn.iter().map(HeaderValue::len).collect();
        assert!(lengths.len() > 10, "{lengths:?}");
        assert!(lengths.iter().all(|length| (1..=63).contains(length)));
        assert!(drawn.iter().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn padding_has_a_part_that_averaging_does_not_take_out() {
        let mean = |content: &[u8]| {
            let total: usize = (0..2000).map(|_| padding(content).len()).sum();
            total / 2000
        };
        let means: HashSet<_> = (0..32u8).map(|content| mean(&[content])).collect();
        assert!(means.len() > 4, "{means:?}");
    }

    proptest! {
        #[test]
        fn no_referer_panics(referer: Vec<u8>, host: Vec<u8>) {
            let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).ok();
            if let (Some(referer), Some(host)) = (value(&referer), value(&host)) {
                refers_to_itself(&HeaderMap::from_iter([(REFERER, referer), (HOST, host)]));
            }
        }
    }
}
