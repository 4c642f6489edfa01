//! Samples drawn with unequal probabilities.

use crate::error::{StatsError, check, not_negative};
use crate::ratio::Ratio;
use crate::{Estimate, Interval, MeanSequence, Method, Moments};
use serde::{Deserialize, Serialize};

/// The mean over a fault space of values that were drawn with known, unequal probabilities.
///
/// A site's weight is its share of the space over its probability per draw: `1 / (N q)` for `N` sites of which it is
/// drawn with probability `q`; or, if a stratum is drawn first, the stratum's weight over its probability. Then the
/// weights average 1. Sites must be drawn independently, with replacement. For draws without replacement the standard
/// errors here are too large by the finite-population correction, so the intervals are conservative. Streaming and
/// mergeable.
///
/// Sources: Hansen and Hurwitz, Ann. Math. Stat. 14 (1943), 333-362; Horvitz and Thompson, J. Am. Stat. Assoc. 47
/// (1952), 663-685; Hájek's ratio: Särndal, Swensson and Wretman, "Model assisted survey sampling" (1992), section
/// 5.7.
///
/// ```
/// use bitquake_stats::WeightedMean;
///
/// // Exponent bits, 1/4 of all, are half of the draws: weights 1/2 and 3/2.
/// let mut sdc = WeightedMean::new();
/// for (value, weight) in [(1.0, 0.5), (0.0, 1.5), (0.0, 0.5), (0.0, 1.5)] {
///     sdc.push(value, weight)?;
/// }
/// assert_eq!(sdc.horvitz_thompson(0.95)?.unwrap().value, 0.125);
/// assert_eq!(sdc.hajek(0.95)?.unwrap().value, 0.125);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct WeightedMean {
    products: Moments,
    ratio: Ratio,
}

impl WeightedMean {
    /// No draws yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one more draw.
    ///
    /// # Errors
    ///
    /// [`StatsError::Argument`] if the weight is negative or not finite; [`StatsError::NotFinite`] for the value, or
    /// its product with the weight.
    pub fn push(&mut self, value: f64, weight: f64) -> Result<(), StatsError> {
        not_negative("the weight", weight)?;
        // A value that is not finite is an error even with weight 0, where the product would be NaN.
        self.products.push(value * weight)?;
        self.ratio.push(value * weight, weight);
        Ok(())
    }

    /// Takes all the draws of another one.
    pub fn merge(&mut self, other: &Self) {
        self.products.merge(&other.products);
        self.ratio.merge(&other.ratio);
    }

    /// How many draws there were.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.ratio.n()
    }

    /// The Horvitz-Thompson mean, `Σ w x / n`: unbiased; with its t interval. `None` without draws.
    ///
    /// Approximate: with few heavily weighted events it covers less often than it states (86 % for 90 % where two of
    /// 400 draws are such). Without an event so far the interval has no width ([`Interval::is_degenerate`]) and says
    /// nothing: then [`WeightedSequence`] is honest.
    ///
    /// # Errors
    ///
    /// As for [`Moments::estimate`].
    pub fn horvitz_thompson(&self, confidence: f64) -> Result<Option<Estimate>, StatsError> {
        let named = |interval| Interval { method: Method::HorvitzThompsonT, ..interval };
        let estimate = self.products.estimate(confidence)?;
        Ok(estimate.map(|e| Estimate { interval: e.interval.map(named), ..e }))
    }

    /// The Hájek mean, `Σ w x / Σ w`, with a linearised standard error and t interval: a bias of order `1 / n`, but
    /// better than Horvitz-Thompson where values are far from 0. `None` while the weights sum to 0.
    ///
    /// # Errors
    ///
    /// [`StatsError::Confidence`]; [`StatsError::Overflow`].
    pub fn hajek(&self, confidence: f64) -> Result<Option<Estimate>, StatsError> {
        self.ratio.estimate(confidence, Method::HajekT)
    }

    /// Kish's effective number of draws, `(Σ w)² / Σ w²`: as many equal weights would tell as much about a value that
    /// has nothing to do with the weights. `None` while the weights sum to 0.
    #[must_use]
    pub fn effective_draws(&self) -> Option<f64> {
        let squares = self.ratio.weight_squares();
        (squares > 0.0).then(|| self.ratio.weight().powi(2) / squares)
    }
}

