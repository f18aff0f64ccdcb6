//! A stored response: the identity representation and its coded copies.

mod copies;
pub(crate) mod restored;
mod weight;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{
    AGE, CONNECTION, CONTENT_LANGUAGE, CONTENT_LENGTH, DATE, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::cache::apart::Apart;
use crate::cache::decide::Candidate;
use crate::cache::freshness::Source;
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyHash;
use crate::cache::parts::Parts;
use crate::cache::place::Place;
use crate::cache::storable::{Storing, Terms};
use crate::cache::stored::copies::CodedCopies;
use crate::cache::tags::Tags;
use crate::cache::vary::Selection;
use crate::clock::Now;
use crate::content_coding::reading::Reading;
use crate::facts::X_REQUEST_ID;
use crate::fields::cache_status::CACHE_STATUS;
use crate::fields::http_date;

pub(crate) use weight::{COUNTS, block};
use weight::{SHARED, apart_weight, fields_weight};

/// One stored response. Immutable but for the coded copies, which are added once each.
#[derive(Debug)]
pub struct StoredResponse {
    /// Final status.
    pub status: StatusCode,
    /// Fields to replay, none of a connection's own. `Age`, `X-Request-Id` and, where the upstream sent
    /// none, `Via` and `Cache-Status` come first and are placeholders: they are set anew in every
    /// answer, and a map that has them already neither grows for that nor is searched.
    pub fields: HeaderMap,
    /// The content as it came, in memory of its own (never a slice of a read buffer).
    pub body: Arc<[Bytes]>,
    /// Which bytes of the representation the content is, if it is not all of it: then it answers ranges
    /// within them alone.
    pub(crate) parts: Option<Arc<Parts>>,
    /// The same content in our codings; shared with the stored response that a validation made of this one.
    coded: Arc<CodedCopies>,
    /// What its fields mean for coding, read when first asked for.
    reading: OnceLock<Reading>,
    /// What decides about reuse.
    pub(crate) terms: Terms,
    /// Which requests it answers, of those with its key.
    pub(crate) selection: Selection,
    /// When its head, or the last 304 about it, arrived.
    pub(crate) received: Now,
    /// How many purges there had been when it was asked for.
    pub(crate) born: Sequence,
    /// The same in the order that all sidecars share: the latest purge that had been heard of here.
    /// `None` where there is no such order, or it is not known; then it is for memory alone.
    pub(crate) place: Option<Place>,
    /// Seconds until the upstream's answer to that had come; 0 where that is not known.
    pub(crate) took: f32,
    /// What it is purged by, beside its URL.
    pub(crate) tags: Tags,
    /// What it says to us and not to clients.
    pub(crate) apart: Apart,
    /// The latest purge that it is known to have outlived; from `born` on. Raised by whoever compares
    /// it with later ones, so that each is compared once.
    valid_at: AtomicU64,
    pub(crate) key: KeyHash,
    /// Whether it answers other queries than its own (`No-Vary-Search`).
    pub(crate) is_wide: bool,
    /// Whether the request that brought it had `Authorization`: a background validation needs one too.
    pub(crate) is_authorized: bool,
    /// No background validation before this, in milliseconds after `received`; written by whoever
    /// starts one, so that there is exactly one.
    pub(crate) next_validation: AtomicU64,
    /// Whether the upstream has told of other content since, by the answer to a HEAD.
    outdated: AtomicBool,
    /// How long Redis keeps its record, in milliseconds after `received`; 0 where it has none. Written
    /// by whoever puts it there, or finds it there.
    kept_below: AtomicU64,
    /// Whether it has answered a request since it was stored.
    used: AtomicBool,
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
        let terms = Terms {
            lifetime: Duration::from_secs(1 << 31),
            source: Source::MaxAge,
            initial_age: Duration::ZERO,
            no_cache: false,
            must_revalidate: false,
            s_maxage: false,
            immutable: false,
            stale_while_revalidate: None,
            stale_if_error: None,
        };
        let storing = Storing {
            terms,
            selection: Selection::default(),
            without: Vec::new(),
            is_cookie_stripped: false,
            tags: Tags::default(),
            search: None,
            apart: Apart::default(),
        };
        let origin = Origin {
            key: 0,
            born: Sequence::default(),
            place: None,
            took: 0.0,
            received: now,
            is_authorized: false,
        };
        Self::head(status, &fields, storing, origin).with_body(vec![content])
    }

