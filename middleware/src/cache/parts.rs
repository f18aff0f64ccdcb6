//! Parts of a representation: which are stored, what they answer, how they are put together
//! (RFC 9111 §3.3, §3.4; RFC 9110 §15.3.7). Pure.
//!
//! A 206 is stored as what it is: a stored response whose content is some spans of the
//! representation, one after the other. It answers ranges that lie within one of them, and nothing
//! else. A later 206 adds to it if both have the same strong entity tag and speak of the same length;
//! when no byte is missing, it is a stored 200.

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Body;
use crate::body::cut;
use crate::fields::entity_tag::EntityTag;
use crate::fields::range::{ContentRange, Ranges, Span};

/// Which bytes of a representation a stored response has; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Length of the representation.
    complete: u64,
    /// In order, none empty, none overlapping or touching another; at least one.
    spans: Vec<Span>,
}

impl Parts {
    /// The part that a 206 with these fields and this declared length is, if it can be stored: one
    /// span of identity content of known length. "Reject a 206 whose Content-Range disagrees with its
    /// body": here by what it declares, later by what comes.
    pub(crate) fn of(fields: &HeaderMap, declared: Option<u64>) -> Option<Self> {
        let ContentRange::Span(span, Some(complete)) =
            ContentRange::parse(only(fields, &CONTENT_RANGE)?.as_bytes())?
        else {
            return None;
        };
        let identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        let is_identity = fields.get_all(CONTENT_ENCODING).iter().all(identity);
        let agrees = declared.is_none_or(|declared| declared == span.length());
        (is_identity && agrees && !is_multipart(fields)).then(|| Self {
            complete,
            spans: vec![span],
        })
    }

    /// These `spans`; `None` if they are not as those of parts are.
    pub(crate) fn read(complete: u64, spans: Vec<Span>) -> Option<Self> {
        let is_apart = |pair: &[Span]| match pair {
            [one, next] => one.last.checked_add(1).is_some_and(|end| end < next.first),
            _ => true,
        };
        let is_sound = |span: &Span| span.first <= span.last && span.last < complete;
        let is_sound = !spans.is_empty()
            && spans.len() <= MOST
            && spans.iter().all(is_sound)
            && spans.windows(2).all(is_apart);
        is_sound.then_some(Self { complete, spans })
    }

    /// In order.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Bytes of the representation.
    pub(crate) fn complete(&self) -> u64 {
        self.complete
    }

    /// Bytes that are here.
    pub(crate) fn length(&self) -> u64 {
        let length = |sum: u64, span: &Span| sum.saturating_add(span.length());
        self.spans.iter().fold(0, length)
    }

