//! Float words of any field widths up to binary64, from and to `f64`, in exact arithmetic.
//!
//! Written out for any width, because the usual conversion of `f64` to a 16-bit float goes through `f32` on some
//! machines and rounds twice. With E exponent and M mantissa bits and the bias B = 2^(E-1) - 1, a word with exponent
//! field e and mantissa field m stands for m * 2^(1-B-M) if e = 0, and for (2^M + m) * 2^(e-B-M) if e > 0, but for the special
//! words. Where NaN takes the place of -0, B is greater by 1.

/// Field widths of binary64.
const F64_EXPONENT: u32 = 11;
const F64_MANTISSA: u32 = 52;
const F64_BIAS: i64 = 1023;

/// Which words of a float are infinities and NaNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Special {
    /// As in IEEE 754: exponent all ones with mantissa 0 is infinity, with any other mantissa NaN.
    Ieee,
    /// Exponent and mantissa all ones are NaN; there is no infinity.
    NanOnly,
    /// The word of -0 is the only NaN; there is no infinity, and the bias is greater by 1.
    NanIsNegativeZero,
    /// Every word is a finite number.
    Finite,
}

/// The fields of a float.
#[derive(Clone, Copy)]
pub(crate) struct Float {
    exponent: u32,
    mantissa: u32,
    special: Special,
}

impl Float {
    pub(crate) fn new(exponent: u8, mantissa: u8, special: Special) -> Float {
        Float { exponent: exponent.into(), mantissa: mantissa.into(), special }
    }

    fn bias(self) -> i64 {
        let ieee = (1 << (self.exponent - 1)) - 1;
        ieee + i64::from(self.special == Special::NanIsNegativeZero)
    }

    fn sign(self) -> u64 {
        1 << (self.exponent + self.mantissa)
    }

    /// Exponent all ones, mantissa 0: infinity where there is one.
    fn top(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    /// The largest finite magnitude.
    fn largest(self) -> u64 {
        match self.special {
            Special::Ieee => self.top() - 1,
            Special::NanOnly => self.sign() - 2,
            Special::NanIsNegativeZero | Special::Finite => self.sign() - 1,
        }
    }

    /// The word of NaN that stands for all.
    fn nan(self) -> Option<u64> {
        match self.special {
            Special::Ieee => Some(self.top() | 1 << (self.mantissa - 1)),
            Special::NanOnly => Some(self.sign() - 1),
            Special::NanIsNegativeZero => Some(self.sign()),
            Special::Finite => None,
        }
    }

    /// The magnitude of what lies beyond the largest number.
    fn overflow(self) -> Option<u64> {
        if self.special == Special::Ieee { Some(self.top()) } else { self.nan() }
    }
}

/// 2^power for a power in -1022..=1023, where the result is a normal number.
pub(crate) fn power_of_two(power: i64) -> f64 {
    f64::from_bits(((power + F64_BIAS) as u64) << F64_MANTISSA)
}

/// The value of a word that has no bits above its sign.
pub(crate) fn decode(word: u64, float: Float) -> f64 {
    if float.exponent == F64_EXPONENT {
        return f64::from_bits(word);
    }
    let is_negative = word & float.sign() != 0;
    let magnitude = word & (float.sign() - 1);
    if float.special == Special::NanIsNegativeZero && word == float.sign() {
        return f64::NAN;
    }
    let fraction = magnitude & ((1 << float.mantissa) - 1);
    let absolute = match (magnitude >> float.mantissa) as i64 {
        _ if magnitude > float.largest() => match magnitude == float.top() {
            true if float.special == Special::Ieee => f64::INFINITY,
            _ => f64::NAN,
        },
        // The smallest subnormal of anything narrower than binary64 is a normal binary64 number, so this is exact.
        0 => fraction as f64 * power_of_two(1 - float.bias() - i64::from(float.mantissa)),
        field => {
            let rebiased = (field - float.bias() + F64_BIAS) as u64;
            f64::from_bits(rebiased << F64_MANTISSA | fraction << (F64_MANTISSA - float.mantissa))
        }
    };
    if is_negative { -absolute } else { absolute }
}

/// The word nearest to `value`, halves to even; canonical quiet NaN for NaN. `None` if the format has no word for it.
pub(crate) fn nearest(value: f64, float: Float) -> Option<u64> {
    if value.is_nan() {
        return float.nan();
    }
    let magnitude = nearest_magnitude(value.abs(), float)?;
    let has_sign =
        float.special != Special::NanIsNegativeZero || (magnitude != 0 && magnitude < float.sign());
    let sign = if has_sign && value.is_sign_negative() { float.sign() } else { 0 };
    Some(sign | magnitude)
}

fn nearest_magnitude(absolute: f64, float: Float) -> Option<u64> {
    if float.exponent == F64_EXPONENT {
        return Some(absolute.to_bits());
    }
    if absolute.is_infinite() {
        return float.overflow();
    }
    // The binary exponent of the value, but not below that of the smallest normal number: there steps stop shrinking.
    let own = (absolute.to_bits() >> F64_MANTISSA) as i64 - F64_BIAS;
    let power = own.max(1 - float.bias());
    // Counting in steps of 2^(power - M) is exact: the quotient is below 2^(M+1), and no bit of it gets lost.
    let steps = (absolute / power_of_two(power - i64::from(float.mantissa))).round_ties_even() as u64;
    // A normal value has steps >= 2^M, whose top bit adds 1 to the exponent field; rounding up to 2^(M+1) adds 2.
    let word = (((power + float.bias() - 1) as u64) << float.mantissa) + steps;
    if word > float.largest() { float.overflow() } else { Some(word) }
}
