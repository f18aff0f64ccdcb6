//! A record's prelude and head, as they are written. Whatever changes here, or in what is written,
//! changes [`FORMAT`].

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::cache::freshness::Source;
use crate::cache::record::Unreadable;
use crate::cache::storable::Terms;

/// What a record says beside the content.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) digest: [u8; 32],
    /// The latest purge that was applied when it was asked for.
    pub(super) place: u64,
    /// Nanoseconds since 1970.
    pub(super) received: u64,
    /// Milliseconds that the upstream's answer took.
    pub(super) took: u32,
    pub(super) status: u16,
    pub(super) is_authorized: bool,
    pub(super) is_outdated: bool,
    pub(super) terms: WrittenTerms,
    /// The fields that `Vary` names, without values.
    #[serde(borrow)]
    pub(super) names: Vec<&'a str>,
    #[serde(borrow)]
    pub(super) fields: Vec<Field<'a>>,
    /// What it says to us and not to clients.
    #[serde(borrow)]
    pub(super) apart: Vec<Field<'a>>,
    /// Which field each came from, by its place in [`tags::Source::ALL`](crate::fields::tags::Source),
    /// and its hash.
    pub(super) tags: Vec<(u8, u64)>,
    /// Length of the representation, first and last of each span.
    pub(super) parts: Option<(u64, Vec<(u64, u64)>)>,
    /// Bytes of content.
    pub(super) length: u64,
    /// Bytes of the copies, by [`Coding`](crate::content_coding::Coding).
    pub(super) coded: [Option<u64>; 3],
}

/// What an index says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IndexHead<'a> {
    pub(super) digest: [u8; 32],
    pub(super) received: u64,
    #[serde(borrow)]
    pub(super) names: Vec<&'a str>,
}

/// One line of a field.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    #[serde(borrow)]
    pub(super) value: Raw<'a>,
    pub(super) is_sensitive: bool,
}

/// Bytes that are not copied when they are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Raw<'de>, E> {
                Ok(Raw(bytes))
            }
        }
        deserializer.deserialize_bytes(Borrowing)
    }
}

/// [`Terms`], in numbers that mean the same in all versions of one format.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct WrittenTerms {
    lifetime: Span,
    source: u8,
    initial_age: Span,
    no_cache: bool,
    must_revalidate: bool,
    s_maxage: bool,
    immutable: bool,
    stale_while_revalidate: Option<Span>,
    stale_if_error: Option<Span>,
}

/// Seconds and nanoseconds.
type Span = (u64, u32);

impl WrittenTerms {
    /// `None` if they last longer than can be written.
    pub(super) fn of(terms: &Terms) -> Option<Self> {
        Some(Self {
            lifetime: span(terms.lifetime)?,
            source: number(terms.source),
            initial_age: span(terms.initial_age)?,
            no_cache: terms.no_cache,
            must_revalidate: terms.must_revalidate,
            s_maxage: terms.s_maxage,
            immutable: terms.immutable,
            stale_while_revalidate: optional(terms.stale_while_revalidate, span)?,
            stale_if_error: optional(terms.stale_if_error, span)?,
        })
    }

    /// `None` if no [`of`](Self::of) has written them.
    pub(super) fn read(self) -> Option<Terms> {
        Some(Terms {
            lifetime: duration(self.lifetime)?,
            source: *SOURCES.get(usize::from(self.source))?,
            initial_age: duration(self.initial_age)?,
            no_cache: self.no_cache,
            must_revalidate: self.must_revalidate,
            s_maxage: self.s_maxage,
            immutable: self.immutable,
            stale_while_revalidate: optional(self.stale_while_revalidate, duration)?,
            stale_if_error: optional(self.stale_if_error, duration)?,
        })
    }
}

fn optional<T, U>(value: Option<T>, map: impl Fn(T) -> Option<U>) -> Option<Option<U>> {
    value.map_or(Some(None), |value| map(value).map(Some))
}

fn span(duration: Duration) -> Option<Span> {
    (duration <= LONGEST).then(|| (duration.as_secs(), duration.subsec_nanos()))
}

fn duration((seconds, nanos): Span) -> Option<Duration> {
    let is_sound = seconds <= LONGEST.as_secs() && nanos < 1_000_000_000;
    let duration = is_sound.then(|| Duration::new(seconds, nanos))?;
    (duration <= LONGEST).then_some(duration)
}

fn number(source: Source) -> u8 {
    match source {
        Source::ForceTtl => 0,
        Source::SMaxage => 1,
        Source::MaxAge => 2,
        Source::Targeted => 3,
        Source::Expires => 4,
        Source::RouteTtl => 5,
        Source::Heuristic => 6,
    }
}

