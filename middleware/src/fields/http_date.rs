//! Dates (RFC 9110 §5.6.7): all three forms in, IMF-fixdate out.
//!
//! Names may be in any letter case; everything else is exact, since an `Expires` that is no date
//! means "already expired" (RFC 9111 §5.3) and guessing would make it fresh.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use middleware::fields::http_date;
//!
//! let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
//! assert_eq!(http_date::parse(b"Sun, 06 Nov 1994 08:49:37 GMT", then), Some(then));
//! assert_eq!(http_date::format(then), "Sun, 06 Nov 1994 08:49:37 GMT");
//! ```

use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// The moment that `value` names. `now` is needed for the century of an RFC 850 date: one that seems
/// more than 50 years ahead is in the past. The day of the week need not be the right one.
pub fn parse(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    let mut rest = Reader(value);
    let date = match value.get(3)? {
        b',' => imf_fixdate(&mut rest)?,
        b' ' => asctime(&mut rest)?,
        _ => rfc_850(&mut rest, now)?,
    };
    rest.0.is_empty().then_some(())?;
    date.to_time()
}

/// As an IMF-fixdate; the last second of the year 9999 for what is later, the first of 0 for what is earlier.
pub fn format(time: SystemTime) -> HeaderValue {
    let date = Date::of(seconds_since_epoch(time).clamp(FIRST, LAST));
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, date.weekday()),
        date.day,
        name(&MONTHS, date.month - 1),
        date.year,
        date.hour,
        date.minute,
        date.second,
    );
    HeaderValue::try_from(text).expect("a date is visible ASCII")
}

/// A date of the proleptic Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
    hour: i64,
    minute: i64,
    /// 60 is a leap second.
    second: i64,
}

impl Date {
    fn is_valid(self) -> bool {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (1..=12).contains(&self.month)
            && (1..=days).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
    }

