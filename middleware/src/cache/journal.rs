//! What was decided lately, kept so that it can be looked up and judged again: for `explain`.
//!
//! Each core writes a journal of its own, of a fixed size: on each route no more than `FORWARDED` requests
//! that are forwarded and `HITS` hits in a `PAUSE`. So a busy route pays next to nothing for it, and its
//! records last for seconds instead of being pushed out by those of a moment later. Nothing secret is kept: of
//! fields that no rule reads, and of credentials, their names alone.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::key::KeyHash;
use crate::cache::reason::Reason;
use crate::explanation::HIDDEN;
use crate::fields::tags;

/// One decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Names the key within this process.
    #[serde(skip)]
    pub(crate) key: KeyHash,
    /// When the request came, in milliseconds since 1970.
    pub at: u64,
    /// The request's name, as `X-Request-Id` tells it.
    pub id: Box<str>,
    /// The route that it took.
    pub route: Box<str>,
    /// Its method.
    pub method: Box<str>,
    /// Its target URI.
    pub url: Box<str>,
    /// Whether it came by a Unix socket.
    pub is_local: bool,
    /// Whether it had content.
    pub has_content: bool,
    /// Its fields, as far as rules read them.
    pub request: Lines,
    /// What was done.
    pub done: Done,
    /// What was stored for it at that moment.
    pub stored: Option<Held>,
    /// Whether something was stored, but for other values of the fields that `Vary` names.
    pub is_other_variant: bool,
    /// What the upstream answered.
    pub answer: Option<Answered>,
}

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale one, by this rule.
    Stale(Reason),
    /// Answered with what another request's forwarding brought.
    Collapsed,
    /// Answered 504, as the request demands.
    GatewayTimeout,
    /// Not a matter for the cache, by this rule.
    Bypassed(Reason),
    /// Forwarded by this rule, and the answer stored.
    Stored(Reason),
    /// Forwarded by the first rule, and the answer not stored by the second.
    NotStored(Reason, Reason),
}

/// A stored response as it was when the request came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Its status.
    pub status: u16,
    /// Its fields, as far as rules read them.
    pub fields: Lines,
    /// Length of its content in bytes.
    pub length: u64,
    /// Its age as it was stored, in milliseconds.
    pub initial_age: u64,
    /// Its age when the request came, in milliseconds.
    pub age: u64,
    /// Whether a soft purge had marked it stale.
    pub is_purged: bool,
    /// Whether the answer to a HEAD had told of other content.
    pub is_outdated: bool,
    /// The rule by which it was chosen although it was not the very one that was asked for.
    pub chosen_by: Option<Reason>,
    /// Whether it answered a request with `Authorization`.
    pub is_authorized: bool,
}

/// An answer of the upstream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its fields, as far as rules read them; of a 304 that confirmed, what it made of those stored.
    pub fields: Lines,
    /// Length of its content in bytes, where it is known.
    pub length: Option<u64>,
    /// Milliseconds from the request to its head.
    pub after: u64,
}

/// Field lines in little memory: `name: value`, each ended by a line feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Box<str>);

/// The journal of one core; a handle.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    forwarded: Ring,
    hits: Ring,
}

/// Latest last.
#[derive(Debug)]
struct Ring {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    most: usize,
}

/// How often one route's decisions on one core are written down. That core alone counts here: if two did at once,
/// a record more would be written.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In each [`PAUSE`].
    most: u32,
    left: AtomicU32,
    begun: Instant,
    /// Since when those that are left may be used, in milliseconds since it was begun.
    since: AtomicU64,
}

impl Journal {
    /// An empty one that holds at most `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        let ring = |most| Ring {
            records: VecDeque::new(),
            bytes: 0,
            most,
        };
        Self(Arc::new(Mutex::new(Pages {
            forwarded: ring(bytes / 4 * 3),
            hits: ring(bytes / 4),
        })))
    }

    pub(crate) fn write(&self, record: Record) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match record.done {
            Done::Hit | Done::Stale(_) => pages.hits.push(record),
            _ => pages.forwarded.push(record),
        }
    }

    /// All records, those of hits after the others. The core waits meanwhile, so nothing is copied.
    pub(crate) fn read(&self) -> Vec<Arc<Record>> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let records = pages.forwarded.records.iter();
        records.chain(&pages.hits.records).cloned().collect()
    }
}

impl Ring {
    fn push(&mut self, record: Record) {
        self.bytes += record.size();
        self.records.push_back(Arc::new(record));
        while self.bytes > self.most {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
    }
}

impl Pace {
    pub(crate) fn of(most: u32, begun: Instant) -> Self {
        Self {
            most,
            left: AtomicU32::new(most),
            begun,
            since: AtomicU64::new(0),
        }
    }

    /// Whether one more may be written at `now`. Costs a comparison as long as it may not.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut left = self.left.load(Relaxed);
        if left == 0 {
            let now = millis(now.saturating_duration_since(self.begun));
            if now.saturating_sub(self.since.load(Relaxed)) < millis(PAUSE) {
                return false;
            }
            self.since.store(now, Relaxed);
            left = self.most;
        }
        self.left.store(left - 1, Relaxed);
        true
    }
}

