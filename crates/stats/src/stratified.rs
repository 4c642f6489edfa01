//! The fault space in parts, each sampled by itself.

use crate::error::{StatsError, check, check_confidence, finite, not_negative};
use crate::student::two_sided_quantile;
use crate::{Estimate, Interval, Method, Summary, clopper_pearson};

/// The trials of one stratum that judge a yes or no.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StratumShare {
    /// The stratum's part of the whole: its sites over all sites, in [0, 1].
    pub weight: f64,
    /// How many trials had the outcome.
    pub successes: u64,
    /// How many trials there were, drawn at random from the stratum.
    pub trials: u64,
    /// Whether every site of the stratum was tried once: its share is then known and adds no uncertainty.
    pub exhaustive: bool,
}

/// The stratified share `Σ W_h · share_h` with a conservative interval; `None` without strata or while one of
/// positive weight has no trial.
///
/// Every stratum gets a Clopper-Pearson interval of confidence `1 - α / H` for `H` strata that were sampled, and
/// their ends are added up: by the union bound it covers with at least the stated confidence, for any strata and
/// shares. Wide for many strata: see [`stratified_share_mover`].
///
/// Source: Clopper and Pearson, Biometrika 26 (1934), with Bonferroni's inequality.
///
/// # Errors
///
/// [`StatsError::Argument`] unless the weights are in [0, 1] and sum to 1 within 1e-6; as for [`clopper_pearson`].
///
/// ```
/// use bitquake_stats::{StratumShare, stratified_share};
///
/// let sampled = StratumShare { weight: 0.9, successes: 0, trials: 1000, exhaustive: false };
/// let complete = StratumShare { weight: 0.1, successes: 30, trials: 100, exhaustive: true };
/// let sdc = stratified_share(&[sampled, complete], 0.95)?.expect("all strata have trials");
/// let interval = sdc.interval.unwrap();
/// assert!((sdc.value - 0.03).abs() < 1e-12 && interval.lo > 0.0299 && interval.hi > 0.033);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn stratified_share(strata: &[StratumShare], confidence: f64) -> Result<Option<Estimate>, StatsError> {
    check_confidence(confidence)?;
    let sampled = strata.iter().filter(|s| !s.exhaustive && s.weight > 0.0).count().max(1);
    let each = 1.0 - (1.0 - confidence) / sampled as f64;
    let Some(parts) = share_parts(strata, each)? else { return Ok(None) };
    let value = parts.iter().map(|p| p.weight * p.share).sum();
    let lo = parts.iter().map(|p| p.weight * p.lo).sum();
    let hi = parts.iter().map(|p| p.weight * p.hi).sum();
    Ok(Some(share_estimate(
        &parts,
        value,
        Interval { lo, hi, confidence, method: Method::StratifiedClopperPearson },
    )))
}

/// The stratified share with a narrower, **approximate** interval: the distances from the shares to the
/// Clopper-Pearson ends of the stated confidence are added in quadrature.
///
/// With one stratum it is Clopper-Pearson itself. Strata without any event keep their upper margins, so that zeros
/// everywhere never claim certainty. `None` as for [`stratified_share`].
///
/// Sources: the method of variance estimates recovery: Newcombe, Stat. Med. 17 (1998), 873-890; Zou and Donner, Stat.
/// Med. 27 (2008), 1693-1702.
///
/// # Errors
///
/// As for [`stratified_share`].
pub fn stratified_share_mover(
    strata: &[StratumShare],
    confidence: f64,
) -> Result<Option<Estimate>, StatsError> {
    check_confidence(confidence)?;
    let Some(parts) = share_parts(strata, confidence)? else { return Ok(None) };
    let value: f64 = parts.iter().map(|p| p.weight * p.share).sum();
    let below: f64 = parts.iter().map(|p| (p.weight * (p.share - p.lo)).powi(2)).sum();
    let above: f64 = parts.iter().map(|p| (p.weight * (p.hi - p.share)).powi(2)).sum();
    let (lo, hi) = ((value - below.sqrt()).max(0.0), (value + above.sqrt()).min(1.0));
    Ok(Some(share_estimate(&parts, value, Interval { lo, hi, confidence, method: Method::StratifiedMover })))
}

