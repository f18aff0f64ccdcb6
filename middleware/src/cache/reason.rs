//! Why something was or was not stored or reused: one closed set for header, log, metric and `explain`.

/// Writes the enum and the one table of what is said about each value, so that neither can miss one.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident, $name:literal, $sentence:literal, $advice:expr;)+) => {
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

            /// The shortest change that would flip the decision: a line of TOML, or a field that the
            /// app or the client would send. `None` where nothing is to be changed.
            pub const fn advice(self) -> Option<&'static str> {
                match self { $(Self::$reason => $advice,)+ }
            }
        }
    };
}

reasons! {
    /// The cache is switched off for this route.
    Disabled, "disabled",
        "The cache is switched off for this route.",
        Some("cache = { enabled = true }");
    /// Only GET, HEAD and QUERY are answered from the cache.
    Method, "method",
        "Only GET, HEAD and QUERY are answered from the cache (RFC 9110 §9.2.3).",
        Some("ask with GET");
    /// A GET with content.
    RequestBody, "request-body",
        "A GET with content is forwarded, since its content is not part of the cache key.",
        Some("send the request without content");
    /// A QUERY whose content is too long or too slow to be part of the key.
    QueryContent, "query-content",
        "A QUERY is forwarded as it comes where its content is longer than cache.query_max_body or comes slowly, since the content is part of the cache key (RFC 10008).",
        Some("cache = { query_max_body = \"…\" } with a larger size");
    /// A request that asks to switch protocols.
    Upgrade, "upgrade",
        "A request that asks to switch protocols is forwarded (RFC 9110 §7.8).",
        Some("send the request without Upgrade");
    /// `If-Match` or `If-Unmodified-Since`.
    Precondition, "precondition",
        "If-Match and If-Unmodified-Since are the upstream's to judge (RFC 9111 §4.3.2).",
        Some("send the request without If-Match and If-Unmodified-Since");
    /// A field that may change method or target behind the key's back.
    Override, "override",
        "The request has a field by which frameworks replace method or target, and which is not part of the cache key.",
        Some("send the request without it, or add it to the key: cache.key = { headers = [\"…\"] }");
    /// A range of something that is not stored.
    Range, "range",
        "A range of what is not stored is forwarded as it is.",
        Some("ask once without Range, or raise cache.range_fill_max");
    /// HEAD is answered from a stored GET, never stored.
    Head, "head",
        "The answer to HEAD has no content, so it is not stored; a stored GET answers HEAD.",
        Some("ask with GET");
    /// The request's `no-store`.
    ClientNoStore, "client-no-store",
        "The request says no-store (RFC 9111 §5.2.1.5).",
        Some("cache = { client_directives = \"ignore\" }");
    /// The request's `no-cache`.
    ClientNoCache, "client-no-cache",
        "The request says no-cache, so what is stored was validated first (RFC 9111 §5.2.1.4).",
        Some("cache = { client_directives = \"ignore\" }");
    /// The request's `max-age`.
    ClientMaxAge, "client-max-age",
        "What is stored is older than the request's max-age (RFC 9111 §5.2.1.1).",
        Some("cache = { client_directives = \"ignore\" }");
    /// The request's `min-fresh`.
    ClientMinFresh, "client-min-fresh",
        "What is stored is not fresh for as long as the request's min-fresh (RFC 9111 §5.2.1.3).",
        Some("cache = { client_directives = \"ignore\" }");
    /// The request's `only-if-cached`.
    OnlyIfCached, "only-if-cached",
        "The request says only-if-cached, and nothing usable is stored (RFC 9111 §5.2.1.7).",
        Some("send the request without only-if-cached");
    /// Nothing is stored for the URI.
    NothingStored, "nothing-stored",
        "Nothing is stored for this cache key.",
        None;
    /// Something is stored, for other values of the nominated fields.
    VaryMismatch, "vary-mismatch",
        "What is stored was chosen by other values of the fields that Vary names (RFC 9111 §4.1).",
        Some("let the app name fewer fields in Vary");
    /// Chosen by its `Content-Language`.
    ContentLanguage, "content-language",
        "What is stored was chosen because its Content-Language is the request's one first choice (RFC 9111 §4.1).",
        Some("let the app send no Content-Language where it is not what Accept-Language chose");
    /// Chosen by its `No-Vary-Search`.
    NoVarySearch, "no-vary-search",
        "What is stored was chosen because its No-Vary-Search says that it answers this query too.",
        Some("cache = { no_vary_search = false }");
    /// What is stored is stale.
    Stale, "stale",
        "What is stored is stale (RFC 9111 §4.2).",
        Some("Cache-Control: max-age=… with a larger number, or cache = { stale_while_revalidate = \"…\" }");
    /// The response says `no-cache`.
    NoCache, "no-cache",
        "The response says no-cache, so it is validated before every reuse (RFC 9111 §5.2.2.4).",
        Some("let the app send max-age=… without no-cache");
    /// Heuristic freshness does not answer requests with credentials.
    HeuristicCredentials, "heuristic-credentials",
        "What is stored is fresh by heuristic only, which does not answer a request with Cookie or Authorization.",
        Some("Cache-Control: public, max-age=…");
    /// An operator's soft purge.
    SoftPurged, "soft-purged",
        "What is stored was marked stale by a soft purge.",
        None;
    /// The answer to a HEAD told of other content.
    HeadDiffers, "head-differs",
        "The answer to a HEAD had other validators or another length, so what is stored counts as stale (RFC 9111 §4.3.5).",
        Some("let the app answer HEAD with the ETag, Last-Modified and Content-Length of GET");
    /// Served stale, refreshed in the background.
    StaleWhileRevalidate, "stale-while-revalidate",
        "Served stale while it is validated in the background (RFC 5861 §3).",
        Some("Cache-Control: stale-while-revalidate=0");
    /// Served stale in place of an error.
    StaleIfError, "stale-if-error",
        "Served stale because the upstream failed (RFC 5861 §4).",
        Some("Cache-Control: stale-if-error=0");
    /// Served stale at the client's wish.
    ClientMaxStale, "client-max-stale",
        "Served stale because the request's max-stale accepts it (RFC 9111 §5.2.1.2).",
        Some("cache = { client_directives = \"ignore\" }");
    /// A follower that waited too long.
    CollapseTimeout, "collapse-timeout",
        "Another request for the same was under way and took longer than cache.collapse.wait.",
        Some("cache = { collapse = { wait = \"…\" } } with a longer wait");
    /// The response says `no-store`.
    NoStore, "no-store",
        "The response says no-store (RFC 9111 §5.2.2.5).",
        Some("Cache-Control: max-age=…");
    /// The response says `private`.
    Private, "private",
        "The response says private: it is for one user (RFC 9111 §5.2.2.7).",
        Some("Cache-Control: public, max-age=…");
    /// The response sets a cookie.
    SetCookie, "set-cookie",
        "The response sets a cookie, which would reach every client.",
        Some("let the app send no Set-Cookie here, or cache = { set_cookie = \"strip\" }");
    /// The request was authorised.
    Authorization, "authorization",
        "The request has Authorization and the response does not say that it may be shared (RFC 9111 §3.5).",
        Some("Cache-Control: public, max-age=…");
    /// The request had cookies.
    Cookie, "cookie",
        "The request has Cookie and the response does not say that it may be shared.",
        Some("Cache-Control: public, max-age=…, or cache = { cookies = \"ignore\" }");
    /// `Vary: *`.
    VaryStar, "vary-star",
        "Vary: * matches no later request (RFC 9111 §4.1).",
        Some("let the app name the fields that Vary is about");
    /// `Vary` names what is different for nearly every client.
    VaryPersonal, "vary-personal",
        "Vary names User-Agent, Cookie or Authorization, which are different for nearly every client.",
        Some("let the app leave it out of Vary, or add it to the key: cache.key = { headers = [\"user-agent\"] }");
    /// `Vary` names too many fields.
    VaryTooMany, "vary-too-many",
        "Vary names more fields than can sensibly select a response.",
        Some("let the app name fewer fields in Vary");
    /// Nothing says how long it is fresh.
    NoLifetime, "no-lifetime",
        "Nothing says how long the response is fresh, and no lifetime is invented (RFC 9111 §4.2).",
        Some("Cache-Control: max-age=…, or cache = { ttl = \"…\" }");
    /// Stale on arrival and without a validator.
    AlreadyStale, "already-stale",
        "The response is stale as it arrives and has no validator to be confirmed by.",
        Some("Cache-Control: max-age=…, or an ETag");
    /// 206, or `Content-Range` on something else.
    PartialContent, "partial-content",
        "This part of a representation is not stored: cache.partial is off, the whole is stored already, or it is coded, not one span, or not of the length that it declares (RFC 9111 §3.3).",
        Some("ask without Range");
    /// Only other parts are stored.
    OtherParts, "other-parts",
        "What is stored are parts of the representation, and not the ones that are asked for (RFC 9111 §3.3).",
        Some("ask for one range within them, or once without Range");
    /// The status does not allow it.
    Status, "status",
        "This status is not stored without an explicit lifetime, or is not understood as must-understand demands (RFC 9111 §3).",
        Some("Cache-Control: max-age=…");
    /// The content is longer than `max_body`.
    TooLarge, "too-large",
        "The content is longer than cache.max_body, or than the whole cache's share for one response.",
        Some("cache = { max_body = \"…\" } with a larger size");
    /// More tags than are allowed.
    TooManyTags, "too-many-tags",
        "The response has more tags than cache.tags allows, and to forget one would be to miss a purge.",
        Some("cache = { tags = { count = … } } with a larger number, or let the app name fewer");
    /// Too much is being received at once.
    FillMemory, "fill-memory",
        "Responses under way already hold their share of the cache's memory.",
        Some("cache.memory = { size = \"…\" } with a larger size");
    /// Event streams and their like.
    LiveStream, "live-stream",
        "A live stream is neither stored nor shared.",
        None;
    /// Purged while it was fetched.
    Purged, "purged",
        "The URL, or a tag or prefix it belongs to, was purged or changed by an unsafe method while the response was fetched.",
        None;
    /// Replaced while it was validated.
    Overtaken, "overtaken",
        "What was stored was replaced or removed while it was validated.",
        None;
    /// The content ended early.
    Incomplete, "incomplete",
        "The content ended before its declared length, or with an error.",
        None;
    /// The upstream gave no response.
    UpstreamFailed, "upstream-failed",
        "The upstream gave no response.",
        None;
    /// A 304 to the client's own precondition.
    NotModified, "not-modified",
        "Nothing was stored, and the upstream answered the client's own precondition with 304.",
        None;
    /// The 304 to a validation names another entity tag.
    OtherTag, "other-tag",
        "The upstream's 304 names another entity tag than the one it was asked about (RFC 9111 §4.3.4).",
        Some("ETag: the same in a 304 as in the 200 that it stands for");
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
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
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
            assert!(
                reason.advice().is_none_or(|advice| !advice.ends_with('.')),
                "{reason:?}"
            );
        }
    }

    /// Whoever pastes the line into a file must not be told that there is no such key.
    #[test]
    fn advice_is_written_as_the_configuration_takes_it() {
        let mut count = 0;
        for reason in Reason::ALL {
            let Some(advice) = reason.advice() else {
                continue;
            };
            let Some(start) = advice.find("cache = {").or_else(|| advice.find("cache.")) else {
                continue;
            };
            let Some(end) = advice.rfind('}') else {
                continue;
            };
            let line = advice.get(start..=end).expect("ASCII around them");
            let value = if line.contains("count") {
                "300"
            } else if line.contains("size") || line.contains("max_body") {
                "9MiB"
            } else if line.contains("headers") {
                "accept-language"
            } else {
                "9s"
            };
            let line = line.replace('…', value);
            let text = format!("{line}\n[upstream.app]\nurl = 'http://127.0.0.1:3000'\n");
            let loaded = config::load_text(&text, None, &config::Overrides::default(), &|_| None);
            assert!(loaded.is_ok(), "{reason:?}: {line}\n{loaded:?}");
            count += 1;
        }
        assert!(count > 8, "{count}");
    }
}