impl Record {
    /// Bytes of memory that it takes.
    fn size(&self) -> usize {
        let stored = self.stored.as_ref().map_or(0, |held| held.fields.0.len());
        let answer = self
            .answer
            .as_ref()
            .map_or(0, |answer| answer.fields.0.len());
        let names = self.id.len() + self.route.len() + self.method.len();
        let texts = names + self.url.len() + self.request.0.len();
        size_of::<Self>() + RECORD + texts + stored + answer
    }
}

impl Lines {
    /// A request's fields: values of those that rules read, names of the others.
    pub(crate) fn of_request(fields: &HeaderMap) -> Self {
        Self::of(fields, |name, lines| match name.as_str() {
            // Who asked is what the policy against BREACH asks, not where the reader was.
            "referer" => lines.write(name, origin(fields).as_deref().unwrap_or(HIDDEN)),
            "host"
            | "cache-control"
            | "pragma"
            | "range"
            | "if-range"
            | "if-none-match"
            | "if-modified-since"
            | "if-match"
            | "if-unmodified-since"
            | "accept-encoding"
            | "sec-fetch-site"
            | "content-length"
            | "upgrade"
            | "connection" => {
                lines.write_all(name, fields);
            }
            _ => lines.write(name, HIDDEN),
        })
    }

    /// An answer's fields, as far as rules read them.
    pub(crate) fn of_answer(fields: &HeaderMap) -> Self {
        Self::of(fields, |name, lines| match name.as_str() {
            "set-cookie" => lines.write(name, HIDDEN),
            // How many there are decides, and their names may be those of people.
            "surrogate-key" | "cache-tag" | "xkey" | "cache-groups" => {
                lines.write(name, &tags_in_brief(name, fields));
            }
            "cache-control" | "expires" | "date" | "age" | "last-modified" | "etag" | "vary"
            | "content-type" | "content-encoding" | "content-language" | "content-range"
            | "content-length" | "x-accel-buffering" | "surrogate-control" | "no-vary-search"
            | "accept-ranges" => {
                lines.write_all(name, fields);
            }
            // All of RFC 9213 are called so.
            text if text.ends_with("-cache-control") => lines.write_all(name, fields),
            _ => {}
        })
    }

    fn of(fields: &HeaderMap, mut write: impl FnMut(&HeaderName, &mut Writer)) -> Self {
        let mut lines = Writer(String::new());
        for name in fields.keys() {
            write(name, &mut lines);
        }
        Self(lines.0.into())
    }

    /// As fields again.
    pub fn to_fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in self.pairs() {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_bytes(value.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.try_append(name, value).ok();
            }
        }
        fields
    }

    /// Names and values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once(": "))
    }
}

/// What writes [`Lines`], up to [`LONGEST`] bytes.
struct Writer(String);

impl Writer {
    fn write_all(&mut self, name: &HeaderName, fields: &HeaderMap) {
        for value in fields.get_all(name) {
            if value.is_sensitive() {
                self.write(name, HIDDEN);
            } else {
                self.write(name, &String::from_utf8_lossy(value.as_bytes()));
            }
        }
    }

    fn write(&mut self, name: &HeaderName, value: &str) {
        if self.0.len() + name.as_str().len() + value.len() <= LONGEST {
            // Writing to a String does not fail.
            writeln!(self.0, "{name}: {value}").ok();
        }
    }
}

/// `3 tags, 17 bytes`.
fn tags_in_brief(name: &HeaderName, fields: &HeaderMap) -> String {
    let (mut count, mut bytes) = (0, 0);
    tags::read(fields, |source, tag| {
        if source.field() == *name {
            count += 1;
            bytes += tag.len();
        }
    });
    format!("{count} tags, {bytes} bytes")
}

/// Scheme and authority of `Referer`.
fn origin(fields: &HeaderMap) -> Option<String> {
    let referer = fields.get(http::header::REFERER)?.to_str().ok()?;
    let (scheme, rest) = referer.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    // Whoever writes credentials there is not to be told of.
    let host = authority.rsplit('@').next()?;
    Some(format!("{scheme}://{host}/"))
}

/// Milliseconds since 1970.
pub(crate) fn millis_of(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Whole milliseconds; saturating.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Serialize for Lines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.pairs())
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
        let lines = pairs
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"));
        Ok(Self(lines.collect::<String>().into()))
    }
}

/// What it costs to keep a record, beside what it holds: counts, pointers and the allocator's share.
const RECORD: usize = 128;
/// Bytes of one message's lines that are kept.
const LONGEST: usize = 4 << 10;
/// Hits on one route and core that are written down within a [`PAUSE`]: a page and what it loads.
pub(crate) const HITS: u32 = 32;
/// Requests on one route and core that are forwarded and written down within a [`PAUSE`]: all of an app that
/// is asked so often by hand, by a test or by its users, and few enough of a flood.
pub(crate) const FORWARDED: u32 = 256;
/// So a busy route spends about a thousandth of its time on it.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a URL that are kept.
pub(crate) const LONGEST_URL: usize = 2 << 10;
/// What all journals may hold together, in bytes: some thousands of decisions.
pub(crate) const JOURNALS: usize = 4 << 20;

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