/// A stratum with its share and ends.
struct Part {
    weight: f64,
    share: f64,
    lo: f64,
    hi: f64,
    trials: u64,
    variance: f64,
}

/// All strata of positive weight; `None` without any or if one has no trial.
fn share_parts(strata: &[StratumShare], confidence: f64) -> Result<Option<Vec<Part>>, StatsError> {
    check_weights(strata.iter().map(|s| s.weight))?;
    let used: Vec<_> = strata.iter().filter(|s| s.weight > 0.0).collect();
    let parts = used.iter().map(|s| {
        let ends = clopper_pearson(s.successes, s.trials, confidence)?;
        let share = s.successes as f64 / s.trials.max(1) as f64;
        let (lo, hi) = if s.exhaustive { (share, share) } else { (ends.lo, ends.hi) };
        let spread = if s.exhaustive { 0.0 } else { share * (1.0 - share) / s.trials.max(1) as f64 };
        let variance = s.weight * s.weight * spread;
        Ok(Part { weight: s.weight, share, lo, hi, trials: s.trials, variance })
    });
    let parts = parts.collect::<Result<Vec<_>, StatsError>>()?;
    Ok((!parts.is_empty() && parts.iter().all(|part| part.trials > 0)).then_some(parts))
}

fn share_estimate(parts: &[Part], value: f64, interval: Interval) -> Estimate {
    let variance: f64 = parts.iter().map(|part| part.variance).sum();
    let n = parts.iter().map(|part| part.trials).sum();
    // The sums of the ends and of the shares round differently.
    let interval =
        Interval { lo: interval.lo.min(value).max(0.0), hi: interval.hi.max(value).min(1.0), ..interval };
    Estimate { value, std_error: Some(variance.sqrt()), interval: Some(interval), n }
}

/// Weights are parts of one whole; without strata there is nothing to check.
fn check_weights(weights: impl Iterator<Item = f64>) -> Result<(), StatsError> {
    let mut sum = None;
    for weight in weights {
        check((0.0..=1.0).contains(&weight), "a stratum's weight", weight, "in 0 to 1")?;
        sum = Some(sum.unwrap_or(0.0) + weight);
    }
    let sum = sum.unwrap_or(1.0);
    check((sum - 1.0_f64).abs() < 1e-6, "the sum of the strata's weights", sum, "1")
}

/// The values of the trials of one stratum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StratumMean {
    /// The stratum's part of the whole: its sites over all sites, in [0, 1].
    pub weight: f64,
    /// What its trials came to.
    pub summary: Summary,
    /// How many sites it has, if they were drawn without replacement: for the finite-population correction.
    pub sites: Option<u64>,
}

