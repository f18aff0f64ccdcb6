//! Values that are written as text, with their unit: `"30s"`, `"64MiB"`, `"0600"`.
//!
//! One syntax each: a whole number and a unit. Zero never means "no limit", so it is refused
//! wherever a reader could take it for that.

use std::fmt;
use std::time::Duration;

/// A value that is written as text of one form.
///
/// The form's name travels in the JSON Schema as `format`, so that a document is checked against
/// the schema alone, and an editor shows what is meant.
pub(crate) trait Text: Sized + fmt::Display {
    /// Names the form; unique.
    const FORMAT: &'static str;
    /// What it is, for "allowed is …".
    const MEANING: &'static str;
    /// Shown in problems and in the schema; at least one.
    const EXAMPLES: &'static [&'static str];

    /// The value that `text` stands for.
    fn parse(text: &str) -> Result<Self, Fault>;

    /// What somebody may have meant who wrote a bare number.
    fn for_bare_number(_number: i64) -> Option<String> {
        None
    }
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Follows the text: "has no unit".
    pub(crate) reason: String,
    /// The next step.
    pub(crate) help: String,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.help)
    }
}

/// Gives a [`Text`] its serde and schema sides.
macro_rules! text_form {
    ($($form:ty),+ $(,)?) => {$(
        impl serde::Serialize for $form {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $form {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                <$form as $crate::units::Text>::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $form {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                <$form as $crate::units::Text>::FORMAT.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": <$form as $crate::units::Text>::FORMAT,
                    "examples": <$form as $crate::units::Text>::EXAMPLES,
                })
            }
        }
    )+};
}
pub(crate) use text_form;

text_form!(
    Period,
    PeriodOrZero,
    PeriodOrNone,
    Size,
    SizeOrZero,
    SizeOrUnlimited,
    Mode,
    FilePath
);

/// A time span above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl Text for Period {
    const FORMAT: &'static str = "duration-with-unit";
    const MEANING: &'static str = "a duration";
    const EXAMPLES: &'static [&'static str] = &["500ms", "30s", "5m", "1h"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let duration = duration(text)?;
        if duration.is_zero() {
            return Err(Fault::new(
                "is zero, and zero never means \"no limit\"",
                "write how long, the shortest is \"1ms\"",
            ));
        }
        Ok(Self(duration))
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!("a duration carries its unit: write \"{number}s\""))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_duration(self.0, f)
    }
}

/// A time span that may be zero, where zero means "at once".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeriodOrZero(pub(crate) Duration);

impl Text for PeriodOrZero {
    const FORMAT: &'static str = "duration-or-zero";
    const MEANING: &'static str = "a duration";
    const EXAMPLES: &'static [&'static str] = &["0s", "30s"];

    fn parse(text: &str) -> Result<Self, Fault> {
        duration(text).map(Self)
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Period::for_bare_number(number)
    }
}

impl fmt::Display for PeriodOrZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_duration(self.0, f)
    }
}

/// A time span above zero, or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeriodOrNone(pub(crate) Option<Duration>);

impl Text for PeriodOrNone {
    const FORMAT: &'static str = "duration-or-none";
    const MEANING: &'static str = "a duration or \"none\"";
    const EXAMPLES: &'static [&'static str] = &["none", "30s", "5m"];

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "none" {
            return Ok(Self(None));
        }
        let duration = duration(text)?;
        if duration.is_zero() {
            return Err(Fault::new("is zero", "write \"none\" to have none"));
        }
        Ok(Self(Some(duration)))
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Period::for_bare_number(number)
    }
}

impl fmt::Display for PeriodOrNone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => write_duration(duration, f),
            None => f.write_str("none"),
        }
    }
}

/// A number of bytes above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    /// As this machine counts what it holds in memory.
    pub(crate) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Text for Size {
    const FORMAT: &'static str = "size-with-unit";
    const MEANING: &'static str = "a size";
    const EXAMPLES: &'static [&'static str] = &["512B", "32KiB", "64MiB", "1GiB"];

    fn parse(text: &str) -> Result<Self, Fault> {
        match size(text)? {
            0 => Err(Fault::new(
                "is zero, and zero never means \"no limit\"",
                "write how much; what is not wanted at all has `enabled = false`",
            )),
            bytes => Ok(Self(bytes)),
        }
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!("a size carries its unit: write \"{number}B\""))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_size(self.0, f)
    }
}

/// A number of bytes that may be zero, where zero means exactly that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeOrZero(pub(crate) u64);

