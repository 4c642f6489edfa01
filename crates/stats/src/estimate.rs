//! A value together with what is known about its uncertainty.

use crate::error::StatsError;
use crate::{Interval, Summary, clopper_pearson, t_interval};
use serde::{Deserialize, Serialize};

/// A value with its standard error and interval, in the value's own unit.
///
/// ```
/// use bitquake_stats::share_estimate;
///
/// let estimate = share_estimate(0, 50, 0.95)?.expect("fifty trials");
/// assert_eq!(estimate.value, 0.0);
/// assert!(estimate.interval.unwrap().hi > 0.07, "none of fifty does not mean never");
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Estimate {
    /// The best guess: the mean, or the share in [0, 1].
    pub value: f64,
    /// The standard error of the value; `None` if one trial cannot tell.
    ///
    /// A share of 0 or 1 has the standard error 0, which says nothing about its certainty: trust the interval.
    pub std_error: Option<f64>,
    /// The confidence interval; `None` if one trial cannot tell.
    pub interval: Option<Interval>,
    /// How many trials it rests on, at least 1.
    pub n: u64,
}

/// The mean of `values` over trials, with Student's t interval; `None` without values.
///
/// # Errors
///
/// As for [`Summary::of`] and [`t_interval`]: a value that is not finite, a confidence outside (0, 1), overflow.
pub fn mean_estimate(values: &[f64], confidence: f64) -> Result<Option<Estimate>, StatsError> {
    crate::check_confidence(confidence)?;
    Summary::of(values)?.map(|summary| summary.mean_estimate(confidence)).transpose()
}

/// The share of `successes` in `trials`, with the Clopper-Pearson interval; `None` without trials.
///
/// The standard error is sqrt(share · (1 - share) / trials).
///
/// # Errors
///
/// As for [`clopper_pearson`]: more successes than trials, a confidence outside (0, 1), more than 10^12 trials.
pub fn share_estimate(successes: u64, trials: u64, confidence: f64) -> Result<Option<Estimate>, StatsError> {
    let interval = clopper_pearson(successes, trials, confidence)?;
    if trials == 0 {
        return Ok(None);
    }
    let value = successes as f64 / trials as f64;
    let std_error = (value * (1.0 - value) / trials as f64).sqrt();
    Ok(Some(Estimate { value, std_error: Some(std_error), interval: Some(interval), n: trials }))
}

impl Summary {
    /// The mean with its standard error (`std / sqrt(n)`) and t interval.
    ///
    /// # Errors
    ///
    /// As for [`t_interval`].
    pub fn mean_estimate(&self, confidence: f64) -> Result<Estimate, StatsError> {
        let interval = t_interval(self, confidence)?;
        let std_error = self.std.map(|std| std / (self.n as f64).sqrt());
        Ok(Estimate { value: self.mean, std_error, interval, n: self.n })
    }
}

#[cfg(test)]
mod tests {
    use super::{Estimate, mean_estimate, share_estimate};
    use crate::StatsError;

    #[test]
    fn a_mean_carries_its_uncertainty() {
        let got = mean_estimate(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95).unwrap().unwrap();
        let interval = got.interval.unwrap();
        assert_eq!((got.value, got.std_error, got.n), (3.0, Some(0.5_f64.sqrt()), 5));
        assert!((interval.half_width() / (2.776_445_105_197_793_4 * 0.5_f64.sqrt()) - 1.0).abs() < 1e-11);
    }

    #[test]
    fn one_trial_has_a_value_alone() {
        let wanted = Estimate { value: 0.9, std_error: None, interval: None, n: 1 };
        assert_eq!(mean_estimate(&[0.9], 0.95), Ok(Some(wanted)));
    }

    #[test]
    fn a_share_carries_its_uncertainty() {
        let got = share_estimate(5, 10, 0.95).unwrap().unwrap();
        assert_eq!((got.value, got.std_error, got.n), (0.5, Some(0.025_f64.sqrt()), 10));
        assert!((got.interval.unwrap().lo - 0.187_086_028).abs() < 1e-9);
    }

    #[test]
    fn without_trials_there_is_no_estimate() {
        assert_eq!(mean_estimate(&[], 0.95), Ok(None));
        assert_eq!(share_estimate(0, 0, 0.95), Ok(None));
    }

    #[test]
    fn a_wrong_confidence_is_refused_even_without_trials() {
        let refused = Err(StatsError::Confidence { confidence: 0.0 });
        assert_eq!(mean_estimate(&[], 0.0), refused);
        assert_eq!(share_estimate(0, 0, 0.0), refused);
    }

    #[test]
    fn an_estimate_survives_json() {
        for estimate in
            [mean_estimate(&[0.25], 0.9), mean_estimate(&[0.25, 0.5], 0.9), share_estimate(1, 3, 0.9)]
        {
            let estimate = estimate.unwrap().unwrap();
            let text = serde_json::to_string(&estimate).unwrap();
            assert_eq!(serde_json::from_str::<Estimate>(&text).unwrap(), estimate, "{text}");
        }
    }
}
