//! The policy against BREACH: compression beside secrets leaks them to whoever can trigger requests
//! in a victim's session, reflect text in the answers, and see their lengths.
//!
//! Browsers label requests that another site triggered (Fetch Metadata), so answers to credentials
//! are coded for requests of the same site alone, and then get a field of random length. Padding only
//! raises the attacker's cost; what ends it is [`Breach::Strict`].

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use config::content_coding::Breach;
use http::{HeaderName, HeaderValue};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::content_coding::reading::{Kind, Reading};

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
pub fn judge(policy: Breach, asker: Asker, audience: Audience, kind: Kind) -> Verdict {
    let secrets = asker.credentials || audience == Audience::Private;
    if policy == Breach::Off || asker.local || audience == Audience::Public || !secrets {
        return Verdict::Compress;
    }
    match asker.site {
        Site::Cross => Verdict::DoNot(Refusal::CrossSite),
        Site::Unknown if kind == Kind::Page => Verdict::DoNot(Refusal::UnknownSite),
        _ if policy == Breach::Strict => Verdict::DoNot(Refusal::Strict),
        Site::Same | Site::Unknown => Verdict::CompressWithJitter,
    }
}

impl Site {
    /// By `Sec-Fetch-Site`, or without it by `Referer` and `Host`.
    pub(super) fn of(
        fetch_site: Option<&HeaderValue>,
        referer: Option<&HeaderValue>,
        host: Option<&HeaderValue>,
    ) -> Self {
        match (fetch_site.map(HeaderValue::as_bytes), referer, host) {
            (Some(b"same-origin" | b"same-site" | b"none"), _, _) => Self::Same,
            (Some(_), _, _) => Self::Cross,
            (None, Some(referer), Some(host)) if names_host(referer, host) => Self::Same,
            (None, _, _) => Self::Unknown,
        }
    }
}

impl Audience {
    /// Whom an answer is for whose fields read so; `shared`: it is, or is just being, stored in the
    /// shared cache.
    ///
    /// Two rules of the table may both hold. Then a word of privacy counts more than `public`, and
    /// being stored counts more than both, unless what is stored differs by `Cookie`: that is one
    /// user's again.
    pub fn of(read: &Reading, shared: bool) -> Self {
        if read.differs_by_cookie {
            Self::Private
        } else if shared {
            Self::Public
        } else if read.is_private {
            Self::Private
        } else if read.is_public {
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
fn names_host(referer: &HeaderValue, host: &HeaderValue) -> bool {
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

const PADDING: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::{HeaderMap, Request};
    use proptest::prelude::*;

    use super::*;
    use crate::content_coding::reading::Asked;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        HeaderMap::from_iter(pairs)
    }

    type Fields = &'static [(&'static str, &'static str)];

    fn asker(pairs: &[(&'static str, &'static str)]) -> Asker {
        let mut request = Request::new(());
        *request.headers_mut() = fields(pairs);
        Asked::of(&request).asker
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
            let kind = if page { Kind::Page } else { Kind::Compressible };
            let asker = |local| Asker {
                credentials,
                site,
                local,
            };
            let judge = |policy, asker| judge(policy, asker, audience, kind);
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
        let cases: [(Fields, Site); 14] = [
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
        let cases: [(Fields, Audience, Audience); 10] = [
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
            assert_eq!(
                Audience::of(&Reading::of(&fields(pairs)), false),
                alone,
                "{pairs:?}"
            );
            assert_eq!(
                Audience::of(&Reading::of(&fields(pairs)), true),
                shared,
                "{pairs:?}"
            );
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
                names_host(&referer, &host);
            }
        }
    }
}
