//! `Cache-Status` (RFC 9211): one member for what this cache did.
//!
//! ```
//! use middleware::facts::{CacheOutcome, CacheStatus};
//! use middleware::fields::cache_status;
//!
//! let status = CacheStatus {
//!     outcome: CacheOutcome::Hit,
//!     fwd_status: None,
//!     stored: false,
//!     collapsed: false,
//!     ttl: Some(60),
//!     reason: None,
//! };
//! assert_eq!(cache_status::member(&status), "pillion; hit; ttl=60");
//! ```

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::reason::Reason;
use crate::facts::{CacheOutcome, CacheStatus, Fwd};
use crate::fields::decimal::Decimal;

/// The field's name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Adds our member after those of the caches nearer to the upstream (RFC 9211 §2).
pub fn append(fields: &mut HeaderMap, status: &CacheStatus) {
    // A map at its limit of fields keeps what it has: a lost remark is no reason to fail.
    drop(fields.try_append(CACHE_STATUS, remembered(status)));
}

/// [`member`], remembered where it is the same each time: what is passed on has one of a few.
fn remembered(status: &CacheStatus) -> HeaderValue {
    if status.ttl.is_some() {
        return member(status);
    }
    let code = status
        .fwd_status
        .map_or(0, |code| usize::from(code.as_u16()));
    let reason = status.reason.map_or(0, |reason| 1 + reason as usize);
    LAST.with_borrow_mut(|last| {
        let place = &mut last[(code + reason) % PLACES];
        match place {
            Some((known, value)) if known == status => value.clone(),
            _ => place.insert((*status, member(status))).1.clone(),
        }
    })
}

thread_local! {
    static LAST: RefCell<[Option<(CacheStatus, HeaderValue)>; PLACES]> =
        const { RefCell::new([const { None }; PLACES]) };
}

/// Members that a core remembers.
const PLACES: usize = 8;

/// Adds the parameter `key` to our member, which is the last line (RFC 9211 §2.7). What is not
/// printable ASCII is escaped as in a URI, and what is beyond `LONGEST_KEY` bytes left out.
pub fn add_key(fields: &mut HeaderMap, key: &str) {
    let lines: Vec<HeaderValue> = fields.get_all(CACHE_STATUS).iter().cloned().collect();
    let Some((ours, others)) = lines.split_last() else {
        return;
    };
    let mut text = ours.as_bytes().to_vec();
    text.extend_from_slice(b"; key=\"");
    let mut left = LONGEST_KEY;
    for byte in key.bytes() {
        let written: &[u8] = match byte {
            b'"' | b'\\' => &[b'\\', byte],
            0x20..=0x7e => &[byte],
            _ => &escaped(byte),
        };
        if written.len() > left {
            break;
        }
        left -= written.len();
        text.extend_from_slice(written);
    }
    text.push(b'"');
    let Ok(value) = HeaderValue::from_bytes(&text) else {
        return;
    };
    fields.remove(CACHE_STATUS);
    for line in others.iter().chain([&value]) {
        drop(fields.try_append(CACHE_STATUS, line.clone()));
    }
}

