//! What can be wrong with a question to this crate.

use thiserror::Error;

/// Why no estimate can be given.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum StatsError {
    /// The confidence is not strictly between 0 and 1.
    #[error("confidence {confidence} is not between 0 and 1 (0.95 stands for 95 %)")]
    Confidence {
        /// The confidence given.
        confidence: f64,
    },
    /// A value is NaN or infinite, so it has no mean.
    #[error("value {index} is {value}; only finite values have a mean")]
    NotFinite {
        /// Position of the first such value, from 0.
        index: usize,
        /// The value itself.
        value: f64,
    },
    /// There are more successes than trials.
    #[error("{successes} successes in only {trials} trials")]
    Successes {
        /// The number of successes given.
        successes: u64,
        /// The number of trials given.
        trials: u64,
    },
    /// There are more trials than the interval is computed for, [`StatsError::MOST_TRIALS`].
    #[error("{trials} trials; an interval for a share is given for at most {most}", most = StatsError::MOST_TRIALS)]
    TooManyTrials {
        /// The number of trials given.
        trials: u64,
    },
    /// The values are finite, but the result is beyond the largest `f64`.
    #[error("the {quantity} of these values is too large for a 64-bit float")]
    Overflow {
        /// What could not be represented.
        quantity: &'static str,
    },
    /// A number that the question needs has no sense.
    #[error("{name} is {value}; it must be {wanted}")]
    Argument {
        /// What the number stands for.
        name: &'static str,
        /// The number given.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// A value lies outside the range that was promised for all of them.
    #[error("value {index} is {value}, outside the range {lo} to {hi} given for all values")]
    OutOfRange {
        /// Position of the value, from 0.
        index: u64,
        /// The value itself.
        value: f64,
        /// The least value promised.
        lo: f64,
        /// The greatest value promised.
        hi: f64,
    },
    /// Two lists that belong together have different lengths.
    #[error("{left} values against {right}; pairs need as many on both sides")]
    Lengths {
        /// How many there are on the first side.
        left: usize,
        /// How many there are on the second side.
        right: usize,
    },
}

impl StatsError {
    /// The largest number of trials for [`clopper_pearson`](crate::clopper_pearson): 10^12.
    pub const MOST_TRIALS: u64 = 1_000_000_000_000;
}

/// Checks that a confidence is strictly between 0 and 1.
///
/// # Errors
///
/// [`StatsError::Confidence`] if it is not, or if it is NaN.
///
/// ```
/// use bitquake_stats::check_confidence;
///
/// assert!(check_confidence(0.95).is_ok());
/// assert!(check_confidence(95.0).is_err());
/// ```
pub fn check_confidence(confidence: f64) -> Result<(), StatsError> {
    if confidence > 0.0 && confidence < 1.0 { Ok(()) } else { Err(StatsError::Confidence { confidence }) }
}

/// Checks a number by a rule, and names it if it breaks the rule.
pub(crate) fn check(
    holds: bool,
    name: &'static str,
    value: f64,
    wanted: &'static str,
) -> Result<(), StatsError> {
    if holds { Ok(()) } else { Err(StatsError::Argument { name, value, wanted }) }
}

/// Checks that a number is finite and greater than 0.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), StatsError> {
    check(value.is_finite() && value > 0.0, name, value, "a finite number above 0")
}

/// Checks that a number is finite and not below 0.
pub(crate) fn not_negative(name: &'static str, value: f64) -> Result<(), StatsError> {
    check(value.is_finite() && value >= 0.0, name, value, "a finite number, 0 or above")
}

/// Passes a finite number on.
pub(crate) fn finite(value: f64, quantity: &'static str) -> Result<f64, StatsError> {
    if value.is_finite() { Ok(value) } else { Err(StatsError::Overflow { quantity }) }
}

#[cfg(test)]
mod tests {
    use super::{StatsError, check_confidence};

    #[test]
    fn only_confidences_between_0_and_1_pass() {
        for confidence in [f64::MIN_POSITIVE, 0.5, 0.999_999] {
            assert_eq!(check_confidence(confidence), Ok(()));
        }
        for confidence in [0.0, 1.0, -0.5, 95.0, f64::INFINITY, f64::NAN] {
            assert!(check_confidence(confidence).is_err(), "{confidence}");
        }
    }

    #[test]
    fn messages_carry_the_values() {
        let text = StatsError::NotFinite { index: 3, value: f64::NEG_INFINITY }.to_string();
        assert_eq!(text, "value 3 is -inf; only finite values have a mean");
        assert_eq!(
            check_confidence(95.0).unwrap_err().to_string(),
            "confidence 95 is not between 0 and 1 (0.95 stands for 95 %)"
        );
    }
}
