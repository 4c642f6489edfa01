//! Exact comparison of decimal text with the `f64` nearest to it.

use std::cmp::Ordering;

/// `value`, the `f64` nearest to the number in `text`, made odd in its last bit if the two differ.
///
/// Rounding that to a format with at least two bits less gives what rounding the text itself once would give: the
/// points where rounding changes are even in binary64, so the odd neighbour lies on the same side of them as the text
/// (round to odd, Boldo and Melquiond 2008).
pub(crate) fn round_to_odd(text: &str, value: f64) -> f64 {
    if !value.is_finite() || value.to_bits() & 1 == 1 {
        return value;
    }
    // Magnitudes are compared; a step in the bits is a step of the magnitude, whatever the sign.
    match Magnitude::of_text(text).cmp(&Magnitude::of_value(value)) {
        Ordering::Equal => value,
        Ordering::Greater => f64::from_bits(value.to_bits() + 1),
        Ordering::Less => f64::from_bits(value.to_bits() - 1),
    }
}

/// A magnitude 0.DDD... * 10^exponent without zeros at either end of the digits; zero has no digits and sorts first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Magnitude {
    is_positive: bool,
    exponent: i64,
    digits: Vec<u8>,
}

impl Magnitude {
    /// Of text that `f64::from_str` accepts as a finite number.
    fn of_text(text: &str) -> Magnitude {
        let text = text.trim_start_matches(['+', '-']);
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
        let trailing = digits[leading..].iter().rev().take_while(|&&digit| digit == b'0').count();
        let digits = digits[leading..digits.len() - trailing].to_vec();
        if digits.is_empty() {
            return Magnitude { is_positive: false, exponent: 0, digits };
        }
        let shift = whole.len() as i64 - leading as i64;
        Magnitude { is_positive: true, exponent: saturating_exponent(exponent).saturating_add(shift), digits }
    }

    /// All digits of a finite value: its expansion ends after at most 1,074 decimals.
    fn of_value(value: f64) -> Magnitude {
        Magnitude::of_text(&format!("{:.1074}", value.abs()))
    }
}

/// An exponent too long for `i64` counts as the largest or smallest one.
fn saturating_exponent(text: &str) -> i64 {
    let limit = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    text.parse().unwrap_or(limit)
}
