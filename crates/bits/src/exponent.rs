//! Powers of two in one byte, the scale of the OCP microscaling formats: word e stands for 2^(e-127), all ones for NaN.

use crate::float::power_of_two;

const BIAS: i64 = 127;
const NAN: u64 = 0xff;

pub(crate) fn decode(word: u64) -> f64 {
    if word == NAN { f64::NAN } else { power_of_two(word as i64 - BIAS) }
}

/// The word nearest to `value`, halves to the even word; `None` for what is not positive or too far away.
pub(crate) fn nearest(value: f64) -> Option<u64> {
    if value.is_nan() {
        return Some(NAN);
    }
    if !(value > 0.0 && value.is_finite()) {
        return None;
    }
    // Below 2^-127 by half a step or more there is nothing; rounding up to the smallest is the one exception.
    let own = (value.to_bits() >> 52) as i64 - 1023;
    let low = (own + BIAS).max(0);
    let ratio = value / power_of_two(low - BIAS);
    let word = match ratio.partial_cmp(&1.5)? {
        std::cmp::Ordering::Greater => low + 1,
        std::cmp::Ordering::Equal => low + (low & 1),
        std::cmp::Ordering::Less if ratio <= 0.5 => return None,
        std::cmp::Ordering::Less => low,
    };
    u64::try_from(word).ok().filter(|&word| word < NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two() {
        for word in 0..NAN {
            assert_eq!(nearest(decode(word)), Some(word));
        }
        let cases = [
            (1.5, Some(128)), // between words 127 and 128: the even one
            (3.0, Some(128)),
            (1.49, Some(127)),
            (2.0_f64.powi(128), None),
            (2.0_f64.powi(-128), None),
            (0.0, None),
            (-1.0, None),
            (f64::INFINITY, None),
            (f64::NAN, Some(NAN)),
        ];
        for (value, word) in cases {
            assert_eq!(nearest(value), word, "{value}");
        }
    }
}
