//! IEEE 754 words of any field widths up to binary64, from and to `f64`, in exact arithmetic.
//!
//! Written out for any width, because the usual conversion of `f64` to a 16-bit float goes through `f32` on some
//! machines and rounds twice. With E exponent and M mantissa bits and the bias B = 2^(E-1) - 1, a word with exponent
//! field e and mantissa field m stands for m * 2^(1-B-M) if e = 0, and (2^M + m) * 2^(e-B-M) below all ones.

/// Field widths of binary64.
const F64_EXPONENT: u32 = 11;
const F64_MANTISSA: u32 = 52;
const F64_BIAS: i64 = 1023;

const fn bias(exponent: u32) -> i64 {
    (1 << (exponent - 1)) - 1
}

/// The word of positive infinity: exponent all ones, mantissa 0.
const fn infinity(exponent: u32, mantissa: u32) -> u64 {
    ((1 << exponent) - 1) << mantissa
}

/// 2^power for a power in -1022..=1023, where the result is a normal number.
fn power_of_two(power: i64) -> f64 {
    f64::from_bits(((power + F64_BIAS) as u64) << F64_MANTISSA)
}

/// The value of a word that has no bits above its sign.
pub(crate) fn decode(word: u64, exponent: u32, mantissa: u32) -> f64 {
    if exponent == F64_EXPONENT {
        return f64::from_bits(word);
    }
    let sign = word >> (exponent + mantissa) & 1;
    let magnitude = word & ((1 << (exponent + mantissa)) - 1);
    let fraction = magnitude & ((1 << mantissa) - 1);
    let absolute = match (magnitude >> mantissa) as i64 {
        // The smallest subnormal of anything narrower than binary64 is a normal binary64 number, so this is exact.
        0 => fraction as f64 * power_of_two(1 - bias(exponent) - i64::from(mantissa)),
        _ if magnitude == infinity(exponent, mantissa) => f64::INFINITY,
        _ if magnitude > infinity(exponent, mantissa) => f64::NAN,
        field => {
            let rebiased = (field - bias(exponent) + F64_BIAS) as u64;
            f64::from_bits(rebiased << F64_MANTISSA | fraction << (F64_MANTISSA - mantissa))
        }
    };
    if sign == 1 { -absolute } else { absolute }
}

/// The word nearest to `value`, halves to even; canonical quiet NaN for NaN.
pub(crate) fn nearest(value: f64, exponent: u32, mantissa: u32) -> u64 {
    if value.is_nan() {
        return infinity(exponent, mantissa) | 1 << (mantissa - 1);
    }
    let sign = u64::from(value.is_sign_negative()) << (exponent + mantissa);
    sign | nearest_magnitude(value.abs(), exponent, mantissa)
}

fn nearest_magnitude(absolute: f64, exponent: u32, mantissa: u32) -> u64 {
    if exponent == F64_EXPONENT {
        return absolute.to_bits();
    }
    if absolute.is_infinite() {
        return infinity(exponent, mantissa);
    }
    // The binary exponent of the value, but not below that of the smallest normal number: there steps stop shrinking.
    let own = (absolute.to_bits() >> F64_MANTISSA) as i64 - F64_BIAS;
    let power = own.max(1 - bias(exponent));
    // Counting in steps of 2^(power - M) is exact: the quotient is below 2^(M+1), and no bit of it gets lost.
    let steps = (absolute / power_of_two(power - i64::from(mantissa))).round_ties_even() as u64;
    // A normal value has steps >= 2^M, whose top bit adds 1 to the exponent field; rounding up to 2^(M+1) adds 2.
    let word = (((power + bias(exponent) - 1) as u64) << mantissa) + steps;
    word.min(infinity(exponent, mantissa))
}
