//! Numbers, as the formats write them. There are some hundred thousand on a long page, so whole ones do not take the
//! way of `std::fmt`.

use std::io::Write as _;

/// A number as both formats write it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Exact, also beyond 2^53.
    Integer(u64),
    /// Milliseconds, written in seconds.
    Milliseconds(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl Value {
    /// Appends it.
    #[inline]
    pub(super) fn write(self, text: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => integer(text, value),
            Self::Milliseconds(value) => {
                integer(text, value / 1000);
                let thousandths = 1000 + value % 1000;
                let at = text.len();
                integer(text, thousandths);
                // The leading 1 kept the zeros.
                text[at] = b'.';
            }
            Self::Float(f64::INFINITY) => text.extend_from_slice(b"+Inf"),
            Self::Float(f64::NEG_INFINITY) => text.extend_from_slice(b"-Inf"),
            // Writing to a Vec cannot fail.
            Self::Float(value) => drop(write!(text, "{value}")),
        }
    }
}

#[inline]
fn integer(text: &mut Vec<u8>, value: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: impl Into<Value>) -> String {
        let mut text = Vec::new();
        value.into().write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_are_exact() {
        for (value, expected) in [
            (Value::from(u64::MAX), "18446744073709551615"),
            (Value::Milliseconds(1_790_000_000_007), "1790000000.007"),
            (Value::Milliseconds(0), "0.000"),
            (Value::from(0.25), "0.25"),
            (Value::from(f64::INFINITY), "+Inf"),
            (Value::from(f64::NAN), "NaN"),
            (Value::from(true), "1"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn milliseconds_are_seconds_with_three_decimals(value: u64) {
            prop_assert_eq!(text(Value::Milliseconds(value)), format!("{}.{:03}", value / 1000, value % 1000));
        }
    }
}
