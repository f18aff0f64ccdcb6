//! Which coding an answer gets, or why none: pure rules (RFC 9110 §12.5.3, semantics §3.7).

use config::content_coding::{Codings, ContentCodingSettings, Streams};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, RANGE};
use http::{HeaderMap, Method, Request, StatusCode};

use crate::content_coding::Coding;
use crate::content_coding::guard::{self, Asker, Audience, Refusal, Verdict};
use crate::fields::accept_encoding::{Accepts, Weight};
use crate::fields::list;
use crate::fields::media_type::{self, MediaType};

/// What of a request the rules look at; taken before it goes down.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// `Accept-Encoding`.
    pub accepts: Accepts,
    /// Whether it is for the head alone, which is then as GET's would be.
    pub is_head: bool,
    /// Whether it is for a part, which is cut from identity content.
    pub range: bool,
    /// For the policy against BREACH.
    pub asker: Asker,
}

/// What of an answer the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Final status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// Length of the content in bytes, where it is known before the content has come.
    pub length: Option<u64>,
    /// Whether it is, or is just being, stored in the shared cache.
    pub shared: bool,
}

/// What becomes of an answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is coded, by one of the codings that the client likes best.
    Code {
        /// Those; at least one.
        best: Choice,
        /// Whether a field of random length is added.
        jitter: bool,
    },
    /// The upstream's coding is taken off.
    Decode(Coding),
    /// It goes as it is.
    Leave(Uncoded),
}

/// Why content is not coded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uncoded {
    /// Switched off for the route.
    Disabled,
    /// A status without content of its own, or with a part of it.
    Status,
    /// A part, by its `Content-Range`.
    ContentRange,
    /// The upstream coded it, and the client takes that (or nobody could do better).
    AlreadyCoded,
    /// A stream by its own word, and those are not to be coded.
    Stream,
    /// Not a type that gains.
    MediaType,
    /// `Cache-Control: no-transform` (RFC 9111 §5.2.2.6).
    NoTransform,
    /// Shorter than `content_coding.min_size`.
    TooSmall,
    /// A part was asked for.
    Range,
    /// The client takes none of ours, or likes the content better as it is.
    NotAccepted,
    /// The policy against BREACH.
    Breach(Refusal),
}

/// Codings that a client likes equally well: a set, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    br: bool,
    zstd: bool,
    gzip: bool,
}

impl Asked {
    /// What `request` says.
    pub fn of<B>(request: &Request<B>) -> Self {
        let fields = request.headers();
        Self {
            accepts: Accepts::of(fields),
            is_head: request.method() == Method::HEAD,
            range: fields.contains_key(RANGE),
            asker: Asker::of(request),
        }
    }
}

/// What becomes of `content` for the client that asked so.
pub fn decide(settings: &ContentCodingSettings, asked: Asked, content: Content<'_>) -> Decision {
    if !settings.enabled {
        return Decision::Leave(Uncoded::Disabled);
    }
    if !may_have_content(content.status) {
        return Decision::Leave(Uncoded::Status);
    }
    let fields = content.fields;
    if fields.contains_key(CONTENT_RANGE) {
        return Decision::Leave(Uncoded::ContentRange);
    }
    if fields.contains_key(CONTENT_ENCODING) {
        return recode(asked.accepts, fields);
    }
    let media_type = MediaType::of(fields);
    if media_type.is_none_or(|media_type| !media_type.is_compressible() || media_type.is_grpc()) {
        return Decision::Leave(Uncoded::MediaType);
    }
    if settings.streams == Streams::Off && media_type::is_stream(fields) {
        return Decision::Leave(Uncoded::Stream);
    }
    if is_no_transform(fields) {
        return Decision::Leave(Uncoded::NoTransform);
    }
    if content
        .length
        .is_some_and(|length| length < settings.min_size)
    {
        return Decision::Leave(Uncoded::TooSmall);
    }
    if asked.range {
        return Decision::Leave(Uncoded::Range);
    }
    let Some(best) = Choice::of(asked.accepts, settings.codings) else {
        return Decision::Leave(Uncoded::NotAccepted);
    };
    let audience = Audience::of(fields, content.shared);
    match guard::judge(settings.breach, asked.asker, audience, media_type) {
        Verdict::Compress => Decision::Code {
            best,
            jitter: false,
        },
        Verdict::CompressWithJitter => Decision::Code { best, jitter: true },
        Verdict::DoNot(refusal) => Decision::Leave(Uncoded::Breach(refusal)),
    }
}

