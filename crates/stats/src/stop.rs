//! When enough is known.

use crate::Interval;
use crate::error::{StatsError, check, check_confidence, positive};
use serde::{Deserialize, Serialize};

/// Looks are at least this many trials apart.
const LEAST_STEP: u64 = 8;

/// When a campaign may stop: once its interval is narrow enough, or when the trials are used up.
///
/// If both widths are given, both must be reached; with none, only `max_trials` stops. Decide at the looks of
/// [`look_after`] only, and by intervals whose method [is anytime-valid](crate::Method::is_anytime_valid): others
/// lose their confidence when the data decide when to stop.
///
/// It is never met by a width of 0 that only says that all values so far were equal
/// ([`Method::trusts_the_spread`](crate::Method::trusts_the_spread)), nor by an interval of less confidence than
/// `confidence`.
///
/// ```
/// use bitquake_stats::{ShareSequence, StopRule};
///
/// let rule = StopRule { relative: Some(0.1), ..StopRule::new(0.95, 1_000_000) };
/// let mut sdc = ShareSequence::new();
/// sdc.add(0, 500_000)?;
/// let interval = sdc.interval(rule.confidence)?.expect("there were trials");
/// assert!(!rule.is_met(0.0, &interval), "nothing is known relative to a rate of 0");
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct StopRule {
    /// The largest half width, in the estimate's own unit.
    pub half_width: Option<f64>,
    /// The largest half width as a fraction of the estimate's absolute value. Never reached while 0 is in the
    /// interval or is the estimate.
    pub relative: Option<f64>,
    /// The confidence of the intervals, in (0, 1).
    pub confidence: f64,
    /// The number of trials after which the campaign ends in any case.
    pub max_trials: u64,
}

impl StopRule {
    /// A rule that only ends after `max_trials`; set the widths as wanted.
    #[must_use]
    pub fn new(confidence: f64, max_trials: u64) -> Self {
        Self { half_width: None, relative: None, confidence, max_trials }
    }

    /// Checks that the rule makes sense.
    ///
    /// # Errors
    ///
    /// [`StatsError::Confidence`]; [`StatsError::Argument`] for a width that is not finite and above 0, or if
    /// `max_trials` is 0.
    pub fn check(&self) -> Result<(), StatsError> {
        check_confidence(self.confidence)?;
        self.half_width.map_or(Ok(()), |width| positive("half_width", width))?;
        self.relative.map_or(Ok(()), |width| positive("relative", width))?;
        check(self.max_trials > 0, "max_trials", self.max_trials as f64, "at least 1")
    }

    /// Whether this estimate, with this interval, is known well enough.
    #[must_use]
    pub fn is_met(&self, estimate: f64, interval: &Interval) -> bool {
        let blind = interval.is_degenerate() && interval.method.trusts_the_spread();
        let sure = interval.confidence >= self.confidence;
        if blind || !sure {
            return false;
        }
        let absolute = self.half_width.is_none_or(|most| interval.half_width() <= most);
        let relative = self.relative.is_none_or(|most| {
            estimate != 0.0 && !interval.contains(0.0) && interval.half_width() <= most * estimate.abs()
        });
        (self.half_width.is_some() || self.relative.is_some()) && absolute && relative
    }

    /// The number of trials after which to look next: [`look_after`], but not beyond `max_trials`.
    #[must_use]
    pub fn next_look(&self, trials: u64) -> u64 {
        look_after(trials).min(self.max_trials)
    }
}

/// The first look after `trials` trials: 8, 16, ... 64, 72, 81, ..., each 1/8 but at least 8 later.
///
/// A pure function: where a campaign stops depends on its records alone, not on threads, shards or interruptions. One
/// trial in nine at most is run in vain, and ten million trials are looked at about 110 times. Saturates at
/// `u64::MAX`.
///
/// ```
/// use bitquake_stats::look_after;
/// assert_eq!([look_after(0), look_after(8), look_after(9), look_after(64), look_after(800)], [8, 16, 16, 72, 826]);
/// ```
#[must_use]
pub fn look_after(trials: u64) -> u64 {
    let mut look = LEAST_STEP;
    while look <= trials && look < u64::MAX {
        look = look.saturating_add(LEAST_STEP.max(look / 8));
    }
    look
}

#[cfg(test)]
mod tests {
    use super::{StopRule, look_after};
    use crate::{Interval, Method};

    fn interval(lo: f64, hi: f64, method: Method) -> Interval {
        Interval { lo, hi, confidence: 0.95, method }
    }

    #[test]
    fn both_widths_must_be_reached() {
        let rule = StopRule { half_width: Some(0.01), ..StopRule::new(0.95, 100) };
        let both = StopRule { relative: Some(0.1), ..rule };
        // Estimate, ends, met absolutely, met both ways.
        for (estimate, lo, hi, absolute, both_ways) in [
            (0.5, 0.49, 0.5, true, true),
            (0.5, 0.4, 0.6, false, false),
            (0.02, 0.015, 0.025, true, false),
            (0.0, 0.0, 0.001, true, false),
            (0.001, 0.0, 0.002, true, false),
            (-0.5, -0.505, -0.495, true, true),
            (0.001, -0.001, 0.002, true, false),
        ] {
            let interval = interval(lo, hi, Method::Betting);
            assert_eq!(rule.is_met(estimate, &interval), absolute, "{estimate} {lo} {hi}");
            assert_eq!(both.is_met(estimate, &interval), both_ways, "{estimate} {lo} {hi}");
        }
    }

    #[test]
    fn equal_values_too_little_confidence_and_no_width_never_stop() {
        let rule = StopRule { half_width: Some(0.01), ..StopRule::new(0.95, 100) };
        assert!(!rule.is_met(0.0, &interval(0.0, 0.0, Method::StudentT)));
        assert!(!rule.is_met(0.0, &interval(0.0, 0.0, Method::BootstrapBca)));
        assert!(!StopRule { confidence: 0.99, ..rule }.is_met(0.1, &interval(0.1, 0.1, Method::Betting)));
        assert!(!StopRule::new(0.95, 100).is_met(0.5, &interval(0.5, 0.5, Method::Betting)));
        assert!(!rule.is_met(0.5, &interval(f64::NAN, f64::NAN, Method::Betting)));
    }

    #[test]
    fn senseless_rules_are_refused() {
        let good = StopRule { half_width: Some(0.01), ..StopRule::new(0.95, 100) };
        assert_eq!(good.check(), Ok(()));
        for bad in [
            StopRule { half_width: Some(0.0), ..good },
            StopRule { relative: Some(-0.1), ..good },
            StopRule { relative: Some(f64::NAN), ..good },
            StopRule { confidence: 1.0, ..good },
            StopRule { max_trials: 0, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn looks_are_one_schedule_from_wherever_one_asks() {
        let mut looks = vec![0];
        while looks[looks.len() - 1] < 10_000_000 {
            looks.push(look_after(looks[looks.len() - 1]));
        }
        for pair in looks.windows(2) {
            assert_eq!(look_after(pair[1] - 1), pair[1]);
            let step = pair[1] - pair[0];
            assert!(step >= 8 && step <= 8.max(pair[0] / 8), "{pair:?}");
        }
        assert!(looks.len() < 130, "{}", looks.len());
        assert_eq!(look_after(u64::MAX), u64::MAX);
        assert_eq!(StopRule::new(0.9, 100).next_look(98), 100);
    }
}
