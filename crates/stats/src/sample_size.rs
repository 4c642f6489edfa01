//! How many trials an answer needs, before the first one.

use crate::error::{StatsError, check, check_confidence, not_negative, positive};
use crate::normal::two_sided_z;
use crate::student::two_sided_quantile;

/// How many of a finite population of faults to inject, to know a failure probability to within `margin`.
///
/// `n = N / (1 + e² (N - 1) / (t² p (1 - p)))`, rounded up, where `N` is the `population`, `e` the `margin` (half
/// width, a fraction), `p` the failure probability supposed (0.5 is the worst), and `t` the normal quantile of the
/// `confidence`. Between 1 and the population. For sampling without replacement. It is for planning: judge the
/// result by an interval, since the formula fails for small `p`.
///
/// Source: Leveugle, Calvez, Maistri and Vanhauwaert, "Statistical fault injection: quantified error and
/// confidence", DATE 2009, equation (1).
///
/// # Errors
///
/// [`StatsError::Confidence`]; [`StatsError::Argument`] unless the population is at least 1, `margin` in (0, 1) and
/// `p` in (0, 1).
///
/// ```
/// use bitquake_stats::faults_needed;
/// assert_eq!(faults_needed(u64::MAX, 0.01, 0.95, 0.5)?, 9604);
/// assert_eq!(faults_needed(2000, 0.01, 0.95, 0.5)?, 1656);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn faults_needed(population: u64, margin: f64, confidence: f64, p: f64) -> Result<u64, StatsError> {
    let spread = spread(population, confidence, p)?;
    check(margin > 0.0 && margin < 1.0, "margin", margin, "between 0 and 1")?;
    let all = population as f64;
    let n = all / (1.0 + margin * margin * (all - 1.0) / spread);
    // A whole number may come out a little too large by rounding.
    Ok((((n * (1.0 - 1e-12)).ceil()) as u64).clamp(1, population))
}

/// The margin that `n` faults of a finite population give: the inverse of [`faults_needed`]. 0 if all were injected.
///
/// Source: as for [`faults_needed`], solved for `e`.
///
/// # Errors
///
/// As for [`faults_needed`]; [`StatsError::Argument`] unless `n` is in 1 to the population.
///
/// ```
/// let margin = bitquake_stats::margin_of_faults(1_000_000_000, 9604, 0.95, 0.5)?;
/// assert!((margin - 0.01).abs() < 1e-6);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn margin_of_faults(population: u64, n: u64, confidence: f64, p: f64) -> Result<f64, StatsError> {
    let spread = spread(population, confidence, p)?;
    check(1 <= n && n <= population, "the number of faults", n as f64, "in 1 to the population")?;
    if n == population {
        return Ok(0.0);
    }
    Ok((spread / n as f64 * ((population - n) as f64 / (population - 1) as f64)).sqrt())
}

/// t² p (1 - p).
fn spread(population: u64, confidence: f64, p: f64) -> Result<f64, StatsError> {
    check_confidence(confidence)?;
    check(population > 0, "the population", 0.0, "at least 1")?;
    check(p > 0.0 && p < 1.0, "p", p, "between 0 and 1")?;
    Ok(two_sided_z(confidence).powi(2) * p * (1.0 - p))
}

/// The smallest number of trials whose t interval has at most this half width, if their standard deviation is `std`.
///
/// At least 2. The standard deviation of a pilot is uncertain itself, so a fixed number planned from it gives the
/// half width about half of the time.
///
/// Source: Cochran, "Sampling techniques", 3rd edition (1977), section 4.6, with the t quantile of the answer.
///
/// # Errors
///
/// [`StatsError::Confidence`]; [`StatsError::Argument`] unless `std` is finite and not negative, `half_width` finite
/// and above 0, and the answer at most 10^12.
///
/// ```
/// assert_eq!(bitquake_stats::trials_needed(0.02, 0.005, 0.95)?, 64);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn trials_needed(std: f64, half_width: f64, confidence: f64) -> Result<u64, StatsError> {
    check_confidence(confidence)?;
    not_negative("std", std)?;
    positive("half_width", half_width)?;
    let ratio = std / half_width;
    let least = (two_sided_z(confidence) * ratio).powi(2);
    let most = StatsError::MOST_TRIALS;
    check(least < 0.5 * most as f64, "half_width", half_width, "large enough for 10^12 trials")?;
    let enough = |n: u64| two_sided_quantile(confidence, (n - 1) as f64) * ratio <= (n as f64).sqrt();
    // The t quantile is above the normal one, so the answer is above `least`; from there double the step.
    let (mut below, mut step) = ((least as u64).max(1), 1);
    while below + step > 1 && !enough(below + step) {
        below += step;
        step *= 2;
    }
    let mut above = below + step;
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if enough(middle) { above = middle } else { below = middle }
    }
    Ok(above)
}

