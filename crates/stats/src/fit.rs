//! From a share of failures to failures in time.

use crate::Interval;
use crate::error::{StatsError, check, not_negative};
use serde::{Deserialize, Serialize};

/// Bits in a Mbit here: 10^6, as soft-error rates are quoted.
const BITS_PER_MBIT: f64 = 1e6;
/// FIT counts failures in so many device-hours.
const HOURS: f64 = 1e9;

/// Failures in time of a memory, and the mean time between them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct FitRate {
    /// Failures in 10^9 device-hours.
    pub fit: f64,
    /// The interval for `fit`, from that of the failure probability.
    pub interval: Option<Interval>,
    /// The mean time between failures in hours, `1e9 / fit`; `None` if `fit` is 0: it never fails, as far as seen.
    pub mtbf_hours: Option<f64>,
    /// The shortest mean time that the interval allows, in hours; `None` without interval or if its upper end is 0.
    pub mtbf_lo: Option<f64>,
    /// The longest mean time that the interval allows, in hours; `None` without interval or if there is no longest.
    pub mtbf_hi: Option<f64>,
}

/// The failures in time of `bits` bits: `FIT = fit_per_mbit · bits / 10^6 · avf`, and `MTBF = 10^9 / FIT` hours.
///
/// `fit_per_mbit` is the raw soft-error rate in FIT for 10^6 bits (not 2^20); `avf` the probability in [0, 1] that
/// one upset of a random bit becomes a failure, with its interval, which is mapped end by end. The raw rate is taken
/// as known: its own uncertainty is often larger. One upset at a time is assumed.
///
/// Source: Mukherjee, Weaver, Emer, Reinhardt and Austin, "A systematic methodology to compute the architectural
/// vulnerability factors for a high-performance microprocessor", MICRO 2003.
///
/// # Errors
///
/// [`StatsError::Argument`] if `fit_per_mbit` is negative, or `avf` or an end of its interval is outside [0, 1].
///
/// ```
/// use bitquake_stats::{clopper_pearson, fit_rate};
///
/// // 600 FIT/Mbit, 8 million bits, 12 failures in 1,000 upsets.
/// let rate = fit_rate(600.0, 8_000_000, 0.012, Some(&clopper_pearson(12, 1000, 0.95)?))?;
/// assert!((rate.fit - 57.6).abs() < 1e-9 && rate.interval.unwrap().contains(57.6));
/// assert!((rate.mtbf_hours.unwrap() / 1.736e7 - 1.0).abs() < 1e-3);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn fit_rate(
    fit_per_mbit: f64,
    bits: u64,
    avf: f64,
    interval: Option<&Interval>,
) -> Result<FitRate, StatsError> {
    not_negative("fit_per_mbit", fit_per_mbit)?;
    for share in [Some(avf), interval.map(|i| i.lo), interval.map(|i| i.hi)].into_iter().flatten() {
        check((0.0..=1.0).contains(&share), "the failure probability", share, "in 0 to 1")?;
    }
    let raw = crate::error::finite(fit_per_mbit * (bits as f64 / BITS_PER_MBIT), "FIT")?;
    let hours = |fit: f64| (fit > 0.0).then_some(HOURS / fit).filter(|hours| hours.is_finite());
    let interval = interval.map(|i| Interval { lo: raw * i.lo, hi: raw * i.hi, ..*i });
    Ok(FitRate {
        fit: raw * avf,
        interval,
        mtbf_hours: hours(raw * avf),
        mtbf_lo: interval.and_then(|i| hours(i.hi)),
        mtbf_hi: interval.and_then(|i| hours(i.lo)),
    })
}

#[cfg(test)]
mod tests {
    use super::{FitRate, fit_rate};
    use crate::{Interval, Method};

    fn interval(lo: f64, hi: f64) -> Interval {
        Interval { lo, hi, confidence: 0.95, method: Method::ClopperPearson }
    }

    #[test]
    fn rates_by_hand() {
        let got = fit_rate(1000.0, 2_000_000, 0.25, Some(&interval(0.125, 0.5))).unwrap();
        let wanted = FitRate {
            fit: 500.0,
            interval: Some(interval(250.0, 1000.0)),
            mtbf_hours: Some(2e6),
            mtbf_lo: Some(1e6),
            mtbf_hi: Some(4e6),
        };
        assert_eq!(got, wanted);
        let text = serde_json::to_string(&got).unwrap();
        assert_eq!(serde_json::from_str::<FitRate>(&text).unwrap(), wanted);
    }

    #[test]
    fn without_failures_the_longest_time_is_open() {
        let got = fit_rate(1000.0, 1_000_000, 0.0, Some(&interval(0.0, 0.5))).unwrap();
        assert_eq!((got.mtbf_hours, got.mtbf_lo, got.mtbf_hi), (None, Some(2e6), None));
        let got = fit_rate(0.0, 1_000_000, 0.5, None).unwrap();
        assert_eq!((got.fit, got.interval, got.mtbf_hours, got.mtbf_lo), (0.0, None, None, None));
    }

    #[test]
    fn wrong_questions_are_refused() {
        assert!(fit_rate(-1.0, 1, 0.5, None).is_err());
        assert!(fit_rate(f64::MAX, u64::MAX, 0.5, None).is_err());
        for avf in [-0.1, 1.1, f64::NAN] {
            assert!(fit_rate(1.0, 1, avf, None).is_err(), "{avf}");
        }
        assert!(fit_rate(1.0, 1, 0.5, Some(&interval(-0.1, 0.6))).is_err());
    }

    /// Nominal 95 %: the mapped interval covers the true rate exactly where the share's covers the true share, so the
    /// coverage is Clopper-Pearson's, a finite sum checked there; here that both agree for every count.
    #[test]
    fn the_interval_covers_where_that_of_the_share_does() {
        for (k, p) in (0..=40).flat_map(|k| [0.01, 0.2, 0.5].map(|p| (k, p))) {
            let share = crate::clopper_pearson(k, 40, 0.95).unwrap();
            let rate = fit_rate(600.0, 4_000_000, k as f64 / 40.0, Some(&share)).unwrap();
            assert_eq!(rate.interval.unwrap().contains(2400.0 * p), share.contains(p), "{k} {p}");
        }
    }
}
