//! Confidence intervals.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `(1 - weight) * known + weight * x`: the law of total expectation over an event of probability `weight`.
///
/// Computed as `known + weight * (x - known)`, so that a weight of 1e-10 does not lose what is known.
#[must_use]
pub fn weighted(x: f64, weight: f64, known: f64) -> f64 {
    known + weight * (x - known)
}

/// A two-sided confidence interval, both ends included.
///
/// `lo <= hi`, both finite. An interval for a mean may reach beyond what the metric can be (an accuracy above 1):
/// it is not cut, so that its width stays an honest statement of the spread.
///
/// ```
/// use bitquake_stats::clopper_pearson;
///
/// let interval = clopper_pearson(5, 10, 0.95)?;
/// assert!(interval.contains(0.5));
/// assert_eq!(interval.method.to_string(), "clopper-pearson");
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub lo: f64,
    /// The upper end.
    pub hi: f64,
    /// The probability, over repeated experiments, that such an interval covers the true value: in (0, 1).
    pub confidence: f64,
    /// How the ends were computed.
    pub method: Method,
}

impl Interval {
    /// Whether `value` lies between the ends or on one of them.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.lo <= value && value <= self.hi
    }

    /// The interval for `(1 - weight) * known + weight * x`, where this one is for `x`: for a mean over all trials,
    /// when only those of probability `weight` were run and all others are known to give `known`.
    ///
    /// ```
    /// use bitquake_stats::clopper_pearson;
    /// let drop = clopper_pearson(5, 10, 0.95)?;
    /// let overall = drop.weighted(0.01, 0.0);
    /// assert_eq!((overall.lo, overall.hi), (0.01 * drop.lo, 0.01 * drop.hi));
    /// # Ok::<(), bitquake_stats::StatsError>(())
    /// ```
    #[must_use]
    pub fn weighted(&self, weight: f64, known: f64) -> Self {
        let mix = |end| weighted(end, weight, known);
        Self { lo: mix(self.lo), hi: mix(self.hi), ..*self }
    }

    /// The interval for `x + by`, where this one is for `x`.
    #[must_use]
    pub fn shifted(&self, by: f64) -> Self {
        Self { lo: self.lo + by, hi: self.hi + by, ..*self }
    }

    /// What this interval and another one share; `None` if they do not meet.
    ///
    /// The intersection of all intervals of one confidence sequence so far is again valid at every look. If it is
    /// empty, the rare event happened that the confidence allows for, or the values broke the assumptions.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (lo, hi) = (self.lo.max(other.lo), self.hi.min(other.hi));
        (lo <= hi).then_some(Self { lo, hi, ..*self })
    }

    /// The distance between the ends.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.hi - self.lo
    }

    /// Half the distance between the ends.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        0.5 * self.width()
    }

    /// Whether both ends are the same number.
    ///
    /// A t interval is degenerate when all values are equal, for instance when every trial of a low rate happened to
    /// leave the accuracy as it was. Zero width then does **not** mean certainty: the spread was estimated as 0 from
    /// trials that never showed the rare event. Say so beside the number, or judge the share of changed trials with
    /// [`clopper_pearson`](crate::clopper_pearson), which stays honest there.
    #[must_use]
    pub fn is_degenerate(&self) -> bool {
        self.lo == self.hi
    }
}

/// How the ends of an [`Interval`] were computed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Student's t interval for a mean.
    #[serde(rename = "t")]
    StudentT,
    /// The exact (conservative) interval for a share.
    ClopperPearson,
    /// Wilson's score interval for a share (approximate).
    Wilson,
    /// The percentile bootstrap (approximate).
    BootstrapPercentile,
    /// The bias-corrected and accelerated bootstrap (approximate).
    BootstrapBca,
    /// The hedged betting confidence sequence for a bounded mean: valid at every look.
    Betting,
    /// The empirical Bernstein confidence sequence for a bounded mean: valid at every look.
    EmpiricalBernstein,
    /// The beta-binomial mixture confidence sequence for a share: valid at every look.
    BetaBinomialMixture,
    /// Student's t on the totals of clusters (approximate).
    ClusterT,
    /// Clopper-Pearson in every stratum, added up with a union bound (conservative).
    StratifiedClopperPearson,
    /// Clopper-Pearson in every stratum, margins added in quadrature (approximate).
    StratifiedMover,
    /// Student's t on the stratified variance with Satterthwaite's degrees of freedom (approximate).
    StratifiedT,
    /// Student's t on weighted values of a sample with unequal probabilities (approximate).
    HorvitzThompsonT,
    /// Student's t on the ratio of weighted values to weights (approximate).
    HajekT,
}

