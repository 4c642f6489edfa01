//! The mean of one metric, with an interval that holds whenever one looks.

use bitquake_stats::{BernsteinSequence, Interval, MeanSequence, StatsError};

use crate::golden::{Counts, LARGEST_WEIGHT, PointPlan, Sampling};
use crate::metric::Metric;

/// Room for the rounding of weights.
const ROUNDING: f64 = 1e-9;

/// The mean of a share of images over the trials of a point, with an interval that holds at every number of trials. A stopping rule
/// looks at one, and the report makes the same from the records.
///
/// Trials of a point that is sampled with unequal probabilities count with their weights: what they change from the golden run's
/// value, times the weight, has the mean over the whole fault space (Horvitz-Thompson).
///
/// ```
/// use bitquake_record::{Amount, Counts, METRICS, MetricSequence, PointPlan};
///
/// let golden = Counts { images: 100, correct: 90, ..Counts::default() };
/// let err = METRICS.iter().find(|metric| metric.name == "err").unwrap();
/// let plan = PointPlan::new(0, Amount::Rate(1e-5));
/// let mut sequence = MetricSequence::new(err, &golden, &plan, 0.95)?.expect("a share has bounds");
/// (0..100).try_for_each(|_| sequence.push(0.12, None))?;
/// let interval = sequence.interval(0.95)?.expect("there were trials");
/// assert!(interval.contains(0.12) && interval.half_width() < 0.1);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MetricSequence {
    kind: Kind,
    /// What weighted trials change is counted from here.
    clean: f64,
    is_weighted: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Betting(Box<MeanSequence>),
    Bernstein(BernsteinSequence),
}

/// Which of two sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Width {
    /// Betting.
    Narrow,
    /// Empirical Bernstein, which costs next to nothing.
    Wide,
}

impl MetricSequence {
    /// No trials yet; bets are tuned for `confidence`. None for a metric without bounds ([`Metric::bounds`]).
    ///
    /// # Errors
    /// [`StatsError::Confidence`].
    pub fn new(
        metric: &Metric,
        golden: &Counts,
        plan: &PointPlan,
        confidence: f64,
    ) -> Result<Option<Self>, StatsError> {
        Self::of_width(Width::Narrow, metric, golden, plan, confidence)
    }

    pub(crate) fn of_width(
        width: Width,
        metric: &Metric,
        golden: &Counts,
        plan: &PointPlan,
        confidence: f64,
    ) -> Result<Option<Self>, StatsError> {
        let Some((lo, hi)) = metric.bounds(golden, plan.images.is_some()) else { return Ok(None) };
        let is_weighted = plan.sampling == Sampling::Stratified;
        let clean = if is_weighted { metric.of_golden(golden).unwrap_or(0.0) } else { 0.0 };
        let (lo, hi) = if is_weighted {
            let most = LARGEST_WEIGHT * (1.0 + ROUNDING);
            (most * (lo - clean).min(0.0), most * (hi - clean).max(0.0))
        } else {
            (lo, hi)
        };
        let kind = match width {
            Width::Narrow => Kind::Betting(Box::new(MeanSequence::new(lo, hi, confidence)?)),
            Width::Wide => Kind::Bernstein(BernsteinSequence::new(lo, hi, confidence)?),
        };
        Ok(Some(Self { kind, clean, is_weighted }))
    }

    /// Takes the value of the next trial ([`Metric::of`]), in the order of the trials, and the weight that it has where trials are
    /// weighted ([`TrialRecord::weight`](crate::TrialRecord::weight)).
    ///
    /// # Errors
    /// [`StatsError::OutOfRange`] for a value or a weight that no campaign records, and for a weight that is missing; it is left
    /// out, and the guarantee is gone.
    pub fn push(&mut self, value: f64, weight: Option<f64>) -> Result<(), StatsError> {
        let value = match (self.is_weighted, weight) {
            (false, _) => value,
            (true, weight) => (value - self.clean) * weight.unwrap_or(f64::NAN),
        };
        match &mut self.kind {
            Kind::Betting(sequence) => sequence.push(value),
            Kind::Bernstein(sequence) => sequence.push(value),
        }
    }

