//! Why something was or was not stored or reused: one closed set for header, log, metric and `explain`.
//!
//! What would flip each is told by `advice`, which, like the tests, does not compile
//! until it knows a new one.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the enum and the one table of what is said about each value, so that neither can miss one.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident, $name:literal, $sentence:literal;)+) => {
        /// The rule that decided.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// The name in `Cache-Status`, logs and metrics: a token of RFC 9651.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)+ }
            }

            /// What it means, in one sentence with the rule's source.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$reason => $sentence,)+ }
            }
        }
    };
}

reasons! {
    /// The cache is switched off for this route.
    Disabled, "disabled",
        "The cache is switched off for this route.";
    /// Only GET, HEAD and QUERY are answered from the cache.
    Method, "method",
        "Only GET, HEAD and QUERY are answered from the cache (RFC 9110 §9.2.3).";
    /// A GET with content.
    RequestBody, "request-body",
        "A GET with content is forwarded, since its content is not part of the cache key.";
    /// A QUERY whose content is too long or too slow to be part of the key.
    QueryContent, "query-content",
        "A QUERY is forwarded as it comes where its content is longer than cache.query_max_body or comes slowly, since the content is part of the cache key (RFC 10008).";
    /// A request that asks to switch protocols.
    Upgrade, "upgrade",
        "A request that asks to switch protocols is forwarded (RFC 9110 §7.8).";
    /// `If-Match` or `If-Unmodified-Since`.
    Precondition, "precondition",
        "If-Match and If-Unmodified-Since are the upstream's to judge (RFC 9111 §4.3.2).";
    /// A field that may change method or target behind the key's back.
    Override, "override",
        "The request has a field by which frameworks replace method or target, and which is not part of the cache key.";
    /// A range of something that is not stored.
    Range, "range",
        "A range of what is not stored is forwarded as it is.";
    /// HEAD is answered from a stored GET, never stored.
    Head, "head",
        "The answer to HEAD has no content, so it is not stored; a stored GET answers HEAD.";
    /// The request's `no-store`.
    ClientNoStore, "client-no-store",
        "The request says no-store (RFC 9111 §5.2.1.5).";
    /// The request's `no-cache`.
    ClientNoCache, "client-no-cache",
        "The request says no-cache, so what is stored was validated first (RFC 9111 §5.2.1.4).";
    /// The request's `max-age`.
    ClientMaxAge, "client-max-age",
        "What is stored is older than the request's max-age (RFC 9111 §5.2.1.1).";
    /// The request's `min-fresh`.
    ClientMinFresh, "client-min-fresh",
        "What is stored is not fresh for as long as the request's min-fresh (RFC 9111 §5.2.1.3).";
    /// The request's `only-if-cached`.
    OnlyIfCached, "only-if-cached",
        "The request says only-if-cached, and nothing usable is stored (RFC 9111 §5.2.1.7).";
    /// Nothing is stored for the URI.
    NothingStored, "nothing-stored",
        "Nothing is stored for this cache key.";
    /// Something is stored, for other values of the nominated fields.
    VaryMismatch, "vary-mismatch",
        "What is stored was chosen by other values of the fields that Vary names (RFC 9111 §4.1).";
    /// Chosen by its `Content-Language`.
    ContentLanguage, "content-language",
        "What is stored was chosen because its Content-Language is the request's one first choice (RFC 9111 §4.1).";
    /// Chosen by its `No-Vary-Search`.
    NoVarySearch, "no-vary-search",
        "What is stored was chosen because its No-Vary-Search says that it answers this query too.";
    /// Found in Redis.
    L2, "l2",
        "Memory had nothing usable; what is stored was found in Redis, where another sidecar or this one had written it.";
    /// Found on disk.
    Disk, "disk",
        "Memory had nothing usable; what is stored was found on this machine's disk.";
    /// What is stored is stale.
    Stale, "stale",
        "What is stored is stale (RFC 9111 §4.2).";
    /// The response says `no-cache`.
    NoCache, "no-cache",
        "The response says no-cache, so it is validated before every reuse (RFC 9111 §5.2.2.4).";
    /// Heuristic freshness does not answer requests with credentials.
    HeuristicCredentials, "heuristic-credentials",
        "What is stored is fresh by heuristic only, which does not answer a request with Cookie or Authorization.";
    /// An operator's soft purge.
    SoftPurged, "soft-purged",
        "What is stored was marked stale by a soft purge.";
    /// The answer to a HEAD told of other content.
    HeadDiffers, "head-differs",
        "The answer to a HEAD had other validators or another length, so what is stored counts as stale (RFC 9111 §4.3.5).";
    /// Served stale, refreshed in the background.
    StaleWhileRevalidate, "stale-while-revalidate",
        "Served stale while it is validated in the background (RFC 5861 §3).";
    /// Served stale in place of an error.
    StaleIfError, "stale-if-error",
        "Served stale because the upstream failed (RFC 5861 §4).";
    /// Served stale at the client's wish.
    ClientMaxStale, "client-max-stale",
        "Served stale because the request's max-stale accepts it (RFC 9111 §5.2.1.2).";
    /// Validated before its time.
    EarlyRefresh, "early-refresh",
        "Still fresh, and validated in the background before it is not, since that takes about as long as it is still fresh.";
    /// Served stale while Redis is away.
    Outage, "outage",
        "Served stale because Redis is away and cache.on_outage says so.";
    /// Not forwarded while Redis is away.
    Shed, "shed",
        "Not forwarded: Redis is away, cache.on_outage sheds, and as many requests as may be are under way to the upstream.";
    /// A follower that waited too long.
    CollapseTimeout, "collapse-timeout",
        "Another request for the same was under way and took longer than cache.collapse.wait.";
    /// The response says `no-store`.
    NoStore, "no-store",
        "The response says no-store (RFC 9111 §5.2.2.5).";
    /// The response says `private`.
    Private, "private",
        "The response says private: it is for one user (RFC 9111 §5.2.2.7).";
    /// The response sets a cookie.
    SetCookie, "set-cookie",
        "The response sets a cookie, which would reach every client.";
    /// The request was authorised.
    Authorization, "authorization",
        "The request has Authorization and the response does not say that it may be shared (RFC 9111 §3.5).";
    /// The request had cookies.
    Cookie, "cookie",
        "The request has Cookie and the response does not say that it may be shared.";
    /// `Vary: *`.
    VaryStar, "vary-star",
        "Vary: * matches no later request (RFC 9111 §4.1).";
    /// `Vary` names what is different for nearly every client.
    VaryPersonal, "vary-personal",
        "Vary names User-Agent, Cookie or Authorization, which are different for nearly every client.";
    /// `Vary` names too many fields.
    VaryTooMany, "vary-too-many",
        "Vary names more fields than can sensibly select a response.";
    /// Nothing says how long it is fresh.
    NoLifetime, "no-lifetime",
        "Nothing says how long the response is fresh, and no lifetime is invented (RFC 9111 §4.2).";
    /// Stale on arrival and without a validator.
    AlreadyStale, "already-stale",
        "The response is stale as it arrives and has no validator to be confirmed by.";
    /// 206, or `Content-Range` on something else.
    PartialContent, "partial-content",
        "This part of a representation is not stored: cache.partial is off, the whole is stored already, or it is coded, not one span, or not of the length that it declares (RFC 9111 §3.3).";
    /// Only other parts are stored.
    OtherParts, "other-parts",
        "What is stored are parts of the representation, and not the ones that are asked for (RFC 9111 §3.3).";
    /// The status does not allow it.
    Status, "status",
        "This status is not stored without an explicit lifetime, or is not understood as must-understand demands (RFC 9111 §3).";
    /// The content is longer than `max_body`.
    TooLarge, "too-large",
        "The content is longer than cache.max_body, or than the whole cache's share for one response.";
    /// More tags than are allowed.
    TooManyTags, "too-many-tags",
        "The response has more tags than cache.tags allows, and to forget one would be to miss a purge.";
    /// Too much is being received at once.
    FillMemory, "fill-memory",
        "Responses under way already hold their share of the cache's memory.";
    /// Event streams and their like.
    LiveStream, "live-stream",
        "A live stream is neither stored nor shared.";
    /// Purged while it was fetched.
    Purged, "purged",
        "The URL, or a tag or prefix it belongs to, was purged or changed by an unsafe method while the response was fetched.";
    /// Replaced while it was validated.
    Overtaken, "overtaken",
        "What was stored was replaced or removed while it was validated.";
    /// The content ended early.
    Incomplete, "incomplete",
        "The content ended before its declared length, or with an error.";
    /// The upstream gave no response.
    UpstreamFailed, "upstream-failed",
        "The upstream gave no response.";
    /// A 304 to the client's own precondition.
    NotModified, "not-modified",
        "Nothing was stored, and the upstream answered the client's own precondition with 304.";
    /// The 304 to a validation names another entity tag.
    OtherTag, "other-tag",
        "The upstream's 304 names another entity tag than the one it was asked about (RFC 9111 §4.3.4).";
}

impl Reason {
    /// Whether the request's own directives decided (`fwd=request` of RFC 9211 §2.2).
    pub const fn is_of_request(self) -> bool {
        matches!(
            self,
            Self::ClientNoStore | Self::ClientNoCache | Self::ClientMaxAge | Self::ClientMinFresh
        )
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let mut all = Self::ALL.iter().copied();
        let found = all.find(|reason| reason.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("\"{name}\" is no reason that we know")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_tokens_and_told_apart() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for name in names {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name}"
            );
            assert!(
                name.starts_with(|first: char| first.is_ascii_lowercase()),
                "{name}"
            );
        }
    }

    #[test]
    fn sentences_are_sentences() {
        for reason in Reason::ALL {
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
        }
    }
}
