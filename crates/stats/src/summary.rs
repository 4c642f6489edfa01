//! What a list of values comes to.

use crate::error::{StatsError, finite};
use serde::{Deserialize, Serialize};

/// Count, mean, spread and range of some values, in the values' own unit.
///
/// ```
/// use bitquake_stats::Summary;
///
/// let summary = Summary::of(&[2.0, 4.0, 9.0])?.expect("not empty");
/// assert_eq!((summary.n, summary.mean, summary.min, summary.max), (3, 5.0, 2.0, 9.0));
/// assert_eq!(summary.std, Some(13.0_f64.sqrt()));
/// assert_eq!(Summary::of(&[])?, None);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// How many values, at least 1.
    pub n: u64,
    /// Their mean, never outside `min..=max`.
    pub mean: f64,
    /// Their sample standard deviation (divisor `n - 1`); `None` for a single value. Exactly 0 if all are equal.
    pub std: Option<f64>,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

impl Summary {
    /// Summarises `values`; `None` if there are none.
    ///
    /// Two passes: the mean from differences to the first value, then the squared differences to that mean, so that
    /// neither a large common offset nor large or tiny values lose digits. The last digits depend on the order.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] names the first NaN or infinite value; [`StatsError::Overflow`] if the standard
    /// deviation exceeds the largest `f64`.
    pub fn of(values: &[f64]) -> Result<Option<Self>, StatsError> {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(StatsError::NotFinite { index, value: values[index] });
        }
        let Some(&first) = values.first() else { return Ok(None) };
        let (min, max) = values.iter().fold((first, first), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        let scale = safe_scale(min.abs().max(max.abs()));
        let scaled = || values.iter().map(move |value| value * scale);
        let mean = scaled_mean(scaled(), first * scale, values.len() as f64);
        let std = match values.len() {
            1 => None,
            n => Some(finite(scaled_std(scaled(), mean, n as f64) / scale, "standard deviation")?),
        };
        let mean = (mean / scale).clamp(min, max);
        Ok(Some(Self { n: values.len() as u64, mean, std, min, max }))
    }
}

/// A power of two that keeps squares of numbers up to `largest` within the range of `f64`, 1 for ordinary numbers.
fn safe_scale(largest: f64) -> f64 {
    if largest > 2_f64.powi(400) {
        2_f64.powi(-600)
    } else if largest > 0.0 && largest < 2_f64.powi(-400) {
        2_f64.powi(600)
    } else {
        1.0
    }
}

fn scaled_mean(values: impl Iterator<Item = f64>, origin: f64, n: f64) -> f64 {
    origin + values.map(|value| value - origin).sum::<f64>() / n
}

/// The sample standard deviation about `mean`, less the part that `mean`'s own rounding adds.
fn scaled_std(values: impl Iterator<Item = f64>, mean: f64, n: f64) -> f64 {
    let (squares, rest) = values.map(|value| value - mean).fold((0.0, 0.0), |(s, r), d| (s + d * d, r + d));
    ((squares - rest * rest / n).max(0.0) / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use crate::StatsError;
    use proptest::prelude::*;

    fn summary(values: &[f64]) -> Summary {
        Summary::of(values).unwrap().unwrap()
    }

    fn close(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() <= 1e-12 * wanted.abs()
    }

    #[test]
    fn one_value_has_no_spread() {
        assert_eq!(summary(&[3.5]), Summary { n: 1, mean: 3.5, std: None, min: 3.5, max: 3.5 });
    }

    #[test]
    fn equal_values_have_exactly_no_spread() {
        for value in [0.1, 0.9131, -7e300, 3e-310, 0.0] {
            let got = summary(&[value; 37]);
            assert_eq!((got.mean, got.std), (value, Some(0.0)), "{value}");
        }
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let got = summary(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!((got.mean, got.std), (1e9 + 10.0, Some(30_f64.sqrt())));
    }

    #[test]
    fn huge_and_tiny_values_neither_overflow_nor_vanish() {
        for unit in [1e300, 1.0, 1e-300, 1e-320] {
            let got = summary(&[unit, 2.0 * unit, 3.0 * unit]);
            assert!(close(got.mean, 2.0 * unit) && close(got.std.unwrap(), unit), "{unit}: {got:?}");
        }
        let ends = summary(&[f64::MAX, f64::MAX / 2.0]);
        assert!(close(ends.mean, 0.75 * f64::MAX), "{ends:?}");
    }

    #[test]
    fn a_spread_beyond_f64_is_an_error() {
        let wanted = Err(StatsError::Overflow { quantity: "standard deviation" });
        assert_eq!(Summary::of(&[f64::MAX, -f64::MAX]), wanted);
    }

    #[test]
    fn the_first_value_without_a_mean_is_named() {
        let error = Summary::of(&[1.0, f64::INFINITY, f64::NAN]).unwrap_err();
        assert_eq!(error, StatsError::NotFinite { index: 1, value: f64::INFINITY });
        assert!(matches!(Summary::of(&[f64::NAN]), Err(StatsError::NotFinite { index: 0, .. })));
    }

    proptest! {
        #[test]
        fn any_finite_values_give_an_ordered_summary(values in prop::collection::vec(-1e300..1e300_f64, 1..50)) {
            let got = summary(&values);
            prop_assert!(got.min <= got.mean && got.mean <= got.max);
            prop_assert!(got.std.is_none_or(|std| std >= 0.0 && std <= got.max - got.min));
        }

        #[test]
        fn order_changes_at_most_the_last_digits(mut values in prop::collection::vec(0.0..1.0_f64, 2..50)) {
            let before = summary(&values);
            values.reverse();
            let after = summary(&values);
            prop_assert!((before.mean - after.mean).abs() < 1e-14);
            prop_assert!((before.std.unwrap() - after.std.unwrap()).abs() < 1e-14);
        }
    }
}
