//! A share that may be looked at after every trial.

use crate::error::{StatsError, check, check_confidence, positive};
use crate::incomplete_beta::first_float;
use crate::{Interval, Method};
use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

/// The beta-binomial mixture confidence sequence for a probability.
///
/// With probability at least `confidence` the intervals contain the probability after **every** trial at once. The
/// state is two counts: order does not matter, and shards may simply be added. Without successes the upper end stays
/// above 0 (at 95 % 0.0070 after 1,000 trials, where Clopper-Pearson, which allows one look only, has 0.0037).
///
/// Against a candidate p stands the mixture of all other probabilities by a beta distribution; p is out once the
/// trials are 1/α times as likely under the mixture as under p.
///
/// Sources: Ville's inequality; Robbins, "Statistical methods related to the law of the iterated logarithm", Ann.
/// Math. Stat. 41 (1970), 1397-1409; Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
/// nonasymptotic confidence sequences", Ann. Stat. 49 (2021). The default mixture, beta(1/2, 1/2), is that of
/// Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27 (1981).
///
/// ```
/// use bitquake_stats::ShareSequence;
///
/// let mut sdc = ShareSequence::new();
/// (0..1000).for_each(|_| sdc.push(false));
/// let interval = sdc.interval(0.95)?.expect("there were trials");
/// assert!(interval.lo == 0.0 && interval.hi > 0.006 && interval.hi < 0.008);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct ShareSequence {
    a: f64,
    b: f64,
    successes: u64,
    trials: u64,
}

impl Default for ShareSequence {
    fn default() -> Self {
        Self { a: 0.5, b: 0.5, successes: 0, trials: 0 }
    }
}

impl ShareSequence {
    /// No trials yet, mixture beta(1/2, 1/2).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No trials yet, mixture beta(a, b): valid for any, narrowest where it expects the probability, a / (a + b).
    ///
    /// # Errors
    ///
    /// [`StatsError::Argument`] unless both are finite and above 0.
    pub fn with_mixture(a: f64, b: f64) -> Result<Self, StatsError> {
        positive("the mixture's a", a)?;
        positive("the mixture's b", b)?;
        Ok(Self { a, b, ..Self::default() })
    }

    /// Takes one more trial.
    pub fn push(&mut self, success: bool) {
        self.trials += 1;
        self.successes += u64::from(success);
    }

    /// Takes many trials at once, such as another shard's.
    ///
    /// # Errors
    ///
    /// [`StatsError::Successes`] if there are more successes than trials; [`StatsError::TooManyTrials`] if there
    /// would be more than 10^12 in all.
    pub fn add(&mut self, successes: u64, trials: u64) -> Result<(), StatsError> {
        if successes > trials {
            return Err(StatsError::Successes { successes, trials });
        }
        let all = self.trials.saturating_add(trials);
        if all > StatsError::MOST_TRIALS {
            return Err(StatsError::TooManyTrials { trials: all });
        }
        self.trials = all;
        self.successes += successes;
        Ok(())
    }

    /// How many trials there were.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.trials
    }

    /// The share of successes; `None` before the first trial.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.trials > 0).then(|| self.successes as f64 / self.trials as f64)
    }

    /// The interval after the trials so far, within [0, 1]; `None` before the first. Any confidence may be asked for.
    ///
    /// # Errors
    ///
    /// [`StatsError::Confidence`].
    pub fn interval(&self, confidence: f64) -> Result<Option<Interval>, StatsError> {
        let hits = self.successes as f64;
        mixture_interval(hits, (self.trials - self.successes) as f64, (self.a, self.b), confidence)
    }
}

/// The beta-binomial mixture confidence sequence for the mean of values in [0, 1], of which only the sum is known: valid at every
/// number of values at once. `None` without values.
///
/// It is as wide as if every value were 0 or 1, whatever their spread; [`MeanSequence`](crate::MeanSequence) makes use of a small
/// spread. In exchange it needs a sum and a count alone, so that parts of a sample have one each, and add up. For whole sums it is
/// the interval of [`ShareSequence::new`].
///
/// Why it holds: the likelihood ratio (q/p)^x ((1-q)/(1-p))^(1-x) of two coins is convex in x, so over x in [0, 1] with mean p it
/// averages at most what it does over x in {0, 1}, which is 1. Its product over the values is then a supermartingale, and so is its
/// mixture over q: Ville's inequality applies as for shares. The values must be independent, or have the same mean given all that
/// came before.
///
/// Source of the bound by convexity: Hoeffding, J. Am. Stat. Assoc. 58 (1963), the proof of theorem 1; the rest as for
/// [`ShareSequence`].
///
/// # Errors
///
/// [`StatsError::Confidence`]; [`StatsError::Argument`] unless `sum` is in 0 to `n`.
///
/// ```
/// let interval = bitquake_stats::mean_mixture(12.5, 1000, 0.95)?.expect("there were values");
/// assert!(interval.contains(0.0125) && interval.hi < 0.03);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn mean_mixture(sum: f64, n: u64, confidence: f64) -> Result<Option<Interval>, StatsError> {
    let all = n as f64;
    // Rounding of a sum must not matter.
    check((0.0..=all * (1.0 + 1e-9)).contains(&sum), "the sum", sum, "in 0 to the number of values")?;
    let sum = sum.min(all);
    mixture_interval(sum, all - sum, (0.5, 0.5), confidence)
}

