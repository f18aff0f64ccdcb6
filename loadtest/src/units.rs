//! Values that are written as text with their unit: `"30s"`, `"500ms"`, `"10m"`, `"5%"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A time span above zero, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        span(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Reads `30s`, `500ms`, `10m`, `1h`, `1.5s`.
///
/// # Errors
/// Says what would be well written.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no time span; write one like 500ms, 30s or 10m");
    let split = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    if seconds <= 0.0 || seconds > LONGEST {
        return Err(format!("\"{text}\" is not between 1us and 7 days"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads `5%` as 0.05.
///
/// # Errors
/// Says what would be well written.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("\"{text}\" is no share; write one like 5%");
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if (0.0..=1000.0).contains(&number) {
        Ok(number / 100.0)
    } else {
        Err(wrong())
    }
}

/// Seconds for people: `0.42 ms`, `12.3 ms`, `1.24 s`.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value < 1e-3 => format!("{:.0} µs", value * 1e6),
        value if value < 0.1 => format!("{} ms", digits(value * 1e3)),
        value if value < 1.0 => format!("{:.0} ms", value * 1e3),
        value => format!("{} s", digits(value)),
    }
}

/// The same for the marks of an axis: `10 ms`, without digits that say nothing.
pub(crate) fn mark(text: &str) -> String {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number} {unit}").trim_end().to_owned()
}

/// Bytes for people.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        value if value < 1024.0 => format!("{value:.0} B"),
        value if value < 1024.0 * 1024.0 => format!("{} KiB", digits(value / 1024.0)),
        value => format!("{} MiB", digits(value / 1024.0 / 1024.0)),
    }
}

/// Three significant digits, thousands set apart.
pub(crate) fn digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1000.0 {
        return grouped(value.round());
    }
    let places = match magnitude {
        m if m >= 100.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 || m == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

fn grouped(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut out = String::new();
    for (index, character) in plain.chars().enumerate() {
        let left = plain.len() - index;
        if index > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(character);
    }
    out
}

/// A week.
const LONGEST: f64 = 7.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_carry_their_unit() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(span("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "5", "s", "0s", "-1s", "5 s", "1..2s", "1y", "9999999h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_carry_their_sign() {
        assert_eq!(percent("20%"), Ok(0.2));
        for wrong in ["20", "%", "x%", "-1%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(seconds(0.000_421), "421 µs");
        assert_eq!(seconds(0.012_34), "12.3 ms");
        assert_eq!(seconds(1.239), "1.24 s");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(16_384.0), "16.0 KiB");
        assert_eq!(digits(1_234_567.8), "1,234,568");
        assert_eq!(digits(-1234.0), "-1,234");
        assert_eq!(digits(0.0), "0.00");
        assert_eq!(mark("10.0 ms"), "10 ms");
        assert_eq!(mark("0.00"), "0");
        assert_eq!(mark("20,000"), "20,000");
    }
}