/// The stratified mean `Σ W_h · mean_h` of values known to lie in [`lo`, `hi`], with an **approximate** t interval;
/// `None` without strata.
///
/// Its variance is `Σ W_h² (1 - n_h / N_h) s_h² / n_h`, its degrees of freedom Satterthwaite's. A stratum in which
/// all values were equal (or with one trial) tells nothing of its spread: the share of other values is then taken to
/// be at most the upper Clopper-Pearson end for 0 of `n_h`, each as far away as the range allows, and that margin is
/// added in quadrature. So equal values never claim certainty. A stratum all of whose sites were run adds no
/// uncertainty.
///
/// Sources: Satterthwaite, Biometrics Bull. 2 (1946), 110-114; Cochran, "Sampling techniques" (1977), section 5.4;
/// the margins as in [`stratified_share_mover`].
///
/// # Errors
///
/// [`StatsError::Argument`] unless the weights are in [0, 1] and sum to 1 within 1e-6, and `lo < hi`;
/// [`StatsError::OutOfRange`] for a summary outside the range, with the stratum's position; [`StatsError::Confidence`].
///
/// ```
/// use bitquake_stats::{StratumMean, Summary, stratified_mean};
///
/// let stratum = |weight, values: &[f64], sites| {
///     Ok(StratumMean { weight, summary: Summary::of(values)?.expect("values"), sites })
/// };
/// let strata = [stratum(0.75, &[0.0, 0.0, 0.0, 0.0], None)?, stratum(0.25, &[0.3, 0.5], Some(2))?];
/// let drop = stratified_mean(&strata, 0.0, 1.0, 0.95)?.expect("two strata");
/// let interval = drop.interval.unwrap();
/// assert!((drop.value - 0.1).abs() < 1e-12 && interval.lo > 0.0999 && interval.hi > 0.5);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn stratified_mean(
    strata: &[StratumMean],
    lo: f64,
    hi: f64,
    confidence: f64,
) -> Result<Option<Estimate>, StatsError> {
    check_confidence(confidence)?;
    check(lo < hi && (hi - lo).is_finite(), "the greatest value", hi, "finite and above the least value")?;
    check_weights(strata.iter().map(|s| s.weight))?;
    let mut sums = MeanSums::default();
    for (index, stratum) in strata.iter().enumerate() {
        let Summary { n, min, max, .. } = stratum.summary;
        for value in [min, max] {
            if !(lo <= value && value <= hi) {
                return Err(StatsError::OutOfRange { index: index as u64, value, lo, hi });
            }
        }
        check(n > 0, "a stratum's number of trials", 0.0, "at least 1")?;
        sums.add(stratum, lo, hi, confidence)?;
    }
    if sums.n == 0 {
        return Ok(None);
    }
    let normal = sums.normal_margin(confidence);
    let margin = |blind: f64| (normal * normal + blind).sqrt();
    let interval = Interval {
        lo: finite((sums.mean - margin(sums.blind_below)).max(lo).min(sums.mean), "interval")?,
        hi: finite((sums.mean + margin(sums.blind_above)).min(hi).max(sums.mean), "interval")?,
        confidence,
        method: Method::StratifiedT,
    };
    let std_error = Some(sums.variance.sqrt());
    Ok(Some(Estimate { value: sums.mean, std_error, interval: Some(interval), n: sums.n }))
}

/// What the strata add up to.
#[derive(Default)]
struct MeanSums {
    n: u64,
    mean: f64,
    variance: f64,
    /// Σ variance_h² / (n_h - 1).
    over_freedom: f64,
    /// Squared margins of strata that showed no spread.
    blind_below: f64,
    blind_above: f64,
}

impl MeanSums {
    fn add(&mut self, stratum: &StratumMean, lo: f64, hi: f64, confidence: f64) -> Result<(), StatsError> {
        let StratumMean { weight, summary: Summary { n, mean, std, .. }, sites } = *stratum;
        self.n += n;
        self.mean += weight * mean;
        let left = sites.map_or(1.0, |sites| crate::finite_population_factor(n, sites));
        if left == 0.0 {
            return Ok(());
        }
        match std.filter(|&std| std > 0.0) {
            Some(std) => {
                not_negative("a stratum's standard deviation", std)?;
                let variance = weight * weight * left * std * std / n as f64;
                self.variance += variance;
                self.over_freedom += variance * variance / (n - 1) as f64;
            }
            None => {
                let other = weight * clopper_pearson(0, n, confidence)?.hi;
                self.blind_below += (other * (mean - lo)).powi(2);
                self.blind_above += (other * (hi - mean)).powi(2);
            }
        }
        Ok(())
    }

