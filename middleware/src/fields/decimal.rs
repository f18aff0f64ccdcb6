//! Numbers as fields write them. By hand: `HeaderValue::from` a number takes two allocations.

use http::HeaderValue;

/// The digits of a number, without leading zeros.
pub(crate) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    /// Of `number`.
    pub(crate) fn of(number: u64) -> Self {
        let mut decimal = Self {
            digits: [0; 20],
            start: 20,
        };
        let mut rest = number;
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            if rest == 0 {
                return decimal;
            }
        }
    }

    /// As they are written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }

    /// As a field's value.
    pub(crate) fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.bytes()).expect("digits are visible ASCII")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_is_written_as_fmt_would(number in any::<u64>(), shift in 0..64_u32) {
            let number = number >> shift;
            prop_assert_eq!(Decimal::of(number).value(), number.to_string());
        }
    }
}
