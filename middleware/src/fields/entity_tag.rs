//! Entity tags (RFC 9110 §8.8.3), how they compare, and the two marks that are ours.
//!
//! - `"abc~br"`: the copy that we coded of what the upstream tagged `"abc"`. Weak tags are the same
//!   for every coding and carry no marker.
//! - `W/"~0123…"` (or strong): made by us, 32 lower-case hexadecimal digits, for content that came
//!   without a tag.
//!
//! ```
//! use http::HeaderValue;
//! use middleware::fields::entity_tag::{EntityTag, with_coding};
//!
//! let coded = with_coding(&HeaderValue::from_static("\"abc\""), "br").expect("a tag");
//! assert_eq!(coded, "\"abc~br\"");
//! let tag = EntityTag::parse(coded.as_bytes()).expect("a tag");
//! assert_eq!(tag.coding(), Some("br"));
//! assert_eq!(tag.without_coding().opaque(), b"abc");
//! ```

use std::collections::HashSet;

use bytes::Bytes;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::list::{self, Quotes};

/// An entity tag, borrowed from a field value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntityTag<'a> {
    form: Form,
    opaque: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// `"…"`
    Strong,
    /// `W/"…"`
    Weak,
    /// `…`: malformed. Compares weakly by its bytes, and is never written.
    Unquoted,
}

/// One member of `If-None-Match` or `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// `*`: whatever there is.
    Any,
    /// A tag.
    Tag(EntityTag<'a>),
}

impl<'a> EntityTag<'a> {
    /// A whole value of `ETag` or `If-Range`; `None` if it is malformed. Whitespace within the
    /// quotes is let be, since apps use it.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (form, quoted) = match value {
            [b'W', b'/', quoted @ ..] => (Form::Weak, quoted),
            quoted => (Form::Strong, quoted),
        };
        let opaque = unquote(quoted)?;
        Some(Self { form, opaque })
    }

    /// As [`parse`](Self::parse), but takes `w/` too, and whatever else as an unquoted tag: for comparing
    /// with what sloppy clients and apps send.
    pub fn lenient(value: &'a [u8]) -> Self {
        let weak = match value {
            [b'w', b'/', quoted @ ..] => unquote(quoted).map(|opaque| Self {
                form: Form::Weak,
                opaque,
            }),
            _ => None,
        };
        weak.or_else(|| Self::parse(value)).unwrap_or(Self {
            form: Form::Unquoted,
            opaque: value,
        })
    }

    /// Between the quotes.
    pub fn opaque(self) -> &'a [u8] {
        self.opaque
    }

    /// Whether it says that what it names may differ in bytes.
    pub fn is_weak(self) -> bool {
        self.form == Form::Weak
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): equal, and neither is weak.
    pub fn is_strongly(self, other: EntityTag<'_>) -> bool {
        self.form == Form::Strong && other.form == Form::Strong && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): equal, weak or not.
    pub fn is_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// The coding that our marker names.
    pub fn coding(self) -> Option<&'static str> {
        self.marked().map(|(_, coding)| coding)
    }

    /// The tag of what was coded; itself if it carries no marker.
    pub fn without_coding(self) -> Self {
        let opaque = self.marked().map_or(self.opaque, |(opaque, _)| opaque);
        Self { opaque, ..self }
    }

    /// Whether we made it, coded or not. More than the leading `~` is asked for, so that an app's own
    /// tag is not taken for ours.
    pub fn is_made(self) -> bool {
        match self.without_coding().opaque {
            [b'~', digits @ ..] => digits.len() == MADE_DIGITS && digits.iter().all(is_lower_hex),
            _ => false,
        }
    }

    fn marked(self) -> Option<(&'a [u8], &'static str)> {
        if self.form == Form::Unquoted {
            return None;
        }
        CODINGS.into_iter().find_map(|coding| {
            let opaque = self.opaque.strip_suffix(coding.as_bytes())?;
            Some((opaque.strip_suffix(b"~")?, coding))
        })
    }

    fn write(self, value: &mut Vec<u8>) {
        let (before, after): (&[u8], &[u8]) = match self.form {
            Form::Strong => (b"\"", b"\""),
            Form::Weak => (b"W/\"", b"\""),
            Form::Unquoted => (b"", b""),
        };
        for part in [before, self.opaque, after] {
            value.extend_from_slice(part);
        }
    }
}

/// The members of all lines of `If-None-Match` or `If-Match`, malformed ones as unquoted tags.
pub fn members<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Member<'a>> + use<'a> {
    fields.get_all(name).into_iter().flat_map(line_members)
}

fn line_members(line: &HeaderValue) -> impl Iterator<Item = Member<'_>> {
    list::split(line.as_bytes(), Quotes::Plain).map(|member| match member {
        b"*" => Member::Any,
        tag => Member::Tag(EntityTag::lenient(tag)),
    })
}