fn escaped(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [
        b'%',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Of the parameter `key`, in bytes.
const LONGEST_KEY: usize = 1024;

/// Our member, as it is written.
pub fn member(status: &CacheStatus) -> HeaderValue {
    let mut text = Text::new();
    match outcome(status) {
        Outcome::Hit => text.push("pillion; hit"),
        Outcome::Fwd(fwd) => {
            text.push("pillion; fwd=");
            text.push(fwd_name(fwd));
        }
    }
    if let Some(code) = status.fwd_status {
        text.push("; fwd-status=");
        text.push(code.as_str());
    }
    if let Some(ttl) = status.ttl {
        text.push("; ttl=");
        text.push_number(ttl);
    }
    if status.stored {
        text.push("; stored");
    }
    if status.collapsed {
        text.push("; collapsed");
    }
    if let Some(reason) = status.reason {
        text.push("; detail=");
        text.push(reason.name());
    }
    text.into_value()
}

enum Outcome {
    Hit,
    Fwd(Fwd),
}

/// `hit` says that the request was *not* forwarded (RFC 9211 §2.1), so a confirmed stored response
/// and one that stands in for an error are both `fwd`.
fn outcome(status: &CacheStatus) -> Outcome {
    match (status.outcome, status.reason) {
        (CacheOutcome::HitStale, Some(Reason::StaleIfError)) => Outcome::Fwd(Fwd::Stale),
        (CacheOutcome::Hit | CacheOutcome::HitStale, _) => Outcome::Hit,
        (CacheOutcome::Revalidated, Some(reason)) if reason.is_of_request() => {
            Outcome::Fwd(Fwd::Request)
        }
        (CacheOutcome::Revalidated, Some(Reason::VaryMismatch)) => Outcome::Fwd(Fwd::VaryMiss),
        (CacheOutcome::Revalidated, _) => Outcome::Fwd(Fwd::Stale),
        (CacheOutcome::Fwd(fwd), _) => Outcome::Fwd(fwd),
    }
}

fn fwd_name(fwd: Fwd) -> &'static str {
    match fwd {
        Fwd::Bypass => "bypass",
        Fwd::Method => "method",
        Fwd::UriMiss => "uri-miss",
        Fwd::VaryMiss => "vary-miss",
        Fwd::Miss => "miss",
        Fwd::Request => "request",
        Fwd::Stale => "stale",
        Fwd::Partial => "partial",
    }
}

/// Text on the stack: on the hit path nothing goes through `fmt`, and the value is allocated once.
struct Text {
    bytes: [u8; Self::SIZE],
    length: usize,
}

impl Text {
    /// Twice the longest member.
    const SIZE: usize = 192;

    fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            length: 0,
        }
    }

    fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    /// What does not fit is left out.
    fn push_bytes(&mut self, text: &[u8]) {
        let end = self.length + text.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(text);
            self.length = end;
        }
    }

    fn push_number(&mut self, number: i64) {
        if number < 0 {
            self.push("-");
        }
        self.push_bytes(Decimal::of(number.unsigned_abs()).bytes());
    }

    fn into_value(self) -> HeaderValue {
        let written = self.bytes.get(..self.length).unwrap_or_default();
        HeaderValue::from_bytes(written).expect("names and digits are visible ASCII")
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn status(outcome: CacheOutcome) -> CacheStatus {
        CacheStatus {
            outcome,
            fwd_status: None,
            stored: false,
            collapsed: false,
            ttl: None,
            reason: None,
        }
    }

    #[test]
    fn members_are_written_as_rfc_9211_has_them() {
        let hit = CacheStatus {
            ttl: Some(376),
            ..status(CacheOutcome::Hit)
        };
        let stored = CacheStatus {
            fwd_status: Some(StatusCode::OK),
            stored: true,
            ttl: Some(60),
            ..status(CacheOutcome::Fwd(Fwd::UriMiss))
        };
        let stale = CacheStatus {
            ttl: Some(-412),
            reason: Some(Reason::StaleWhileRevalidate),
            ..status(CacheOutcome::HitStale)
        };
        let error = CacheStatus {
            fwd_status: Some(StatusCode::BAD_GATEWAY),
            reason: Some(Reason::StaleIfError),
            ..status(CacheOutcome::HitStale)
        };
        let reload = CacheStatus {
            fwd_status: Some(StatusCode::NOT_MODIFIED),
            reason: Some(Reason::ClientNoCache),
            ..status(CacheOutcome::Revalidated)
        };
        let collapsed = CacheStatus {
            collapsed: true,
            ..status(CacheOutcome::Fwd(Fwd::VaryMiss))
        };
        for (status, expected) in [
            (hit, "pillion; hit; ttl=376"),
            (
                stored,
                "pillion; fwd=uri-miss; fwd-status=200; ttl=60; stored",
            ),
            (
                stale,
                "pillion; hit; ttl=-412; detail=stale-while-revalidate",
            ),
            (
                error,
                "pillion; fwd=stale; fwd-status=502; detail=stale-if-error",
            ),
            (
                reload,
                "pillion; fwd=request; fwd-status=304; detail=client-no-cache",
            ),
            (collapsed, "pillion; fwd=vary-miss; collapsed"),
        ] {
            assert_eq!(member(&status), expected);
        }
    }

    #[test]
    fn members_of_other_caches_stay_before_ours() {
        let mut fields = HeaderMap::new();
        fields.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
        append(&mut fields, &status(CacheOutcome::Hit));
        let members: Vec<_> = fields.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(members, ["origin; hit", "pillion; hit"]);
    }

    proptest! {
        /// RFC 9651 §3.3.3: what is written is a string of structured fields.
        #[test]
        fn a_key_is_a_string_beside_what_was_there(key in "\\PC{0,40}") {
            let mut fields = HeaderMap::new();
            fields.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
            append(&mut fields, &status(CacheOutcome::Hit));
            add_key(&mut fields, &key);
            let lines: Vec<_> = fields.get_all(CACHE_STATUS).iter().collect();
            prop_assert_eq!(lines[0], "origin; hit");
            let list = sfv::Parser::new(lines[1].as_bytes()).parse::<sfv::List>().unwrap();
            let [sfv::ListEntry::Item(ours)] = list.as_slice() else { panic!("one member") };
            let told = ours.params.get("key").unwrap().as_string().unwrap().as_str();
            if key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
                prop_assert_eq!(told, key);
            }
        }

        #[test]
        fn any_number_is_written_as_fmt_would(number in any::<i64>()) {
            let mut text = Text::new();
            text.push_number(number);
            prop_assert_eq!(text.into_value(), number.to_string());
        }
    }

    #[test]
    fn the_longest_member_fits() {
        for reason in Reason::ALL {
            let status = CacheStatus {
                fwd_status: Some(StatusCode::OK),
                stored: true,
                collapsed: true,
                ttl: Some(i64::MIN),
                reason: Some(*reason),
                ..status(CacheOutcome::Fwd(Fwd::UriMiss))
            };
            let written = member(&status);
            assert!(written.to_str().unwrap().ends_with(reason.name()));
        }
    }
}