    fn to_time(self) -> Option<SystemTime> {
        if !self.is_valid() {
            return None;
        }
        let seconds = self.days() * DAY + self.hour * 3600 + self.minute * 60 + self.second;
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    /// Days since 1970-01-01, counted in eras of 400 years that begin on the first of March.
    fn days(self) -> i64 {
        let year = if self.month <= 2 {
            self.year - 1
        } else {
            self.year
        };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * DAYS_OF_ERA + day_of_era - DAYS_TO_EPOCH
    }

    /// The inverse of [`days`](Self::days), and the time of day.
    fn of(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let shifted = days + DAYS_TO_EPOCH;
        let era = shifted.div_euclid(DAYS_OF_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_OF_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// From 0, Monday; 1970-01-01 was a Thursday.
    fn weekday(self) -> i64 {
        (self.days() + 3).rem_euclid(7)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(rest: &mut Reader<'_>) -> Option<Date> {
    rest.name(&DAYS)?;
    rest.text(b", ")?;
    let day = rest.number(2)?;
    rest.text(b" ")?;
    let month = rest.name(&MONTHS)? + 1;
    rest.text(b" ")?;
    let year = rest.number(4)?;
    rest.text(b" ")?;
    let (hour, minute, second) = rest.time()?;
    rest.text(b" GMT")?;
    Some(Date {
        year,
        month,
        day,
        hour,
        minute,
        second,
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc_850(rest: &mut Reader<'_>, now: SystemTime) -> Option<Date> {
    rest.name(&LONG_DAYS)?;
    rest.text(b", ")?;
    let day = rest.number(2)?;
    rest.text(b"-")?;
    let month = rest.name(&MONTHS)? + 1;
    rest.text(b"-")?;
    let short = rest.number(2)?;
    rest.text(b" ")?;
    let (hour, minute, second) = rest.time()?;
    rest.text(b" GMT")?;
    // The latest year that ends so and is not more than 50 ahead.
    let furthest = Date::of(seconds_since_epoch(now)).year + 50;
    let year = furthest - (furthest - short).rem_euclid(100);
    let date = Date {
        year,
        month,
        day,
        hour,
        minute,
        second,
    };
    let ahead = Date {
        year: date.year - 50,
        ..date
    };
    let too_far =
        ahead.days() * DAY + hour * 3600 + minute * 60 + second > seconds_since_epoch(now);
    Some(if too_far {
        Date {
            year: year - 100,
            ..date
        }
    } else {
        date
    })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(rest: &mut Reader<'_>) -> Option<Date> {
    rest.name(&DAYS)?;
    rest.text(b" ")?;
    let month = rest.name(&MONTHS)? + 1;
    rest.text(b" ")?;
    let day = match rest.text(b" ") {
        Some(()) => rest.number(1)?,
        None => rest.number(2)?,
    };
    rest.text(b" ")?;
    let (hour, minute, second) = rest.time()?;
    rest.text(b" ")?;
    let year = rest.number(4)?;
    Some(Date {
        year,
        month,
        day,
        hour,
        minute,
        second,
    })
}

/// What is left to read; each method takes exactly what it names.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn text(&mut self, text: &[u8]) -> Option<()> {
        let (head, rest) = self.0.split_at_checked(text.len())?;
        head.eq_ignore_ascii_case(text).then(|| self.0 = rest)
    }

    /// Exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        head.iter().try_fold(0, |number, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            Some(number * 10 + i64::from(digit))
        })
    }

    /// The place of the name that comes next.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        let place = names
            .iter()
            .position(|name| self.text(name.as_bytes()).is_some())?;
        i64::try_from(place).ok()
    }

    fn time(&mut self) -> Option<(i64, i64, i64)> {
        let hour = self.number(2)?;
        self.text(b":")?;
        let minute = self.number(2)?;
        self.text(b":")?;
        Some((hour, minute, self.number(2)?))
    }
}

fn seconds_since_epoch(time: SystemTime) -> i64 {
    let seconds = |distance: Duration| i64::try_from(distance.as_secs()).unwrap_or(LAST).min(LAST);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

fn name(names: &[&'static str], place: i64) -> &'static str {
    usize::try_from(place)
        .ok()
        .and_then(|place| names.get(place))
        .expect("a date names one of its days and months")
}

const DAY: i64 = 86_400;
const DAYS_OF_ERA: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
/// 0000-01-01 00:00:00
const FIRST: i64 = -62_167_219_200;
/// 9999-12-31 23:59:59
const LAST: i64 = 253_402_300_799;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-21 00:00:00
    const NOW: u64 = 1_795_219_200;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn all_three_forms_are_accepted() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("sUN, 06 nOV 1994 08:49:37 gmt", 784_111_777),
            ("SUNDAY, 06-NOV-94 08:49:37 GMT", 784_111_777),
            ("SUN NOV  6 08:49:37 1994", 784_111_777),
            ("Thu Dec 31 23:59:59 1998", 915_148_799),
            // A leap second is the next second.
            ("Thu, 31 Dec 1998 23:59:60 GMT", 915_148_800),
            ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
            // Beyond 2038, and to the end.
            ("Tue, 19 Jan 2038 03:14:08 GMT", 1 << 31),
            ("Thu, 01 Jan 2099 00:00:00 GMT", 4_070_908_800),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            // The day of the week is not checked.
            ("Mon, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ] {
            assert_eq!(parse(text.as_bytes(), at(NOW)), Some(at(seconds)), "{text}");
        }
    }

    #[test]
    fn before_the_epoch_is_a_date_too() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(
            parse(b"Wed, 31 Dec 1969 23:59:59 GMT", at(NOW)),
            Some(before)
        );
        assert_eq!(format(before), "Wed, 31 Dec 1969 23:59:59 GMT");
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "now",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49:37 GMT, x",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994  08:49:37 GMT",
            "Sun,06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nop 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06 Nov 94 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "1994-11-06T08:49:37Z",
            "S\u{fc}n, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes(), at(NOW)), None, "{text}");
        }
    }

    #[test]
    fn a_short_year_more_than_50_years_in_the_future_is_in_the_past() {
        let year = |text: &str| {
            let time = parse(text.as_bytes(), at(NOW)).expect(text);
            Date::of(seconds_since_epoch(time)).year
        };
        assert_eq!(year("Saturday, 21-Nov-76 00:00:00 GMT"), 2076);
        assert_eq!(year("Saturday, 21-Nov-76 00:00:01 GMT"), 1976);
        assert_eq!(year("Sunday, 22-Nov-76 00:00:00 GMT"), 1976);
        assert_eq!(year("Sunday, 22-Nov-77 00:00:00 GMT"), 1977);
        assert_eq!(year("Sunday, 22-Nov-26 00:00:00 GMT"), 2026);
        assert_eq!(year("Sunday, 22-Nov-00 00:00:00 GMT"), 2000);
    }

    #[test]
    fn what_cannot_be_written_is_written_as_the_nearest_that_can() {
        assert_eq!(format(at(LAST as u64 + 1)), "Fri, 31 Dec 9999 23:59:59 GMT");
        let first = SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40);
        assert_eq!(format(first), "Sat, 01 Jan 0000 00:00:00 GMT");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0..=LAST as u64) {
            let text = format(at(seconds));
            prop_assert_eq!(text.to_str().expect("ASCII"), httpdate::fmt_http_date(at(seconds)));
            prop_assert_eq!(parse(text.as_bytes(), at(NOW)), Some(at(seconds)));
        }

        #[test]
        fn days_and_dates_are_the_same_thing(seconds in FIRST..=LAST) {
            let date = Date::of(seconds);
            prop_assert!(date.is_valid());
            let back = date.days() * DAY + date.hour * 3600 + date.minute * 60 + date.second;
            prop_assert_eq!(back, seconds);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, now in 0..=LAST as u64) {
            parse(&bytes, at(now));
        }
    }
}
