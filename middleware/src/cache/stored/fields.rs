//! The fields of a stored response in one piece of memory.
//!
//! A `HeaderMap` of ten fields takes 1.3 KiB beside the bytes of its values; this takes some forty bytes
//! beside them, and known names a byte each. It is read in one pass from the beginning; an answer's map
//! is made of it anew.

use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{AGE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::stored::own::PLACEHOLDER;
use crate::content_coding::reading::Reading;
use crate::facts::X_REQUEST_ID;
use crate::fields::cache_status::CACHE_STATUS;

/// Lines of fields in their order, each with its name. First their number and the length of all
/// values, then for each line a code of its name, the length of its value and, where the code says so,
/// the name spelled out; then the values. Numbers are written seven bits at a time. The places for our
/// own fields are a code each and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Fields(Box<[u8]>);

/// One line of a field.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    name: Name<'a>,
    /// The value, where it is but a place.
    place: Option<&'static str>,
    /// What it says.
    pub value: &'a [u8],
    /// See [`HeaderValue::is_sensitive`].
    pub is_sensitive: bool,
}

/// A line on its way into one of [`Fields`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked<'a> {
    /// In lower case.
    pub(crate) name: &'a str,
    pub(crate) value: &'a [u8],
    pub(crate) is_sensitive: bool,
}

#[derive(Clone, Copy, Debug)]
enum Name<'a> {
    Known(&'static HeaderName),
    Spelled(&'a str),
}

impl Fields {
    /// The lines of `map`.
    pub fn of(map: &HeaderMap) -> Self {
        let mut packing = Packing::of(map.len());
        for (name, value) in map {
            packing.line(Unpacked {
                name: name.as_str(),
                value: value.as_bytes(),
                is_sensitive: value.is_sensitive(),
            });
        }
        packing.packed()
    }

    /// These lines, of which there are `count`; `None` if one of them is none that a map could have.
    pub(crate) fn of_lines<'a>(
        count: usize,
        mut lines: impl Iterator<Item = Unpacked<'a>>,
    ) -> Option<Self> {
        let mut packing = Packing::of(count);
        let is_packed = lines.all(|line| {
            let code = packing.line(line);
            let is_name = || {
                let name = HeaderName::from_bytes(line.name.as_bytes());
                name.is_ok_and(|name| name.as_str() == line.name)
            };
            (code.is_some() || is_name()) && is_value(line.value)
        });
        is_packed.then(|| packing.packed())
    }

    /// What they mean for coding.
    pub(crate) fn reading(&self) -> Reading {
        Reading::of_lines(self.lines().map(|line| (line.name(), line.value)))
    }

    /// The lines as a map, whose values have memory of their own.
    pub fn map(&self) -> HeaderMap {
        self.map_with(None)
    }

    /// The same with one line more.
    pub(crate) fn map_with(&self, more: Option<(HeaderName, HeaderValue)>) -> HeaderMap {
        let lines = self.lines();
        let mut values = Bytes::copy_from_slice(lines.values);
        // No map that became these lines had more.
        let room = lines.left + usize::from(more.is_some());
        let mut map = HeaderMap::try_with_capacity(room).unwrap_or_default();
        for line in lines {
            let value = match line.place {
                Some(place) => Ok(HeaderValue::from_static(place)),
                None => HeaderValue::from_maybe_shared(values.split_to(line.value.len())),
            };
            if let (Ok(mut value), Some(name)) = (value, line.name.owned()) {
                value.set_sensitive(line.is_sensitive);
                drop(map.try_append(name, value));
            }
        }
        if let Some((name, value)) = more {
            drop(map.try_append(name, value));
        }
        map
    }

    /// All lines in order.
    pub fn lines(&self) -> Lines<'_> {
        let mut table = &*self.0;
        let left = pull(&mut table);
        let length = pull(&mut table);
        let (table, values) = table
            .split_at_checked(table.len().saturating_sub(length))
            .unwrap_or_default();
        Lines {
            left,
            table,
            values,
        }
    }

    /// What the lines of `name`, in lower case, say.
    pub fn all<'a>(&'a self, name: impl AsRef<str> + 'a) -> impl Iterator<Item = &'a [u8]> {
        self.lines()
            .filter(move |line| line.name() == name.as_ref())
            .map(|line| line.value)
    }

    /// What the first of these lines says.
    pub fn first(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        let name = name.as_ref();
        let line = self.lines().find(|line| line.name() == name)?;
        Some(line.value)
    }

    /// The same, in memory of its own.
    pub fn get(&self, name: impl AsRef<str>) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.first(name)?).ok()
    }

    /// Whether there is a line of `name`.
    pub fn contains_key(&self, name: impl AsRef<str>) -> bool {
        self.first(name).is_some()
    }

    /// Bytes of memory behind it.
    pub(crate) fn size(&self) -> usize {
        self.0.len()
    }
}

