//! From trials to one row a point.

use std::collections::BTreeMap;
use std::path::Path;

use bitquake_stats::{Estimate, Interval, Summary, mean_estimate, share_estimate, weighted};
use serde::Serialize;

use crate::dir::Results;
use crate::error::RecordError;
use crate::golden::Golden;
use crate::metric::METRICS;
use crate::trial::{Amount, TrialRecord};

/// How to summarise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SummaryOptions {
    /// Confidence of every interval, in (0, 1).
    pub confidence: f64,
    /// A trial counts as dropped when its accuracy lies more than this below the golden run's.
    pub margin: f64,
}

impl Default for SummaryOptions {
    fn default() -> Self {
        Self { confidence: 0.95, margin: 0.01 }
    }
}

/// One point: a row of `summary.csv`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointSummary {
    /// The point, from 0.
    pub point: u32,
    /// Its rate or count.
    pub amount: Amount,
    /// With `at_least = 1`, the probability that a trial has a fault at all. Means are over such trials; over all trials they
    /// are [`MetricSummary::overall`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Finished trials.
    pub trials: u64,
    /// Images a trial.
    pub images: u64,
    /// One entry for each of [`METRICS`], in their order.
    pub metrics: Vec<MetricSummary>,
    /// Share of trials whose accuracy fell by more than the margin, with its Clopper-Pearson interval;
    /// none without trials.
    pub dropped: Option<Estimate>,
    /// The trial with the lowest accuracy (the first of them).
    pub worst_trial: Option<u64>,
}

/// One metric over the trials of a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricSummary {
    /// The metric's name.
    pub metric: &'static str,
    /// Count, mean, standard deviation and extremes; none when no trial has the metric.
    pub summary: Option<Summary>,
    /// Student's t interval for the mean over trials; none for fewer than two.
    pub interval: Option<Interval>,
    /// Where trials were drawn given that they have a fault: the mean over all trials, those without faults included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overall: Option<Overall>,
}

/// A mean over all trials, of which only those with faults were run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overall {
    /// `(1 - weight) * golden + weight * mean`.
    pub mean: f64,
    /// The interval of the mean, weighted alike.
    pub interval: Option<Interval>,
    /// By how much the mean differs from the golden run: `weight * (mean - golden)`, without cancellation.
    pub change: f64,
    /// The interval of the change.
    pub change_interval: Option<Interval>,
}

impl PointSummary {
    /// The entry of a metric.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&MetricSummary> {
        self.metrics.iter().find(|entry| entry.metric == name)
    }
}

/// One row for each point of the campaign, in order, points without finished trials included.
///
/// # Errors
/// [`RecordError::Stats`] when the confidence is not in (0, 1).
pub fn summarise(
    golden: &Golden,
    trials: &[TrialRecord],
    options: SummaryOptions,
) -> Result<Vec<PointSummary>, RecordError> {
    let mut by_point: BTreeMap<u32, Vec<&TrialRecord>> = BTreeMap::new();
    for trial in trials {
        by_point.entry(trial.point).or_default().push(trial);
    }
    let of_point = |plan: &crate::PointPlan| {
        let trials = by_point.get(&plan.point).map_or(&[][..], Vec::as_slice);
        summarise_point(plan, golden, trials, options)
    };
    golden.points.iter().map(of_point).collect()
}

/// The golden run, the summary of each point and all trials as one JSON document.
///
/// # Errors
/// [`RecordError::Invalid`] when a number is not one that JSON has; records never hold such.
pub fn to_json(results: &Results, points: &[PointSummary]) -> Result<String, RecordError> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        golden: &'a Golden,
        points: &'a [PointSummary],
        trials: &'a [TrialRecord],
    }
    let document =
        Document { schema: crate::SCHEMA, golden: &results.golden, points, trials: &results.trials };
    serde_json::to_string_pretty(&document)
        .map_err(|error| RecordError::invalid(Path::new("results.json"), error))
}