    /// The head of a response whose content is still to come.
    pub(crate) fn head(
        status: StatusCode,
        fields: &HeaderMap,
        storing: Storing,
        origin: Origin,
    ) -> Self {
        let without = &storing.without;
        Self {
            status,
            fields: own_fields(fields, without, origin.received.wall),
            body: Arc::default(),
            parts: None,
            coded: Arc::default(),
            terms: storing.terms,
            selection: storing.selection,
            received: origin.received,
            born: origin.born,
            place: origin.place,
            took: origin.took,
            tags: storing.tags,
            is_wide: storing.search.is_some(),
            apart: storing.apart,
            valid_at: AtomicU64::new(origin.born.number()),
            key: origin.key,
            is_authorized: origin.is_authorized,
            reading: OnceLock::new(),
            next_validation: AtomicU64::new(0),
            outdated: AtomicBool::new(false),
            kept_below: AtomicU64::new(0),
            used: AtomicBool::new(false),
        }
    }

    /// The same head with all its content, which is copied.
    pub(crate) fn with_body(&self, content: Vec<Bytes>) -> Self {
        let body: Arc<[Bytes]> = own_body(content).into();
        let mut fields = self.fields.clone();
        let has_content = !matches!(self.status.as_u16(), 100..=199 | 204 | 205 | 304);
        if has_content && !fields.contains_key(CONTENT_LENGTH) {
            let length: u64 = body.iter().map(|segment| segment.len() as u64).sum();
            // The answer to HEAD has no other way to tell the length.
            if fields.try_insert(CONTENT_LENGTH, length.into()).is_ok() {
                fields = fields.clone();
            }
        }
        Self {
            fields,
            body,
            parts: None,
            coded: Arc::default(),
            selection: self.selection.clone(),
            tags: self.tags.clone(),
            apart: self.apart.clone(),
            valid_at: AtomicU64::new(self.born.number()),
            reading: OnceLock::new(),
            next_validation: AtomicU64::new(0),
            outdated: AtomicBool::new(false),
            kept_below: AtomicU64::new(0),
            used: AtomicBool::new(false),
            ..*self
        }
    }

    /// The same head with what that of `old` has beside: the fields of all parts belong together, and
    /// the latest are true (RFC 9111 §3.4). What is purged by a tag of one part has bytes of it.
    pub(crate) fn with_head_of(&self, old: &Self) -> Self {
        let mut fields = old.fields.clone();
        for name in self.fields.keys() {
            fields.remove(name);
        }
        for (name, value) in &self.fields {
            drop(fields.try_append(name.clone(), value.clone()));
        }
        // A clone has room for its fields and no more.
        let fields = fields.clone();
        let with_body = self.with_body(Vec::new());
        Self {
            fields,
            tags: self.tags.joined(&old.tags),
            place: self.place.min(old.place),
            is_authorized: self.is_authorized || old.is_authorized,
            ..with_body
        }
    }

    /// The same head with these parts of its content, in memory of their own; with all of them, it is
    /// a 200.
    pub(crate) fn with_parts(&self, parts: Parts, pieces: Vec<Bytes>) -> Self {
        if parts.is_whole() {
            let whole = Self {
                status: StatusCode::OK,
                ..self.with_body(Vec::new())
            };
            let mut fields = whole.fields;
            drop(fields.try_insert(CONTENT_LENGTH, parts.complete().into()));
            return Self {
                fields: fields.clone(),
                body: pieces.into(),
                ..whole
            };
        }
        let mut partial = self.with_body(Vec::new());
        partial.fields.remove(CONTENT_LENGTH);
        Self {
            body: pieces.into(),
            parts: Some(Arc::new(parts)),
            ..partial
        }
    }

