//! How much to bet on the next value, judged by the values before it.

/// The predictable plug-in bets for values in [0, 1], tuned for a confidence.
///
/// Bet number i is sqrt(2 ln(2/α) / (v i ln(i + 1))), where v is the variance of the i - 1 values before, taken as if
/// one value with variance 1/4 had come first.
///
/// Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86
/// (2024; arXiv 2010.09686), the bets of theorem 2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bets {
    /// 2 ln(2/α).
    scale: f64,
    n: u64,
    sum: f64,
    squares: f64,
}

impl Bets {
    /// Bets for confidence in (0, 1).
    pub(crate) fn new(confidence: f64) -> Self {
        Self { scale: 2.0 * (2.0 / (1.0 - confidence)).ln(), n: 0, sum: 0.0, squares: 0.0 }
    }

    /// How many values there were.
    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    /// The mean so far; 1/2 before the first value.
    pub(crate) fn mean(&self) -> f64 {
        if self.n == 0 { 0.5 } else { self.sum / self.n as f64 }
    }

    /// The mean with one value of 1/2 put first.
    pub(crate) fn regular_mean(&self) -> f64 {
        (0.5 + self.sum) / (self.n as f64 + 1.0)
    }

    /// The next bet, uncapped.
    pub(crate) fn next(&self) -> f64 {
        (self.scale / ((0.25 + self.squares) * (self.n as f64 + 2.0).ln())).sqrt()
    }

    /// The next bet, uncapped, if it is to be best after `horizon` values: sqrt(2 ln(2/α) / (v · horizon)).
    pub(crate) fn next_for(&self, horizon: f64) -> f64 {
        (self.scale * (self.n as f64 + 1.0) / ((0.25 + self.squares) * horizon)).sqrt()
    }

    /// Takes one more value, in [0, 1].
    pub(crate) fn observe(&mut self, x: f64) {
        self.n += 1;
        self.sum += x;
        self.squares += (x - self.regular_mean()).powi(2);
    }
}
