//! Sums of exponentials: most of what judging an image costs.

/// Powers computed at a time, so that the compiler uses vector instructions.
const LANES: usize = 8;

/// `sum exp(x - largest)` over a row without NaN, where `largest` is its largest value; at least 1. NaN where the largest is
/// infinite, as IEEE arithmetic says.
pub(crate) fn exponential_sum(row: &[f32], largest: f32) -> f64 {
    if !largest.is_finite() {
        return f64::NAN;
    }
    let largest = f64::from(largest);
    let mut sum = 0.0;
    let mut powers = [0.0; LANES];
    for chunk in row.chunks(LANES) {
        for (power, &output) in powers.iter_mut().zip(chunk) {
            *power = exp_of_negative(f64::from(output) - largest);
        }
        // In the order of the classes, so that the sum does not hang on the number of lanes.
        sum += powers[..chunk.len()].iter().sum::<f64>();
    }
    sum
}

/// The softmax of a row, in its place: NaN all over where one is NaN or the largest is infinite, as IEEE arithmetic says.
pub(crate) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() || row.iter().any(|value| value.is_nan()) {
        return row.fill(f32::NAN);
    }
    let sum = exponential_sum(row, largest);
    for value in row {
        *value = (exp_of_negative(f64::from(*value) - f64::from(largest)) / sum) as f32;
    }
}

/// `exp(x)` for `x <= 0`, to 2 units in the last place, with the same digits on every machine (the system's `exp` may differ
/// from machine to machine). Below -708 it stays at `exp(-708)`, which no sum of at least 1 notices.
///
/// `x = k ln 2 + r` with `|r| <= ln 2 / 2`, ln 2 in two parts (Cody and Waite, "Software Manual for the Elementary Functions",
/// 1980), and the Taylor series of `exp(r)`, whose first term left out is below 4e-18.
fn exp_of_negative(x: f64) -> f64 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN2_HI: f64 = 0.693_147_180_369_123_8;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    /// 1/13!, 1/12!, ..., 1/2!, 1, 1.
    const TAYLOR: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let x = if x > -708.0 { x } else { -708.0 };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HI) - k * LN2_LO;
    let mut power = 0.0;
    for factor in TAYLOR {
        power = power * r + factor;
    }
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    power * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_rows() {
        let mut row = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, -1000.0];
        softmax(&mut row);
        let wanted = [1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0];
        assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-7), "{row:?}");
        for odd in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            let mut row = odd;
            softmax(&mut row);
            assert!(row.iter().all(|value| value.is_nan()), "{odd:?}");
        }
    }

    #[test]
    fn exponentials_to_the_last_digits() {
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(-0.0), 1.0);
        for step in 0..200_000 {
            let x = -f64::from(step) * 3.517_3e-3;
            let (fast, exact) = (exp_of_negative(x), x.exp());
            assert!((fast / exact - 1.0).abs() < 5e-16, "{x}: {fast} {exact}");
        }
        for x in [-708.0, -709.0, -1e300, f64::NEG_INFINITY] {
            assert!(exp_of_negative(x) > 0.0 && exp_of_negative(x) < 1e-307, "{x}");
        }
    }

    #[test]
    fn sums_of_any_length() {
        for classes in 1..40 {
            let row: Vec<f32> = (0..classes).map(|class| ((class * 7) % 11) as f32 - 5.0).collect();
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exact: f64 = row.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).sum();
            assert!((exponential_sum(&row, largest) / exact - 1.0).abs() < 1e-14, "{classes}");
        }
        assert_eq!(exponential_sum(&[f32::NEG_INFINITY, 3.0], 3.0), 1.0);
        assert!(exponential_sum(&[f32::INFINITY, 3.0], f32::INFINITY).is_nan());
    }
}
