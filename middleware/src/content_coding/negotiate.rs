//! Which coding an answer gets, or why none: pure rules (RFC 9110 §12.5.3, semantics §3.7).

use config::content_coding::{Codings, ContentCodingSettings, Streams};
use http::StatusCode;

use crate::content_coding::Coding;
use crate::content_coding::guard::{self, Audience, Refusal, Verdict};
use crate::content_coding::reading::{Asked, Coded, Kind, Reading};
use crate::fields::accept_encoding::{Accepts, Weight};

/// What of an answer the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Final status.
    pub status: StatusCode,
    /// Its fields.
    pub read: Reading,
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

/// What becomes of `content` for the client that asked so.
pub fn decide(settings: &ContentCodingSettings, asked: &Asked, content: Content) -> Decision {
    use Uncoded as U;
    let read = &content.read;
    if !settings.enabled {
        return Decision::Leave(U::Disabled);
    }
    if !may_have_content(content.status) {
        return Decision::Leave(U::Status);
    }
    if read.is_part {
        return Decision::Leave(U::ContentRange);
    }
    if read.coding != Coded::Not {
        return recode(asked.accepts, read);
    }
    if !is_compressible(read.kind) {
        return Decision::Leave(U::MediaType);
    }
    if settings.streams == Streams::Off && read.is_stream {
        return Decision::Leave(U::Stream);
    }
    if read.no_transform {
        return Decision::Leave(U::NoTransform);
    }
    if content
        .length
        .is_some_and(|length| length < settings.min_size)
    {
        return Decision::Leave(U::TooSmall);
    }
    if asked.range {
        return Decision::Leave(U::Range);
    }
    let Some(best) = Choice::of(asked.accepts, settings.codings) else {
        return Decision::Leave(U::NotAccepted);
    };
    let audience = Audience::of(read, content.shared);
    match guard::judge(settings.breach, asked.asker, audience, read.kind) {
        Verdict::Compress => Decision::Code {
            best,
            jitter: false,
        },
        Verdict::CompressWithJitter => Decision::Code { best, jitter: true },
        Verdict::DoNot(refusal) => Decision::Leave(U::Breach(refusal)),
    }
}

/// Whether another client might get other bytes for this, so that `Vary` must say so.
pub fn varies(settings: &ContentCodingSettings, decision: Decision, content: Content) -> bool {
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
fn whole_may_vary(settings: &ContentCodingSettings, content: Content) -> bool {
    let read = &content.read;
    if content.status == StatusCode::NO_CONTENT || content.status.is_informational() {
        return false;
    }
    let by_type = match read.kind {
        Kind::Compressible | Kind::Page => settings.streams == Streams::Flush || !read.is_stream,
        Kind::Incompressible => false,
        Kind::Unstated => content.status == StatusCode::NOT_MODIFIED,
    };
    (by_type || matches!(read.coding, Coded::By(_))) && !read.no_transform
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
fn recode(accepts: Accepts, read: &Reading) -> Decision {
    match read.coding {
        Coded::By(coding)
            if !weight(accepts, coding).is_taken()
                && accepts.takes_identity()
                && !read.no_transform =>
        {
            Decision::Decode(coding)
        }
        _ => Decision::Leave(Uncoded::AlreadyCoded),
    }
}

fn is_compressible(kind: Kind) -> bool {
    matches!(kind, Kind::Compressible | Kind::Page)
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
