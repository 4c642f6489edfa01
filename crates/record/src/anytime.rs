//! Intervals that hold when a rule looked at the results and decided when to stop.
//!
//! Betting is narrow and costs some 15 µs a value; empirical Bernstein is wider and costs nanoseconds. So the metric that the rule
//! looks at, the failures and the errors (from which the accuracy follows) have the first, all other shares the second. Together
//! that was measured as 32 µs a trial with two betting sequences (`trials_a_second`, unoptimised): ten million trials take some five
//! minutes, where all fourteen shares would take over half an hour. Metrics without bounds have none.

use bitquake_stats::{Interval, StatsError, StopRule, weighted};
use serde::Serialize;

use crate::golden::{Counts, Golden, PointPlan};
use crate::metric::{METRICS, Metric};
use crate::metric_sequence::{MetricSequence, Width};
use crate::trial::TrialRecord;

/// Metrics that are 1 less another: their intervals are the others', mirrored.
const MIRRORED: [(&str, &str); 2] = [("accuracy", "err"), ("within", "exceeded")];
/// Metrics with the narrower intervals, beside that of the rule.
const NARROW: [&str; 3] = ["err", "golden_mismatch", "exceeded"];

/// The rule by which a campaign's trials end: which metric it looks at, and what is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopGoal {
    /// The metric's name in [`METRICS`].
    pub metric: &'static str,
    /// What is enough, with the confidence it is asked with.
    pub rule: StopRule,
}

impl StopGoal {
    /// What the rule says of a point's trials, from the mean over them and its interval: with `at_least = 1`, of the mean over all
    /// trials, those without faults included. The run asks this when it looks, and the report when it tells how it ended.
    #[must_use]
    pub fn status(&self, golden: &Counts, plan: &PointPlan, mean: f64, interval: Interval) -> StopStatus {
        let metric = METRICS.iter().find(|metric| metric.name == self.metric);
        let clean = metric.and_then(|metric| metric.of_golden(golden));
        let (estimate, interval) = match plan.weight.zip(clean) {
            Some((weight, clean)) => (weighted(mean, weight, clean), interval.weighted(weight, clean)),
            None => (mean, interval),
        };
        let is_met = self.rule.is_met(estimate, &interval);
        StopStatus { metric: self.metric, estimate, interval, is_met }
    }
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
    of: Vec<Option<MetricSequence>>,
    confidence: f64,
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
            if is_mirror || is_other_of(metric.name) || !metric.is_of(golden.distance.is_none()) {
                return Ok(None);
            }
            let is_narrow = metric.name == looked_at || NARROW.contains(&metric.name);
            let width = if is_narrow { Width::Narrow } else { Width::Wide };
            let tuned = goal.filter(|goal| goal.metric == metric.name).map(|goal| goal.rule.confidence);
            MetricSequence::of_width(width, metric, &golden.metrics, plan, tuned.unwrap_or(confidence))
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

    /// The interval of a metric's mean at the printed confidence.
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
