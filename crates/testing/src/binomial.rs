//! Is this number of successes believable?
//!
//! Computed here and not by the `stats` crate, which is itself judged by these assertions.

use statrs::function::{erf::erfc, gamma::ln_gamma};
use std::f64::consts::{SQRT_2, TAU};

/// From this variance on a tail is the normal one with continuity correction: the exact sum would have more than
/// a million terms, and at the tails judged here the two differ by less than one part in a thousand.
const LARGE_VARIANCE: f64 = 1e10;

/// Panics if `observed` successes in `trials` independent trials of probability `p` are too few or too many.
///
/// Two-sided: it fails if either tail, the observed count included, is less likely than `false_alarm / 2`, so
/// with the right `p` it fails with probability at most `false_alarm`. The tails are exact sums, and normal
/// above a variance of 1e10. Good for `trials` to 1e18 and every `p`; with `p` 0 or 1 the count must be exact.
///
/// # Panics
///
/// If the count is not believable, if `observed > trials`, if `p` is not in [0, 1], or if `false_alarm` is not in
/// (0, 0.1].
///
/// ```
/// bitquake_testing::assert_binomial(30_211, 100_000, 0.3, 1e-6);
/// ```
#[track_caller]
pub fn assert_binomial(observed: u64, trials: u64, p: f64, false_alarm: f64) {
    if let Err(report) = check_binomial(observed, trials, p, false_alarm) {
        panic!("{report}");
    }
}

/// Like [`assert_binomial`], but returns the report instead of panicking.
///
/// # Errors
///
/// A text with the counts, the expectation and the tail probability.
pub fn check_binomial(observed: u64, trials: u64, p: f64, false_alarm: f64) -> Result<(), String> {
    check_false_alarm(false_alarm)?;
    if !(0.0..=1.0).contains(&p) {
        return Err(format!("the probability {p} is not in [0, 1]"));
    }
    if observed > trials {
        return Err(format!("{observed} successes in only {trials} trials"));
    }
    let tail = outer_tail(observed, trials, p);
    if tail >= false_alarm / 2.0 {
        return Ok(());
    }
    let mean = trials as f64 * p;
    let (side, beyond) = if observed as f64 > mean { ("many", "more") } else { ("few", "fewer") };
    Err(format!(
        "too {side}: {observed} successes in {trials} trials of probability {p:e}, expected {mean:.6e} \
         with standard deviation {:.3e}; so {side} or {beyond} has probability {tail:.1e}, \
         below half the false-alarm probability {false_alarm:.1e}",
        (mean * (1.0 - p)).sqrt(),
    ))
}

/// A false-alarm probability must leave room for both tails and must not be so large that failing is ordinary.
pub(crate) fn check_false_alarm(false_alarm: f64) -> Result<(), String> {
    if false_alarm > 0.0 && false_alarm <= 0.1 {
        Ok(())
    } else {
        Err(format!("the false-alarm probability {false_alarm} is not in (0, 0.1]"))
    }
}

/// The probability of a count at least as far out as `observed`, on the side of the mean where it lies.
fn outer_tail(observed: u64, trials: u64, p: f64) -> f64 {
    if p == 0.0 || p == 1.0 {
        let certain = if p == 0.0 { 0 } else { trials };
        return if observed == certain { 1.0 } else { 0.0 };
    }
    let mean = trials as f64 * p;
    let deviation = (observed as f64 - mean).abs();
    let variance = mean * (1.0 - p);
    if variance > LARGE_VARIANCE {
        normal_upper_tail(deviation, variance.sqrt())
    } else if observed as f64 >= mean {
        exact_upper_tail(observed, trials, p, 1.0 - p, deviation)
    } else {
        // Few successes are many failures.
        exact_upper_tail(trials - observed, trials, 1.0 - p, p, deviation)
    }
}

/// P(X >= mean + deviation) for a normal X, half a count nearer for continuity.
fn normal_upper_tail(deviation: f64, sd: f64) -> f64 {
    0.5 * erfc((deviation - 0.5).max(0.0) / (sd * SQRT_2))
}

