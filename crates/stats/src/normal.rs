//! The standard normal distribution.

use statrs::function::erf::{erfc, erfc_inv};
use std::f64::consts::SQRT_2;

/// The z with P(-z <= Z <= z) = `confidence`, for a confidence in (0, 1).
pub(crate) fn two_sided_z(confidence: f64) -> f64 {
    SQRT_2 * erfc_inv(1.0 - confidence)
}

/// P(Z <= z).
pub(crate) fn cumulative(z: f64) -> f64 {
    0.5 * erfc(-z / SQRT_2)
}

/// The z with P(Z <= z) = `probability`.
pub(crate) fn quantile(probability: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * probability)
}

#[cfg(test)]
mod tests {
    use super::{cumulative, quantile, two_sided_z};

    /// Reference values by SciPy 1.17 (`norm.ppf`).
    #[test]
    fn quantiles_agree_with_another_implementation() {
        for (confidence, wanted) in [
            (0.5, 0.674_489_750_196_081_7),
            (0.95, 1.959_963_984_540_054),
            (0.99, 2.575_829_303_548_900_4),
            (0.999, 3.290_526_731_491_926),
        ] {
            let level = 0.5 + 0.5 * confidence;
            let errors =
                [two_sided_z(confidence) - wanted, quantile(level) - wanted, cumulative(wanted) - level];
            assert!(errors.iter().all(|error| error.abs() < 1e-10), "{confidence}: {errors:?}");
        }
        assert_eq!(quantile(0.5), 0.0);
    }
}
