//! The cache key (RFC 9111 §4): what makes two requests the same.
//!
//! It is made from what the client asked, before any layer below rewrites it, and every part is
//! preceded by its length, so that no two different requests write the same bytes.

use std::hash::{BuildHasher, RandomState};

use config::cache::{CacheSettings, KeySettings};
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, Method, Uri};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::Request;
use crate::cache::query;
use crate::facts::{self, Scheme};

/// The bytes of a key and their hash. Two keys are the same only if their bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheKey {
    pub(crate) hash: KeyHash,
    pub(crate) bytes: Box<[u8]>,
}

/// 128 bits by which a key is found; the seed is this process's own, so that nobody outside can
/// prepare keys that fall together.
pub(crate) type KeyHash = u128;

/// Hashes keys with the seed of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    pub(crate) fn new() -> Self {
        Self {
            seed: RandomState::new().hash_one(0_u64),
        }
    }

    /// The same in every run; for tests.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { seed }
    }

    pub(crate) fn seed(self) -> u64 {
        self.seed
    }

    pub(crate) fn hash(self, bytes: &[u8]) -> KeyHash {
        xxh3_128_with_seed(bytes, self.seed)
    }

    pub(crate) fn key(self, bytes: &[u8]) -> CacheKey {
        CacheKey {
            hash: self.hash(bytes),
            bytes: bytes.into(),
        }
    }
}

/// How keys are made on a route. Routes with equal rules share what they store.
#[derive(Debug)]
pub(crate) struct KeyRules {
    /// Part of every key: rules that differ in what they tell apart, or in what they dare to store,
    /// never see each other's stored responses. So a reload that changes them starts afresh.
    fingerprint: u64,
    sort_query: bool,
    drop: Vec<String>,
    pub(crate) headers: Vec<HeaderName>,
    cookies: Vec<String>,
}

impl KeyRules {
    pub(crate) fn of(settings: &CacheSettings) -> Self {
        let KeySettings {
            sort_query,
            drop,
            headers,
            cookies,
        } = &settings.key;
        let telling = format!(
            "{:?}",
            (
                &settings.key,
                settings.cookies,
                settings.set_cookie,
                settings.force_ttl
            )
        );
        Self {
            fingerprint: xxh3_64(telling.as_bytes()),
            sort_query: *sort_query,
            drop: drop.clone(),
            headers: headers
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect(),
            cookies: cookies.clone(),
        }
    }

    /// Whether two sets of rules make the same keys.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Whether `key` was made by them.
    pub(crate) fn wrote(&self, key: &[u8]) -> bool {
        key.get(1..1 + size_of::<u64>()) == Some(&self.fingerprint.to_le_bytes()[..])
    }

    /// Whether one URL has as many keys as there are values of some fields or cookies.
    pub(crate) fn is_projected(&self) -> bool {
        !(self.headers.is_empty() && self.cookies.is_empty())
    }

    /// Whether the values of `name` are part of the key already.
    pub(crate) fn has_header(&self, name: &HeaderName) -> bool {
        self.headers.contains(name)
    }

