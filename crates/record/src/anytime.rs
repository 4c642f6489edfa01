//! Intervals that hold when a rule looked at the results and decided when to stop.
//!
//! Betting is narrow and costs some 15 µs a value; empirical Bernstein is wider and costs nanoseconds. So the metric that the rule
//! looks at, the failures and the errors (from which the accuracy follows) have the first, all other shares the second. Together
//! that was measured as 32 µs a trial with two betting sequences (`trials_a_second`, unoptimised): ten million trials take some five
//! minutes, where all fourteen shares would take over half an hour. Metrics without bounds have none.

use bitquake_stats::{BernsteinSequence, Interval, MeanSequence, StatsError, StopRule};
use serde::Serialize;

use crate::golden::{Golden, LARGEST_WEIGHT, PointPlan, Sampling};
use crate::metric::{METRICS, Metric};
use crate::trial::TrialRecord;

/// Metrics that are 1 less another: their intervals are the others', mirrored.
const MIRRORED: [(&str, &str); 2] = [("accuracy", "err"), ("within", "exceeded")];
/// Metrics with the narrower intervals, beside that of the rule.
const NARROW: [&str; 3] = ["err", "golden_mismatch", "exceeded"];
/// Room for the rounding of weights.
const ROUNDING: f64 = 1e-9;

/// The rule by which a campaign's trials end: which metric it looks at, and what is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopGoal {
    /// The metric's name in [`METRICS`].
    pub metric: &'static str,
    /// What is enough, with the confidence it is asked with.
    pub rule: StopRule,
}

/// What the rule says of a point's trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StopStatus {
    /// The metric.
    pub metric: &'static str,
    /// Its mean.
    pub estimate: f64,
    /// Its interval at the rule's confidence.
    pub interval: Interval,
    /// Whether that is enough. Trials that ended without may have used up their number or their time, or are not all there yet.
    pub is_met: bool,
}

/// The sequences of one point's metrics, fed in the order of the trials.
#[derive(Clone, Debug)]
pub(crate) struct Sequences {
    /// By the place in [`METRICS`]; none for metrics without bounds, for mirrored ones, and once a value was out of bounds.
    of: Vec<Option<Sequence>>,
    confidence: f64,
}

#[derive(Clone, Debug)]
struct Sequence {
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

impl Sequences {
    /// Nothing yet. `confidence` is that of the printed intervals.
    pub(crate) fn new(
        golden: &Golden,
        plan: &PointPlan,
        confidence: f64,
        goal: Option<StopGoal>,
    ) -> Result<Self, StatsError> {
        let looked_at = goal.map_or(NARROW[0], |goal| goal.metric);
        let sequence = |metric: &Metric| {
            // A metric is followed itself if the rule looks at it, or if the one it mirrors is not followed.
            let mirrors = MIRRORED.iter().find(|(mirrored, _)| *mirrored == metric.name);
            let is_mirror = mirrors.is_some() && metric.name != looked_at;
            let is_other_of = |name: &str| MIRRORED.contains(&(looked_at, name));
            if is_mirror || is_other_of(metric.name) || !exists(metric, golden) {
                return Ok(None);
            }
            let is_narrow = metric.name == looked_at || NARROW.contains(&metric.name);
            let tuned = goal.filter(|goal| goal.metric == metric.name).map(|goal| goal.rule.confidence);
            Sequence::new(metric, golden, plan, is_narrow, tuned.unwrap_or(confidence))
        };
        Ok(Self { of: METRICS.iter().map(sequence).collect::<Result<_, _>>()?, confidence })
    }

    /// Takes the next trial. A value beyond its bounds, which no campaign writes, ends the sequence of its metric: no interval is
    /// better than one that does not hold.
    pub(crate) fn push(&mut self, golden: &Golden, trial: &TrialRecord) {
        for (metric, sequence) in METRICS.iter().zip(&mut self.of) {
            let Some(followed) = sequence else { continue };
            let Some(value) = metric.of(trial, &golden.metrics) else { continue };
            if followed.push(value, trial.weight).is_err() {
                *sequence = None;
            }
        }
    }

    /// The interval of a metric's mean at the printed confidence, cut at [0, 1], where the mean of shares lies whatever single
    /// values are.
    pub(crate) fn interval(&self, place: usize) -> Result<Option<Interval>, StatsError> {
        self.at(METRICS[place].name, self.confidence)
    }