/// Whether another client might get other bytes for this, so that `Vary` must say so.
pub fn varies(settings: &ContentCodingSettings, decision: Decision, content: Content<'_>) -> bool {
    use Uncoded as U;
    match decision {
        Decision::Code { .. } | Decision::Decode(_) => true,
        Decision::Leave(U::TooSmall | U::Range | U::NotAccepted | U::Breach(_)) => true,
        Decision::Leave(U::Disabled | U::Stream | U::MediaType | U::NoTransform) => false,
        Decision::Leave(U::Status | U::ContentRange | U::AlreadyCoded) => {
            whole_may_vary(settings, content)
        }
    }
}

/// The same of what this layer never codes: a 206 or 304 says what the 200 would have said. A 304
/// need not name its type; then it is taken to be one that varies.
fn whole_may_vary(settings: &ContentCodingSettings, content: Content<'_>) -> bool {
    let fields = content.fields;
    if content.status == StatusCode::NO_CONTENT || content.status.is_informational() {
        return false;
    }
    let by_type = match MediaType::of(fields) {
        Some(media_type) => {
            media_type.is_compressible()
                && !media_type.is_grpc()
                && (settings.streams == Streams::Flush || !media_type::is_stream(fields))
        }
        None => content.status == StatusCode::NOT_MODIFIED,
    };
    (by_type || coded_by_upstream(fields).is_some()) && !is_no_transform(fields)
}

impl Decision {
    /// Which coding the client sees of ours.
    pub fn coded(self) -> Option<Choice> {
        match self {
            Self::Code { best, .. } => Some(best),
            Self::Decode(_) | Self::Leave(_) => None,
        }
    }
}

impl Choice {
    /// The codings with the highest weight among those that are on; `None` if the client takes none,
    /// or wants the content as it is more than any.
    fn of(accepts: Accepts, on: Codings) -> Option<Self> {
        let weight = |on: bool, weight: Weight| if on { weight } else { Weight::default() };
        let br = weight(on.br, accepts.br);
        let zstd = weight(on.zstd, accepts.zstd);
        let gzip = weight(on.gzip, accepts.gzip);
        let most = br.max(zstd).max(gzip);
        let wanted = most.is_taken() && accepts.identity.is_none_or(|identity| identity <= most);
        wanted.then_some(Self {
            br: br == most,
            zstd: zstd == most,
            gzip: gzip == most,
        })
    }

    /// In the order in which stored copies are preferred: smallest first.
    pub fn stored(self) -> impl Iterator<Item = Coding> {
        self.ordered([Coding::Br, Coding::Zstd, Coding::Gzip])
    }

    /// The one that is best made while the client waits: quickest for its size.
    pub fn on_the_fly(self) -> Coding {
        self.ordered([Coding::Zstd, Coding::Br, Coding::Gzip])
            .next()
            .expect("a choice is never empty")
    }

    fn ordered(self, order: [Coding; 3]) -> impl Iterator<Item = Coding> {
        order.into_iter().filter(move |coding| match coding {
            Coding::Br => self.br,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        })
    }
}

/// How much a client likes `coding`.
pub(super) fn weight(accepts: Accepts, coding: Coding) -> Weight {
    match coding {
        Coding::Br => accepts.br,
        Coding::Zstd => accepts.zstd,
        Coding::Gzip => accepts.gzip,
    }
}

/// What becomes of content that came coded: never coded twice, and decoded for those who cannot.
fn recode(accepts: Accepts, fields: &HeaderMap) -> Decision {
    let left = Decision::Leave(Uncoded::AlreadyCoded);
    let Some(coding) = coded_by_upstream(fields) else {
        return left;
    };
    if weight(accepts, coding).is_taken() || !accepts.takes_identity() || is_no_transform(fields) {
        return left;
    }
    Decision::Decode(coding)
}

/// The one coding of the content, if we know it. What we do not know, or what is coded several times
/// over, is nothing that we can take off.
fn coded_by_upstream(fields: &HeaderMap) -> Option<Coding> {
    let mut codings = list::members(fields, &CONTENT_ENCODING);
    match (codings.next(), codings.next()) {
        (Some(coding), None) => Coding::named(coding),
        _ => None,
    }
}

