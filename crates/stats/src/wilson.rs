//! The score interval for a share.

use crate::error::{StatsError, check_confidence};
use crate::normal::two_sided_z;
use crate::{Interval, Method};

/// Wilson's score interval for the probability behind `successes` in `trials` independent trials.
///
/// Approximate: its coverage averages the stated confidence but falls below it for some probabilities (for 95 % to
/// about 84 % where fewer than one success is expected). Narrower than [`clopper_pearson`](crate::clopper_pearson),
/// which never falls below. Always within [0, 1]; the lower end is exactly 0 without successes and the upper end
/// exactly 1 without failures. Without trials it is [0, 1].
///
/// Source: Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22
/// (1927), 209-212.
///
/// # Errors
///
/// [`StatsError::Confidence`], [`StatsError::Successes`].
///
/// ```
/// let interval = bitquake_stats::wilson(5, 10, 0.95)?;
/// assert!((interval.lo - 0.236_593).abs() < 1e-6 && (interval.hi - 0.763_407).abs() < 1e-6);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_confidence(confidence)?;
    if successes > trials {
        return Err(StatsError::Successes { successes, trials });
    }
    let with = |lo, hi| Interval { lo, hi, confidence, method: Method::Wilson };
    if trials == 0 {
        return Ok(with(0.0, 1.0));
    }
    let hi = 1.0 - lower(trials - successes, trials, confidence);
    Ok(with(lower(successes, trials, confidence), hi))
}

/// The lower end: written as a product over a sum, so that few successes cost no digits.
fn lower(successes: u64, trials: u64, confidence: f64) -> f64 {
    let (n, z) = (trials as f64, two_sided_z(confidence));
    let share = successes as f64 / n;
    let root = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    share * share / (share + z * z / (2.0 * n) + root)
}

#[cfg(test)]
mod tests {
    use super::wilson;
    use crate::StatsError;

    /// Reference values by the formula with 40 digits.
    #[test]
    fn ends_agree_with_exact_values() {
        for (successes, trials, confidence, lo, hi) in [
            (5, 10, 0.95, 0.236_593_090_512_564, 0.763_406_909_487_436),
            (0, 10, 0.95, 0.0, 0.277_532_799_862_889_9),
            (10, 10, 0.95, 0.722_467_200_137_110_1, 1.0),
            (1, 1000, 0.95, 0.000176546370626078, 0.0056425585979579355),
        ] {
            let got = wilson(successes, trials, confidence).unwrap();
            assert!(
                (got.lo - lo).abs() < 1e-11 && (got.hi - hi).abs() < 1e-11,
                "{successes} of {trials}: {got:?}"
            );
        }
    }

    #[test]
    fn nothing_is_known_without_trials_and_wrong_questions_are_refused() {
        let got = wilson(0, 0, 0.95).unwrap();
        assert_eq!((got.lo, got.hi), (0.0, 1.0));
        assert_eq!(wilson(3, 2, 0.95), Err(StatsError::Successes { successes: 3, trials: 2 }));
        assert!(wilson(1, 2, 95.0).is_err());
    }

    /// The coverage is a finite sum, so nothing is drawn: it averages the confidence and dips where documented.
    #[test]
    fn coverage_averages_the_confidence() {
        let trials = 50_u64;
        let intervals: Vec<_> = (0..=trials).map(|k| wilson(k, trials, 0.95).unwrap()).collect();
        let coverage = |p: f64| {
            let mut probability = (1.0 - p).powi(trials as i32);
            let mut covered = 0.0;
            for (k, interval) in intervals.iter().enumerate() {
                covered += if interval.contains(p) { probability } else { 0.0 };
                probability *= (trials as f64 - k as f64) / (k as f64 + 1.0) * p / (1.0 - p);
            }
            covered
        };
        let grid: Vec<f64> = (1..2000).map(|i| coverage(f64::from(i) / 2000.0)).collect();
        let mean = grid.iter().sum::<f64>() / grid.len() as f64;
        let least = grid.iter().copied().fold(1.0, f64::min);
        assert!((mean - 0.95).abs() < 0.01 && least > 0.83, "mean {mean}, least {least}");
    }
}