impl Text for SizeOrZero {
    const FORMAT: &'static str = "size-or-zero";
    const MEANING: &'static str = "a size";
    const EXAMPLES: &'static [&'static str] = &["0B", "1KiB", "1MiB"];

    fn parse(text: &str) -> Result<Self, Fault> {
        size(text).map(Self)
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Size::for_bare_number(number)
    }
}

impl fmt::Display for SizeOrZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_size(self.0, f)
    }
}

/// A number of bytes above zero, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeOrUnlimited(pub(crate) Option<u64>);

impl Text for SizeOrUnlimited {
    const FORMAT: &'static str = "size-or-unlimited";
    const MEANING: &'static str = "a size or \"unlimited\"";
    const EXAMPLES: &'static [&'static str] = &["unlimited", "10MiB"];

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "unlimited" => Ok(Self(None)),
            _ => match size(text)? {
                0 => Err(Fault::new(
                    "is zero, and zero never means \"no limit\"",
                    "write \"unlimited\" or the limit",
                )),
                bytes => Ok(Self(Some(bytes))),
            },
        }
    }

    fn for_bare_number(number: i64) -> Option<String> {
        match number {
            0 => Some("zero never means \"no limit\": write \"unlimited\"".into()),
            _ => Size::for_bare_number(number),
        }
    }
}

impl fmt::Display for SizeOrUnlimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write_size(bytes, f),
            None => f.write_str("unlimited"),
        }
    }
}

/// Permission bits, octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Text for Mode {
    const FORMAT: &'static str = "permission-bits";
    const MEANING: &'static str = "permission bits in octal";
    const EXAMPLES: &'static [&'static str] = &["0600", "0660"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write three octal digits after a 0: \"0600\"";
        let octal = text.strip_prefix('0').filter(|digits| {
            digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b))
        });
        octal
            .and_then(|digits| u32::from_str_radix(digits, 8).ok())
            .map(Self)
            .ok_or_else(|| Fault::new("is not octal permission bits", help))
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!("permission bits are text: write \"{number:04}\""))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A file's path; relative to the config file's folder when written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) String);

impl Text for FilePath {
    const FORMAT: &'static str = "file-path";
    const MEANING: &'static str = "a path";
    const EXAMPLES: &'static [&'static str] = &["path/to/file", "/etc/pillion/file"];

    fn parse(text: &str) -> Result<Self, Fault> {
        path(text).map(Self)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path that a file system could take.
pub(crate) fn path(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new("names no file", "write a path"));
    }
    if text.contains('\0') {
        return Err(Fault::new("has a NUL in it", "write a path without it"));
    }
    Ok(text.to_owned())
}

/// Splits `30s` into 30 and `s`.
fn number_and_unit(text: &str) -> Result<(u64, &str), Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let help = "write a whole number and its unit, without a space or a sign";
    if number.is_empty() {
        return Err(Fault::new("does not begin with a number", help));
    }
    let number = number
        .parse()
        .map_err(|_| Fault::new("is too large a number", help))?;
    Ok((number, unit))
}

fn duration(text: &str) -> Result<Duration, Fault> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "d" => 24 * 3600 * SECOND,
        _ => return Err(unknown_time_unit(number, unit)),
    };
    number
        .checked_mul(milliseconds)
        .filter(|&total| total <= LONGEST)
        .map(Duration::from_millis)
        .ok_or_else(|| Fault::new("is too long", "the longest is \"3650d\""))
}

fn unknown_time_unit(number: u64, unit: &str) -> Fault {
    let units = "units are ms, s, m, h and d";
    let reason = format!("has the unit `{unit}`, {units}");
    let near = match unit.trim().to_ascii_lowercase().as_str() {
        "" => return Fault::new("has no unit", format!("write \"{number}s\"; {units}")),
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        other if other.starts_with('.') => {
            return Fault::new("is a fraction", "use a smaller unit: \"1500ms\" for 1.5 s");
        }
        _ => return Fault::new(reason, "one number and one unit: \"90m\" for 1 h 30 min"),
    };
    Fault::new(reason, format!("write \"{number}{near}\""))
}

fn size(text: &str) -> Result<u64, Fault> {
    let (number, unit) = number_and_unit(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(unknown_size_unit(number, unit)),
    };
    number
        .checked_mul(bytes)
        .filter(|&total| total <= LARGEST)
        .ok_or_else(|| Fault::new("is too large", "the largest is \"1048576GiB\""))
}