/// The interval after so many successes and failures, in all or in parts, with the mixture beta(a, b).
fn mixture_interval(
    hits: f64,
    misses: f64,
    (a, b): (f64, f64),
    confidence: f64,
) -> Result<Option<Interval>, StatsError> {
    check_confidence(confidence)?;
    if hits + misses <= 0.0 {
        return Ok(None);
    }
    let share = hits / (hits + misses);
    let threshold = -(1.0 - confidence).ln();
    // The log-probability of these trials in this order under the mixture, and if the probability is p.
    let mixture = log_beta(a + hits, b + misses) - log_beta(a, b);
    let evidence = |p: f64| {
        let hit = if hits > 0.0 { hits * p.ln() } else { 0.0 };
        let miss = if misses > 0.0 { misses * (-p).ln_1p() } else { 0.0 };
        mixture - (hit + miss)
    };
    let lo = if hits > 0.0 { first_float(share, |p| evidence(p) < threshold).next_down() } else { 0.0 };
    let hi = if misses > 0.0 { first_float(1.0, |p| p > share && evidence(p) >= threshold) } else { 1.0 };
    Ok(Some(Interval { lo, hi, confidence, method: Method::BetaBinomialMixture }))
}

fn log_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

#[cfg(test)]
mod tests {
    use super::ShareSequence;
    use crate::StatsError;
    use bitquake_testing::{SplitMix64, check_binomial};

    fn after(successes: u64, trials: u64) -> ShareSequence {
        let mut sequence = ShareSequence::new();
        sequence.add(successes, trials).unwrap();
        sequence
    }

    /// With a uniform mixture and no success, 1 / (n + 1) = (1 - p)^n α has a closed form.
    #[test]
    fn the_end_without_successes_has_a_closed_form() {
        for n in [1_u64, 10, 1000, 1_000_000] {
            let mut sequence = ShareSequence::with_mixture(1.0, 1.0).unwrap();
            sequence.add(0, n).unwrap();
            let got = sequence.interval(0.95).unwrap().unwrap();
            let wanted = -((0.05_f64 / (n as f64 + 1.0)).ln() / n as f64).exp_m1();
            assert!(got.lo == 0.0 && (got.hi / wanted - 1.0).abs() < 1e-9, "{n}: {got:?} {wanted}");
        }
    }

    /// The Krichevsky-Trofimov mixture is the product of its predictions (hits + 1/2) / (n + 1): no gamma function.
    #[test]
    fn the_ends_are_where_the_evidence_reaches_the_threshold() {
        for (hits, misses) in [(3_u32, 40_u32), (20, 20), (1, 1), (60, 2)] {
            let mut mixture = 0.0_f64;
            for i in 0..hits {
                mixture += ((f64::from(i) + 0.5) / f64::from(i + 1)).ln();
            }
            for i in 0..misses {
                mixture += ((f64::from(i) + 0.5) / f64::from(hits + i + 1)).ln();
            }
            let got = after(hits.into(), u64::from(hits + misses)).interval(0.9).unwrap().unwrap();
            for p in [got.lo, got.hi] {
                let likelihood = f64::from(hits) * p.ln() + f64::from(misses) * (1.0 - p).ln();
                assert!((mixture - likelihood - 10_f64.ln()).abs() < 1e-9, "{hits} {misses} {p}");
            }
        }
    }

    #[test]
    fn failures_mirror_successes_and_extremes_are_sane() {
        assert_eq!(ShareSequence::new().interval(0.95), Ok(None));
        for (k, n) in [(0, 7), (3, 50), (500_000, 10_000_000), (1, 1_000_000_000), (12, 1_000_000_000_000)] {
            let (one, other) = (after(k, n), after(n - k, n));
            let (one, other) = (one.interval(0.95).unwrap().unwrap(), other.interval(0.95).unwrap().unwrap());
            assert!(one.contains(k as f64 / n as f64), "{k} of {n}: {one:?}");
            assert!((one.lo - (1.0 - other.hi)).abs() < 1e-9 && (one.hi - (1.0 - other.lo)).abs() < 1e-9);
        }
    }