    /// The same of a metric by name at any confidence.
    pub(crate) fn at(&self, name: &str, confidence: f64) -> Result<Option<Interval>, StatsError> {
        let own = |name: &str| {
            let place = METRICS.iter().position(|metric| metric.name == name)?;
            self.of[place].as_ref()
        };
        if let Some(sequence) = own(name) {
            return sequence.interval(confidence);
        }
        let other = MIRRORED.iter().find_map(|&(one, other)| match name {
            _ if name == one => Some(other),
            _ if name == other => Some(one),
            _ => None,
        });
        let Some(sequence) = other.and_then(own) else { return Ok(None) };
        Ok(sequence.interval(confidence)?.map(mirrored))
    }
}

/// Of `1 - x`, where this is of `x`.
fn mirrored(interval: Interval) -> Interval {
    Interval { lo: 1.0 - interval.hi, hi: 1.0 - interval.lo, ..interval }
}

/// Whether trials of the campaign can have the metric: a sequence that is never fed costs memory alone.
fn exists(metric: &Metric, golden: &Golden) -> bool {
    let of_distances = ["exceeded", "within"].contains(&metric.name);
    let of_both = ["masked", "nonfinite", "due"].contains(&metric.name);
    of_both || of_distances == golden.distance.is_some()
}

impl Sequence {
    /// None for a metric without bounds.
    fn new(
        metric: &Metric,
        golden: &Golden,
        plan: &PointPlan,
        is_narrow: bool,
        confidence: f64,
    ) -> Result<Option<Self>, StatsError> {
        let Some((lo, hi)) = metric.bounds(&golden.metrics, plan.images.is_some()) else { return Ok(None) };
        let is_weighted = plan.sampling == Sampling::Stratified;
        let clean = if is_weighted { metric.of_golden(&golden.metrics).unwrap_or(0.0) } else { 0.0 };
        let (lo, hi) = if is_weighted {
            let most = LARGEST_WEIGHT * (1.0 + ROUNDING);
            (most * (lo - clean).min(0.0), most * (hi - clean).max(0.0))
        } else {
            (lo, hi)
        };
        let kind = if is_narrow {
            Kind::Betting(Box::new(MeanSequence::new(lo, hi, confidence)?))
        } else {
            Kind::Bernstein(BernsteinSequence::new(lo, hi, confidence)?)
        };
        Ok(Some(Self { kind, clean, is_weighted }))
    }

    fn push(&mut self, value: f64, weight: Option<f64>) -> Result<(), StatsError> {
        let value = match (self.is_weighted, weight) {
            (false, _) => value,
            (true, weight) => (value - self.clean) * weight.unwrap_or(f64::NAN),
        };
        match &mut self.kind {
            Kind::Betting(sequence) => sequence.push(value),
            Kind::Bernstein(sequence) => sequence.push(value),
        }
    }

    fn interval(&self, confidence: f64) -> Result<Option<Interval>, StatsError> {
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
    use std::time::Instant;

    use super::*;
    use crate::Amount;
    use crate::summary::tests::golden;
    use crate::trial::tests::record;

    /// What a trial costs at the end of a campaign with a rule.
    #[test]
    #[ignore = "a measurement: cargo test --release -p bitquake-record trials_a_second -- --ignored --nocapture"]
    fn trials_a_second() {
        let golden = golden(&[Amount::Rate(1e-5)]);
        for (name, goal) in [("err", None), ("masked", Some("masked"))] {
            let goal = goal.map(|metric| StopGoal { metric, rule: StopRule::new(0.95, u64::MAX) });
            let mut sequences = Sequences::new(&golden, &golden.points[0], 0.95, goal).unwrap();
            let trials: Vec<TrialRecord> = (0..1000)
                .map(|n| TrialRecord { masked: Some(n % 97), sdc5: Some(n % 3), ..record(0, n, 60 + n % 37) })
                .collect();
            for thousands in [1, 10, 100] {
                let start = Instant::now();
                (0..thousands).for_each(|_| trials.iter().for_each(|trial| sequences.push(&golden, trial)));
                let micros = start.elapsed().as_secs_f64() * 1e3 / f64::from(thousands);
                println!("{name}, {thousands},000 trials more: {micros:.1} µs each");
            }
        }
    }
}