    /// Whether cookies have their say in the key, and so none in what is stored.
    pub(crate) fn has_cookies(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// Writes the key of `request`.
    pub(crate) fn write_key(&self, request: &Request, key: &mut Vec<u8>) {
        if *request.method() == Method::QUERY {
            self.write_uri(Kind::Query, Target::of(request), key);
            query::write_content(request, key);
        } else {
            self.write_uri(Kind::Response, Target::of(request), key);
        }
        if self.is_projected() {
            self.write_projection(request.headers(), key);
        }
    }

    /// Writes the key of what is known about a URL as a whole, where it has many keys.
    pub(crate) fn write_anchor(&self, target: Target<'_>, key: &mut Vec<u8>) {
        self.write_uri(Kind::Anchor, target, key);
    }

    /// Writes the one key of a URL, where it has one.
    pub(crate) fn write_plain(&self, target: Target<'_>, key: &mut Vec<u8>) {
        self.write_uri(Kind::Response, target, key);
    }

    fn write_uri(&self, kind: Kind, target: Target<'_>, key: &mut Vec<u8>) {
        key.clear();
        key.push(kind as u8);
        key.extend_from_slice(&self.fingerprint.to_le_bytes());
        key.push(match target.scheme {
            Scheme::Http => 0,
            Scheme::Https => 1,
        });
        write_part(key, |key| {
            key.extend(target.authority.iter().map(u8::to_ascii_lowercase));
        });
        write_part(key, |key| key.extend_from_slice(target.path.as_bytes()));
        match target.query {
            Some(query) if self.sort_query || !self.drop.is_empty() => {
                self.write_query(query, key);
            }
            Some(query) => {
                key.push(1);
                write_part(key, |key| key.extend_from_slice(query.as_bytes()));
            }
            None => key.push(0),
        }
    }

    fn write_query(&self, query: &str, key: &mut Vec<u8>) {
        let name = |parameter: &'_ str| parameter.split('=').next().unwrap_or_default().to_owned();
        let mut kept: Vec<&str> = query
            .split('&')
            .filter(|parameter| !self.is_dropped(&name(parameter)))
            .collect();
        if kept.is_empty() {
            key.push(0);
            return;
        }
        if self.sort_query {
            kept.sort_by_key(|parameter| name(parameter));
        }
        key.push(1);
        write_part(key, |key| {
            for (index, parameter) in kept.iter().enumerate() {
                if index > 0 {
                    key.push(b'&');
                }
                key.extend_from_slice(parameter.as_bytes());
            }
        });
    }

    fn is_dropped(&self, name: &str) -> bool {
        self.drop
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            })
    }

    /// Values of the configured fields and cookies; each present line counts, in its order.
    fn write_projection(&self, fields: &HeaderMap, key: &mut Vec<u8>) {
        for name in &self.headers {
            write_list(
                key,
                fields.get_all(name).iter().map(|value| value.as_bytes()),
            );
        }
        for name in &self.cookies {
            write_list(key, cookie_values(fields, name));
        }
    }

    /// The key for people: values of cookies are left out, since they may be secrets.
    pub(crate) fn print(&self, target: Target<'_>, fields: &HeaderMap) -> Vec<String> {
        let mut parts = vec![target.print()];
        parts.extend(self.headers.iter().map(|name| {
            let values = fields.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            format!("{name}: {}", values.join(", "))
        }));
        parts.extend(self.cookies.iter().map(|name| {
            let count = cookie_values(fields, name).count();
            format!("cookie {name}: {count} sent")
        }));
        parts
    }

    /// The cookies that are part of the key, as a request would send them; `None` without any.
    pub(crate) fn projected_cookies(&self, fields: &HeaderMap) -> Option<Vec<u8>> {
        let mut sent = Vec::new();
        for name in &self.cookies {
            for value in cookie_values(fields, name) {
                if !sent.is_empty() {
                    sent.extend_from_slice(b"; ");
                }
                sent.extend_from_slice(name.as_bytes());
                sent.push(b'=');
                sent.extend_from_slice(value);
            }
        }
        (!sent.is_empty()).then_some(sent)
    }
}

/// The URI that a request is about, as the client sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) authority: &'a [u8],
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(crate) fn of(request: &'a Request) -> Self {
        Self::new(
            facts::of_request(request).scheme,
            request
                .headers()
                .get(HOST)
                .map_or(b"", |host| host.as_bytes()),
            request.uri(),
        )
    }

    pub(crate) fn new(scheme: Scheme, authority: &'a [u8], uri: &'a Uri) -> Self {
        Self {
            scheme,
            authority,
            path: uri.path(),
            query: uri.query(),
        }
    }

    /// For people.
    pub(crate) fn print(self) -> String {
        let authority = String::from_utf8_lossy(self.authority).to_ascii_lowercase();
        let mut text = format!("{}://{authority}{}", self.scheme.as_str(), self.path);
        if let Some(query) = self.query {
            text.push('?');
            text.push_str(query);
        }
        text
    }
}

/// Where the target of a request lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) scheme: Scheme,
    /// Lower case.
    pub(crate) authority: &'a [u8],
    pub(crate) path: &'a str,
    /// As far as it is part of the key.
    pub(crate) query: Option<&'a str>,
    /// Whether the query can be told: not where a response says which of it matters.
    pub(crate) is_whole: bool,
}