    /// Values that are whole, halves and mostly nothing: as with coins for whole sums, and always around the mean.
    #[test]
    fn sums_of_parts() {
        for (k, n) in [(0, 7), (3, 50), (50, 50), (12, 1_000_000)] {
            let whole = super::mean_mixture(k as f64, n, 0.95).unwrap();
            assert_eq!(whole, after(k, n).interval(0.95).unwrap());
        }
        let [few, part, more] =
            [3.0, 3.5, 4.0].map(|sum| super::mean_mixture(sum, 50, 0.95).unwrap().unwrap());
        assert!(few.lo < part.lo && part.lo < more.lo && few.hi < part.hi && part.hi < more.hi);
        assert_eq!(super::mean_mixture(0.0, 0, 0.95), Ok(None));
        assert!(super::mean_mixture(-1.0, 5, 0.95).is_err() && super::mean_mixture(5.1, 5, 0.95).is_err());
        assert!(super::mean_mixture(f64::NAN, 5, 0.95).is_err());
    }

    /// Nominal 90 % at all of 300 looks, on values that are 0 mostly and else anything; a sequence of exactly 90 % fails with
    /// probability 1e-6.
    #[test]
    fn means_of_parts_are_covered_at_every_look() {
        let mut random = SplitMix64::new(1963);
        for often in [0.05, 0.5, 1.0] {
            let right = (0..400).filter(|_| {
                let mut sum = 0.0;
                (1..=300).fold(true, |always, n| {
                    sum += if random.unit() < often { random.unit() } else { 0.0 };
                    let look = n % 10 == 0;
                    let interval = || super::mean_mixture(sum, n, 0.9).unwrap().unwrap();
                    always && (!look || interval().contains(0.5 * often))
                })
            });
            let right = right.count() as u64;
            assert!(right >= 360 || check_binomial(right, 400, 0.9, 1e-6).is_ok(), "{often}: {right}");
        }
    }

    #[test]
    fn wrong_counts_are_refused() {
        let mut sequence = ShareSequence::new();
        assert_eq!(sequence.add(3, 2), Err(StatsError::Successes { successes: 3, trials: 2 }));
        assert!(matches!(sequence.add(0, u64::MAX), Err(StatsError::TooManyTrials { .. })));
        assert!(ShareSequence::with_mixture(0.0, 1.0).is_err());
        assert!(sequence.interval(0.0).is_err());
    }

    /// The counts at which the truth is rejected, so that a run costs additions only.
    fn covered(runs: u64, length: u64, p: f64) -> u64 {
        let mut random = SplitMix64::new(1970);
        let edges: Vec<(u64, u64)> = (1..=length)
            .map(|n| {
                let inside = |&k: &u64| after(k, n).interval(0.9).unwrap().unwrap().contains(p);
                let middle = (p * n as f64).round() as u64;
                let least = (0..=middle).rev().take_while(inside).last().unwrap();
                (least, (middle..=n).take_while(inside).last().unwrap())
            })
            .collect();
        let right = (0..runs).filter(|_| {
            let mut hits = 0;
            edges.iter().fold(true, |always, &(least, most)| {
                hits += u64::from(random.unit() < p);
                always && least <= hits && hits <= most
            })
        });
        right.count() as u64
    }

    fn assert_covers(runs: u64, length: u64) {
        for p in [0.5, 0.1, 0.005] {
            let right = covered(runs, length, p);
            println!("p = {p}: {right} of {runs} right at every look, nominal 0.9");
            let enough = right as f64 >= 0.9 * runs as f64;
            assert!(enough || check_binomial(right, runs, 0.9, 2e-6).is_ok(), "{p}: {right}");
        }
    }

    /// Nominal 90 %, looked at after every trial; achieved 93 to 99 %. A sequence of exactly 90 % fails with
    /// probability 3e-6.
    #[test]
    fn it_covers_at_every_look() {
        assert_covers(4000, 200);
    }

    /// Nominal 90 %. A sequence of exactly 90 % fails with probability 3e-6.
    #[test]
    #[ignore = "a minute: cargo test --release -p bitquake-stats it_covers_at_every_look_of_long -- --ignored"]
    fn it_covers_at_every_look_of_long_runs_too() {
        assert_covers(20_000, 3000);
    }
}