impl Method {
    /// Every method, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::StudentT,
        Self::ClopperPearson,
        Self::Wilson,
        Self::BootstrapPercentile,
        Self::BootstrapBca,
        Self::Betting,
        Self::EmpiricalBernstein,
        Self::BetaBinomialMixture,
        Self::ClusterT,
        Self::StratifiedClopperPearson,
        Self::StratifiedMover,
        Self::StratifiedT,
        Self::HorvitzThompsonT,
        Self::HajekT,
    ];

    /// The name in files and reports: `t`, `clopper-pearson`, `betting` ...
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StudentT => "t",
            Self::ClopperPearson => "clopper-pearson",
            Self::Wilson => "wilson",
            Self::BootstrapPercentile => "bootstrap-percentile",
            Self::BootstrapBca => "bootstrap-bca",
            Self::Betting => "betting",
            Self::EmpiricalBernstein => "empirical-bernstein",
            Self::BetaBinomialMixture => "beta-binomial-mixture",
            Self::ClusterT => "cluster-t",
            Self::StratifiedClopperPearson => "stratified-clopper-pearson",
            Self::StratifiedMover => "stratified-mover",
            Self::StratifiedT => "stratified-t",
            Self::HorvitzThompsonT => "horvitz-thompson-t",
            Self::HajekT => "hajek-t",
        }
    }

    /// Whether the interval keeps its confidence when one looks as often as one likes and stops when it pleases.
    #[must_use]
    pub fn is_anytime_valid(self) -> bool {
        matches!(self, Self::Betting | Self::EmpiricalBernstein | Self::BetaBinomialMixture)
    }

    /// Whether the width comes from a spread that the values themselves showed, so that equal values give width 0.
    #[must_use]
    pub fn trusts_the_spread(self) -> bool {
        use Method::{BootstrapBca, BootstrapPercentile, ClusterT, HajekT, HorvitzThompsonT, StudentT};
        matches!(self, StudentT | BootstrapPercentile | BootstrapBca | ClusterT | HorvitzThompsonT | HajekT)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Interval, Method};

    #[test]
    fn serde_and_display_use_the_same_names() {
        for method in Method::ALL {
            assert_eq!(serde_json::to_string(&method).unwrap(), format!("\"{method}\""));
        }
    }

    #[test]
    fn an_interval_survives_json() {
        let interval = Interval { lo: 0.1, hi: 0.3, confidence: 0.95, method: Method::ClopperPearson };
        let text = serde_json::to_string(&interval).unwrap();
        assert_eq!(text, r#"{"lo":0.1,"hi":0.3,"confidence":0.95,"method":"clopper-pearson"}"#);
        assert_eq!(serde_json::from_str::<Interval>(&text).unwrap(), interval);
    }

    #[test]
    fn intersections_are_what_both_contain() {
        let interval = |lo, hi| Interval { lo, hi, confidence: 0.9, method: Method::Betting };
        assert_eq!(interval(0.0, 0.5).intersection(&interval(0.2, 0.9)), Some(interval(0.2, 0.5)));
        assert_eq!(interval(0.0, 0.1).intersection(&interval(0.2, 0.9)), None);
    }

    #[test]
    fn width_and_membership() {
        let interval = Interval { lo: 1.0, hi: 3.0, confidence: 0.9, method: Method::StudentT };
        assert_eq!((interval.width(), interval.half_width()), (2.0, 1.0));
        assert!(interval.contains(1.0) && interval.contains(3.0) && !interval.contains(3.5));
        assert!(!interval.contains(f64::NAN) && !interval.is_degenerate());
        assert!(Interval { hi: 1.0, ..interval }.is_degenerate());
    }
}
