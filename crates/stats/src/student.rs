//! Student's t interval for a mean.

use crate::error::{StatsError, check_confidence, finite};
use crate::incomplete_beta::{first_float, tails};
use crate::{Interval, Method, Summary};
use statrs::function::erf::erfc_inv;
use std::f64::consts::SQRT_2;

/// Beyond every quantile there is: with 1 degree of freedom and the largest confidence below 1 it is about 6e15.
const BEYOND_ALL_QUANTILES: f64 = 1e20;

/// Degrees of freedom above which the first correction to the normal quantile is exact to all digits (Abramowitz and
/// Stegun 26.7.5: the next term is of the order of z^5 / freedom^2).
const NEARLY_NORMAL: f64 = 1e7;

/// The t interval for the mean behind a sample: `mean ± t · std / sqrt(n)`, with `n - 1` degrees of freedom.
///
/// `None` for fewer than two values, which tell nothing about the spread. Exact for independent normal values and
/// good for large samples of others; for few and skewed values, such as accuracies of which one trial in a hundred
/// collapses, it covers less often than it states. If all values are equal it has no width: see
/// [`Interval::is_degenerate`].
///
/// Source: Student, "The probable error of a mean", Biometrika 6 (1908), 1-25.
///
/// # Errors
///
/// [`StatsError::Confidence`] if `confidence` is not in (0, 1); [`StatsError::Overflow`] if an end exceeds the
/// largest `f64`.
///
/// ```
/// use bitquake_stats::{Summary, t_interval};
///
/// let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0, 5.0])?.expect("not empty");
/// let interval = t_interval(&summary, 0.95)?.expect("five values");
/// assert!((interval.hi - (3.0 + 2.776_445 * 0.5_f64.sqrt())).abs() < 1e-6);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn t_interval(summary: &Summary, confidence: f64) -> Result<Option<Interval>, StatsError> {
    check_confidence(confidence)?;
    let Some(std) = summary.std.filter(|_| summary.n > 1) else { return Ok(None) };
    let n = summary.n as f64;
    let half_width =
        if std == 0.0 { 0.0 } else { two_sided_quantile(confidence, n - 1.0) * (std / n.sqrt()) };
    Ok(Some(Interval {
        lo: finite(summary.mean - half_width, "interval")?,
        hi: finite(summary.mean + half_width, "interval")?,
        confidence,
        method: Method::StudentT,
    }))
}

/// The t with P(-t <= T <= t) = `confidence` for `freedom` degrees of freedom.
pub(crate) fn two_sided_quantile(confidence: f64, freedom: f64) -> f64 {
    if freedom > NEARLY_NORMAL {
        let z = SQRT_2 * erfc_inv(1.0 - confidence);
        return z + (z.powi(3) + z) / (4.0 * freedom);
    }
    first_float(BEYOND_ALL_QUANTILES, |t| {
        // P(|T| <= t) is the incomplete beta function at t^2 / (freedom + t^2).
        let square = t * t;
        let inside = tails(0.5, 0.5 * freedom, square / (freedom + square), freedom / (freedom + square));
        if confidence < 0.5 { inside.lower >= confidence } else { inside.upper <= 1.0 - confidence }
    })
}

#[cfg(test)]
mod tests {
    use super::{t_interval, two_sided_quantile};
    use crate::{StatsError, Summary};
    use bitquake_testing::{SplitMix64, assert_binomial};
    use proptest::prelude::*;

    fn summary(values: &[f64]) -> Summary {
        Summary::of(values).unwrap().unwrap()
    }

    /// Reference values by SciPy 1.17 (`t.ppf((1 + confidence) / 2, freedom)`), the last one the normal quantile.
    #[test]
    fn quantiles_agree_with_another_implementation() {
        let rows: &[(f64, f64, f64)] = &[
            (0.95, 4.0, 2.776_445_105_197_793_4),
            (0.95, 1.0, 12.706_204_736_174_694),
            (0.99, 49.0, 2.679_951_973_631_552),
            (0.95, 1999.0, 1.961_151_420_170_561_5),
            (0.95, 1e6, 1.959_966_356_814_107),
            (0.95, 0.99e7, 1.9599642241634392),
            (0.95, 1.01e7, 1.9599642194184212),
            (0.999_999, 0.99e7, 4.89164155497202),
            (0.999_999, 1.01e7, 4.891641493996165),
            (0.95, 1e18, 1.959_963_984_540_054),
        ];
        for &(confidence, freedom, wanted) in rows {
            let got = two_sided_quantile(confidence, freedom);
            assert!((got / wanted - 1.0).abs() < 1e-11, "{confidence} {freedom}: {got} for {wanted}");
        }
    }

    /// With one degree of freedom the quantile is tan(pi / 2 · confidence).
    #[test]
    fn one_degree_of_freedom_has_a_closed_form() {
        for confidence in [1e-6, 0.1, 0.5, 0.9, 0.999, 0.999_999] {
            let wanted = (std::f64::consts::FRAC_PI_2 * confidence).tan();
            let got = two_sided_quantile(confidence, 1.0);
            assert!((got / wanted - 1.0).abs() < 1e-9, "{confidence}: {got} for {wanted}");
        }
    }

    #[test]
    fn one_value_has_no_interval() {
        assert_eq!(t_interval(&summary(&[0.9]), 0.95), Ok(None));
    }

    #[test]
    fn equal_values_have_a_degenerate_interval() {
        let interval = t_interval(&summary(&[0.9; 50]), 0.95).unwrap().unwrap();
        assert!(interval.is_degenerate() && interval.lo == 0.9);
    }

    #[test]
    fn wrong_questions_are_refused() {
        let confidence = t_interval(&summary(&[0.1, 0.2]), 1.0);
        assert_eq!(confidence, Err(StatsError::Confidence { confidence: 1.0 }));
        let overflow = t_interval(&summary(&[1e308, -1e308 / 2.0]), 0.95);
        assert_eq!(overflow, Err(StatsError::Overflow { quantity: "interval" }));
    }

    /// 20,000 samples of five normal values with a fixed seed; a right interval fails here with probability 1e-6.
    #[test]
    fn normal_samples_are_covered_as_often_as_stated() {
        let mut random = SplitMix64::new(1908);
        for confidence in [0.5, 0.95, 0.99] {
            let covered = (0..20_000).filter(|_| {
                let sample: [f64; 5] = std::array::from_fn(|_| 0.9 + 0.02 * random.normal());
                t_interval(&summary(&sample), confidence).unwrap().unwrap().contains(0.9)
            });
            assert_binomial(covered.count() as u64, 20_000, confidence, 1e-6);
        }
    }

    proptest! {
        #[test]
        fn the_mean_is_inside_and_more_confidence_is_wider(
            values in prop::collection::vec(-1e3..1e3_f64, 2..40),
            low in 0.01..0.5_f64,
            more in 0.01..0.49_f64,
        ) {
            let summary = summary(&values);
            let narrow = t_interval(&summary, low).unwrap().unwrap();
            let wide = t_interval(&summary, low + more).unwrap().unwrap();
            prop_assert!(narrow.contains(summary.mean));
            prop_assert!(wide.lo <= narrow.lo && narrow.hi <= wide.hi);
        }
    }
}
