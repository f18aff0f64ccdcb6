//! `No-Vary-Search` (draft-ietf-httpbis-no-vary-search): which differences between queries make no
//! difference to a response.
//!
//! Whatever is not understood says nothing, so that queries are told apart as ever; unknown members of
//! the dictionary are left out, as the draft wants it. In one thing we are stricter than the draft:
//! escapes that are no UTF-8 are compared as the bytes that they are, not as one replacement character.
//!
//! ```
//! use http::HeaderMap;
//! use middleware::fields::no_vary_search::NoVarySearch;
//!
//! let mut fields = HeaderMap::new();
//! assert_eq!(NoVarySearch::of(&fields), None);
//! fields.insert("no-vary-search", "params=(\"utm_source\"), key-order".parse().unwrap());
//! let said = NoVarySearch::of(&fields).expect("it is well formed");
//! assert!(said.is_same(Some("b=2&a=%31&utm_source=x"), Some("a=1&b=2")));
//! assert!(!said.is_same(Some("a=1"), Some("a=2")));
//! ```

use std::fmt;

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, Parser};

/// The field.
pub const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// What a response says of queries; never that all of them differ, since that is said without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoVarySearch {
    params: Params,
    /// Whether the order of parameters with different names matters.
    is_ordered: bool,
}

/// Which parameters matter.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Params {
    /// All but those with these names.
    Without(Names),
    /// Those with these names only.
    Only(Names),
}

/// Decoded; as bytes, since nobody has to name parameters in UTF-8.
type Names = Box<[Box<[u8]>]>;

impl NoVarySearch {
    /// What all lines of the field say together; `None` if that is nothing, or malformed, or more than
    /// anybody means.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut lines = fields.get_all(NO_VARY_SEARCH).iter();
        let mut joined = lines.next()?.as_bytes().to_vec();
        for line in lines {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(line.as_bytes());
        }
        if joined.len() > LONGEST {
            return None;
        }
        let said: Dictionary = Parser::new(&joined).parse().ok()?;
        Self::meant(&said)
    }

    /// "Parse a URL search variance" (§4.1 of the draft).
    fn meant(said: &Dictionary) -> Option<Self> {
        let is_ordered = match said.get("key-order") {
            None => true,
            Some(entry) => !boolean(entry)?,
        };
        let params = match (said.get("params"), said.get("except")) {
            (None, None) => Params::Without(Box::default()),
            (Some(ListEntry::InnerList(list)), None) => Params::Without(names(list)?),
            (Some(params), except) => match (boolean(params)?, except) {
                (false, None) => Params::Without(Box::default()),
                (true, None) => Params::Only(Box::default()),
                (true, Some(ListEntry::InnerList(list))) => Params::Only(names(list)?),
                (_, Some(_)) => return None,
            },
            (None, Some(_)) => return None,
        };
        let says_nothing = is_ordered && params == Params::Without(Box::default());
        (!says_nothing).then_some(Self { params, is_ordered })
    }

    /// Whether two URLs that differ in nothing else are "equivalent modulo search variance" (§5).
    pub fn is_same(&self, one: Option<&str>, other: Option<&str>) -> bool {
        let written = |query| {
            let mut written = Vec::new();
            self.write(query, &mut written);
            written
        };
        written(one) == written(other)
    }

    /// Writes what matters of a query, so that two queries have the same bytes if they are equivalent,
    /// and only then.
    pub(crate) fn write(&self, query: Option<&str>, to: &mut Vec<u8>) {
        let mut kept: Vec<_> = parameters(query.unwrap_or_default())
            .filter(|(name, _)| self.matters(name))
            .collect();
        if !self.is_ordered {
            // Stable: those of one name keep their order.
            kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        for part in kept.iter().flat_map(|(name, value)| [name, value]) {
            to.extend_from_slice(&(part.len() as u64).to_le_bytes());
            to.extend_from_slice(part);
        }
    }

    fn matters(&self, name: &[u8]) -> bool {
        let has = |names: &Names| names.iter().any(|known| **known == *name);
        match &self.params {
            Params::Without(names) => !has(names),
            Params::Only(names) => has(names),
        }
    }

    /// Bytes of memory behind it.
    pub(crate) fn weight(&self) -> usize {
        let (Params::Without(names) | Params::Only(names)) = &self.params;
        let bytes = |name: &[u8]| name.len() + size_of::<Box<[u8]>>() + 16;
        let names = names.iter().map(|name| bytes(name));
        size_of::<Self>() + names.sum::<usize>()
    }
}

impl fmt::Display for NoVarySearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.is_ordered { "" } else { "key-order, " };
        let (before, names) = match &self.params {
            Params::Without(names) => ("params=(", names),
            Params::Only(names) => ("params, except=(", names),
        };
        write!(f, "{order}{before}")?;
        for (place, name) in names.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}\"{}\"", name.escape_ascii())?;
        }
        f.write_str(")")
    }
}

fn boolean(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(Item {
            bare_item: BareItem::Boolean(value),
            ..
        }) => Some(*value),
        _ => None,
    }
}

/// The members of a list of strings; one that is none voids the field.
fn names(list: &InnerList) -> Option<Names> {
    if list.items.len() > MOST {
        return None;
    }
    let name = |item: &Item| match &item.bare_item {
        BareItem::String(text) => Some(decoded(text.as_str().as_bytes()).into()),
        _ => None,
    };
    list.items.iter().map(name).collect()
}

/// What application/x-www-form-urlencoded makes of a query (WHATWG URL §5.1).
fn parameters(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let parts = query.as_bytes().split(|byte| *byte == b'&');
    parts.filter(|part| !part.is_empty()).map(|part| {
        let end = part.iter().position(|byte| *byte == b'=');
        let (name, value) = part.split_at(end.unwrap_or(part.len()));
        (decoded(name), decoded(value.get(1..).unwrap_or_default()))
    })
}

/// With `+` as a space and escapes undone; a `%` that begins none stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escape = match after {
            [high, low, ..] if byte == b'%' => escaped(*high, *low),
            _ => None,
        };
        bytes.push(match escape {
            Some(plain) => {
                rest = after.get(2..).unwrap_or_default();
                plain
            }
            None if byte == b'+' => b' ',
            None => byte,
        });
    }
    bytes
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Bytes of the field; nobody names so many parameters.
const LONGEST: usize = 4096;
/// Names in one field.
const MOST: usize = 64;

#[cfg(test)]
#[path = "no_vary_search_tests.rs"]
mod tests;