    /// t times the standard error, 0 if no stratum showed a spread.
    fn normal_margin(&self, confidence: f64) -> f64 {
        if self.variance == 0.0 || self.over_freedom == 0.0 {
            return 0.0;
        }
        let freedom = (self.variance * self.variance / self.over_freedom).max(1.0);
        two_sided_quantile(confidence, freedom) * self.variance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::{StratumMean, StratumShare, stratified_mean, stratified_share, stratified_share_mover};
    use crate::{Estimate, Interval, Moments, StatsError, Summary, clopper_pearson, mean_estimate};
    use bitquake_testing::{SplitMix64, check_binomial};

    type Estimator = fn(&[StratumShare], f64) -> Result<Option<Estimate>, StatsError>;
    const BOTH: [Estimator; 2] = [stratified_share, stratified_share_mover];

    fn stratum(weight: f64, successes: u64, trials: u64) -> StratumShare {
        StratumShare { weight, successes, trials, exhaustive: false }
    }

    fn ends(estimate: &Estimate) -> Interval {
        estimate.interval.unwrap()
    }

    #[test]
    fn one_stratum_is_clopper_pearson() {
        for estimator in BOTH {
            let got = estimator(&[stratum(1.0, 3, 40)], 0.9).unwrap().unwrap();
            let wanted = clopper_pearson(3, 40, 0.9).unwrap();
            assert!((ends(&got).lo - wanted.lo).abs() < 1e-14 && (ends(&got).hi - wanted.hi).abs() < 1e-14);
        }
    }

    #[test]
    fn zeros_never_claim_certainty_and_complete_strata_add_none() {
        for estimator in BOTH {
            let zeros = estimator(&[stratum(0.5, 0, 50), stratum(0.5, 0, 50)], 0.95).unwrap().unwrap();
            assert!(zeros.value == 0.0 && ends(&zeros).lo == 0.0 && ends(&zeros).hi > 0.036, "{zeros:?}");
            let complete =
                |weight, successes| StratumShare { exhaustive: true, ..stratum(weight, successes, 8) };
            let known = estimator(&[complete(0.25, 2), complete(0.75, 0)], 0.95).unwrap().unwrap();
            assert_eq!((ends(&known).lo, ends(&known).hi, known.value), (0.0625, 0.0625, 0.0625));
            assert_eq!(known.n, 16);
        }
    }

    #[test]
    fn wrong_strata_are_refused() {
        for estimator in BOTH {
            assert_eq!(estimator(&[], 0.9), Ok(None));
            assert_eq!(estimator(&[stratum(0.5, 0, 5), stratum(0.5, 0, 0)], 0.9), Ok(None));
            assert!(
                estimator(&[stratum(0.5, 0, 5), stratum(0.0, 0, 0), stratum(0.5, 0, 3)], 0.9)
                    .unwrap()
                    .is_some()
            );
            assert!(estimator(&[stratum(0.5, 0, 5)], 0.9).is_err());
            assert!(estimator(&[stratum(-0.5, 0, 5), stratum(1.0, 0, 5)], 0.9).is_err());
            assert!(estimator(&[stratum(1.0, 6, 5)], 0.9).is_err());
            assert!(estimator(&[stratum(1.0, 1, 5)], 0.0).is_err());
        }
    }

    /// Nominal 90 %, 2,000 campaigns each; strata where many, few and no trials fail. Both intervals reach it; one of
    /// exactly 90 % fails with probability 1e-6 each.
    #[test]
    fn shares_are_covered() {
        let cases: [&[(f64, f64, u64)]; 4] = [
            &[(0.5, 0.3, 40), (0.5, 0.02, 40)],
            &[(0.9, 0.001, 300), (0.1, 0.4, 50)],
            &[(0.25, 0.01, 60), (0.25, 0.0, 60), (0.25, 0.1, 20), (0.25, 0.03, 60)],
            &[(0.97, 0.002, 500), (0.03, 1.0, 5)],
        ];
        let (runs, mut random) = (2000, SplitMix64::new(2008));
        for (which, case) in cases.iter().enumerate() {
            let truth: f64 = case.iter().map(|(weight, p, _)| weight * p).sum();
            let mut covered = [0_u64; 2];
            for _ in 0..runs {
                let strata: Vec<_> = case
                    .iter()
                    .map(|&(w, p, n)| stratum(w, (0..n).filter(|_| random.unit() < p).count() as u64, n))
                    .collect();
                for (count, estimator) in covered.iter_mut().zip(BOTH) {
                    *count += u64::from(ends(&estimator(&strata, 0.9).unwrap().unwrap()).contains(truth));
                }
            }
            println!("strata {which}: union {}, mover {} of {runs}, nominal 0.9", covered[0], covered[1]);
            for count in covered {
                let enough = count >= runs * 9 / 10;
                assert!(enough || check_binomial(count, runs, 0.9, 2e-6).is_ok(), "{which}: {covered:?}");
            }
        }
    }

    fn values(weight: f64, values: &[f64], sites: Option<u64>) -> StratumMean {
        StratumMean { weight, summary: Summary::of(values).unwrap().unwrap(), sites }
    }

    #[test]
    fn one_stratum_is_the_t_interval() {
        let list = [0.1, 0.4, 0.2, 0.35];
        let got = stratified_mean(&[values(1.0, &list, None)], 0.0, 1.0, 0.9).unwrap().unwrap();
        let wanted = mean_estimate(&list, 0.9).unwrap().unwrap();
        assert!((ends(&got).lo - ends(&wanted).lo).abs() < 1e-12);
        assert!((ends(&got).hi - ends(&wanted).hi).abs() < 1e-12);
        assert_eq!(got.std_error, wanted.std_error);
    }

    #[test]
    fn equal_values_leave_a_margin_unless_complete() {
        let mean = |sites| {
            let strata = [values(0.5, &[0.0; 20], sites), values(0.5, &[0.0; 20], sites)];
            stratified_mean(&strata, 0.0, 1.0, 0.95).unwrap().unwrap()
        };
        let upper = clopper_pearson(0, 20, 0.95).unwrap().hi;
        assert!((ends(&mean(None)).hi - upper / 2_f64.sqrt()).abs() < 1e-12 && ends(&mean(None)).lo == 0.0);
        assert!((ends(&mean(Some(21))).hi - upper / 2_f64.sqrt()).abs() < 1e-12);
        assert_eq!((ends(&mean(Some(20))).lo, ends(&mean(Some(20))).hi), (0.0, 0.0));
    }

    #[test]
    fn wrong_means_are_refused() {
        assert_eq!(stratified_mean(&[], 0.0, 1.0, 0.9), Ok(None));
        let good = values(1.0, &[0.1, 0.2], None);
        assert!(stratified_mean(&[good], 1.0, 1.0, 0.9).is_err());
        assert!(stratified_mean(&[good, good], 0.0, 1.0, 0.9).is_err());
        let error = stratified_mean(&[good], 0.15, 1.0, 0.9).unwrap_err();
        assert_eq!(error, StatsError::OutOfRange { index: 0, value: 0.1, lo: 0.15, hi: 1.0 });
    }

    /// Nominal 90 %, 3,000 campaigns: two normal strata with other spreads, and one that never changes. An interval of
    /// 90 to 91 % passes, others fail; the right one with probability 1e-6.
    #[test]
    fn means_are_covered() {
        let (runs, mut random) = (3000, SplitMix64::new(1946));
        let covered = (0..runs).filter(|_| {
            let mut sample = |n: u64, mean: f64, std: f64| {
                let mut moments = Moments::new();
                (0..n).for_each(|_| moments.push(mean + std * random.normal()).unwrap());
                moments.summary().unwrap().unwrap()
            };
            let strata = [(0.3, 8, 0.5, 0.1), (0.6, 30, 0.2, 0.02), (0.1, 4, 0.0, 0.0)].map(
                |(weight, n, mean, std)| {
                    let sites = (std == 0.0).then_some(n);
                    StratumMean { weight, summary: sample(n, mean, std), sites }
                },
            );
            let got = stratified_mean(&strata, -9.0, 9.0, 0.9).unwrap().unwrap();
            ends(&got).contains(0.3 * 0.5 + 0.6 * 0.2)
        });
        let covered = covered.count() as u64;
        println!("{covered} of {runs}, nominal 0.9");
        assert!(check_binomial(covered, runs, 0.903, 1e-6).is_ok(), "{covered}");
    }
}
