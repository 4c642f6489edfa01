//! Mean and spread of values that arrive one by one.

use bitquake_stats::{StatsError, Summary};

/// Count, mean, spread and range of values that are not kept.
///
/// Source: Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4, 1962.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    n: u64,
    mean: f64,
    /// Sum of the squared differences to the mean.
    squares: f64,
    min: f64,
    max: f64,
}

impl Moments {
    /// Takes one more value.
    ///
    /// # Errors
    /// [`StatsError::NotFinite`] for a NaN or an infinity.
    pub(crate) fn push(&mut self, value: f64) -> Result<(), StatsError> {
        if !value.is_finite() {
            return Err(StatsError::NotFinite { index: self.n as usize, value });
        }
        (self.min, self.max) =
            if self.n == 0 { (value, value) } else { (self.min.min(value), self.max.max(value)) };
        self.n += 1;
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
        Ok(())
    }

    /// Takes all values of another (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    /// variances", COMPSTAT 1982).
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.n == 0 || other.n == 0 {
            *self = if self.n == 0 { *other } else { *self };
            return;
        }
        let (mine, theirs) = (self.n as f64, other.n as f64);
        let apart = other.mean - self.mean;
        self.n += other.n;
        self.mean += apart * theirs / (mine + theirs);
        self.squares += other.squares + apart * apart * mine * theirs / (mine + theirs);
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
    }

    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    /// The smallest and the largest value; none without values.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        (self.n > 0).then_some((self.min, self.max))
    }

    /// The mean; 0 without values.
    pub(crate) fn mean(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.mean.clamp(self.min, self.max) }
    }

    /// The sample variance (divisor `n - 1`); none before the second value, exactly 0 if all are equal.
    pub(crate) fn variance(&self) -> Option<f64> {
        let variance =
            || if self.min == self.max { 0.0 } else { self.squares.max(0.0) / (self.n - 1) as f64 };
        (self.n > 1).then(variance)
    }

    /// All of it; none without values.
    ///
    /// # Errors
    /// [`StatsError::Overflow`] when the spread is beyond the largest `f64`.
    pub(crate) fn summary(&self) -> Result<Option<Summary>, StatsError> {
        if self.n == 0 {
            return Ok(None);
        }
        let std = self.variance().map(f64::sqrt);
        if !self.mean.is_finite() || std.is_some_and(|std| !std.is_finite()) {
            return Err(StatsError::Overflow { quantity: "standard deviation" });
        }
        Ok(Some(Summary { n: self.n, mean: self.mean(), std, min: self.min, max: self.max }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_as_with_all_values_at_hand() {
        let mut state = 1_u64;
        for (offset, scale) in [(0.0, 1.0), (0.9, 1e-6), (1e9, 1.0), (-3.0, 1e-300), (0.0, 1e150)] {
            let values: Vec<f64> = (0..500)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    offset + scale * (state >> 11) as f64 / (1_u64 << 53) as f64
                })
                .collect();
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.push(*value).unwrap());
            let (one, all) = (moments.summary().unwrap().unwrap(), Summary::of(&values).unwrap().unwrap());
            assert_eq!((one.n, one.min, one.max), (all.n, all.min, all.max));
            assert!((one.mean - all.mean).abs() <= 1e-14 * all.mean.abs(), "{one:?} {all:?}");
            let (one, all) = (one.std.unwrap(), all.std.unwrap());
            assert!((one - all).abs() <= 1e-7 * all, "{offset} {scale}: {one} {all}");
        }
    }

    #[test]
    fn parts_come_to_the_whole() {
        let values: Vec<f64> = (0..300).map(|n| (f64::from(n) * 0.7).sin() + 5.0).collect();
        for cut in [0, 1, 100, 300] {
            let mut parts = [Moments::default(); 2];
            values[..cut].iter().for_each(|value| parts[0].push(*value).unwrap());
            values[cut..].iter().for_each(|value| parts[1].push(*value).unwrap());
            let [mut one, other] = parts;
            one.merge(&other);
            let (one, all) = (one.summary().unwrap().unwrap(), Summary::of(&values).unwrap().unwrap());
            assert!((one.n, one.min, one.max) == (all.n, all.min, all.max));
            assert!(
                (one.mean - all.mean).abs() < 1e-14 && (one.std.unwrap() - all.std.unwrap()).abs() < 1e-14
            );
        }
    }

    #[test]
    fn few_and_equal_values_and_those_that_are_none() {
        let mut moments = Moments::default();
        assert_eq!(moments.summary(), Ok(None));
        for n in 1..100 {
            moments.push(0.1).unwrap();
            let summary = moments.summary().unwrap().unwrap();
            assert_eq!((summary.n, summary.mean, summary.std), (n, 0.1, (n > 1).then_some(0.0)));
        }
        assert!(matches!(moments.push(f64::NAN), Err(StatsError::NotFinite { index: 99, .. })));
        let mut huge = Moments::default();
        [f64::MAX, -f64::MAX].iter().for_each(|value| huge.push(*value).unwrap());
        assert!(matches!(huge.summary(), Err(StatsError::Overflow { .. })));
    }
}
