//! A stored response as it comes back from a lower tier.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::StatusCode;

use crate::body::Segments;
use crate::cache::apart::Apart;
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::parts::Parts;
use crate::cache::place::Place;
use crate::cache::storable::Terms;
use crate::cache::stored::copies::CodedCopies;
use crate::cache::stored::own::is_unstored;
use crate::cache::stored::packed::Packed;
use crate::cache::stored::rare::Rare;
use crate::cache::stored::{Fields, StoredResponse, number_of};
use crate::cache::tags::Tags;
use crate::cache::vary::Selection;
use crate::clock::{Moment, Now};
use crate::fields::decimal::Decimal;

/// All of it that does not depend on where and for whom it is stored.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: Segments,
    pub(crate) parts: Option<Arc<Parts>>,
    /// By [`Coding`](crate::content_coding::Coding).
    pub(crate) coded: [Option<Bytes>; 3],
    pub(crate) terms: Terms,
    pub(crate) received: Now,
    pub(crate) tags: Tags,
    pub(crate) apart: Apart,
    pub(crate) is_authorized: bool,
    pub(crate) is_outdated: bool,
    /// Seconds.
    pub(crate) took: f32,
}

impl Restored {
    /// See [`is_sound`].
    pub(crate) fn is_sound(&self) -> bool {
        is_sound(self.status, &self.fields, &self.body, self.parts.as_deref())
    }

    /// The stored response for the requests of `selection`, as one that was asked for at `born`.
    pub(crate) fn stored(
        self,
        selection: Selection,
        key: KeyHash,
        born: Sequence,
        place: Place,
    ) -> StoredResponse {
        let (terms, beyond) = Packed::of(self.terms);
        let rare = Rare {
            parts: self.parts,
            selection,
            tags: self.tags,
            apart: self.apart,
            terms: beyond,
        };
        StoredResponse {
            status: self.status,
            reading: self.fields.reading(),
            fields: self.fields,
            body: self.body,
            coded: match self.coded.iter().any(Option::is_some) {
                true => OnceLock::from(Arc::new(CodedCopies::of(self.coded))),
                false => OnceLock::new(),
            },
            rare: rare.boxed(),
            terms,
            received: Moment::of(self.received),
            born,
            place: number_of(Some(place)),
            took: self.took,
            valid_at: AtomicU64::new(born.number()),
            key,
            is_wide: false,
            is_authorized: self.is_authorized,
            next_validation: AtomicU64::new(0),
            outdated: AtomicBool::new(self.is_outdated),
            kept_below: AtomicU64::new(0),
            used: AtomicBool::new(false),
            on_disk: AtomicU8::new(0),
        }
    }
}

impl StoredResponse {
    /// See [`is_sound`].
    pub(crate) fn is_sound(&self) -> bool {
        let parts = self.parts().map(|parts| &**parts);
        is_sound(self.status, &self.fields, &self.body, parts)
    }

    /// Whether the upstream has told of other content since.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }
}

/// Whether a response can be replayed as it is: a final status, no field of a connection or for one client, as much
/// content as its fields and parts say. What is not so would let whoever wrote it say things to clients
/// that no upstream can.
fn is_sound(status: StatusCode, fields: &Fields, body: &[Bytes], parts: Option<&Parts>) -> bool {
    let length: u64 = body.iter().map(|segment| segment.len() as u64).sum();
    let said = Decimal::of(length);
    let (mut has_age, mut is_foreign, mut has_length, mut agrees) = (false, false, false, true);
    for line in fields.lines() {
        match line.name() {
            "age" => has_age = true,
            "content-length" => {
                has_length = true;
                agrees &= line.value == said.bytes();
            }
            "x-request-id" => {}
            name => is_foreign |= name == "set-cookie" || is_unstored(name),
        }
    }
    let has_content = !matches!(status.as_u16(), 100..=199 | 204 | 205 | 304);
    let agrees = match parts {
        Some(parts) => parts.length() == length && !has_length,
        None => agrees,
    };
    let is_partial = status == StatusCode::PARTIAL_CONTENT;
    !status.is_informational()
        && status != StatusCode::NOT_MODIFIED
        && (has_content || length == 0)
        && is_partial == parts.is_some()
        && agrees
        && has_age
        && !is_foreign
}
