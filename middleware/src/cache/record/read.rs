//! Reading records.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::body::Segments;
use crate::cache::apart::Apart;
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::parts::Parts;
use crate::cache::place::Place;
use crate::cache::record::Unreadable;
use crate::cache::record::head::{self, Field, Head, IndexHead, Kind};
use crate::cache::record::name::Digest;
use crate::cache::store::tier::RecordKey;
use crate::cache::stored::restored::Restored;
use crate::cache::stored::{Fields, SEGMENT, StoredResponse, Unpacked};
use crate::cache::tags::{NameHash, Tags};
use crate::cache::vary::{MOST_NAMES, Selection};
use crate::clock::Now;
use crate::fields::range::Span;
use crate::fields::tags::Source;

/// What a record is.
#[derive(Debug)]
pub(crate) enum Record {
    /// In a box, since it goes through many hands before it is known to be for anybody.
    Response(Box<Filed>),
    Index(Index),
}

/// A response that is not yet known to be for anybody.
#[derive(Debug)]
pub(crate) struct Filed {
    /// The latest purge that was applied when it was asked for.
    pub(crate) place: u64,
    digest: Digest,
    pub(super) names: Vec<HeaderName>,
    pub(super) response: Restored,
}

/// By which fields responses are chosen under a key.
#[derive(Debug)]
pub(crate) struct Index {
    digest: Digest,
    names: Vec<HeaderName>,
}

/// What `record` says. It must be memory of its own, of no more than its length: long content stays a
/// slice of it.
///
/// # Errors
/// See [`Unreadable`]. Takes memory in proportion to the length of `record`, whatever it says.
pub(crate) fn decode(record: Bytes, now: Now) -> Result<Record, Unreadable> {
    let (kind, end) = head::open(&record)?;
    match kind {
        Kind::Response => filed(&record, end, now).map(Record::Response),
        Kind::Index => index(&record, end, now).map(Record::Index),
    }
}

impl Filed {
    /// The names of what it belongs to, by which it is purged.
    pub(crate) fn tags(&self) -> &Tags {
        &self.response.tags
    }

    /// Whether it was made of `stored`, or of what that was made of.
    pub(crate) fn is_of(&self, stored: &StoredResponse) -> bool {
        self.response.received.wall == stored.received().wall
            && stored.place() == Some(Place::of_number(self.place))
    }

    /// The stored response for a request with these fields, whose cache key is `key` (its digest
    /// `plain`, its hash `hash`); `born` is the latest purge that it was compared with here.
    ///
    /// # Errors
    /// If it is of another key, or for requests that say other things.
    pub(crate) fn answering(
        self,
        key: &[u8],
        plain: Digest,
        hash: KeyHash,
        request: &HeaderMap,
        born: Sequence,
    ) -> Result<StoredResponse, Unreadable> {
        let selection = Selection::of(self.names, request);
        let digest = match selection.is_any() {
            true => plain,
            false => Digest::selected(key, &selection),
        };
        if digest != self.digest {
            return Err(Unreadable::OtherKey);
        }
        let place = Place::of_number(self.place);
        Ok(self.response.stored(selection, hash, born, place))
    }
}

impl Index {
    /// Where the response for a request with these fields lies, whose cache key is `key`.
    ///
    /// # Errors
    /// If it is the index of another key.
    pub(crate) fn name(self, key: &[u8], request: &HeaderMap) -> Result<RecordKey, Unreadable> {
        if Digest::plain(key) != self.digest {
            return Err(Unreadable::OtherKey);
        }
        Ok(Digest::of_request(key, self.names, request).name())
    }
}

fn index(record: &Bytes, end: usize, now: Now) -> Result<Index, Unreadable> {
    let head: IndexHead<'_> = head::read(record, end)?;
    if end != record.len() {
        return Err(Unreadable::Length);
    }
    received(head.received, now)?;
    let names = names(&head.names).ok_or(Unreadable::Content)?;
    if names.is_empty() {
        return Err(Unreadable::Content);
    }
    Ok(Index {
        digest: Digest(head.digest),
        names,
    })
}

fn filed(record: &Bytes, end: usize, now: Now) -> Result<Box<Filed>, Unreadable> {
    let head: Head<'_> = head::read(record, end)?;
    let received = received(head.received, now)?;
    let (body, coded) = contents(record, end, &head)?;
    let response = (|| {
        Some(Restored {
            status: StatusCode::from_u16(head.status).ok()?,
            fields: fields(&head.fields)?,
            body,
            parts: match head.parts {
                None => None,
                Some((complete, spans)) => {
                    let spans = spans.into_iter().map(|(first, last)| Span { first, last });
                    Some(Arc::new(Parts::read(complete, spans.collect())?))
                }
            },
            coded,
            terms: head.terms.read()?,
            received,
            tags: tags(&head.tags)?,
            apart: Apart::of(map(&head.apart)?),
            is_authorized: head.is_authorized,
            is_outdated: head.is_outdated,
            took: head::seconds(head.took),
        })
    })();
    let response = response.filter(Restored::is_sound);
    Ok(Box::new(Filed {
        place: head.place,
        digest: Digest(head.digest),
        names: names(&head.names).ok_or(Unreadable::Content)?,
        response: response.ok_or(Unreadable::Content)?,
    }))
}

