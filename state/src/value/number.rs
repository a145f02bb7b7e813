//! Numbers as decimals.

use std::cmp::Ordering;

use serde_json::Number;

/// A number as ±0.d₁d₂… × 10^exponent, where d₁ and the last digit are not 0; zero has no digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    pub(super) digits: Vec<u8>,
}

impl Decimal {
    /// The decimal that the number's text says. Exponents beyond 32 bits, which only `arbitrary_precision` can read,
    /// count as the last that has 32.
    pub(super) fn of(number: &Number) -> Self {
        let text = number.to_string();
        let (negative, text) = text.strip_prefix('-').map_or((false, &*text), |rest| (true, rest));
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = whole.bytes().chain(fraction.bytes()).map(|digit| digit.wrapping_sub(b'0'));
        let zeros = all.clone().take_while(|digit| *digit == 0).count();
        let mut digits: Vec<u8> = all.skip(zeros).collect();
        let end = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
        digits.truncate(end);
        if digits.is_empty() {
            return Self { negative: false, exponent: 0, digits };
        }
        let beyond = if power.starts_with('-') { i64::MIN } else { i64::MAX };
        let power: i64 = power.parse().unwrap_or(beyond);
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let zeros = i64::try_from(zeros).unwrap_or(i64::MAX);
        let exponent = power.saturating_add(point - zeros);
        let exponent = exponent.clamp(i32::MIN.into(), i32::MAX.into());
        Self { negative, exponent: i32::try_from(exponent).unwrap_or(0), digits }
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        (self.exponent, &self.digits).cmp(&(other.exponent, &other.digits))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |one: &Self| match (one.digits.is_empty(), one.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        sign(self)
            .cmp(&sign(other))
            .then_with(|| if self.negative { other.magnitude(self) } else { self.magnitude(other) })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