/// By their [`number`].
const SOURCES: [Source; 7] = [
    Source::ForceTtl,
    Source::SMaxage,
    Source::MaxAge,
    Source::Targeted,
    Source::Expires,
    Source::RouteTtl,
    Source::Heuristic,
];

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Response = 0,
    Index = 1,
}

/// A record of `kind` with room for `more` bytes after its head; [`finish`] is to be called when they
/// are there. `None` if the head is too long.
pub(super) fn begin(kind: Kind, head: &impl Serialize, more: usize) -> Option<Vec<u8>> {
    let head = postcard::to_stdvec(head).ok()?;
    let length = u32::try_from(head.len()).ok()?;
    if head.len() > MOST_HEAD {
        return None;
    }
    let mut record = Vec::with_capacity(PRELUDE + head.len() + more);
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&[FORMAT, kind as u8, 0, 0]);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&head);
    Some(record)
}

/// Writes the checksum of a record that is otherwise complete.
pub(super) fn finish(record: &mut [u8]) {
    let sum = checksum(record);
    if let Some(place) = record.get_mut(SUMMED..PRELUDE) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// What the prelude of `record` says, once all of it was checked: the kind, and where the head ends.
pub(super) fn open(record: &[u8]) -> Result<(Kind, usize), Unreadable> {
    let prelude = record.get(..PRELUDE).ok_or(Unreadable::Length)?;
    if prelude.get(..5) != Some(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], FORMAT]) {
        return Err(Unreadable::Format);
    }
    let said = prelude.get(SUMMED..).and_then(<[u8]>::first_chunk);
    let said = said.map(|sum| u64::from_le_bytes(*sum));
    if said != Some(checksum(record)) {
        return Err(Unreadable::Checksum);
    }
    let kind = match prelude.get(5..8) {
        Some([0, 0, 0]) => Kind::Response,
        Some([1, 0, 0]) => Kind::Index,
        _ => return Err(Unreadable::Format),
    };
    let length = prelude.get(8..).and_then(<[u8]>::first_chunk);
    let length = length.map_or(0, |length| u32::from_le_bytes(*length));
    let length = usize::try_from(length).map_err(|_| Unreadable::Length)?;
    if length > MOST_HEAD || length > record.len() - PRELUDE {
        return Err(Unreadable::Length);
    }
    Ok((kind, PRELUDE + length))
}

/// The head of a record that ends there.
pub(super) fn read<'a, T: Deserialize<'a>>(record: &'a [u8], end: usize) -> Result<T, Unreadable> {
    let head = record.get(PRELUDE..end).ok_or(Unreadable::Length)?;
    match postcard::take_from_bytes(head) {
        Ok((read, [])) => Ok(read),
        _ => Err(Unreadable::Head),
    }
}

fn checksum(record: &[u8]) -> u64 {
    let (before, rest) = record.split_at_checked(SUMMED).unwrap_or_default();
    let after = rest.get(PRELUDE - SUMMED..).unwrap_or_default();
    xxh3_64_with_seed(after, xxh3_64(before))
}

/// Nanoseconds since 1970; `None` for what is earlier, or later than the year 2554.
pub(super) fn since_1970(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

/// The other way.
pub(super) fn after_1970(nanos: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
}

/// As it is written; what is not known or cannot be is 0. Rounded, so that what was written and read is
/// written as the same again.
pub(super) fn millis(took: f32) -> u32 {
    let took = Duration::try_from_secs_f32(took).unwrap_or_default();
    let rounded = took.saturating_add(Duration::from_micros(500));
    u32::try_from(rounded.as_millis()).unwrap_or(u32::MAX)
}

/// As it is kept.
pub(super) fn seconds(took: u32) -> f32 {
    Duration::from_millis(took.into()).as_secs_f32()
}

pub(super) const MAGIC: [u8; 4] = *b"PILR";
/// Raised by every change of what is written.
pub(crate) const FORMAT: u8 = 1;
/// Where the checksum lies.
const SUMMED: usize = 12;
/// Bytes before the head.
pub(super) const PRELUDE: usize = 20;
/// Bytes of a head: several times of what any HTTP library takes, since a key may have 64 KiB.
pub(super) const MOST_HEAD: usize = 512 << 10;
/// Longer lifetimes and windows are not written, nor taken to be ours; some 34,000 years.
const LONGEST: Duration = Duration::from_secs(1 << 40);
