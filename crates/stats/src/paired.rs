//! Two campaigns on the same patterns.

use crate::error::{StatsError, check};
use crate::incomplete_beta::tails;
use crate::split_mix::SplitMix;
use crate::{Estimate, Summary, mean_estimate};
use serde::{Deserialize, Serialize};

/// Up to so many differences other than 0, all sign patterns are tried.
const MOST_ENUMERATED: usize = 20;
/// Up to this many steps, the exact distribution of a whole-numbered sum is computed.
const MOST_STEPS: u64 = 200_000_000;
/// Sums count as equal within this part of the largest sum: rounding must not decide.
const ROUNDING: f64 = 1e-12;

/// The result of a sign-flip test.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct SignFlip {
    /// The probability, if there were no difference, of a mean difference at least as far from 0; in (0, 1].
    pub p_value: f64,
    /// Whether all sign patterns were counted, or a random part of them.
    pub exact: bool,
}

/// Tests whether the mean of paired differences is 0, by flipping their signs; two-sided.
///
/// If the two campaigns are alike, each difference on a common pattern is as likely as its negative, so all sign
/// patterns are equally likely. Up to 20 differences other than 0 are enumerated, which is exact. Of more, `draws`
/// random patterns (SplitMix64 keyed by `seed`) are tried, and `p = (b + 1) / (draws + 1)`, which is valid as a test.
/// Without any difference other than 0, `p` is 1. Sums that differ by 1e-12 of the largest sum count as equal.
///
/// Sources: Fisher, "The design of experiments" (1935), section 21; Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9
/// (2010), article 39, for the random part.
///
/// # Errors
///
/// [`StatsError::NotFinite`]; [`StatsError::Argument`] for fewer than 100 draws where they are needed.
///
/// ```
/// let test = bitquake_stats::sign_flip_test(&[0.01, 0.02, 0.01, 0.03, 0.02, 0.01], 10_000, 42)?;
/// assert_eq!((test.p_value, test.exact), (2.0 / 64.0, true));
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn sign_flip_test(differences: &[f64], draws: u32, seed: u64) -> Result<SignFlip, StatsError> {
    Summary::of(differences)?;
    let largest = differences.iter().fold(0.0, |largest: f64, d| largest.max(d.abs()));
    // Scaled to at most 1, so that no sum overflows.
    let values: Vec<f64> = differences.iter().filter(|&&d| d != 0.0).map(|d| d / largest).collect();
    let total: f64 = values.iter().sum();
    let least = total.abs() - ROUNDING * values.iter().map(|d| d.abs()).sum::<f64>();
    if values.len() <= MOST_ENUMERATED {
        return Ok(SignFlip { p_value: enumerate(&values, least), exact: true });
    }
    check(draws >= 100, "the number of draws", draws.into(), "at least 100")?;
    let mut random = SplitMix::new(seed);
    let beyond = (0..draws).filter(|_| random_sum(&values, &mut random).abs() >= least).count();
    Ok(SignFlip { p_value: (beyond as f64 + 1.0) / (f64::from(draws) + 1.0), exact: false })
}

/// The share of sign patterns whose sum is at least this far from 0. The first sign is fixed: its mirror is as far.
fn enumerate(values: &[f64], least: f64) -> f64 {
    let Some((first, rest)) = values.split_first() else { return 1.0 };
    let patterns = 1_u32 << rest.len();
    let sum = |pattern: u32| -> f64 {
        let signed = rest.iter().enumerate().map(|(i, d)| if pattern >> i & 1 == 1 { -d } else { *d });
        first + signed.sum::<f64>()
    };
    (0..patterns).filter(|&pattern| sum(pattern).abs() >= least).count() as f64 / f64::from(patterns)
}

fn random_sum(values: &[f64], random: &mut SplitMix) -> f64 {
    let mut sum = 0.0;
    for block in values.chunks(64) {
        let signs = random.next();
        sum += block.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d }).sum::<f64>();
    }
    sum
}