/// Whether a GET for what has this `ETag` is answered 304 by the request's `If-None-Match`
/// (RFC 9110 §13.1.2); see [`line_holds_back`]. `false` without the field.
pub fn none_match_holds_back(request: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    let mut lines = request.get_all(IF_NONE_MATCH).into_iter();
    lines.any(|line| line_holds_back(line, etag))
}

/// Whether one line of `If-None-Match` matches: weak comparison, our markers stripped on both sides.
/// Without an `ETag` only `*` matches.
pub fn line_holds_back(if_none_match: &HeaderValue, etag: Option<&HeaderValue>) -> bool {
    let current = etag.map(|value| EntityTag::lenient(list::trim(value.as_bytes())));
    line_members(if_none_match).any(|member| match (member, current) {
        (Member::Any, _) => true,
        (Member::Tag(_), None) => false,
        // Both as they are, too: an app's own tags may end like our marker.
        (Member::Tag(theirs), Some(current)) => [theirs, theirs.without_coding()]
            .into_iter()
            .any(|theirs| theirs.is_weakly(current) || theirs.is_weakly(current.without_coding())),
    })
}

/// The tag of a copy in `coding` (`br`, `zstd`, `gzip`) of what is tagged `tag`: a strong one gets
/// the marker, a weak one stays. `None` if `tag` is malformed, and then the copy must have none.
pub fn with_coding(tag: &HeaderValue, coding: &str) -> Option<HeaderValue> {
    debug_assert!(
        CODINGS.contains(&coding),
        "a marker that would not be stripped"
    );
    let parsed = EntityTag::parse(tag.as_bytes())?;
    if parsed.is_weak() {
        return Some(tag.clone());
    }
    let marked = [b"\"", parsed.opaque, b"~", coding.as_bytes(), b"\""].concat();
    HeaderValue::from_maybe_shared(Bytes::from(marked)).ok()
}

/// A tag of our own for content with this hash.
pub fn made(hash: u128, strong: bool) -> HeaderValue {
    let weak = if strong { "" } else { "W/" };
    HeaderValue::try_from(format!("{weak}\"~{hash:0MADE_DIGITS$x}\""))
        .expect("hexadecimal digits in quotes")
}

/// Takes our marks out of a request's preconditions, before it goes to those who do not know them.
///
/// - `If-None-Match`: `"abc~br"` becomes `"abc"`, and what is the same twice is left out once.
/// - `If-Match`: likewise; tags that we made are left out too, and with the last of them the field.
///   The app never gave them, so to it (and without us) this is a request without a precondition;
///   we judge none (RFC 9111 §4.3.2).
/// - `If-Range` with a mark of either kind goes, and `Range` with it: a range of the identity content
///   must not be joined to a part of a coded copy, and an app that ignores `If-Range` would give one.
///   What comes back is the whole; a condition on a tag that we made may still hold for that.
///
/// Values without such marks keep every byte, malformed or not.
pub fn strip_coding(request: &mut HeaderMap) {
    rewrite(request, &IF_NONE_MATCH, |tag| Some(tag.without_coding()));
    rewrite(request, &IF_MATCH, |tag| {
        (!tag.is_made()).then(|| tag.without_coding())
    });
    let marked = request.get_all(IF_RANGE).iter().any(|value| {
        EntityTag::parse(value.as_bytes())
            .is_some_and(|tag| tag.coding().is_some() || tag.is_made())
    });
    if marked {
        request.remove(IF_RANGE);
        request.remove(RANGE);
    }
}

/// Applies `change` to each tag of a list field; `None` leaves it out. Only if something changes is
/// the field written anew, on one line, and members that came to be the same are joined.
fn rewrite(
    fields: &mut HeaderMap,
    name: &HeaderName,
    change: impl Fn(EntityTag<'_>) -> Option<EntityTag<'_>>,
) {
    let untouched = |tag| change(tag) == Some(tag);
    if raw_members(fields, name).all(|member| untouched(EntityTag::lenient(member))) {
        return;
    }
    let mut value = Vec::new();
    // A set, since comparing each with each would let one request cost what thousands do.
    let mut written = HashSet::new();
    for member in raw_members(fields, name) {
        let tag = EntityTag::lenient(member);
        let Some(changed) = change(tag).filter(|changed| written.insert(*changed)) else {
            continue;
        };
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        if changed == tag {
            value.extend_from_slice(member);
        } else {
            changed.write(&mut value);
        }
    }
    match HeaderValue::from_bytes(&value) {
        Ok(value) if !value.is_empty() => fields.insert(name, value),
        _ => fields.remove(name),
    };
}

fn raw_members<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    fields
        .get_all(name)
        .into_iter()
        .flat_map(|line| list::split(line.as_bytes(), Quotes::Plain))
}

fn unquote(quoted: &[u8]) -> Option<&[u8]> {
    let opaque = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!opaque.contains(&b'"')).then_some(opaque)
}

fn is_lower_hex(digit: &u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

/// What a marker may name: the codings that we make.
const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];
/// Of a tag that we made: 128 bits.
const MADE_DIGITS: usize = 32;

#[cfg(test)]
mod tests;
