//! The automatic scales of QKeras `quantized_bits` (google/qkeras, `quantizers.py`; SPEC 3.1).

use crate::statistics;

/// Keras' epsilon.
const EPSILON: f64 = 1e-7;

/// The distance of neighbouring levels. `unit` is `2^integer`, `highest` the highest code `2^(bits-1) - 1`.
///
/// `auto`: the largest magnitude over the highest code. `auto_po2`: that, rounded to a power of two, then five times the
/// least-squares scale of the codes it gives, rounded again.
pub(crate) fn step(values: &[f32], unit: f32, highest: i64, power_of_two: bool) -> f32 {
    let largest = statistics::largest(values) / unit;
    let scale = largest * 2.0 / (2 * highest) as f32;
    if !power_of_two {
        return if largest > 0.0 { (scale * unit).max(f32::MIN_POSITIVE) } else { 0.0 };
    }
    let mut scale = nearest_power(f64::from(scale));
    for _ in 0..5 {
        scale = nearest_power(least_squares(values, unit, scale, highest as f64));
    }
    (scale * f64::from(unit)) as f32
}

/// The factor of the codes that is nearest to the values: `mean(x z) / (mean(z z) + epsilon)`.
fn least_squares(values: &[f32], unit: f32, scale: f64, highest: f64) -> f64 {
    let (mut xz, mut zz) = (0.0, 0.0);
    for &value in values {
        let x = f64::from(value / unit);
        let z = (x.abs() / scale + 0.5).floor().min(highest).copysign(x);
        xz += x * z;
        zz += z * z;
    }
    let n = values.len().max(1) as f64;
    xz / n / (zz / n + EPSILON)
}

/// 2 to the power of the logarithm, halves to even.
fn nearest_power(scale: f64) -> f64 {
    libm::exp2(libm::log2(scale + EPSILON).round_ties_even())
}