/// The sign-flip test of whole-numbered differences, such as of the numbers of correct images: exact for many pairs.
///
/// The distribution of the sum is computed step by step, with relative error about 1e-13. That takes (number of
/// pairs) x (sum of absolute differences) steps; `None` if they would be more than 2·10^8, for which
/// [`sign_flip_test`] draws.
///
/// Source: as for [`sign_flip_test`]; Pagano and Tritchler, J. Am. Stat. Assoc. 78 (1983), 435-440, for the idea.
///
/// ```
/// let p = bitquake_stats::sign_flip_counts(&[3, 1, 2, 0, 5, 1]).expect("small");
/// assert_eq!(p, 2.0 / 32.0);
/// ```
#[must_use]
pub fn sign_flip_counts(differences: &[i64]) -> Option<f64> {
    let sizes: Vec<u64> = differences.iter().map(|d| d.unsigned_abs()).filter(|&d| d > 0).collect();
    let most = sizes.iter().try_fold(0_u64, |sum, &d| sum.checked_add(d))?;
    if most.checked_mul(sizes.len() as u64)? > MOST_STEPS {
        return None;
    }
    let observed = differences.iter().sum::<i64>().unsigned_abs();
    // Of the sizes, those with a plus sign sum to s; the signed sum is then 2 s - most.
    let mut chances = vec![0.0; most as usize + 1];
    chances[0] = 1.0;
    let mut reached = 0;
    for &size in &sizes {
        let size = size as usize;
        reached += size;
        for s in (0..=reached).rev() {
            let with = if s >= size { chances[s - size] } else { 0.0 };
            chances[s] = 0.5 * (chances[s] + with);
        }
    }
    let far = |s: usize| (2 * s as u64).abs_diff(most) >= observed;
    Some(chances.iter().enumerate().filter(|&(s, _)| far(s)).map(|(_, p)| p).sum::<f64>().min(1.0))
}

/// McNemar's exact test of paired yes-or-no outcomes; two-sided.
///
/// `first_only` pairs had the outcome in the first campaign only, `second_only` in the second only; pairs that agree
/// do not matter. If the campaigns are alike, the discordant pairs fall on either side like a fair coin. Returns
/// twice the smaller tail, at most 1; 1 without discordant pairs. This is also the sign test of any differences.
///
/// Source: McNemar, Psychometrika 12 (1947), 153-157, with the binomial tail instead of its approximation.
///
/// # Errors
///
/// [`StatsError::TooManyTrials`] above 10^12 discordant pairs.
///
/// ```
/// assert_eq!(bitquake_stats::mcnemar(0, 6)?, 2.0 / 64.0);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn mcnemar(first_only: u64, second_only: u64) -> Result<f64, StatsError> {
    let n = first_only.saturating_add(second_only);
    if n > StatsError::MOST_TRIALS {
        return Err(StatsError::TooManyTrials { trials: n });
    }
    let (few, many) = (first_only.min(second_only), first_only.max(second_only));
    if few == many {
        return Ok(1.0);
    }
    if few == 0 {
        return Ok(2.0 * 0.5_f64.powf(n as f64));
    }
    // P(X <= few) for n fair coins.
    Ok((2.0 * tails(many as f64, few as f64 + 1.0, 0.5, 0.5).lower).min(1.0))
}

/// Two campaigns compared on common patterns.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Paired {
    /// The mean of second minus first, with its t interval.
    pub difference: Estimate,
    /// The sign-flip test of no difference.
    pub test: SignFlip,
}

/// Compares two campaigns that ran the same patterns: the mean of `second - first` with its t interval, and
/// [`sign_flip_test`]. `None` without pairs.
///
/// Pairing removes what the patterns have in common, so it sees far smaller differences than two separate intervals.
///
/// # Errors
///
/// [`StatsError::Lengths`] unless both have as many values; as for [`mean_estimate`] and [`sign_flip_test`].
///
/// ```
/// let (first, second) = ([0.91, 0.84, 0.90, 0.52, 0.88], [0.92, 0.86, 0.91, 0.56, 0.90]);
/// let paired = bitquake_stats::compare_paired(&first, &second, 0.95, 10_000, 42)?.expect("five pairs");
/// assert!((paired.difference.value - 0.02).abs() < 1e-12 && paired.difference.interval.unwrap().lo > 0.0);
/// assert_eq!(paired.test.p_value, 2.0 / 32.0);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn compare_paired(
    first: &[f64],
    second: &[f64],
    confidence: f64,
    draws: u32,
    seed: u64,
) -> Result<Option<Paired>, StatsError> {
    if first.len() != second.len() {
        return Err(StatsError::Lengths { left: first.len(), right: second.len() });
    }
    let differences: Vec<f64> = second.iter().zip(first).map(|(b, a)| b - a).collect();
    let Some(difference) = mean_estimate(&differences, confidence)? else { return Ok(None) };
    Ok(Some(Paired { difference, test: sign_flip_test(&differences, draws, seed)? }))
}

#[cfg(test)]
mod tests {
    use super::{compare_paired, mcnemar, sign_flip_counts, sign_flip_test};
    use crate::StatsError;
    use bitquake_testing::{SplitMix64, check_binomial};
    use proptest::prelude::*;

    #[test]
    fn tests_by_hand() {
        let rows: &[(&[f64], f64)] = &[
            (&[], 1.0),
            (&[0.0, 0.0], 1.0),
            (&[0.3], 1.0),
            (&[0.1, -0.1], 1.0),
            (&[1.0, 1.0, 1.0], 0.25),
            (&[1.0, 1.0, -1.0], 1.0),
            (&[3.0, 2.0, -1.0], 0.5),
            // 0.1 + 0.2 and 0.3 differ by rounding only.
            (&[0.1, 0.2, -0.3], 1.0),
            (&[1e300, 1e300, 1e300], 0.25),
        ];
        for (differences, wanted) in rows {
            let got = sign_flip_test(differences, 100, 1).unwrap();
            assert_eq!((got.p_value, got.exact), (*wanted, true), "{differences:?}");
        }
    }