fn summarise_point(
    plan: &crate::PointPlan,
    golden: &Golden,
    trials: &[&TrialRecord],
    options: SummaryOptions,
) -> Result<PointSummary, RecordError> {
    let metrics = METRICS
        .iter()
        .map(|metric| {
            let values: Vec<f64> =
                trials.iter().filter_map(|trial| metric.of(trial, &golden.metrics)).collect();
            let summary = Summary::of(&values)?;
            let interval = mean_estimate(&values, options.confidence)?.and_then(|estimate| estimate.interval);
            // A metric that some trials lack (a loss that is not finite) has no mean over all of them.
            let of_all = summary.filter(|summary| summary.n == trials.len() as u64);
            let overall = plan.weight.zip(metric.of_golden(&golden.metrics)).zip(of_all);
            let overall = overall.map(|((weight, clean), summary)| Overall {
                mean: weighted(summary.mean, weight, clean),
                interval: interval.map(|interval| interval.weighted(weight, clean)),
                change: weight * (summary.mean - clean),
                change_interval: interval.map(|interval| interval.shifted(-clean).weighted(weight, 0.0)),
            });
            Ok(MetricSummary { metric: metric.name, summary, interval, overall })
        })
        .collect::<Result<_, RecordError>>()?;
    let floor = golden.metrics.accuracy() - options.margin;
    // The slack keeps a fall by exactly the margin from counting through rounding.
    let fell = trials.iter().filter(|trial| trial.accuracy() < floor - 1e-12).count() as u64;
    Ok(PointSummary {
        point: plan.point,
        amount: plan.amount,
        weight: plan.weight,
        trials: trials.len() as u64,
        images: golden.metrics.images,
        metrics,
        dropped: share_estimate(fell, trials.len() as u64, options.confidence)?,
        worst_trial: trials.iter().min_by_key(|trial| (trial.correct, trial.trial)).map(|trial| trial.trial),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::trial::tests::record;
    use crate::{Counts, PointPlan, StorageRecord};

    /// A golden run with 90 of 100 images right, and one point for each amount.
    pub(crate) fn golden(amounts: &[Amount]) -> Golden {
        let plan = |(point, &amount): (usize, &Amount)| PointPlan {
            expected_faults: Some(3.0),
            ..PointPlan::new(point as u32, amount)
        };
        Golden {
            schema: crate::SCHEMA,
            name: "test".into(),
            campaign: "00".into(),
            storage: StorageRecord { bits: 320, ..StorageRecord::default() },
            points: amounts.iter().enumerate().map(plan).collect(),
            metrics: Counts {
                images: 100,
                classes: 10,
                correct: 90,
                top5_correct: 99,
                nonfinite: 0,
                loss: Some(0.25),
            },
            outputs: "00".into(),
            seconds: 0.5,
            ..Golden::default()
        }
    }

    /// One point with these numbers of right images.
    fn point(correct: &[u64], options: SummaryOptions) -> PointSummary {
        let trials: Vec<TrialRecord> =
            correct.iter().enumerate().map(|(trial, &correct)| record(0, trial as u64, correct)).collect();
        summarise(&golden(&[Amount::Rate(1e-5)]), &trials, options).unwrap().remove(0)
    }

    #[test]
    fn every_metric_has_an_entry_in_the_order_of_the_table() {
        let point = point(&[90, 88], SummaryOptions::default());
        let names: Vec<&str> = point.metrics.iter().map(|entry| entry.metric).collect();
        assert_eq!(names, METRICS.iter().map(|metric| metric.name).collect::<Vec<_>>());
        assert!(point.metric("no such metric").is_none());
    }

    #[test]
    fn a_point_without_trials_is_there_and_empty() {
        let amounts = [Amount::Rate(1e-6), Amount::Rate(1e-5), Amount::Rate(1e-4)];
        let points = summarise(&golden(&amounts), &[record(1, 0, 80)], SummaryOptions::default()).unwrap();
        assert_eq!(points.iter().map(|p| p.trials).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!(points.iter().map(|p| p.amount).collect::<Vec<_>>(), amounts);
        let empty = &points[0];
        assert_eq!((empty.dropped, empty.worst_trial, empty.metrics.len()), (None, None, METRICS.len()));
        assert!(empty.metrics.iter().all(|entry| entry.summary.is_none() && entry.interval.is_none()));
    }

    #[test]
    fn one_trial_has_a_mean_but_no_interval() {
        let point = point(&[80], SummaryOptions::default());
        let accuracy = point.metric("accuracy").unwrap();
        let summary = accuracy.summary.unwrap();
        assert_eq!((summary.n, summary.mean, summary.std), (1, 0.8, None));
        assert_eq!(accuracy.interval, None);
        // A share has one all the same: Clopper-Pearson with 1 of 1 is [0.025, 1].
        let dropped = point.dropped.unwrap().interval.unwrap();
        assert!((dropped.lo - 0.025).abs() < 1e-9 && dropped.hi == 1.0, "{dropped:?}");
    }

    #[test]
    fn a_loss_that_is_not_finite_is_left_out() {
        let mut trials = [record(0, 0, 90), record(0, 1, 80), record(0, 2, 10)];
        trials[2].loss = None;
        let golden = golden(&[Amount::Rate(1e-5)]);
        let point = summarise(&golden, &trials, SummaryOptions::default()).unwrap().remove(0);
        let n = |name: &str| point.metric(name).unwrap().summary.map(|summary| summary.n);
        assert_eq!((n("loss"), n("accuracy")), (Some(2), Some(3)));
        trials.iter_mut().for_each(|trial| trial.loss = None);
        let point = summarise(&golden, &trials, SummaryOptions::default()).unwrap().remove(0);
        assert_eq!(point.metric("loss").unwrap().summary, None);
    }

    #[test]
    fn a_fall_by_exactly_the_margin_is_not_a_drop() {
        // Golden 0.90; margins that binary fractions miss by a little, in both directions.
        for lost in 1..=90_u64 {
            let options = SummaryOptions { margin: lost as f64 / 100.0, ..SummaryOptions::default() };
            let dropped = |correct| point(&[correct], options).dropped.map(|share| share.value);
            assert_eq!(dropped(90 - lost), Some(0.0), "exactly {lost} points");
            if lost < 90 {
                assert_eq!(dropped(89 - lost), Some(1.0), "one image more than {lost} points");
            }
        }
    }

    #[test]
    fn means_over_conditioned_trials_are_weighted_with_the_golden_run() {
        let mut golden = golden(&[Amount::Rate(1e-10)]);
        golden.points[0].weight = Some(0.02);
        let trials = [record(0, 0, 80), record(0, 1, 70)];
        let point = summarise(&golden, &trials, SummaryOptions::default()).unwrap().remove(0);
        let accuracy = point.metric("accuracy").unwrap();
        let overall = accuracy.overall.unwrap();
        assert!((overall.mean - (0.98 * 0.9 + 0.02 * 0.75)).abs() < 1e-15);
        let (given, all) = (accuracy.interval.unwrap(), overall.interval.unwrap());
        assert!((all.width() - 0.02 * given.width()).abs() < 1e-15 && all.contains(overall.mean));
        assert!((overall.change - 0.02 * (0.75 - 0.9)).abs() < 1e-15);
        assert!(overall.change_interval.unwrap().contains(overall.change));
        // Every metric has a golden value: the golden run as a trial would give it.
        let protection = Some(crate::ProtectionRecord::default());
        let clean =
            TrialRecord { golden_mismatch: 0, faults: 0, err_union: 10, protection, ..record(0, 0, 90) };
        let clean = TrialRecord { masked: Some(100), sdc5: Some(0), sdc10: Some(0), sdc20: Some(0), ..clean };
        let is_of_distance = |name: &str| {
            ["max_abs", "rel_l2", "cosine", "exceeded"].iter().any(|measure| name.starts_with(measure))
        };
        for metric in METRICS.iter().filter(|metric| !is_of_distance(metric.name)) {
            assert_eq!(
                metric.of_golden(&golden.metrics),
                metric.of(&clean, &golden.metrics),
                "{}",
                metric.name
            );
        }
    }

    #[test]
    fn the_worst_trial_is_the_first_of_the_lowest() {
        assert_eq!(point(&[90, 70, 95, 70], SummaryOptions::default()).worst_trial, Some(1));
    }

    #[test]
    fn the_options_reach_the_intervals() {
        let options = SummaryOptions { confidence: 0.5, margin: 0.05 };
        let point = point(&[90, 80, 86], options);
        assert_eq!(point.metric("accuracy").unwrap().interval.unwrap().confidence, 0.5);
        let dropped = point.dropped.unwrap();
        assert_eq!((dropped.value, dropped.interval.unwrap().confidence), (1.0 / 3.0, 0.5));
    }

    #[test]
    fn a_wrong_confidence_is_an_error() {
        for confidence in [0.0, 1.0, f64::NAN] {
            let options = SummaryOptions { confidence, ..SummaryOptions::default() };
            let error = summarise(&golden(&[Amount::Count(1)]), &[], options).unwrap_err();
            assert!(matches!(error, RecordError::Stats(_)), "{confidence}");
        }
    }
}
