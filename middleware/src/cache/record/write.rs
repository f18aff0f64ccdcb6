//! Writing records.

use bytes::Bytes;
use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::cache::record::head::{self, Field, Head, IndexHead, Kind, Raw, WrittenTerms};
use crate::cache::record::name::Digest;
use crate::cache::store::tier::RecordKey;
use crate::cache::stored::{Fields, StoredResponse};
use crate::content_coding::Coding;
use crate::fields::tags::Source;

/// A stored response as it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) name: RecordKey,
    pub(crate) record: Bytes,
    /// Where it is chosen by `Vary`: what else is to be written, before it.
    pub(crate) index: Option<(RecordKey, Bytes)>,
}

/// Why a stored response stays in memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// It answers other queries than its own by `No-Vary-Search`: a purge of one of those would have
    /// to find it, and elsewhere nobody knows by which.
    Wide,
    /// Its head is too long, or it contradicts itself.
    Head,
    /// It has a cookie for somebody.
    Cookie,
}

/// The record of `stored`, which lies under the cache key `key` and was asked for when `place` was the
/// latest purge.
///
/// # Errors
/// See [`Unwritable`].
pub(crate) fn encode(
    stored: &StoredResponse,
    key: &[u8],
    place: u64,
) -> Result<Encoded, Unwritable> {
    if stored.is_wide {
        return Err(Unwritable::Wide);
    }
    if stored.fields.contains_key(SET_COOKIE) {
        return Err(Unwritable::Cookie);
    }
    let received = head::since_1970(stored.received().wall).ok_or(Unwritable::Head)?;
    let names: Vec<&str> = stored
        .selection()
        .names()
        .map(|name| name.as_str())
        .collect();
    let digest = Digest::selected(key, stored.selection());
    let head = head_of(stored, place, received, &names, digest).ok_or(Unwritable::Head)?;
    let copies = Coding::ALL
        .iter()
        .filter_map(|coding| stored.coded(*coding));
    let pieces = || stored.body.iter().chain(copies.clone());
    let more = pieces().map(Bytes::len).sum();
    let mut record = head::begin(Kind::Response, &head, more).ok_or(Unwritable::Head)?;
    pieces().for_each(|piece| record.extend_from_slice(piece));
    head::finish(&mut record);
    let index = match names.is_empty() {
        true => None,
        false => Some(index(key, received, names).ok_or(Unwritable::Head)?),
    };
    Ok(Encoded {
        name: digest.name(),
        record: record.into(),
        index,
    })
}

fn head_of<'a>(
    stored: &'a StoredResponse,
    place: u64,
    received: u64,
    names: &[&'a str],
    digest: Digest,
) -> Option<Head<'a>> {
    let tags = stored.tags().told_apart().map(|(source, hash)| {
        let source = Source::ALL.iter().position(|one| *one == source);
        (
            u8::try_from(source.unwrap_or_default()).unwrap_or(u8::MAX),
            hash.0,
        )
    });
    let head = Head {
        digest: digest.0,
        place,
        received,
        status: stored.status.as_u16(),
        is_authorized: stored.is_authorized,
        is_outdated: stored.is_outdated(),
        took: head::millis(stored.took),
        terms: WrittenTerms::of(&stored.terms())?,
        names: names.to_vec(),
        fields: lines(&stored.fields),
        apart: stored.apart().fields().map(fields).unwrap_or_default(),
        tags: tags.collect(),
        parts: stored.parts().map(|parts| {
            let spans = parts.spans().iter().map(|span| (span.first, span.last));
            (parts.complete(), spans.collect())
        }),
        length: stored.length(),
        coded: Coding::ALL.map(|coding| stored.coded(coding).map(|copy| copy.len() as u64)),
    };
    stored.is_sound().then_some(head)
}

fn lines(fields: &Fields) -> Vec<Field<'_>> {
    fields
        .lines()
        .map(|line| Field {
            name: line.name(),
            value: Raw(line.value),
            is_sensitive: line.is_sensitive,
        })
        .collect()
}

fn fields(fields: &HeaderMap) -> Vec<Field<'_>> {
    fields
        .iter()
        .map(|(name, value)| Field {
            name: name.as_str(),
            value: Raw(value.as_bytes()),
            is_sensitive: value.is_sensitive(),
        })
        .collect()
}

/// The record that says by which fields the responses under `key` are chosen.
fn index(key: &[u8], received: u64, names: Vec<&str>) -> Option<(RecordKey, Bytes)> {
    let digest = Digest::plain(key);
    let head = IndexHead {
        digest: digest.0,
        received,
        names,
    };
    let mut record = head::begin(Kind::Index, &head, 0)?;
    head::finish(&mut record);
    Some((digest.name(), record.into()))
}
