//! A stored response: the identity representation and its coded copies.

mod copies;
mod fields;
mod own;
mod packed;
mod rare;
pub(crate) mod restored;
mod weight;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LANGUAGE, CONTENT_LENGTH, ETAG};
use http::{HeaderMap, StatusCode};

use crate::body::Segments;
use crate::cache::apart::Apart;
use crate::cache::decide::Candidate;
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::parts::Parts;
use crate::cache::place::Place;
use crate::cache::storable::{Storing, Terms};
use crate::cache::stored::copies::CodedCopies;
use crate::cache::stored::packed::Packed;
use crate::cache::tags::Tags;
use crate::cache::vary::Selection;
use crate::clock::{Moment, Now};
use crate::content_coding::reading::Reading;

pub(crate) use fields::Unpacked;
pub use fields::{Fields, Line, Lines};
pub(crate) use own::is_placeholder;
use own::own_fields;
use rare::{NONE, Rare};
use weight::SHARED;
pub(crate) use weight::{COUNTS, block};

/// One stored response. Immutable but for the coded copies, which are added once each. There are many,
/// so what few of them have lies in a box of its own, and all else takes no more room than it needs.
#[derive(Debug)]
pub struct StoredResponse {
    /// Fields to replay, none of a connection's own. `Age`, `X-Request-Id` and, where the upstream sent
    /// none, `Via` and `Cache-Status` come first and are placeholders: they are set anew in every
    /// answer, and a map that has them already neither grows for that nor is searched.
    pub fields: Fields,
    /// The content as it came, in memory of its own (never a slice of a read buffer).
    pub body: Segments,
    /// The same content in our codings, once there are any; shared with the stored response that a
    /// validation made of this one.
    coded: OnceLock<Arc<CodedCopies>>,
    rare: Option<Box<Rare>>,
    /// What decides about reuse.
    terms: Packed,
    /// When its head, or the last 304 about it, arrived.
    received: Moment,
    /// How many purges there had been when it was asked for.
    pub(crate) born: Sequence,
    /// The latest purge that it is known to have outlived; from `born` on. Raised by whoever compares
    /// it with later ones, so that each is compared once.
    valid_at: AtomicU64,
    /// The same as `born` in the order that all sidecars share: one more than the latest purge that
    /// had been heard of here.
    place: Option<NonZeroU64>,
    pub(crate) key: KeyHash,
    /// No background validation before this, in milliseconds after `received`; written by whoever
    /// starts one, so that there is exactly one.
    pub(crate) next_validation: AtomicU64,
    /// How long Redis keeps its record, in milliseconds after `received`; 0 where it has none. Written
    /// by whoever puts it there, or finds it there.
    kept_below: AtomicU64,
    /// Seconds until the upstream's answer to that had come; 0 where that is not known.
    pub(crate) took: f32,
    /// Final status.
    pub status: StatusCode,
    /// What its fields mean for coding.
    reading: Reading,
    /// Whether it answers other queries than its own (`No-Vary-Search`).
    pub(crate) is_wide: bool,
    /// Whether the request that brought it had `Authorization`: a background validation needs one too.
    pub(crate) is_authorized: bool,
    /// Whether the upstream has told of other content since, by the answer to a HEAD.
    outdated: AtomicBool,
    /// Whether it has answered a request since it was stored.
    used: AtomicBool,
    /// What of it is on disk; see [`is_on_disk`](Self::is_on_disk).
    on_disk: AtomicU8,
}

/// What is noted about a fetch while its answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) key: KeyHash,
    pub(crate) born: Sequence,
    pub(crate) place: Option<Place>,
    /// See [`StoredResponse::took`].
    pub(crate) took: f32,
    pub(crate) received: Now,
    pub(crate) is_authorized: bool,
}

impl StoredResponse {
    /// A response of `fields` and `content` that is fresh for good; for tests of what lies above the cache.
    pub fn fixed(status: StatusCode, fields: HeaderMap, content: Bytes, now: Now) -> Self {
        let terms = Terms::fresh_for(Duration::from_secs(1 << 31));
        let origin = Origin {
            key: 0,
            born: Sequence::default(),
            place: None,
            took: 0.0,
            received: now,
            is_authorized: false,
        };
        Self::head(status, &fields, Storing::plain(terms), origin).with_body(vec![content])
    }

