//! A summary that needs no list.

use crate::error::{StatsError, finite};
use crate::{Estimate, Summary};
use serde::{Deserialize, Serialize};

/// Count, mean, spread and range of values that arrive one by one, or in parts that are merged: the state is five
/// numbers, for any number of trials.
///
/// Gives the same [`Summary`] as [`Summary::of`] up to rounding (about 1e-12 of the largest value for ten million
/// values). The order of values and merges changes the last digits at most. Values whose squared differences exceed
/// the largest `f64`, from about 1e154, have no standard deviation here though `Summary::of` still gives one.
///
/// Sources: Welford, Technometrics 4 (1962), 419-420; for merging, Chan, Golub and LeVeque, "Updating formulae and a
/// pairwise algorithm for computing sample variances", COMPSTAT 1982.
///
/// ```
/// use bitquake_stats::Moments;
///
/// let (mut all, mut rest) = (Moments::new(), Moments::new());
/// for accuracy in [0.91, 0.89] {
///     all.push(accuracy)?;
/// }
/// rest.push(0.93)?;
/// all.merge(&rest);
/// let summary = all.summary()?.expect("three values");
/// assert_eq!((summary.n, summary.min, summary.max), (3, 0.89, 0.93));
/// assert!((summary.mean - 0.91).abs() < 1e-15 && (summary.std.unwrap() - 0.02).abs() < 1e-15);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Moments {
    n: u64,
    mean: f64,
    /// Sum of the squared differences to the mean.
    squares: f64,
    min: f64,
    max: f64,
}

impl Moments {
    /// No values yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one more value.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] with the number of values before it; the value is then left out.
    pub fn push(&mut self, value: f64) -> Result<(), StatsError> {
        if !value.is_finite() {
            return Err(StatsError::NotFinite {
                index: usize::try_from(self.n).unwrap_or(usize::MAX),
                value,
            });
        }
        if self.n == 0 {
            *self = Self { n: 1, mean: value, squares: 0.0, min: value, max: value };
            return Ok(());
        }
        self.n += 1;
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        Ok(())
    }

    /// Takes all the values of another one.
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = *other;
            return;
        }
        let n = self.n + other.n;
        let part = other.n as f64 / n as f64;
        let apart = other.mean - self.mean;
        self.mean += apart * part;
        self.squares += other.squares + apart * apart * part * self.n as f64;
        self.n = n;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many values there were.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The smallest and the largest; `None` before the first.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.n > 0).then_some((self.min, self.max))
    }

    /// Their mean; `None` before the first. Not finite if a difference of two values exceeds the largest `f64`.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let mean = if self.mean.is_finite() { self.mean.clamp(self.min, self.max) } else { f64::NAN };
        (self.n > 0).then_some(mean)
    }

    /// Their sample variance (divisor `n - 1`); `None` before the second. Infinite if it exceeds the largest `f64`.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        let squares = if self.squares.is_nan() { f64::INFINITY } else { self.squares.max(0.0) };
        (self.n > 1).then(|| squares / (self.n - 1) as f64)
    }

    /// The summary of all values so far; `None` before the first.
    ///
    /// # Errors
    ///
    /// [`StatsError::Overflow`] if the mean or the standard deviation exceeds the largest `f64`.
    pub fn summary(&self) -> Result<Option<Summary>, StatsError> {
        let Some(mean) = self.mean() else { return Ok(None) };
        let mean = finite(mean, "mean")?;
        let std = self.variance().map(|v| finite(v.sqrt(), "standard deviation")).transpose()?;
        Ok(Some(Summary { n: self.n, mean, std, min: self.min, max: self.max }))
    }

    /// The mean with its standard error and t interval; `None` before the first value.
    ///
    /// # Errors
    ///
    /// As for [`Moments::summary`] and [`t_interval`](crate::t_interval).
    pub fn estimate(&self, confidence: f64) -> Result<Option<Estimate>, StatsError> {
        crate::check_confidence(confidence)?;
        self.summary()?.map(|summary| summary.mean_estimate(confidence)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;
    use crate::{StatsError, Summary, mean_estimate};
    use bitquake_testing::SplitMix64;
    use proptest::prelude::*;

    fn moments(values: &[f64]) -> Moments {
        let mut moments = Moments::new();
        values.iter().for_each(|&value| moments.push(value).unwrap());
        moments
    }

    fn close(got: &Summary, wanted: &Summary, most: f64) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= most;
        (got.n, got.min, got.max) == (wanted.n, wanted.min, wanted.max)
            && near(got.mean, wanted.mean)
            && got.std.is_some() == wanted.std.is_some()
            && near(got.std.unwrap_or(0.0), wanted.std.unwrap_or(0.0))
    }

    #[test]
    fn nothing_yet() {
        assert_eq!(Moments::new().summary(), Ok(None));
        assert_eq!((Moments::new().range(), moments(&[0.5, -2.0, 1.0]).range()), (None, Some((-2.0, 1.0))));
        assert_eq!(Moments::new().estimate(0.95), Ok(None));
        assert!(Moments::new().estimate(95.0).is_err());
    }

    #[test]
    fn equal_values_have_exactly_no_spread() {
        let mut all = moments(&[0.9131; 37]);
        all.merge(&moments(&[0.9131; 5]));
        assert_eq!(all.summary(), Summary::of(&[0.9131; 42]));
    }

    #[test]
    fn values_without_a_mean_are_named_and_left_out() {
        let mut all = moments(&[1.0, 2.0]);
        let error = all.push(f64::INFINITY).unwrap_err();
        assert_eq!(error, StatsError::NotFinite { index: 2, value: f64::INFINITY });
        assert_eq!(all, moments(&[1.0, 2.0]));
        let overflow = moments(&[f64::MAX, -f64::MAX]).summary();
        assert!(matches!(overflow, Err(StatsError::Overflow { .. })), "{overflow:?}");
    }

    #[test]
    fn a_million_values_in_shards_agree_with_the_list() {
        let mut random = SplitMix64::new(62);
        let values: Vec<f64> = (0..1_000_000).map(|_| 0.9 + 1e-3 * random.normal()).collect();
        let mut all = Moments::new();
        values.chunks(77_777).for_each(|part| all.merge(&moments(part)));
        let wanted = Summary::of(&values).unwrap().unwrap();
        assert!(close(&all.summary().unwrap().unwrap(), &wanted, 1e-13), "{all:?} {wanted:?}");
    }

    #[test]
    fn it_survives_json() {
        let all = moments(&[0.1, 0.7]);
        assert_eq!(serde_json::from_str::<Moments>(&serde_json::to_string(&all).unwrap()).unwrap(), all);
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_list_however_it_is_split(
            values in prop::collection::vec(-10.0..10.0_f64, 1..100),
            cut in 0.0..1.0_f64,
        ) {
            let (left, right) = values.split_at((cut * values.len() as f64) as usize);
            let mut all = moments(left);
            all.merge(&moments(right));
            let wanted = Summary::of(&values).unwrap().unwrap();
            prop_assert!(close(&all.summary().unwrap().unwrap(), &wanted, 1e-12));
            let (got, wanted) = (all.estimate(0.9).unwrap(), mean_estimate(&values, 0.9).unwrap());
            prop_assert!((got.unwrap().value - wanted.unwrap().value).abs() < 1e-12);
        }
    }
}