/// Lines on their way into one piece of memory.
struct Packing {
    count: usize,
    table: Vec<u8>,
    values: Vec<u8>,
}

impl Packing {
    /// Of `count` lines.
    fn of(count: usize) -> Self {
        Self {
            count,
            table: Vec::with_capacity(4 * count),
            values: Vec::with_capacity(VALUES),
        }
    }

    /// Adds a line; the code of its name, if that has one.
    fn line(&mut self, line: Unpacked<'_>) -> Option<u8> {
        let Unpacked {
            name,
            value,
            is_sensitive,
        } = line;
        let code = code(name);
        let place = code.and_then(|code| place(code, value));
        if let Some(place) = place.filter(|_| !is_sensitive) {
            self.table.push(place);
            return code;
        }
        let sensitive = if is_sensitive { SENSITIVE } else { 0 };
        self.table.push(code.unwrap_or(SPELLED) | sensitive);
        push(&mut self.table, value.len());
        if code.is_none() {
            push(&mut self.table, name.len());
            self.table.extend_from_slice(name.as_bytes());
        }
        self.values.extend_from_slice(value);
        code
    }

    fn packed(self) -> Fields {
        let length = self.values.len();
        // To the byte: what is left over would be held as long as the response is.
        let bytes = digits(self.count) + digits(length) + self.table.len() + length;
        let mut all = Vec::with_capacity(bytes);
        push(&mut all, self.count);
        push(&mut all, length);
        all.extend_from_slice(&self.table);
        all.extend_from_slice(&self.values);
        Fields(all.into())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map().fmt(f)
    }
}

/// See [`Fields::lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    left: usize,
    table: &'a [u8],
    values: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (first, rest) = self.table.split_first()?;
        self.table = rest;
        if let Some(place) = first.checked_sub(FIRST_PLACE)
            && let Some(&(ref name, value)) = PLACES.get(usize::from(place))
        {
            return Some(Line {
                name: Name::Known(name),
                place: Some(value),
                value: value.as_bytes(),
                is_sensitive: false,
            });
        }
        let length = pull(&mut self.table);
        let name = match usize::from(first & !SENSITIVE) {
            0 => {
                let length = pull(&mut self.table);
                let (name, rest) = self.table.split_at_checked(length)?;
                self.table = rest;
                Name::Spelled(std::str::from_utf8(name).ok()?)
            }
            code => Name::Known(KNOWN.get(code - 1)?),
        };
        let (value, rest) = self.values.split_at_checked(length)?;
        self.values = rest;
        Some(Line {
            name,
            place: None,
            value,
            is_sensitive: first & SENSITIVE != 0,
        })
    }
}

impl<'a> Line<'a> {
    /// The field's name, in lower case.
    pub fn name(&self) -> &'a str {
        match self.name {
            Name::Known(name) => name.as_str(),
            Name::Spelled(name) => name,
        }
    }
}

impl Name<'_> {
    fn owned(self) -> Option<HeaderName> {
        match self {
            Self::Known(name) => Some(name.clone()),
            Self::Spelled(name) => HeaderName::from_bytes(name.as_bytes()).ok(),
        }
    }
}