    /// The head of a response whose content is still to come.
    pub(crate) fn head(
        status: StatusCode,
        fields: &HeaderMap,
        storing: Storing,
        origin: Origin,
    ) -> Self {
        let fields = own_fields(fields, &storing.without, origin.received.wall);
        let (terms, beyond) = Packed::of(storing.terms);
        let rare = Rare {
            parts: None,
            selection: storing.selection,
            tags: storing.tags,
            apart: storing.apart,
            terms: beyond,
        };
        Self {
            status,
            reading: Reading::of(&fields),
            fields: Fields::of(&fields),
            body: Segments::default(),
            coded: OnceLock::new(),
            rare: rare.boxed(),
            terms,
            received: Moment::of(origin.received),
            born: origin.born,
            place: number_of(origin.place),
            took: origin.took,
            is_wide: storing.search.is_some(),
            valid_at: AtomicU64::new(origin.born.number()),
            key: origin.key,
            is_authorized: origin.is_authorized,
            next_validation: AtomicU64::new(0),
            outdated: AtomicBool::new(false),
            kept_below: AtomicU64::new(0),
            used: AtomicBool::new(false),
            on_disk: AtomicU8::new(0),
        }
    }

    /// The same head with all its content, which is copied.
    pub(crate) fn with_body(&self, content: Vec<Bytes>) -> Self {
        let body = Segments::from(own_body(content));
        let has_content = !matches!(self.status.as_u16(), 100..=199 | 204 | 205 | 304);
        // The answer to HEAD has no other way to tell the length.
        let fields = match has_content && !self.fields.contains_key(CONTENT_LENGTH) {
            true => {
                let mut fields = self.fields.map();
                fields.try_insert(CONTENT_LENGTH, body.length().into()).ok();
                Fields::of(&fields)
            }
            false => self.fields.clone(),
        };
        let rare = Rare {
            parts: None,
            ..self.rare().clone()
        };
        Self {
            fields,
            body,
            coded: OnceLock::new(),
            rare: rare.boxed(),
            valid_at: AtomicU64::new(self.born.number()),
            next_validation: AtomicU64::new(0),
            outdated: AtomicBool::new(false),
            kept_below: AtomicU64::new(0),
            used: AtomicBool::new(false),
            on_disk: AtomicU8::new(0),
            ..*self
        }
    }

    /// The same head with what that of `old` has beside: the fields of all parts belong together, and
    /// the latest are true (RFC 9111 §3.4). What is purged by a tag of one part has bytes of it.
    pub(crate) fn with_head_of(&self, old: &Self) -> Self {
        let (mut fields, own) = (old.fields.map(), self.fields.map());
        for name in own.keys() {
            fields.remove(name);
        }
        for (name, value) in &own {
            drop(fields.try_append(name.clone(), value.clone()));
        }
        let with_body = self.with_body(Vec::new());
        let rare = Rare {
            tags: self.tags().joined(old.tags()),
            ..with_body.rare().clone()
        };
        Self {
            reading: Reading::of(&fields),
            fields: Fields::of(&fields),
            rare: rare.boxed(),
            place: self.place.min(old.place),
            is_authorized: self.is_authorized || old.is_authorized,
            ..with_body
        }
    }

    /// The same head with these parts of its content, in memory of their own; with all of them, it is
    /// a 200.
    pub(crate) fn with_parts(&self, parts: Parts, pieces: Vec<Bytes>) -> Self {
        let same = self.with_body(Vec::new());
        let mut fields = same.fields.map();
        if parts.is_whole() {
            drop(fields.try_insert(CONTENT_LENGTH, parts.complete().into()));
            return Self {
                status: StatusCode::OK,
                fields: Fields::of(&fields),
                body: pieces.into(),
                ..same
            };
        }
        fields.remove(CONTENT_LENGTH);
        let rare = Rare {
            parts: Some(Arc::new(parts)),
            ..same.rare().clone()
        };
        Self {
            fields: Fields::of(&fields),
            body: pieces.into(),
            rare: rare.boxed(),
            ..same
        }
    }

    /// What a validation makes of it: other fields and terms over the same content, and the same
    /// coded copies unless the content's tag is another.
    pub(crate) fn freshened(&self, fields: &HeaderMap, storing: Storing, origin: Origin) -> Self {
        let head = Self::head(self.status, fields, storing, origin);
        let is_same = self.fields.first(ETAG) == head.fields.first(ETAG);
        let rare = Rare {
            parts: self.parts().cloned(),
            ..head.rare().clone()
        };
        Self {
            body: self.body.clone(),
            coded: match is_same {
                // Also where there are none yet: those that come are of both.
                true => OnceLock::from(self.copies().clone()),
                false => OnceLock::new(),
            },
            rare: rare.boxed(),
            ..head
        }
    }

    /// The latest purge that it is known to have outlived.
    pub(crate) fn valid_at(&self) -> Sequence {
        Sequence::new(self.valid_at.load(Ordering::Relaxed))
    }

    /// Notes that it has outlived all purges up to `latest`.
    pub(crate) fn confirm_at(&self, latest: Sequence) {
        self.valid_at.fetch_max(latest.number(), Ordering::Relaxed);
    }

    /// What its fields mean for coding.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// What decides about reuse.
    pub(crate) fn terms(&self) -> Terms {
        let beyond = self.rare.as_ref().and_then(|rare| rare.terms);
        beyond.unwrap_or_else(|| self.terms.terms())
    }

