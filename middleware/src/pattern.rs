//! Which requests a pattern of the configuration matches: `GET|PUT example.com/users/{id}`.
//!
//! Paths are compared with unreserved escapes decoded and dot segments resolved (RFC 3986 §6.2.2);
//! what is keyed and forwarded keeps the bytes as sent.
//!
//! ```
//! use config::route::{Pattern, Segment};
//! use middleware::pattern::Wanted;
//!
//! let users = Pattern {
//!     segments: vec![Segment::Literal("users".to_owned()), Segment::Any("id".to_owned())],
//!     ..Pattern::default()
//! };
//! let wanted = Wanted::new("PUT", "example.com:8080", "/users/./7");
//! assert!(wanted.matches(&users));
//! assert_eq!(wanted.captured(&users), [("id", "7")]);
//! ```

use std::borrow::Cow;
use std::cell::OnceCell;

use config::route::{HostPattern, Pattern, Segment};
use http::HeaderMap;
use http::header::HOST;

use crate::Request;

/// What of a request the patterns look at. Brought into form when the first of them does: many a
/// table has one route, which takes everything.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    method: &'a str,
    host: Host<'a>,
    /// As sent.
    path: &'a str,
    normal_path: OnceCell<Cow<'a, str>>,
}

impl<'a> Wanted<'a> {
    /// Of a request behind the forwarding layer.
    pub fn of(request: &'a Request) -> Self {
        Self {
            host: Host::Field(request.headers()),
            ..Self::new(request.method().as_str(), "", request.uri().path())
        }
    }

    /// Of its parts; a port of `host` does not count.
    pub fn new(method: &'a str, host: &'a str, path: &'a str) -> Self {
        Self {
            method,
            host: Host::Text(host),
            path,
            normal_path: OnceCell::new(),
        }
    }

    /// Whether method, host and path are what `pattern` asks for.
    pub fn matches(&self, pattern: &Pattern) -> bool {
        (pattern.methods.is_empty() || pattern.methods.iter().any(|method| method == self.method))
            && host_matches(&pattern.host, self.host)
            && (takes_all_paths(pattern) || path_matches(pattern, self.path()))
    }

    fn path(&self) -> &str {
        self.normal_path.get_or_init(|| normal_path(self.path))
    }

    /// The placeholders of a pattern that [matches](Self::matches), and what stands in their places.
    pub fn captured<'p>(&'p self, pattern: &'p Pattern) -> Vec<(&'p str, &'p str)> {
        let placeholder = |(wanted, found): (&'p Segment, &'p str)| match wanted {
            Segment::Any(name) => Some((name.as_str(), found)),
            Segment::Literal(_) => None,
        };
        let found = segments(self.path());
        let pairs = pattern.segments.iter().zip(found);
        pairs.filter_map(placeholder).collect()
    }
}

/// The segments of a path that begins with a slash.
fn segments(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// Where the host is to be read, as sent.
#[derive(Clone, Copy, Debug)]
enum Host<'a> {
    Text(&'a str),
    Field(&'a HeaderMap),
}

impl<'a> Host<'a> {
    fn name(self) -> &'a str {
        let text = match self {
            Self::Text(text) => Some(text),
            Self::Field(fields) => fields.get(HOST).and_then(|host| host.to_str().ok()),
        };
        without_port(text.unwrap_or(""))
    }
}

fn host_matches(pattern: &HostPattern, host: Host<'_>) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name.eq_ignore_ascii_case(host.name()),
        HostPattern::Below(domain) => is_below(domain, host.name()),
    }
}

fn is_below(domain: &str, host: &str) -> bool {
    host.len()
        .checked_sub(domain.len() + 1)
        .and_then(|dot| host.split_at_checked(dot))
        .and_then(|(below, rest)| Some((below, rest.strip_prefix('.')?)))
        .is_some_and(|(below, rest)| !below.is_empty() && rest.eq_ignore_ascii_case(domain))
}

fn takes_all_paths(pattern: &Pattern) -> bool {
    pattern.open && pattern.segments.is_empty()
}

fn path_matches(pattern: &Pattern, path: &str) -> bool {
    let mut found = segments(path);
    for wanted in &pattern.segments {
        match (wanted, found.next()) {
            (Segment::Literal(text), Some(segment)) if text == segment => {}
            (Segment::Any(_), Some(segment)) if !segment.is_empty() => {}
            _ => return false,
        }
    }
    pattern.open || found.next().is_none()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address keeps its brackets, and its colons.
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Unreserved escapes decoded, then dot segments removed (RFC 3986 §6.2.2.2, §5.2.4).
pub(crate) fn normal_path(path: &str) -> Cow<'_, str> {
    let decoded = decode_unreserved(path);
    if decoded.contains("/.") {
        Cow::Owned(remove_dot_segments(&decoded))
    } else {
        decoded
    }
}

fn decode_unreserved(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| after.first_chunk::<2>().and_then(unreserved))
            .flatten();
        match escape {
            Some(plain) => {
                decoded.push(plain);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The byte that two hexadecimal digits stand for, if it is unreserved (RFC 3986 §2.3).
fn unreserved(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    let byte = u8::try_from(high? * 16 + low?).ok()?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(byte)
}

fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}
