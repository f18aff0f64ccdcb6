//! How a line looks, for people and for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::request_log::LogFormat;
use http::{HeaderValue, Version};
use serde::Serialize;

use super::record::Record;
use crate::facts::{Observed, Reason};
use crate::metrics::{Event, Outcome, lookup_label};

/// Appends the line of `record`, end of line included.
pub(super) fn write(line: &mut Vec<u8>, format: LogFormat, record: &Record) {
    let entry = Entry::of(record);
    match format {
        LogFormat::Json => {
            serde_json::to_writer(&mut *line, &entry).expect("an entry can be written");
        }
        LogFormat::Human => entry.write_words(line),
    }
    line.push(b'\n');
}

/// A line's fields, in order. What a peer wrote is [`printable`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
struct Entry<'a> {
    /// Of arrival, RFC 3339 in UTC.
    time: String,
    status: u16,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    target: Cow<'a, str>,
    version: &'static str,
    outcome: &'static str,
    /// Seconds until the last byte.
    duration: f64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    /// `hit`, or why the request was forwarded (RFC 9211).
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Seconds that the upstream took until the head of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<f64>,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u8,
    /// What features that observe would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<Would>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// Whether the client went away before the end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    aborted: bool,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Cow<'a, str>>,
}

/// By feature.
#[derive(Debug, Serialize)]
struct Would {
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conditional: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_coding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'static str>,
}

impl Would {
    fn of(observed: Observed) -> Option<Self> {
        (observed != Observed::NONE).then(|| Self {
            cache: observed.cache.map(Event::would),
            conditional: observed.conditional.map(Event::would),
            content_coding: observed.content_coding.map(Event::would),
            etag: observed.etag.map(Event::would),
        })
    }

    /// `cache:hit,etag:tag`
    fn words(&self) -> String {
        let all = [
            ("cache", self.cache),
            ("conditional", self.conditional),
            ("content_coding", self.content_coding),
            ("etag", self.etag),
        ];
        let some = all
            .into_iter()
            .filter_map(|(name, would)| Some((name, would?)));
        let words: Vec<_> = some
            .map(|(name, would)| format!("{name}:{would}"))
            .collect();
        words.join(",")
    }
}

impl<'a> Entry<'a> {
    fn of(record: &'a Record) -> Self {
        let Record { asked, head, .. } = record;
        let shown = asked.shown.as_deref();
        let told = head.facts.told.as_ref();
        let authority = asked.uri.authority().map(|authority| authority.as_str());
        let field = shown.and_then(|shown| shown.host.as_ref());
        let target = asked.uri.path_and_query();
        let upstream = head.facts.upstream;
        let status = head.facts.cache;
        Self {
            time: rfc3339(asked.received.wall),
            status: head.status.as_u16(),
            method: asked.method.as_str(),
            host: authority
                .map(|authority| printable(authority.as_bytes()))
                .or(field.map(|host| printable(host.as_bytes()))),
            target: printable(target.map_or(&b""[..], |target| target.as_str().as_bytes())),
            version: version(asked.version),
            outcome: Outcome::of(status, record.error).name(),
            duration: rounded(record.total),
            bytes: record.bytes,
            client: told
                .map_or(asked.client, |told| told.client)
                .map(|client| client.to_string()),
            route: head.facts.route.as_deref(),
            cache: status.map(|status| lookup_label(status.outcome)),
            reason: status.and_then(|status| status.reason).map(Reason::name),
            upstream: upstream.map(|timing| rounded(timing.first_byte)),
            connect: upstream.and_then(|timing| timing.connect).map(rounded),
            retries: upstream.map_or(0, |timing| timing.retries),
            would: Would::of(head.facts.observed),
            error: record.error.map(|error| error.name()),
            aborted: record.is_aborted,
            id: told.map_or(&asked.id, |told| &told.id).to_string(),
            trace: shown
                .and_then(|shown| shown.trace_id)
                .map(|[high, low]| format!("{high:016x}{low:016x}")),
            agent: shown
                .and_then(|shown| shown.agent.as_ref())
                .map(HeaderValue::as_bytes)
                .map(printable),
        }
    }

    /// What one looks for first stands first and in columns, the rest as `name=value` where there is any.
    fn write_words(&self, line: &mut Vec<u8>) {
        let milliseconds = self.duration * 1e3;
        let host = self.host.as_deref().unwrap_or("");
        // Of a request that was refused for it, perhaps: it must not look like the words behind it.
        let host = match host.contains([' ', '"']) {
            true => Cow::Owned(quoted(host)),
            false => Cow::Borrowed(host),
        };
        write!(
            line,
            "{} {} {:<11} {milliseconds:>9.3}ms {:>9}B {:<6} {host}{}",
            self.time, self.status, self.outcome, self.bytes, self.method, self.target
        )
        .expect("writing to memory cannot fail");
        let mut word = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                write!(line, " {name}={value}").expect("writing to memory cannot fail");
            }
        };
        let milliseconds = |seconds: f64| format!("{:.3}ms", seconds * 1e3);
        word("error", self.error);
        word("aborted", self.aborted.then_some("true"));
        word("cache", self.cache.filter(|cache| *cache != self.outcome));
        word("reason", self.reason);
        word("would", self.would.as_ref().map(Would::words).as_deref());
        word("upstream", self.upstream.map(milliseconds).as_deref());
        word("connect", self.connect.map(milliseconds).as_deref());
        let retries = (self.retries > 0).then(|| self.retries.to_string());
        word("retries", retries.as_deref());
        word("route", self.route);
        word("client", self.client.as_deref());
        word("id", Some(&self.id));
        word("trace", self.trace.as_deref());
        word("agent", self.agent.as_deref().map(quoted).as_deref());
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Seconds, to the microsecond.
fn rounded(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// What a peer wrote, fit for a terminal and for a log: nothing that begins a line of its own, moves
/// a cursor or reverses the writing direction.
fn printable(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes)
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail"),
        }
    }
    Cow::Owned(text)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `2026-11-21T03:15:21.123Z`; what lies before 1970 is written as 1970.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let milliseconds = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: eras of 400
/// years (146,097 days) that begin on 1 March, so that the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_in_rfc_3339() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
            assert_eq!(rfc3339(time), text);
        }
    }

    proptest! {
        /// Against the other implementation at hand, to the second.
        #[test]
        fn times_agree_with_http_dates(seconds in 0_u64..253_402_300_800) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let (ours, other) = (rfc3339(time), httpdate::fmt_http_date(time));
            let ours: Vec<&str> = ours.split(['-', 'T', ':', '.']).collect();
            // `Sat, 21 Nov 2026 03:15:21 GMT`
            let other: Vec<&str> = other.split([' ', ':']).collect();
            let month: usize = ours[1].parse().unwrap();
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            prop_assert_eq!([ours[2], months[month - 1], ours[0]], &other[1..4]);
            prop_assert_eq!(&ours[3..6], &other[4..7]);
        }

        #[test]
        fn what_peers_write_stays_on_its_line(bytes in any::<Vec<u8>>()) {
            let text = printable(&bytes);
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        }
    }
}
