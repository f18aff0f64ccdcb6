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
mod tests;