    /// What a validation makes of it: other fields and terms over the same content, and the same
    /// coded copies unless the content's tag is another.
    pub(crate) fn freshened(&self, fields: &HeaderMap, storing: Storing, origin: Origin) -> Self {
        let head = Self::head(self.status, fields, storing, origin);
        let is_same = self.fields.get(http::header::ETAG) == head.fields.get(http::header::ETAG);
        Self {
            body: self.body.clone(),
            parts: self.parts.clone(),
            coded: if is_same {
                self.coded.clone()
            } else {
                Arc::default()
            },
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
    pub(crate) fn reading(&self) -> Reading {
        *self.reading.get_or_init(|| Reading::of(&self.fields))
    }

    /// The one language that its content is for, if it says one.
    pub(crate) fn language(&self) -> Option<&[u8]> {
        let mut lines = self.fields.get_all(CONTENT_LANGUAGE).iter();
        let (only, more) = (lines.next()?.as_bytes().trim_ascii(), lines.next());
        (more.is_none() && !only.is_empty() && !only.contains(&b',')).then_some(only)
    }

    /// Length of the identity content in bytes.
    pub fn length(&self) -> u64 {
        self.body.iter().map(|segment| segment.len() as u64).sum()
    }

    /// The current age (RFC 9111 §4.2.3).
    pub(crate) fn age(&self, now: Now) -> Duration {
        // The wall clock may be set back and the other one stands still while a laptop sleeps, so
        // the larger of the two is what surely has passed.
        let wall = now
            .wall
            .duration_since(self.received.wall)
            .unwrap_or_default();
        let mono = now.mono.saturating_duration_since(self.received.mono);
        self.terms.initial_age.saturating_add(wall.max(mono))
    }

    /// What the rules look at.
    pub(crate) fn candidate(&self, now: Now, is_purged: bool) -> Candidate {
        Candidate {
            terms: self.terms,
            age: self.age(now),
            is_purged,
            is_outdated: self.outdated.load(Ordering::Relaxed),
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
        let body: usize = self
            .body
            .iter()
            .map(|segment| block(segment.len()) + SHARED)
            .sum();
        let coded = self.coded.made();
        let coded: usize = coded.map(|copy| block(copy.len()) + SHARED).sum();
        block(size_of::<Self>() + COUNTS)
            + block(size_of_val(&*self.body) + COUNTS)
            + block(size_of::<CodedCopies>() + COUNTS)
            + fields_weight(&self.fields)
            + self
                .parts
                .as_ref()
                .map_or(0, |parts| block(COUNTS + parts.size()))
            + self.selection.size()
            + self.tags.weight()
            + self.apart.fields().map_or(0, apart_weight)
            + body
            + coded
    }
}

/// A copy of `fields` without those of one connection, one exchange or `without`. All values lie in
/// one piece of memory: hyper's are slices of its read buffers, which they would keep alive.
fn own_fields(fields: &HeaderMap, without: &[HeaderName], received: SystemTime) -> HeaderMap {
    // In order, since a hostile upstream names tens of thousands.
    let mut without: Vec<&str> = without.iter().map(HeaderName::as_str).collect();
    without.sort_unstable();
    let is_named = |name: &HeaderName| without.binary_search(&name.as_str()).is_ok();
    let is_kept = |(name, value): &(&HeaderName, &HeaderValue)| {
        // Of a stored response that is stored again the places are not copied but made anew.
        let is_place = *name == AGE
            || *name == VIA && value.is_empty()
            || *name == CACHE_STATUS && is_placeholder(value);
        !(is_place || UNSTORED.contains(name) || is_named(name))
    };
    let kept = || fields.iter().filter(is_kept);
    let has = |wanted: HeaderName| kept().any(|(name, _)| *name == wanted);
    let mut values = BytesMut::with_capacity(kept().map(|(_, value)| value.len()).sum());
    kept().for_each(|(_, value)| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    let mut own = HeaderMap::with_capacity(fields.len() + 5);
    own.insert(AGE, HeaderValue::from_static("0"));
    own.insert(X_REQUEST_ID, HeaderValue::from_static(""));
    if !has(VIA) {
        own.insert(VIA, HeaderValue::from_static(""));
    }
    if !has(CACHE_STATUS) {
        own.insert(CACHE_STATUS, HeaderValue::from_static(PLACEHOLDER));
    }
    for (name, value) in kept() {
        let copy = HeaderValue::from_maybe_shared(values.split_to(value.len()));
        if let Ok(mut copy) = copy {
            copy.set_sensitive(value.is_sensitive());
            // No more fields than came, so the map's own limit is not reached.
            drop(own.try_append(name.clone(), copy));
        }
    }
    if !own.contains_key(DATE) {
        // RFC 9110 §6.6.1: a recipient with a clock that stores a response adds it.
        own.insert(DATE, http_date::format(received));
    }
    // A clone has room for its fields and no more.
    own.clone()
}

/// Whether `value` is that of `Cache-Status` where there is nothing but a place for it.
pub(crate) fn is_placeholder(value: &HeaderValue) -> bool {
    value == PLACEHOLDER
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

/// See [`is_placeholder`]; `Cache-Status` without a parameter says nothing.
const PLACEHOLDER: &str = "pillion";
/// Longer content is kept in pieces of this size, so that it is copied without being held twice.
pub(crate) const SEGMENT: usize = 1 << 20;

/// Fields of one connection or one exchange, which no stored response has (RFC 9111 §3.1): replayed,
/// they would tell of queries and traces that are long over.
const UNSTORED: [HeaderName; 16] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("traceresponse"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-amzn-trace-id"),
];

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