    /// Bytes of memory beside the content.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.spans.capacity() * size_of::<Span>()
    }

    /// For people: each as `first-last/complete`.
    pub(crate) fn print(&self) -> Vec<String> {
        let print = |Span { first, last }: &Span| format!("{first}-{last}/{}", self.complete);
        self.spans.iter().map(print).collect()
    }

    /// Whether nothing is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.length() == self.complete
    }

    /// The bytes that a request with these fields asks for, if they are here and nothing else can be
    /// meant: one range within one span, and no precondition but an `If-Range` with the strong tag
    /// that `stored` has (RFC 9110 §13.1.5: "strong comparison").
    pub(crate) fn wanted(&self, request: &HeaderMap, stored: &HeaderMap) -> Option<Span> {
        if request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE) {
            return None;
        }
        if request.contains_key(IF_RANGE) {
            let condition = EntityTag::parse(only(request, &IF_RANGE)?.as_bytes())?;
            strong_tag(stored).filter(|stored| stored.is_strongly(condition))?;
        }
        let Ranges::One(range) = Ranges::parse(only(request, &RANGE)?.as_bytes(), 1)? else {
            return None;
        };
        let wanted = range.within(self.complete)?;
        self.place(wanted).map(|_| wanted)
    }

    /// Of the content of all parts, the bytes of `span`; `None` if one of them is not here.
    pub(crate) fn cut(&self, content: &[Bytes], span: Span) -> Option<Body> {
        let pieces = cut(content, self.place(span)?, span.length());
        Some(Body::segments(pieces.into()))
    }

    /// Where in the content `span` begins.
    fn place(&self, span: Span) -> Option<u64> {
        let mut before = 0_u64;
        for part in &self.spans {
            if part.first <= span.first && span.last <= part.last {
                return Some(before + (span.first - part.first));
            }
            before += part.length();
        }
        None
    }

    /// These parts with what `new` adds to them, and the pieces of their content; those of `added`
    /// that are used are to be copied by `own`. `None` if they are not of one length, or would be in
    /// more than [`MOST`] places: then `new` stands alone.
    pub(crate) fn joined(
        &self,
        content: &[Bytes],
        new: &Self,
        added: &[Bytes],
        own: impl Fn(Vec<Bytes>) -> Vec<Bytes>,
    ) -> Option<(Self, Vec<Bytes>)> {
        if self.complete != new.complete {
            return None;
        }
        let mut all: Vec<(Span, Vec<Bytes>)> = Vec::new();
        let mut place = 0;
        for span in &self.spans {
            all.push((*span, cut(content, place, span.length())));
            place += span.length();
        }
        let mut place = 0;
        for span in &new.spans {
            for gap in self.missing(*span) {
                let pieces = cut(added, place + (gap.first - span.first), gap.length());
                all.push((gap, own(pieces)));
            }
            place += span.length();
        }
        all.sort_unstable_by_key(|(span, _)| span.first);
        let mut spans: Vec<Span> = Vec::new();
        let mut pieces = Vec::new();
        for (span, content) in all {
            match spans.last_mut() {
                Some(last) if last.last + 1 == span.first => last.last = span.last,
                _ => spans.push(span),
            }
            pieces.extend(content);
        }
        if pieces.len() > PIECES {
            pieces = own(pieces);
        }
        let complete = self.complete;
        (spans.len() <= MOST).then_some((Self { complete, spans }, pieces))
    }

    /// What of `span` is not here.
    fn missing(&self, span: Span) -> Vec<Span> {
        let mut missing = Vec::new();
        let mut first = span.first;
        for part in self.spans.iter().filter(|part| part.overlaps(span)) {
            if first < part.first {
                let last = part.first - 1;
                missing.push(Span { first, last });
            }
            first = part.last + 1;
        }
        if first <= span.last {
            missing.push(Span {
                first,
                last: span.last,
            });
        }
        missing
    }
}

/// Whether parts with these fields are of the same bytes: "if they all share the same strong
/// validator" (RFC 9110 §15.3.7.3). A date alone is not taken for one.
pub(crate) fn are_of_one(stored: &HeaderMap, new: &HeaderMap) -> bool {
    match (strong_tag(stored), strong_tag(new)) {
        (Some(stored), Some(new)) => stored.is_strongly(new),
        _ => false,
    }
}

/// Whether `fields` have a tag by which parts may be validated.
pub(crate) fn has_strong_tag(fields: &HeaderMap) -> bool {
    strong_tag(fields).is_some()
}

fn strong_tag(fields: &HeaderMap) -> Option<EntityTag<'_>> {
    EntityTag::parse(only(fields, &ETAG)?.as_bytes()).filter(|tag| !tag.is_weak())
}

/// The fields of a 206 that are about that one message, and not stored.
pub(crate) const OF_PART: [HeaderName; 4] = [
    CONTENT_RANGE,
    CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
];

fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

fn is_multipart(fields: &HeaderMap) -> bool {
    let name = b"multipart/byteranges";
    fields.get(CONTENT_TYPE).is_some_and(|media_type| {
        let start = media_type.as_bytes().get(..name.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(name))
    })
}

/// Spans of one stored response.
const MOST: usize = 32;
/// Pieces of its content, before they are copied into fewer: many small ones would weigh, and
/// cost at each joining, more than their bytes.
const PIECES: usize = 256;

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