fn is_no_transform(fields: &HeaderMap) -> bool {
    list::members(fields, &CACHE_CONTROL)
        .any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// Whether an answer with this status has whole content (RFC 9110 §6.4.1, §15.3.7).
fn may_have_content(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    const SETTINGS: ContentCodingSettings = ContentCodingSettings {
        enabled: true,
        codings: Codings {
            br: true,
            zstd: true,
            gzip: true,
        },
        min_size: 1024,
        breach: config::content_coding::Breach::Balanced,
        streams: Streams::Off,
    };
    const ALL: &str = "gzip, br, zstd";

    fn asked(accept: &'static str) -> Asked {
        asked_with(&[("accept-encoding", accept)])
    }

    fn asked_with(pairs: &[(&'static str, &'static str)]) -> Asked {
        let mut request = Request::new(());
        *request.headers_mut() = fields(pairs);
        Asked::of(&request)
    }

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        HeaderMap::from_iter(pairs)
    }

    fn decided(
        accept: &'static str,
        status: u16,
        pairs: &[(&'static str, &'static str)],
    ) -> Decision {
        let fields = fields(pairs);
        let content = Content {
            status: StatusCode::from_u16(status).unwrap(),
            fields: &fields,
            length: Some(5000),
            shared: false,
        };
        decide(&SETTINGS, asked(accept), content)
    }

    #[test]
    fn why_content_is_not_coded() {
        use Uncoded::*;
        const HTML: (&str, &str) = ("content-type", "text/html");
        let cases: [(u16, &[(&str, &str)], Uncoded); 14] = [
            (204, &[HTML], Status),
            (205, &[HTML], Status),
            (206, &[HTML], Status),
            (304, &[HTML], Status),
            (101, &[HTML], Status),
            (200, &[HTML, ("content-range", "bytes 0-1/2")], ContentRange),
            (200, &[HTML, ("content-encoding", "br")], AlreadyCoded),
            (200, &[HTML, ("content-encoding", "dcb")], AlreadyCoded),
            (200, &[HTML, ("content-encoding", "gzip, br")], AlreadyCoded),
            (200, &[("content-type", "text/event-stream")], Stream),
            (200, &[HTML, ("x-accel-buffering", "no")], Stream),
            (200, &[("content-type", "font/woff2")], MediaType),
            (200, &[], MediaType),
            (
                200,
                &[HTML, ("cache-control", "max-age=1, No-Transform")],
                NoTransform,
            ),
        ];
        for (status, pairs, reason) in cases {
            assert_eq!(
                decided(ALL, status, pairs),
                Decision::Leave(reason),
                "{status} {pairs:?}"
            );
        }
        for (accept, ranged) in [
            ("deflate", false),
            ("", false),
            ("identity, br;q=0.9", false),
            (ALL, true),
        ] {
            let reason = if ranged { Range } else { NotAccepted };
            let fields = fields(&[HTML]);
            let content = Content {
                status: StatusCode::OK,
                fields: &fields,
                length: None,
                shared: false,
            };
            let asked = Asked {
                range: ranged,
                ..asked(accept)
            };
            assert_eq!(
                decide(&SETTINGS, asked, content),
                Decision::Leave(reason),
                "{accept}"
            );
        }
    }

    #[test]
    fn short_content_is_left_alone_if_its_length_is_known() {
        let fields = fields(&[("content-type", "text/css")]);
        for (length, coded) in [
            (Some(0), false),
            (Some(1023), false),
            (Some(1024), true),
            (None, true),
        ] {
            let content = Content {
                status: StatusCode::OK,
                fields: &fields,
                length,
                shared: false,
            };
            assert_eq!(
                decide(&SETTINGS, asked(ALL), content).coded().is_some(),
                coded,
                "{length:?}"
            );
        }
    }

    #[test]
    fn weights_come_first_then_our_preference() {
        use Coding::{Br, Gzip, Zstd};
        // What is stored is preferred in one order, what is made now in another.
        let cases: [(&str, &[Coding], Coding); 6] = [
            ("gzip, br, zstd", &[Br, Zstd, Gzip], Zstd),
            ("gzip, br", &[Br, Gzip], Br),
            ("gzip;q=1, br;q=0.9", &[Gzip], Gzip),
            ("gzip;q=0.5, zstd;q=0.5, br;q=0.1", &[Zstd, Gzip], Zstd),
            ("*", &[Br, Zstd, Gzip], Zstd),
            ("*;q=0.1, identity;q=0.1", &[Br, Zstd, Gzip], Zstd),
        ];
        for (accept, stored, on_the_fly) in cases {
            let decision = decided(accept, 200, &[("content-type", "text/html")]);
            let best = decision.coded().expect(accept);
            assert_eq!(best.stored().collect::<Vec<_>>(), stored, "{accept}");
            assert_eq!(best.on_the_fly(), on_the_fly, "{accept}");
        }
    }

    #[test]
    fn codings_that_are_off_are_not_used() {
        let fields = fields(&[("content-type", "text/html")]);
        let content = Content {
            status: StatusCode::OK,
            fields: &fields,
            length: None,
            shared: false,
        };
        let codings = Codings {
            br: false,
            zstd: false,
            gzip: true,
        };
        let settings = ContentCodingSettings {
            codings,
            ..SETTINGS
        };
        let decision = decide(&settings, asked("br, gzip;q=0.1"), content);
        assert_eq!(decision.coded().unwrap().on_the_fly(), Coding::Gzip);
        let off = ContentCodingSettings {
            enabled: false,
            ..SETTINGS
        };
        assert_eq!(
            decide(&off, asked(ALL), content),
            Decision::Leave(Uncoded::Disabled)
        );
    }

    #[test]
    fn what_the_upstream_coded_is_decoded_for_those_who_cannot() {
        let leave = Decision::Leave(Uncoded::AlreadyCoded);
        let cases = [
            ("gzip", "gzip", leave),
            ("gzip;q=0.1, br", "X-Gzip", leave),
            ("", "gzip", Decision::Decode(Coding::Gzip)),
            ("gzip", "br", Decision::Decode(Coding::Br)),
            ("gzip;q=0", "gzip", Decision::Decode(Coding::Gzip)),
            ("br", "zstd", Decision::Decode(Coding::Zstd)),
            ("br, identity;q=0", "zstd", leave),
            ("br, *;q=0", "zstd", leave),
            ("", "deflate", leave),
            ("", "gzip, gzip", leave),
        ];
        for (accept, coding, expected) in cases {
            let pairs = [("content-type", "image/png"), ("content-encoding", coding)];
            assert_eq!(decided(accept, 200, &pairs), expected, "{accept} {coding}");
        }
        let fixed = [
            ("content-encoding", "br"),
            ("cache-control", "no-transform"),
        ];
        assert_eq!(decided("", 200, &fixed), leave);
    }

    #[test]
    fn streams_are_coded_if_told_so_but_grpc_never() {
        let settings = ContentCodingSettings {
            streams: Streams::Flush,
            ..SETTINGS
        };
        for (content_type, coded) in [
            ("text/event-stream", true),
            ("application/x-ndjson", true),
            ("application/grpc+json", false),
            ("multipart/x-mixed-replace", false),
        ] {
            let fields = fields(&[("content-type", content_type)]);
            let content = Content {
                status: StatusCode::OK,
                fields: &fields,
                length: None,
                shared: false,
            };
            let found = decide(&settings, asked(ALL), content).coded().is_some();
            assert_eq!(found, coded, "{content_type}");
        }
    }

    #[test]
    fn answers_to_credentials_go_by_the_policy() {
        let fields = fields(&[("content-type", "text/html")]);
        let content = Content {
            status: StatusCode::OK,
            fields: &fields,
            length: None,
            shared: false,
        };
        let with_site = |site| {
            asked_with(&[
                ("accept-encoding", "br"),
                ("cookie", "a=b"),
                ("sec-fetch-site", site),
            ])
        };
        let same = decide(&SETTINGS, with_site("same-origin"), content);
        assert!(matches!(same, Decision::Code { jitter: true, .. }));
        let cross = decide(&SETTINGS, with_site("cross-site"), content);
        assert_eq!(cross, Decision::Leave(Uncoded::Breach(Refusal::CrossSite)));
        let stored = Content {
            shared: true,
            ..content
        };
        let stored = decide(&SETTINGS, with_site("cross-site"), stored);
        assert!(matches!(stored, Decision::Code { jitter: false, .. }));
    }

    #[test]
    fn vary_is_said_wherever_another_client_might_get_other_bytes() {
        let html: &[(&str, &str)] = &[("content-type", "text/html")];
        let cases: [(u16, &[(&str, &str)], bool); 11] = [
            (200, html, true),
            (206, html, true),
            (304, html, true),
            (304, &[], true),
            (404, html, true),
            (204, &[], false),
            (200, &[], false),
            (200, &[("content-type", "image/png")], false),
            (304, &[("content-type", "image/png")], false),
            (
                200,
                &[("content-type", "image/png"), ("content-encoding", "gzip")],
                true,
            ),
            (
                200,
                &[
                    ("content-type", "text/html"),
                    ("cache-control", "no-transform"),
                ],
                false,
            ),
        ];
        for (status, pairs, expected) in cases {
            let fields = fields(pairs);
            let status = StatusCode::from_u16(status).unwrap();
            let content = Content {
                status,
                fields: &fields,
                length: Some(1),
                shared: false,
            };
            let decision = decide(&SETTINGS, asked(ALL), content);
            let found = varies(&SETTINGS, decision, content);
            assert_eq!(found, expected, "{status} {pairs:?}");
        }
    }
}