    #[test]
    fn wrong_questions_are_refused() {
        assert!(matches!(
            sign_flip_test(&[0.1, f64::NAN], 100, 1),
            Err(StatsError::NotFinite { index: 1, .. })
        ));
        assert!(sign_flip_test(&[0.1; 21], 99, 1).is_err());
        assert_eq!(compare_paired(&[0.1], &[], 0.9, 100, 1), Err(StatsError::Lengths { left: 1, right: 0 }));
        assert_eq!(compare_paired(&[], &[], 0.9, 100, 1), Ok(None));
        assert_eq!(sign_flip_counts(&[i64::MIN, i64::MAX, 5]), None);
        assert!(mcnemar(u64::MAX, 1).is_err());
    }

    /// Reference values by exact binomial sums in whole numbers.
    #[test]
    fn mcnemar_by_hand() {
        for (few, many, wanted) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (0, 1, 1.0),
            (1, 9, 2.0 * 11.0 / 1024.0),
            (3, 12, 2.0 * 576.0 / 32_768.0),
            (4, 5, 1.0),
        ] {
            assert!((mcnemar(few, many).unwrap() - wanted).abs() < 1e-12, "{few} {many}");
            assert_eq!(mcnemar(few, many), mcnemar(many, few));
        }
        // A million coins, three standard deviations off: the normal tail with continuity correction.
        let p = mcnemar(498_500, 501_500).unwrap();
        assert!((p / 0.002_708 - 1.0).abs() < 1e-3, "{p}");
    }

    /// The exact test of 40 whole-numbered pairs against 20,000 draws; they agree within five standard errors.
    #[test]
    fn draws_agree_with_the_exact_distribution() {
        let mut random = SplitMix64::new(1935);
        let counts: Vec<i64> = (0..40).map(|_| random.below(21) as i64 - 8).collect();
        let exact = sign_flip_counts(&counts).unwrap();
        let values: Vec<f64> = counts.iter().map(|&d| d as f64).collect();
        let drawn = sign_flip_test(&values, 20_000, 7).unwrap();
        assert!(!drawn.exact && drawn == sign_flip_test(&values, 20_000, 7).unwrap());
        let error = (exact * (1.0 - exact) / 20_000.0).sqrt();
        assert!((drawn.p_value - exact).abs() < 5.0 * error + 1e-4, "{drawn:?} {exact}");
    }

    /// Without a difference a valid test rejects at 5 % in at most 5 % of 4,000 comparisons; one of exactly 5 % fails
    /// here with probability 1e-6 each. The interval covers 0 in 90 %.
    #[test]
    fn no_difference_is_rejected_as_rarely_as_stated() {
        let mut random = SplitMix64::new(21);
        for (pairs, runs) in [(8, 4000), (30, 1000)] {
            let (mut rejected, mut covered) = (0, 0);
            for run in 0..runs {
                // Skewed values in common, noise apart.
                let first: Vec<f64> = (0..pairs).map(|_| random.unit().powi(5)).collect();
                let second: Vec<f64> = first.iter().map(|x| x + 0.01 * random.normal()).collect();
                let got = compare_paired(&first, &second, 0.9, 199, run).unwrap().unwrap();
                rejected += u64::from(got.test.p_value <= 0.05);
                covered += u64::from(got.difference.interval.unwrap().contains(0.0));
            }
            println!("{pairs} pairs: rejected {rejected}, covered {covered} of {runs}");
            assert!(
                rejected <= runs / 20 || check_binomial(rejected, runs, 0.05, 2e-6).is_ok(),
                "{rejected}"
            );
            assert!(check_binomial(covered, runs, 0.9, 1e-6).is_ok(), "{covered}");
        }
    }

    proptest! {
        #[test]
        fn counting_agrees_with_enumeration(differences in prop::collection::vec(-9..10_i64, 0..12)) {
            let values: Vec<f64> = differences.iter().map(|&d| d as f64).collect();
            let enumerated = sign_flip_test(&values, 100, 1).unwrap();
            prop_assert!((sign_flip_counts(&differences).unwrap() - enumerated.p_value).abs() < 1e-12);
        }

        #[test]
        fn mcnemar_is_the_sign_test(few in 0..9_u64, many in 0..9_u64) {
            let differences: Vec<i64> = (0..few).map(|_| 1).chain((0..many).map(|_| -1)).collect();
            let counted = sign_flip_counts(&differences).unwrap();
            prop_assert!((mcnemar(few, many).unwrap() - counted).abs() < 1e-12);
        }
    }
}