/// The betting confidence sequence for the mean of values drawn with unequal probabilities: [`MeanSequence`] on the
/// products of value and weight, valid at every look, also while no event was seen.
///
/// The probabilities of a draw may depend on earlier results, as long as the weight is its own. The range of the
/// products decides the width: keep the largest weight small, that is, draw nothing with a probability far below its
/// share.
///
/// Sources: as for [`MeanSequence`] and [`WeightedMean`].
///
/// ```
/// use bitquake_stats::WeightedSequence;
///
/// let mut sdc = WeightedSequence::new(0.0, 1.0, 1.5, 0.95)?;
/// (0..1000).try_for_each(|i| sdc.push(0.0, if i % 2 == 0 { 0.5 } else { 1.5 }))?;
/// let interval = sdc.interval(0.95)?.expect("there were draws");
/// assert!(interval.lo == 0.0 && interval.hi > 0.004);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedSequence {
    lo: f64,
    hi: f64,
    largest_weight: f64,
    products: MeanSequence,
}

impl WeightedSequence {
    /// No draws yet. Values will be in [`lo`, `hi`] and weights in [0, `largest_weight`].
    ///
    /// # Errors
    ///
    /// As for [`MeanSequence::new`]; [`StatsError::Argument`] if the largest weight is below 1: weights average 1.
    pub fn new(lo: f64, hi: f64, largest_weight: f64, confidence: f64) -> Result<Self, StatsError> {
        check(lo < hi, "the greatest value", hi, "finite and above the least value")?;
        let holds = largest_weight.is_finite() && largest_weight >= 1.0;
        check(holds, "the largest weight", largest_weight, "finite and at least 1")?;
        let (least, most) = (lo.min(0.0) * largest_weight, hi.max(0.0) * largest_weight);
        Ok(Self { lo, hi, largest_weight, products: MeanSequence::new(least, most, confidence)? })
    }

    /// Takes one more draw, in the order of the trials.
    ///
    /// # Errors
    ///
    /// [`StatsError::OutOfRange`] for a value or weight outside its range; it is then left out, and the guarantee is
    /// gone.
    pub fn push(&mut self, value: f64, weight: f64) -> Result<(), StatsError> {
        for (number, lo, hi) in [(value, self.lo, self.hi), (weight, 0.0, self.largest_weight)] {
            if !(lo <= number && number <= hi) {
                return Err(StatsError::OutOfRange { index: self.n(), value: number, lo, hi });
            }
        }
        self.products.push(value * weight)
    }

    /// How many draws there were.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.products.n()
    }

    /// The Horvitz-Thompson mean; `None` before the first draw.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.products.mean()
    }

    /// The interval after the draws so far, cut at the range of the values; `None` before the first.
    ///
    /// # Errors
    ///
    /// [`StatsError::Confidence`].
    pub fn interval(&self, confidence: f64) -> Result<Option<Interval>, StatsError> {
        let cut = |end: f64| end.clamp(self.lo, self.hi);
        let interval = self.products.interval(confidence)?;
        Ok(interval.map(|i| Interval { lo: cut(i.lo), hi: cut(i.hi), ..i }))
    }
}

#[cfg(test)]
mod tests {
    use super::{WeightedMean, WeightedSequence};
    use crate::Method;
    use bitquake_testing::{SplitMix64, check_binomial};