/// P(X >= count) for `count` at `deviation` above the mean: the first term times the sum of its falling ratios.
fn exact_upper_tail(count: u64, trials: u64, p: f64, q: f64, deviation: f64) -> f64 {
    let first = probability(count, trials, p, q, deviation);
    let (mut term, mut sum) = (1.0, 1.0);
    for next in count..trials {
        term *= (trials - next) as f64 / (next as f64 + 1.0) * (p / q);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    first * sum
}

/// P(X = count), by the saddle-point form that loses no digits to cancellation.
///
/// Source: Loader, "Fast and accurate computation of binomial probabilities", 2000. `p + q = 1`, and `deviation` is
/// `count - trials * p`, given apart because `trials - count - trials * q` would cancel where `trials` is huge.
fn probability(count: u64, trials: u64, p: f64, q: f64, deviation: f64) -> f64 {
    let (n, k, rest) = (trials as f64, count as f64, (trials - count) as f64);
    if count == trials {
        return (n * (-q).ln_1p()).exp();
    }
    if count == 0 {
        return (n * (-p).ln_1p()).exp();
    }
    let exponent = stirling_error(n) - stirling_error(k) - stirling_error(rest);
    let distance = deviance(k, n * p, deviation) + deviance(rest, n * q, -deviation);
    (exponent - distance).exp() * (n / (TAU * k * rest)).sqrt()
}

/// ln(x!) minus Stirling's formula for it: by the factorial itself for small x, then by the asymptotic series.
fn stirling_error(x: f64) -> f64 {
    if x < 16.0 {
        return ln_gamma(x + 1.0) - (x + 0.5) * x.ln() + x - 0.5 * TAU.ln();
    }
    let square = x * x;
    (1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / x
}

/// x ln(x / mean) + mean - x, where `difference` is x - mean.
fn deviance(x: f64, mean: f64, difference: f64) -> f64 {
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    // With v = difference / (x + mean), ln(x / mean) = 2 (v + v^3/3 + v^5/5 + ...).
    let v = difference / (x + mean);
    let mut sum = difference * v;
    let mut power = 2.0 * x * v;
    for odd in (3..).step_by(2) {
        power *= v * v;
        let next = sum + power / f64::from(odd);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{assert_binomial, check_binomial, exact_upper_tail, normal_upper_tail, outer_tail};
    use crate::SplitMix64;

    /// Reference values by SciPy 1.17 (`binom.sf(k - 1)` above the mean, `binom.cdf(k)` below).
    #[test]
    fn tails_agree_with_another_implementation() {
        let rows: [(u64, u64, f64, f64); 8] = [
            (3, 10, 0.1, 0.0701908264),
            (120, 1000, 0.1, 0.021_996_144_965_794_422),
            (7, 1_000_000_000_000_000_000, 1e-18, 8.324_114_928_802_313e-5),
            (30, 1_000_000_000_000, 1e-11, 2.509_951_201_040_106e-7),
            (10_600, 1_000_000, 0.01, 1.195_922_717_278_125e-9),
            (510_000, 1_000_000, 0.5, 2.772_181_643_854_259e-89),
            (10, 10, 0.3, 5.9049e-6),
            (0, 10, 0.3, 0.028_247_524_9),
        ];
        for (observed, trials, p, wanted) in rows {
            let got = outer_tail(observed, trials, p);
            assert!((got / wanted - 1.0).abs() < 1e-9, "{observed} of {trials} at {p}: {got} for {wanted}");
        }
    }

    #[test]
    fn both_tails_are_mirror_images() {
        for (observed, trials, p) in [(3_u64, 40_u64, 0.25), (70, 100, 0.5), (9, 1000, 0.015_625)] {
            let mirrored = outer_tail(trials - observed, trials, 1.0 - p);
            assert!((outer_tail(observed, trials, p) / mirrored - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_normal_tail_takes_over_smoothly() {
        let (trials, p) = (40_000_000_000, 0.5);
        let sd = 1e5;
        for deviations in [0.0, 1.0, 3.0, 4.9, 6.0] {
            let deviation = deviations * sd;
            let exact = exact_upper_tail(20_000_000_000 + deviation as u64, trials, p, 1.0 - p, deviation);
            let normal = normal_upper_tail(deviation, sd);
            assert!((normal / exact - 1.0).abs() < 1e-3, "at {deviations} sd: {normal} for {exact}");
        }
    }

    /// Exactly how often a right generator fails: the sum of the probabilities of the counts refused.
    #[test]
    fn the_false_alarm_probability_is_kept() {
        for (trials, p, false_alarm) in [(50_u64, 0.2, 0.05), (2000, 0.01, 1e-3), (300, 0.5, 1e-6)] {
            let refused = |&k: &u64| check_binomial(k, trials, p, false_alarm).is_err();
            let alarms: f64 = (0..=trials)
                .filter(refused)
                .map(|k| super::probability(k, trials, p, 1.0 - p, k as f64 - trials as f64 * p))
                .sum();
            assert!(alarms <= false_alarm && alarms > false_alarm / 100.0, "{trials} {p}: {alarms}");
        }
    }

    #[test]
    fn huge_trials_and_tiny_probabilities_are_judged() {
        let million = 1_000_000;
        assert_binomial(million, 1_000_000_000_000_000_000, 1e-12, 1e-6);
        assert!(check_binomial(million + 6_000, 1_000_000_000_000_000_000, 1e-12, 1e-6).is_err());
        assert!(check_binomial(million - 6_000, 1_000_000_000_000_000_000, 1e-12, 1e-6).is_err());
        assert_binomial(500_000_001_000_000_000, 1_000_000_000_000_000_000, 0.5, 1e-6);
        assert!(check_binomial(500_000_003_000_000_000, 1_000_000_000_000_000_000, 0.5, 1e-6).is_err());
        assert_binomial(0, 1_000_000, 1e-12, 1e-6);
        assert!(check_binomial(2, 1_000, 1e-12, 1e-6).is_err());
    }

    #[test]
    fn certain_outcomes_must_be_exact() {
        assert_binomial(0, 100, 0.0, 1e-6);
        assert_binomial(100, 100, 1.0, 1e-6);
        assert_binomial(0, 0, 0.5, 1e-6);
        assert!(check_binomial(1, 100, 0.0, 1e-6).is_err());
        assert!(check_binomial(99, 100, 1.0, 1e-6).is_err());
    }

    #[test]
    fn a_coin_passes_and_a_bent_coin_fails() {
        let mut random = SplitMix64::new(11);
        let heads = (0..200_000).filter(|_| random.unit() < 0.5).count() as u64;
        assert_binomial(heads, 200_000, 0.5, 1e-6);
        let report = check_binomial(heads, 200_000, 0.51, 1e-6).unwrap_err();
        assert!(report.starts_with("too few") && report.contains("so few or fewer"), "{report}");
        let report = check_binomial(heads, 200_000, 0.49, 1e-6).unwrap_err();
        assert!(report.starts_with("too many") && report.contains("so many or more"), "{report}");
    }

    #[test]
    fn senseless_questions_are_refused() {
        for p in [-0.1, 1.1, f64::NAN] {
            assert!(check_binomial(1, 2, p, 1e-6).unwrap_err().contains("not in [0, 1]"));
        }
        assert!(check_binomial(3, 2, 0.5, 1e-6).unwrap_err().contains("3 successes in only 2 trials"));
        for false_alarm in [0.0, 0.5, f64::NAN] {
            assert!(check_binomial(1, 2, 0.5, false_alarm).unwrap_err().contains("false-alarm"));
        }
    }

    #[test]
    #[should_panic(expected = "too many: 90 successes in 100 trials")]
    fn the_assertion_panics() {
        assert_binomial(90, 100, 0.5, 1e-6);
    }
}