impl Place<'_> {
    /// The same path with a query that is not known.
    pub(crate) fn of_any_query(self) -> Self {
        Self {
            query: None,
            is_whole: false,
            ..self
        }
    }

    /// For people.
    pub(crate) fn print(self) -> String {
        let target = Target {
            scheme: self.scheme,
            authority: self.authority,
            path: self.path,
            query: self.query.or((!self.is_whole).then_some("…")),
        };
        target.print()
    }
}

/// What `write_uri` wrote at the beginning of `key`; `None` if it did not.
pub(crate) fn place(key: &[u8]) -> Option<Place<'_>> {
    let (kind, rest) = key.split_first()?;
    let (_, rest) = rest.split_at_checked(size_of::<u64>())?;
    let (scheme, rest) = rest.split_first()?;
    let (authority, rest) = read_part(rest)?;
    let (path, rest) = read_part(rest)?;
    let is_whole = ![Kind::Search as u8, Kind::SearchAnchor as u8].contains(kind);
    let query = match rest.split_first()? {
        _ if !is_whole => None,
        (0, _) => None,
        (_, rest) => Some(std::str::from_utf8(read_part(rest)?.0).ok()?),
    };
    Some(Place {
        scheme: match scheme {
            0 => Scheme::Http,
            _ => Scheme::Https,
        },
        authority,
        path: std::str::from_utf8(path).ok()?,
        query,
        is_whole,
    })
}

/// A key of responses to GET, or of an anchor, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnKey<'a> {
    /// Rules, scheme, authority and path as they are written.
    pub(crate) place: &'a [u8],
    /// As it is compared: sorted and thinned by configuration.
    pub(crate) query: Option<&'a str>,
    /// Configured fields and cookies of the request; none in an anchor.
    pub(crate) projection: &'a [u8],
    /// Whether one URL has many such keys.
    pub(crate) is_projected: bool,
}

impl<'a> OwnKey<'a> {
    /// `None` if it is a key of something else.
    pub(crate) fn split(key: &'a [u8]) -> Option<Self> {
        let (kind, written) = key.split_first()?;
        if ![Kind::Response as u8, Kind::Anchor as u8].contains(kind) {
            return None;
        }
        let (_, rest) = written.split_at_checked(size_of::<u64>() + 1)?;
        let (_, rest) = read_part(rest)?;
        let (_, rest) = read_part(rest)?;
        let place = written.get(..written.len() - rest.len())?;
        let (has_query, rest) = rest.split_first()?;
        let (query, projection) = match has_query {
            0 => (None, rest),
            _ => {
                let (query, rest) = read_part(rest)?;
                (Some(std::str::from_utf8(query).ok()?), rest)
            }
        };
        Some(Self {
            place,
            query,
            projection,
            is_projected: !projection.is_empty() || *kind == Kind::Anchor as u8,
        })
    }
}

/// One part that [`write_part`] wrote, and what follows it.
fn read_part(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk()?;
    let length = u32::from_le_bytes(*length);
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// What a key belongs to.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Responses to GET, which answer HEAD as well.
    Response = 0,
    Anchor = 1,
    /// Responses to QUERY, told apart by its content.
    Query = 2,
    /// What is known of a path.
    Path = 3,
    /// Responses that say which of their query matters, by that.
    Search = 4,
    SearchAnchor = 5,
}

/// Writes one part after its length.
pub(crate) fn write_part(key: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = key.len();
    key.extend_from_slice(&[0; 4]);
    write(key);
    let length = u32::try_from(key.len() - start - 4).expect("a header section is below 4 GiB");
    if let Some(place) = key.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Writes each value after a mark, and another mark at the end.
pub(crate) fn write_list<'a>(key: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for value in values {
        key.push(1);
        write_part(key, |key| key.extend_from_slice(value));
    }
    key.push(0);
}

/// The values of all cookies called `name` (RFC 6265 §4.2.1).
fn cookie_values<'a>(fields: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
    fields
        .get_all(COOKIE)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let (found, value) = pair.split_at_checked(name.len())?;
            (found == name.as_bytes())
                .then_some(value)?
                .strip_prefix(b"=")
        })
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