    #[test]
    fn equal_weights_are_no_weights() {
        let mut mean = WeightedMean::new();
        [0.1, 0.5, 0.9].iter().for_each(|&value| mean.push(value, 1.0).unwrap());
        let wanted = crate::mean_estimate(&[0.1, 0.5, 0.9], 0.9).unwrap().unwrap();
        for got in [mean.horvitz_thompson(0.9), mean.hajek(0.9)] {
            let got = got.unwrap().unwrap();
            assert!((got.value - wanted.value).abs() < 1e-15);
            assert!((got.std_error.unwrap() - wanted.std_error.unwrap()).abs() < 1e-15);
        }
        assert!((mean.effective_draws().unwrap() - 3.0).abs() < 1e-12);
        assert_eq!(mean.hajek(0.9).unwrap().unwrap().interval.unwrap().method, Method::HajekT);
    }

    #[test]
    fn wrong_draws_are_refused() {
        let mut mean = WeightedMean::new();
        assert_eq!((mean.hajek(0.9), mean.horvitz_thompson(0.9)), (Ok(None), Ok(None)));
        assert!(mean.push(0.0, -1.0).is_err() && mean.push(f64::INFINITY, 0.0).is_err());
        assert_eq!((mean.n(), mean.effective_draws()), (0, None));
        assert!(WeightedSequence::new(0.0, 1.0, 0.5, 0.9).is_err());
        assert!(WeightedSequence::new(1.0, 0.0, 2.0, 0.9).is_err());
        let mut sequence = WeightedSequence::new(-1.0, 1.0, 2.0, 0.9).unwrap();
        assert!(sequence.push(1.5, 1.0).is_err() && sequence.push(0.5, 2.5).is_err());
        assert_eq!((sequence.n(), sequence.interval(0.9)), (0, Ok(None)));
    }

    /// A tenth of the space fails with 30 %, the rest with 1 %; half of the draws go to the tenth.
    fn draw(random: &mut SplitMix64) -> (f64, f64) {
        let (p, weight) = if random.unit() < 0.5 { (0.3, 0.2) } else { (0.01, 1.8) };
        (f64::from(random.unit() < p), weight)
    }

    const TRUTH: f64 = 0.1 * 0.3 + 0.9 * 0.01;

    /// Nominal 90 %, 400 draws, 3,000 campaigns. The products are skewed (of 400 draws two are hits of weight
    /// 1.8), which costs about 4 %: intervals with 86 % fail with probability 2e-6.
    #[test]
    fn both_estimates_cover() {
        let (runs, mut random) = (3000, SplitMix64::new(1952));
        let (mut first, mut second) = (0, 0);
        for _ in 0..runs {
            let mut mean = WeightedMean::new();
            for _ in 0..400 {
                let (value, weight) = draw(&mut random);
                mean.push(value, weight).unwrap();
            }
            let covers = |e: Option<crate::Estimate>| u64::from(e.unwrap().interval.unwrap().contains(TRUTH));
            first += covers(mean.horvitz_thompson(0.9).unwrap());
            second += covers(mean.hajek(0.9).unwrap());
        }
        println!("Horvitz-Thompson {first}, Hajek {second} of {runs}, nominal 0.9");
        for covered in [first, second] {
            assert!(check_binomial(covered, runs, 0.86, 1e-6).is_ok(), "{first} {second}");
        }
    }

    /// Nominal 90 % at every eighth look; a sequence of exactly 90 % fails with probability 1e-6.
    #[test]
    fn the_sequence_covers_at_every_look() {
        let (runs, mut random) = (150, SplitMix64::new(31));
        let right = (0..runs).filter(|_| {
            let mut sequence = WeightedSequence::new(0.0, 1.0, 1.8, 0.9).unwrap();
            (1..=300).fold(true, |always, i| {
                let (value, weight) = draw(&mut random);
                sequence.push(value, weight).unwrap();
                always && (i % 8 != 0 || sequence.interval(0.9).unwrap().unwrap().contains(TRUTH))
            })
        });
        let right = right.count() as u64;
        println!("{right} of {runs} right at every look, nominal 0.9");
        assert!(right >= runs * 9 / 10 || check_binomial(right, runs, 0.9, 2e-6).is_ok(), "{right}");
    }
}
