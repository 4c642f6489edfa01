//! What a range rule needs to know of the values. Sums are float64, in the order of the values.

use crate::kernel;

/// The largest magnitude; 0 of nothing.
pub(crate) fn largest(values: &[f32]) -> f32 {
    lanes(values, 0.0, |most, value| if value.abs() > most { value.abs() } else { most })
        .into_iter()
        .fold(0.0, f32::max)
}

/// The least and the greatest value; zeros of nothing. A zero is +0.
pub(crate) fn ends(values: &[f32]) -> (f32, f32) {
    let (least, greatest) = kernel::ends(values);
    (least + 0.0, greatest + 0.0)
}

/// Sixteen independent folds, which the compiler keeps in vectors.
fn lanes(values: &[f32], start: f32, fold: impl Fn(f32, f32) -> f32) -> [f32; 16] {
    let mut lanes = [start; 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = fold(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, value);
    }
    lanes
}

/// The mean magnitude; 0 of nothing.
pub(crate) fn mean_magnitude(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value.abs())).sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation with the divisor `n - 1`; NaN of fewer than two values.
pub(crate) fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let squares = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
    if values.len() < 2 { f64::NAN } else { (squares / (n - 1.0)).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sets() {
        let values: Vec<f32> = (0..37).map(|i| i as f32 - 20.0).collect();
        assert_eq!(largest(&values), 20.0);
        assert_eq!(ends(&values), (-20.0, 16.0));
        assert_eq!(ends(&[-0.0]).0.to_bits(), 0);
        assert_eq!((largest(&[]), ends(&[]), mean_magnitude(&[])), (0.0, (0.0, 0.0), 0.0));
        assert_eq!(mean_magnitude(&[-1.0, 2.0]), 1.5);
        assert!((deviation(&[1.0, 2.0, 4.0]) - (7.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert!(deviation(&[1.0]).is_nan());
    }
}
