//! `traceparent` (W3C Trace Context §3.2).
//!
//! ```
//! use middleware::fields::traceparent;
//!
//! let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! let trace = traceparent::parse(text.as_bytes()).unwrap();
//! assert!(trace.sampled);
//! assert_eq!(traceparent::write(&trace), text);
//! ```

use http::{HeaderName, HeaderValue};

use crate::facts::{TraceParent, hex as hex_of};

/// The field.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Reads a value; `None` if it is malformed, and the trace must then begin anew (§3.2.2.1 and following).
///
/// A version above 00 is read by what 00 promises of it (§3.2.1: its first four members stay).
pub fn parse(text: &[u8]) -> Option<TraceParent> {
    let (head, rest) = text.split_first_chunk::<LENGTH>()?;
    let [version @ .., _] = head.first_chunk::<3>()?;
    let version = hex(version)?;
    let may_go_on = version != 0 && rest.first() == Some(&b'-');
    let dashes = [2, 35, 52].iter().all(|at| head.get(*at) == Some(&b'-'));
    if version == 0xff || !dashes || !(rest.is_empty() || may_go_on) {
        return None;
    }
    let trace_id = [hex(head.get(3..19)?)?, hex(head.get(19..35)?)?];
    let span_id = hex(head.get(36..52)?)?;
    let flags = hex(head.get(53..55)?)?;
    (trace_id != [0, 0] && span_id != 0).then_some(TraceParent {
        trace_id,
        span_id,
        sampled: flags & 1 == 1,
    })
}

/// Writes version 00.
pub fn write(trace: &TraceParent) -> HeaderValue {
    let [high, low] = trace.trace_id;
    let mut text = *b"00-________________________________-________________-0_";
    let digits = [
        (3, hex_of(high)),
        (19, hex_of(low)),
        (36, hex_of(trace.span_id)),
    ];
    for (at, digits) in digits {
        text[at..at + digits.len()].copy_from_slice(&digits);
    }
    text[LENGTH - 1] = b'0' + u8::from(trace.sampled);
    HeaderValue::from_bytes(&text).expect("digits and dashes are a field value")
}

/// Lower-case hexadecimal digits only, as the grammar has it; at most 16 of them.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// `vv-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_version_00() {
        let trace = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(
            trace.trace_id,
            [0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736]
        );
        assert_eq!(trace.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(trace.sampled);
    }

    #[test]
    fn malformed_values_are_refused() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_by_what_it_has_in_common() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes";
        assert_eq!(parse(later.as_bytes()), parse(GOOD.as_bytes()));
    }

    proptest! {
        #[test]
        fn written_values_read_back(trace_id in any::<[u64; 2]>(), span_id in 1_u64.., sampled: bool) {
            let trace_id = if trace_id == [0, 0] { [0, 1] } else { trace_id };
            let trace = TraceParent { trace_id, span_id, sampled };
            prop_assert_eq!(parse(write(&trace).as_bytes()), Some(trace));
        }

        #[test]
        fn nothing_panics(text in any::<Vec<u8>>(), tail in any::<Vec<u8>>()) {
            parse(&text);
            parse(&[GOOD.as_bytes(), &tail].concat());
        }
    }
}
