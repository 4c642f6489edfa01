//! Mean and spread of values that arrive one by one.

/// Mean and sample standard deviation of the values pushed so far, without keeping them.
///
/// For progress lines; results are summarised from the records with [`Summary`](crate::Summary). A NaN or infinite
/// value makes the mean and the standard deviation NaN or infinite from then on.
///
/// Source: Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4, 1962.
///
/// ```
/// let mut running = bitquake_stats::Running::new();
/// for accuracy in [0.91, 0.89] {
///     running.push(accuracy);
/// }
/// assert_eq!(running.n(), 2);
/// assert!((running.mean().unwrap() - 0.9).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Running {
    n: u64,
    mean: f64,
    /// Sum of the squared differences to the mean.
    squares: f64,
}

impl Running {
    /// No values yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one more value.
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
    }

    /// How many values there were.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Their mean; `None` before the first.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// Their sample standard deviation (divisor `n - 1`); `None` before the second.
    #[must_use]
    pub fn std(&self) -> Option<f64> {
        (self.n > 1).then(|| (self.squares / (self.n - 1) as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::Running;
    use crate::Summary;
    use proptest::prelude::*;

    #[test]
    fn nothing_yet() {
        let running = Running::new();
        assert_eq!((running.n(), running.mean(), running.std()), (0, None, None));
    }

    #[test]
    fn one_value_has_a_mean_and_no_spread() {
        let mut running = Running::new();
        running.push(0.3);
        assert_eq!((running.mean(), running.std()), (Some(0.3), None));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_summary(values in prop::collection::vec(-10.0..10.0_f64, 2..100)) {
            let mut running = Running::new();
            values.iter().for_each(|&value| running.push(value));
            let summary = Summary::of(&values).unwrap().unwrap();
            prop_assert_eq!(running.n(), summary.n);
            prop_assert!((running.mean().unwrap() - summary.mean).abs() < 1e-12);
            prop_assert!((running.std().unwrap() - summary.std.unwrap()).abs() < 1e-12);
        }
    }
}