    /// When its head, or the last 304 about it, arrived.
    pub(crate) fn received(&self) -> Now {
        self.received.now()
    }

    /// How long ago that is, by the clock that never goes back.
    pub(crate) fn since(&self, now: Now) -> Duration {
        self.received.until(now)
    }

    /// [`born`](Self::born) in the order that all sidecars share: the latest purge that had been heard
    /// of here. `None` where there is no such order, or it is not known; then it is for memory alone.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place.map(|place| Place::of_number(place.get() - 1))
    }

    /// Which bytes of the representation the content is, if it is not all of it: then it answers ranges
    /// within them alone.
    pub(crate) fn parts(&self) -> Option<&Arc<Parts>> {
        self.rare.as_ref()?.parts.as_ref()
    }

    /// Which requests it answers, of those with its key.
    pub(crate) fn selection(&self) -> &Selection {
        &self.rare().selection
    }

    /// Whether it answers `request`, which has its key.
    pub(crate) fn answers(&self, request: &HeaderMap) -> bool {
        let mut rare = self.rare.iter();
        rare.all(|rare| rare.selection.matches(request))
    }

    /// What it is purged by, beside its URL.
    pub(crate) fn tags(&self) -> &Tags {
        &self.rare().tags
    }

    /// What it says to us and not to clients.
    pub(crate) fn apart(&self) -> &Apart {
        &self.rare().apart
    }

    fn rare(&self) -> &Rare {
        self.rare.as_ref().map_or(&NONE, |rare| rare)
    }

    /// The one language that its content is for, if it says one.
    pub(crate) fn language(&self) -> Option<&[u8]> {
        let mut lines = self.fields.all(CONTENT_LANGUAGE);
        let (only, more) = (lines.next()?.trim_ascii(), lines.next());
        (more.is_none() && !only.is_empty() && !only.contains(&b',')).then_some(only)
    }

    /// Length of the identity content in bytes.
    pub fn length(&self) -> u64 {
        self.body.length()
    }

    /// The current age (RFC 9111 §4.2.3).
    pub(crate) fn age(&self, now: Now) -> Duration {
        self.age_by(&self.terms(), now)
    }

    fn age_by(&self, terms: &Terms, now: Now) -> Duration {
        terms.initial_age.saturating_add(self.received.passed(now))
    }

    /// What the rules look at.
    pub(crate) fn candidate(&self, now: Now, is_purged: bool) -> Candidate {
        let terms = self.terms();
        Candidate {
            terms,
            age: self.age_by(&terms, now),
            is_purged,
            is_outdated: self.is_outdated(),
        }
    }

    /// Notes that it answers a request.
    pub(crate) fn note_use(&self) {
        // Mostly it did before, and reading costs next to nothing.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has answered a request since it was stored.
    pub(crate) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// It is stale from now on, whatever its lifetime (RFC 9111 §4.3.5).
    pub(crate) fn mark_outdated(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }

    /// Bytes of memory that it holds.
    pub(crate) fn weight(&self) -> usize {
        let pieces: usize = self
            .body
            .iter()
            .map(|segment| block(segment.len()) + SHARED)
            .sum();
        let list = match &self.body {
            Segments::One(_) => 0,
            Segments::Many(all) => block(size_of_val(&**all) + COUNTS),
        };
        let coded = self.coded.get().map_or(0, |copies| copies.weight());
        let rare = self.rare.as_ref().map_or(0, |rare| rare.weight());
        block(size_of::<Self>() + COUNTS) + block(self.fields.size()) + list + pieces + coded + rare
    }
}

/// One more than the place's number, so that a place takes no more room than a number.
fn number_of(place: Option<Place>) -> Option<NonZeroU64> {
    // The last of all places is nobody's; what says so is for memory alone.
    NonZeroU64::new(place?.number().checked_add(1)?)
}

/// A copy of `content` in as few pieces as are sensible: short content in one.
pub(crate) fn own_body(content: Vec<Bytes>) -> Vec<Bytes> {
    let mut left: usize = content.iter().map(Bytes::len).sum();
    let mut segments = Vec::with_capacity(left.div_ceil(SEGMENT));
    let mut segment = Vec::with_capacity(left.min(SEGMENT));
    for mut piece in content {
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(SEGMENT - segment.len()));
            segment.extend_from_slice(&taken);
            left -= taken.len();
            if segment.len() == SEGMENT || left == 0 {
                let next = Vec::with_capacity(left.min(SEGMENT));
                segments.push(Bytes::from(std::mem::replace(&mut segment, next)));
            }
        }
    }
    segments
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(u64::MAX / 2)
        .min(u64::MAX / 2)
}

/// Longer content is kept in pieces of this size, so that it is copied without being held twice.
pub(crate) const SEGMENT: usize = 1 << 20;

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