fn push(to: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// How many bytes [`push`] writes.
fn digits(number: usize) -> usize {
    let bits = usize::BITS - number.leading_zeros();
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or_default()
}

/// The number that `from` begins with, which is taken off.
fn pull(from: &mut &[u8]) -> usize {
    let mut number = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = from.split_first() {
        *from = rest;
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 || shift >= usize::BITS {
            break;
        }
    }
    number
}

/// The code of a known name: its place, from one on.
fn code(name: &str) -> Option<u8> {
    let place = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(place + 1).ok()
}

/// The code of the place for one of our own fields, whose name has the code `name`, if a line is nothing
/// else. Their names come first among those that are known, in the same order.
fn place(name: u8, value: &[u8]) -> Option<u8> {
    let (_, place) = PLACES.get(usize::from(name.checked_sub(1)?))?;
    (value == place.as_bytes()).then_some(FIRST_PLACE + name - 1)
}

/// Whether a field can say `value` (RFC 9110 §5.5), by the rule that the HTTP library has.
fn is_value(value: &[u8]) -> bool {
    let is_told = |byte: &u8| (*byte >= 0x20) & (*byte != 0x7f) | (*byte == b'\t');
    // To its end, whatever it says: then many bytes are looked at in one go.
    value.iter().fold(true, |all, byte| all & is_told(byte))
}

/// Of a line whose name is spelled out.
const SPELLED: u8 = 0;
/// Added to the code of a line whose value is not to be shown.
const SENSITIVE: u8 = 0x80;

/// Room for values at first; they are copied together at the end.
const VALUES: usize = 512;
/// Code of the first of [`PLACES`]; beyond those of names, and none of them with [`SENSITIVE`].
const FIRST_PLACE: u8 = 0x70;
/// What a stored response begins with (see `own`).
static PLACES: [(HeaderName, &str); 4] = [
    (AGE, "0"),
    (X_REQUEST_ID, ""),
    (VIA, ""),
    (CACHE_STATUS, PLACEHOLDER),
];

/// [`KNOWN`] as they are written: to ask each for that takes as long as to compare them.
static NAMES: LazyLock<[&str; 62]> = LazyLock::new(|| KNOWN.each_ref().map(HeaderName::as_str));

/// The names that responses have most often, the most frequent first; fewer than 127.
static KNOWN: [HeaderName; 62] = [
    HeaderName::from_static("age"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("via"),
    HeaderName::from_static("cache-status"),
    HeaderName::from_static("date"),
    HeaderName::from_static("content-type"),
    HeaderName::from_static("content-length"),
    HeaderName::from_static("cache-control"),
    HeaderName::from_static("etag"),
    HeaderName::from_static("server"),
    HeaderName::from_static("last-modified"),
    HeaderName::from_static("vary"),
    HeaderName::from_static("expires"),
    HeaderName::from_static("accept-ranges"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-content-type-options"),
    HeaderName::from_static("x-frame-options"),
    HeaderName::from_static("x-xss-protection"),
    HeaderName::from_static("strict-transport-security"),
    HeaderName::from_static("content-security-policy"),
    HeaderName::from_static("referrer-policy"),
    HeaderName::from_static("permissions-policy"),
    HeaderName::from_static("content-encoding"),
    HeaderName::from_static("content-language"),
    HeaderName::from_static("content-disposition"),
    HeaderName::from_static("content-location"),
    HeaderName::from_static("content-range"),
    HeaderName::from_static("location"),
    HeaderName::from_static("link"),
    HeaderName::from_static("access-control-allow-origin"),
    HeaderName::from_static("access-control-allow-credentials"),
    HeaderName::from_static("access-control-allow-headers"),
    HeaderName::from_static("access-control-allow-methods"),
    HeaderName::from_static("access-control-expose-headers"),
    HeaderName::from_static("access-control-max-age"),
    HeaderName::from_static("timing-allow-origin"),
    HeaderName::from_static("cross-origin-resource-policy"),
    HeaderName::from_static("cross-origin-opener-policy"),
    HeaderName::from_static("cross-origin-embedder-policy"),
    HeaderName::from_static("origin-agent-cluster"),
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("pragma"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("set-cookie"),
    HeaderName::from_static("warning"),
    HeaderName::from_static("allow"),
    HeaderName::from_static("x-robots-tag"),
    HeaderName::from_static("x-dns-prefetch-control"),
    HeaderName::from_static("x-download-options"),
    HeaderName::from_static("x-permitted-cross-domain-policies"),
    HeaderName::from_static("x-ua-compatible"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-runtime"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-generator"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("no-vary-search"),
    HeaderName::from_static("cache-tag"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &[u8], bool)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value, is_sensitive) in lines {
            let mut value = HeaderValue::from_bytes(value).unwrap();
            value.set_sensitive(*is_sensitive);
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        map
    }

    fn is_same(one: &HeaderMap, other: &HeaderMap) -> bool {
        let lines = |map: &HeaderMap| {
            let lines = map.iter();
            let told =
                lines.map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive()));
            told.collect::<Vec<_>>()
        };
        lines(one) == lines(other)
    }

    #[test]
    fn every_known_name_has_a_code_of_its_own() {
        assert!(KNOWN.len() < usize::from(FIRST_PLACE));
        assert!(PLACES.len() < usize::from(SENSITIVE - FIRST_PLACE));
        let places = PLACES.iter().map(|(name, _)| name);
        assert!(places.eq(KNOWN.iter().take(PLACES.len())));
        for (place, name) in KNOWN.iter().enumerate() {
            assert_eq!(code(name.as_str()), u8::try_from(place + 1).ok(), "{name}");
        }
    }

    #[test]
    fn places_take_a_byte_each_and_what_is_said_there_stays() {
        let places = PLACES
            .each_ref()
            .map(|(name, value)| (name.as_str(), value.as_bytes(), false));
        let empty = map(&places);
        let fields = Fields::of(&empty);
        assert_eq!(fields.size(), 2 + PLACES.len());
        assert!(is_same(&fields.map(), &empty));
        let mut said = empty.clone();
        said.insert(AGE, HeaderValue::from_static("77"));
        said.insert(VIA, HeaderValue::from_static("1.1 a"));
        assert!(is_same(&Fields::of(&said).map(), &said));
    }

    #[test]
    fn lines_are_those_that_a_map_can_have() {
        let packed = |name: &str, value: &[u8]| {
            let line = Unpacked {
                name,
                value,
                is_sensitive: false,
            };
            Fields::of_lines(1, std::iter::once(line))
        };
        for byte in 0..=u8::MAX {
            let value = [b'a', byte];
            let is_value = HeaderValue::from_bytes(&value).is_ok();
            assert_eq!(packed("etag", &value).is_some(), is_value, "{byte}");
            let name = [b'a', byte];
            if let Ok(name) = std::str::from_utf8(&name) {
                let comes_back = packed(name, b"1").map(|fields| fields.map());
                let is_name = HeaderName::from_bytes(name.as_bytes());
                let is_name = is_name.is_ok_and(|own| own.as_str() == name);
                assert_eq!(comes_back.is_some(), is_name, "{byte}");
                assert!(
                    comes_back.is_none_or(|map| map.contains_key(name)),
                    "{byte}"
                );
            }
        }
        assert_eq!(packed("", b""), None);
        assert_eq!(packed("Etag", b""), None);
        let told = packed("x-a", b"1").unwrap();
        assert!(is_same(&told.map(), &map(&[("x-a", b"1", false)])));
    }

    #[test]
    fn ten_thousand_lines_come_back() {
        let name = |index: usize| format!("x-{}", index % 5000);
        let names: Vec<_> = (0..10_000).map(name).collect();
        let value = vec![b'v'; 300];
        let lines: Vec<_> = names.iter().map(|name| (&**name, &*value, false)).collect();
        let map = map(&lines);
        assert!(is_same(&Fields::of(&map).map(), &map));
    }

    #[test]
    fn a_cut_piece_of_memory_is_read_without_panic() {
        let all = Fields::of(&map(&[("etag", b"\"a\"", false), ("x-custom", b"1", true)]));
        for end in 0..all.0.len() {
            let cut = Fields(all.0.get(..end).unwrap().into());
            assert!(cut.map().len() <= 2);
        }
    }

    proptest! {
        #[test]
        fn lines_come_back_as_they_were(
            lines in proptest::collection::vec(
                (
                    prop_oneof![
                        proptest::sample::select(&KNOWN[..]).prop_map(|name| name.to_string()),
                        "[a-z][a-z0-9-]{0,20}",
                        Just("x".repeat(200)),
                    ],
                    prop_oneof![
                        proptest::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..20),
                        Just(vec![b'v'; 40_000]),
                    ],
                    any::<bool>(),
                ),
                0..20,
            )
        ) {
            let lines: Vec<_> = lines
                .iter()
                .map(|(name, value, is_sensitive)| (&**name, &**value, *is_sensitive))
                .collect();
            let map = map(&lines);
            let fields = Fields::of(&map);
            prop_assert!(is_same(&fields.map(), &map));
            prop_assert_eq!(fields.lines().count(), map.len());
            for name in map.keys() {
                let all: Vec<_> = fields.all(name.as_str()).collect();
                let told: Vec<_> = map.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                prop_assert_eq!(&all, &told);
                prop_assert_eq!(fields.first(name), told.first().copied());
                prop_assert!(fields.contains_key(name));
            }
            prop_assert!(!fields.contains_key("x-absent"));
        }
    }
}