/// When a record was received by whoever wrote it, on both clocks of ours.
fn received(nanos: u64, now: Now) -> Result<Now, Unreadable> {
    let wall = head::after_1970(nanos).ok_or(Unreadable::Content)?;
    let since = match now.wall.duration_since(wall) {
        Ok(since) => since,
        Err(ahead) if ahead.duration() <= MOST_SKEW => Duration::ZERO,
        Err(_) => return Err(Unreadable::Future),
    };
    let mono = now.mono.checked_sub(since).ok_or(Unreadable::Content)?;
    Ok(Now { wall, mono })
}

/// The content in pieces, and its copies.
type Contents = (Segments, [Option<Bytes>; 3]);

fn contents(record: &Bytes, end: usize, head: &Head<'_>) -> Result<Contents, Unreadable> {
    let after = record.get(end..).unwrap_or_default();
    // A little content would keep a large head alive that nobody needs.
    let mut rest = match after.len() / WORTH_SHARING < end {
        true => Bytes::copy_from_slice(after),
        false => record.slice_ref(after),
    };
    let mut take = |length: u64| {
        let length = usize::try_from(length).ok();
        let length = length.filter(|length| *length <= rest.len());
        length
            .map(|length| rest.split_to(length))
            .ok_or(Unreadable::Length)
    };
    let mut content = take(head.length)?;
    let mut coded = [None, None, None];
    for (slot, length) in coded.iter_mut().zip(head.coded) {
        *slot = length.map(&mut take).transpose()?;
    }
    if !rest.is_empty() {
        return Err(Unreadable::Length);
    }
    if (1..=SEGMENT).contains(&content.len()) {
        return Ok((Segments::One(content), coded));
    }
    let mut body = Vec::with_capacity(content.len().div_ceil(SEGMENT));
    while !content.is_empty() {
        body.push(content.split_to(content.len().min(SEGMENT)));
    }
    Ok((Segments::from(body), coded))
}

/// These fields, as a stored response has them.
fn fields(lines: &[Field<'_>]) -> Option<Fields> {
    if lines.len() > MOST_FIELDS {
        return None;
    }
    let told = lines.iter().map(|line| Unpacked {
        name: line.name,
        value: line.value.0,
        is_sensitive: line.is_sensitive,
    });
    Fields::of_lines(lines.len(), told)
}

/// These fields, their values in one piece of memory of its own.
fn map(lines: &[Field<'_>]) -> Option<HeaderMap> {
    if lines.len() > MOST_FIELDS {
        return None;
    }
    if lines.is_empty() {
        return Some(HeaderMap::new());
    }
    let mut values = BytesMut::with_capacity(lines.iter().map(|line| line.value.0.len()).sum());
    lines
        .iter()
        .for_each(|line| values.extend_from_slice(line.value.0));
    let mut values = values.freeze();
    let mut fields = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_lowercase(line.name.as_bytes()).ok()?;
        let value = values.split_to(line.value.0.len());
        let mut value = HeaderValue::from_maybe_shared(value).ok()?;
        value.set_sensitive(line.is_sensitive);
        fields.try_append(name, value).ok()?;
    }
    // A clone has room for its fields and no more.
    Some(fields.clone())
}

fn names(names: &[&str]) -> Option<Vec<HeaderName>> {
    if names.len() > MOST_NAMES + 1 {
        return None;
    }
    let name = |name: &&str| HeaderName::from_lowercase(name.as_bytes()).ok();
    names.iter().map(name).collect()
}

fn tags(tags: &[(u8, u64)]) -> Option<Tags> {
    let tag = |(source, hash): &(u8, u64)| {
        let source = Source::ALL.get(usize::from(*source))?;
        Some((*source, NameHash(*hash)))
    };
    tags.iter().map(tag).collect::<Option<_>>().map(Tags::of)
}

/// A record that was stored later than this from now is not used: somebody's clock is wrong, and it
/// would be taken to be younger than it is.
const MOST_SKEW: Duration = Duration::from_secs(2);
/// Lines of all fields; no HTTP library of ours takes as many.
pub(super) const MOST_FIELDS: usize = 4096;
/// Content is a slice of its record if it is so many times as long as what it keeps alive with it.
const WORTH_SHARING: usize = 8;