fn unknown_size_unit(number: u64, unit: &str) -> Fault {
    let units = "units are B, KiB, MiB and GiB";
    let near = match unit.trim().to_ascii_lowercase().as_str() {
        "" => return Fault::new("has no unit", format!("write \"{number}B\"; {units}")),
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        other if other.starts_with('.') => {
            return Fault::new(
                "is a fraction",
                "use a smaller unit: \"1536KiB\" for 1.5 MiB",
            );
        }
        _ => {
            let reason = format!("has the unit `{unit}`");
            return Fault::new(reason, units);
        }
    };
    Fault::new(
        format!("has the unit `{unit}`, {units}"),
        format!("write \"{number}{near}\""),
    )
}

fn write_duration(duration: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let total = duration.as_millis();
    let units = [
        (u128::from(24 * 3600 * SECOND), "d"),
        (u128::from(3600 * SECOND), "h"),
        (u128::from(60 * SECOND), "m"),
        (u128::from(SECOND), "s"),
    ];
    match units
        .iter()
        .find(|(unit, _)| total > 0 && total.is_multiple_of(*unit))
    {
        Some((unit, name)) => write!(f, "{}{name}", total / unit),
        None if total == 0 => f.write_str("0s"),
        None => write!(f, "{total}ms"),
    }
}

fn write_size(bytes: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => write!(f, "{}{name}", bytes / unit),
        None => write!(f, "{bytes}B"),
    }
}

/// In milliseconds, the smallest unit there is.
const SECOND: u64 = 1000;
/// Ten years: adding it to any point in time cannot overflow.
const LONGEST: u64 = 3650 * 24 * 3600 * SECOND;
/// One pebibyte: sums of a few sizes cannot overflow.
const LARGEST: u64 = 1 << 50;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        let seconds = |text| Period::parse(text).map(|period| period.0.as_secs_f64());
        assert_eq!(seconds("250ms"), Ok(0.25));
        assert_eq!(seconds("30s"), Ok(30.0));
        assert_eq!(seconds("5m"), Ok(300.0));
        assert_eq!(seconds("1h"), Ok(3600.0));
        assert_eq!(seconds("2d"), Ok(172_800.0));
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1h30m",
            "30 s",
            "30S ",
            "0s",
            "99999999999999999999s",
            "3651d",
        ] {
            assert!(Period::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_size_has_binary_units_only() {
        let bytes = |text| Size::parse(text).map(|size| size.0);
        assert_eq!(bytes("7B"), Ok(7));
        assert_eq!(bytes("32KiB"), Ok(32 << 10));
        assert_eq!(bytes("8MiB"), Ok(8 << 20));
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        for wrong in [
            "",
            "10",
            "10MB",
            "10M",
            "0B",
            "1.5MiB",
            "18446744073709551615GiB",
            "-1B",
        ] {
            assert!(Size::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_unit_is_told_the_right_one() {
        let help = |fault: Result<Size, Fault>| fault.map_err(|fault| fault.help);
        assert_eq!(help(Size::parse("10MB")), Err("write \"10MiB\"".into()));
        assert_eq!(help(Size::parse("10k")), Err("write \"10KiB\"".into()));
        let help = |fault: Result<Period, Fault>| fault.map_err(|fault| fault.help);
        assert_eq!(help(Period::parse("30sec")), Err("write \"30s\"".into()));
        assert_eq!(help(Period::parse("5 min")), Err("write \"5m\"".into()));
    }

    #[test]
    fn zero_never_means_unlimited() {
        assert!(SizeOrUnlimited::parse("0B").is_err());
        assert!(PeriodOrNone::parse("0s").is_err());
        assert_eq!(
            SizeOrUnlimited::parse("unlimited"),
            Ok(SizeOrUnlimited(None))
        );
        assert_eq!(PeriodOrNone::parse("none"), Ok(PeriodOrNone(None)));
        assert_eq!(SizeOrZero::parse("0B"), Ok(SizeOrZero(0)));
        assert_eq!(PeriodOrZero::parse("0s"), Ok(PeriodOrZero(Duration::ZERO)));
    }

    #[test]
    fn permission_bits_are_octal() {
        assert_eq!(Mode::parse("0600"), Ok(Mode(0o600)));
        for wrong in ["600", "0x600", "0888", "7777", "00600", ""] {
            assert!(Mode::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Mode(0o60).to_string(), "0060");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 1..LONGEST, bytes in 1..LARGEST) {
            let period = Period(Duration::from_millis(milliseconds));
            prop_assert_eq!(Period::parse(&period.to_string()), Ok(period));
            let size = Size(bytes);
            prop_assert_eq!(Size::parse(&size.to_string()), Ok(size));
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (Period::parse(&text).is_ok(), Size::parse(&text).is_ok(), Mode::parse(&text).is_ok());
        }
    }
}