    /// The mean so far; none before the first trial.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let mean = match &self.kind {
            Kind::Betting(sequence) => sequence.mean(),
            Kind::Bernstein(sequence) => sequence.mean(),
        };
        mean.map(|mean| self.clean + mean)
    }

    /// The interval of the mean after the trials so far, cut at [0, 1], where the mean of shares lies whatever single values are;
    /// none before the first trial.
    ///
    /// # Errors
    /// [`StatsError::Confidence`].
    pub fn interval(&self, confidence: f64) -> Result<Option<Interval>, StatsError> {
        let interval = match &self.kind {
            Kind::Betting(sequence) => sequence.interval(confidence)?,
            Kind::Bernstein(sequence) => sequence.interval(confidence)?,
        };
        let cut = |end: f64| (self.clean + end).clamp(0.0, 1.0);
        Ok(interval.map(|interval| Interval { lo: cut(interval.lo), hi: cut(interval.hi), ..interval }))
    }
}

#[cfg(test)]
mod tests {
    use bitquake_stats::WeightedSequence;

    use super::*;
    use crate::METRICS;
    use crate::trial::Amount;

    fn sequence(plan: PointPlan) -> MetricSequence {
        let golden = Counts { images: 100, correct: 90, ..Counts::default() };
        let err = METRICS.iter().find(|metric| metric.name == "err").unwrap();
        MetricSequence::new(err, &golden, &plan, 0.95).unwrap().unwrap()
    }

    fn plan() -> PointPlan {
        PointPlan::new(0, Amount::Count(1))
    }

    #[test]
    fn intervals_are_cut_where_no_mean_can_be() {
        // On some of the images single values reach from -0.9 to 1.1; their mean is a share all the same.
        let mut some = sequence(PointPlan { images: Some(10), ..plan() });
        for _ in 0..20 {
            some.push(-0.1, None).unwrap();
            some.push(0.2, None).unwrap();
        }
        let mut uncut = MeanSequence::new(0.1 - 1.0, 0.1 + 1.0, 0.95).unwrap();
        for _ in 0..20 {
            uncut.push(-0.1).unwrap();
            uncut.push(0.2).unwrap();
        }
        let (cut, uncut) = (some.interval(0.95).unwrap().unwrap(), uncut.interval(0.95).unwrap().unwrap());
        assert!(uncut.lo < 0.0, "{uncut:?}");
        assert_eq!((cut.lo, cut.hi), (0.0, uncut.hi));
        assert!((some.mean().unwrap() - 0.05).abs() < 1e-12);
    }

    #[test]
    fn weighted_trials_are_those_of_a_weighted_sequence() {
        let mut ours = sequence(PointPlan { sampling: Sampling::Stratified, ..plan() });
        let mut reference = WeightedSequence::new(-0.1, 0.9, LARGEST_WEIGHT, 0.95).unwrap();
        for trial in 0..200 {
            let (value, weight) = if trial % 9 == 0 { (0.6, 0.25) } else { (0.1, 1.1) };
            ours.push(value, Some(weight)).unwrap();
            reference.push(value - 0.1, weight).unwrap();
        }
        let (ours, reference) =
            (ours.interval(0.95).unwrap().unwrap(), reference.interval(0.95).unwrap().unwrap().shifted(0.1));
        let is_near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(is_near(ours.lo, reference.lo) && is_near(ours.hi, reference.hi), "{ours:?} {reference:?}");
    }

    #[test]
    fn a_weighted_trial_without_weight_is_no_trial() {
        let mut ours = sequence(PointPlan { sampling: Sampling::Stratified, ..plan() });
        assert!(ours.push(0.1, None).is_err() && ours.push(0.5, Some(-1.0e3)).is_err());
        assert_eq!(ours.mean(), None);
    }
}