#[cfg(test)]
mod tests {
    use super::{faults_needed, margin_of_faults, trials_needed};
    use crate::{Summary, t_interval};
    use bitquake_testing::{SplitMix64, check_binomial};
    use proptest::prelude::*;

    /// By the formula with 30 digits; the large populations are the well-known 384, 9,604 and 16,588.
    #[test]
    fn known_sample_sizes() {
        for (population, margin, confidence, wanted) in [
            (u64::MAX, 0.05, 0.95, 385),
            (u64::MAX, 0.01, 0.95, 9604),
            (u64::MAX, 0.01, 0.99, 16_588),
            (1000, 0.05, 0.95, 278),
            (10_000, 0.01, 0.95, 4900),
            (1, 0.05, 0.95, 1),
        ] {
            let got = faults_needed(population, margin, confidence, 0.5);
            assert_eq!(got, Ok(wanted), "{population} {margin} {confidence}");
        }
    }

    #[test]
    fn wrong_questions_are_refused() {
        assert!(faults_needed(0, 0.1, 0.9, 0.5).is_err());
        assert!(faults_needed(10, 0.0, 0.9, 0.5).is_err());
        assert!(faults_needed(10, 0.1, 90.0, 0.5).is_err());
        assert!(faults_needed(10, 0.1, 0.9, 1.0).is_err());
        assert!(margin_of_faults(10, 11, 0.9, 0.5).is_err());
        assert!(margin_of_faults(10, 0, 0.9, 0.5).is_err());
        assert!(trials_needed(-1.0, 0.1, 0.9).is_err());
        assert!(trials_needed(1.0, 0.0, 0.9).is_err());
        assert!(trials_needed(1.0, 1e-9, 0.9).is_err());
        assert_eq!(margin_of_faults(10, 10, 0.9, 0.5), Ok(0.0));
    }

    /// 4,000 campaigns of the planned size, drawn without replacement from 2,000 faults of which 30 % fail: nominal
    /// 95 % within the margin. Right sizes fail with probability 1e-6, and 2 % less is allowed for whole numbers.
    #[test]
    fn planned_campaigns_keep_their_margin() {
        let (population, failing, margin) = (2000_u64, 600_u64, 0.05);
        let n = faults_needed(population, margin, 0.95, 0.3).unwrap();
        let mut random = SplitMix64::new(2009);
        let within = (0..4000).filter(|_| {
            let (mut left, mut bad, mut found) = (population, failing, 0_u64);
            for _ in 0..n {
                let fails = random.below(left) < bad;
                left -= 1;
                bad -= u64::from(fails);
                found += u64::from(fails);
            }
            (found as f64 / n as f64 - 0.3).abs() <= margin
        });
        let within = within.count() as u64;
        println!("{within} of 4000 within the margin, nominal 0.95");
        assert!(
            check_binomial(within, 4000, 0.95, 1e-6).is_ok() || (within > 3720 && within < 3880),
            "{within}"
        );
    }

    proptest! {
        #[test]
        fn the_margin_inverts_the_size(population in 1..u64::MAX, margin in 0.001..0.5_f64, p in 0.01..0.99_f64) {
            let n = faults_needed(population, margin, 0.95, p).unwrap();
            prop_assert!(margin_of_faults(population, n, 0.95, p).unwrap() <= margin * (1.0 + 1e-9));
            if n > 1 {
                prop_assert!(margin_of_faults(population, n - 1, 0.95, p).unwrap() >= margin * (1.0 - 1e-9));
            }
        }

        #[test]
        fn trials_are_just_enough(std in 0.0..10.0_f64, half_width in 0.01..10.0_f64, confidence in 0.1..0.999_f64) {
            let n = trials_needed(std, half_width, confidence).unwrap();
            let width = |n| {
                let summary = Summary { n, mean: 0.0, std: Some(std), min: 0.0, max: 0.0 };
                t_interval(&summary, confidence).unwrap().unwrap().half_width()
            };
            prop_assert!(width(n) <= half_width * (1.0 + 1e-9));
            prop_assert!(n == 2 || width(n - 1) >= half_width * (1.0 - 1e-9));
        }
    }
}
