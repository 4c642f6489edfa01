//! From trials to one row a point.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use bitquake_stats::{
    Estimate, Interval, Moments, ShareSequence, Summary, WeightedMean, check_confidence, share_estimate,
    t_interval, weighted,
};
use serde::Serialize;

use crate::anytime::{Sequences, StopGoal, StopStatus};
use crate::error::RecordError;
use crate::golden::{Golden, PointPlan, Sampling};
use crate::metric::{METRICS, Metric};
use crate::own::{OwnSummary, OwnTally};
use crate::trial::{Amount, TrialRecord};

/// How to summarise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SummaryOptions {
    /// Confidence of every interval, in (0, 1).
    pub confidence: f64,
    /// A trial counts as dropped when its accuracy lies more than this below the golden run's.
    pub margin: f64,
    /// Which intervals means have.
    pub rule: IntervalRule,
    /// The rule that ended the trials, if one did; then `rule` must be [`IntervalRule::Anytime`].
    pub stop: Option<StopGoal>,
    /// Failures in 10^9 hours of a megabit (10^6 bits) of the memory, if known: for FIT and MTBF of the tensors.
    pub raw_fit_per_mbit: Option<f64>,
}

impl Default for SummaryOptions {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            margin: 0.01,
            rule: IntervalRule::FixedN,
            stop: None,
            raw_fit_per_mbit: None,
        }
    }
}

/// Which intervals are valid, by how the number of trials came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntervalRule {
    /// The number of trials was fixed in advance: Student's t for means, Clopper-Pearson for shares of trials.
    #[default]
    FixedN,
    /// Trials ended when an interval was narrow enough, so only intervals that hold at every number of trials are valid: of shares
    /// of images the betting sequence (for the metric that the rule looks at, errors and failures) or the empirical Bernstein
    /// sequence (for all others); of the share of dropped trials the beta-binomial mixture. Trials must come in their order.
    /// Metrics without bounds, such as the loss, have none, for no interval is better than one that does not hold.
    Anytime,
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
    /// Images a trial; the most, where trials differ.
    pub images: u64,
    /// One entry for each of [`METRICS`], in their order.
    pub metrics: Vec<MetricSummary>,
    /// Numbers of the host's own, by name, where a host judges the network itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<OwnSummary>,
    /// What the stopping rule says of these trials, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopStatus>,
    /// Share of trials whose accuracy fell by more than the margin, with its Clopper-Pearson interval (with a stopping rule, its
    /// beta-binomial mixture); none without trials, with weighted trials, where trials ran on some of the images, which blurs their accuracies, and
    /// where a host tells no accuracy.
    pub dropped: Option<Estimate>,
    /// The trial with the lowest [`TrialRecord::score`] (the first of them), if there is one with a score.
    pub worst_trial: Option<u64>,
}

/// One metric over the trials of a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricSummary {
    /// The metric's name.
    pub metric: &'static str,
    /// Count, mean, standard deviation and extremes; none when no trial has the metric.
    pub summary: Option<Summary>,
    /// The interval for the mean over trials, by [`SummaryOptions::rule`]; none for fewer than two trials, and where every bit of
    /// the fault space was tried, for then nothing is uncertain.
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

impl Overall {
    /// From the mean over trials that have a fault, of which the probability is `weight`, and the value without faults.
    pub(crate) fn new(weight: f64, clean: f64, mean: f64, interval: Option<Interval>) -> Self {
        Self {
            mean: weighted(mean, weight, clean),
            interval: interval.map(|interval| interval.weighted(weight, clean)),
            change: weight * (mean - clean),
            change_interval: interval.map(|interval| interval.shifted(-clean).weighted(weight, 0.0)),
        }
    }
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
/// Trials are looked at once and not kept. Their order changes the last digits alone; but with [`IntervalRule::Anytime`] they must
/// be in order of their numbers.
///
/// # Errors
/// [`RecordError::Stats`] when the confidence is not in (0, 1).
pub fn summarise<T: Borrow<TrialRecord>>(
    golden: &Golden,
    trials: impl IntoIterator<Item = T>,
    options: SummaryOptions,
) -> Result<Vec<PointSummary>, RecordError> {
    let mut summariser = Summariser::new(golden, options)?;
    trials.into_iter().try_for_each(|trial| summariser.add(golden, trial.borrow()))?;
    summariser.finish(golden)
}

/// Points being summarised. Every call must be given the same golden run.
#[derive(Debug)]
pub(crate) struct Summariser {
    options: SummaryOptions,
    points: BTreeMap<u32, PointTally>,
}

impl Summariser {
    pub(crate) fn new(golden: &Golden, options: SummaryOptions) -> Result<Self, RecordError> {
        check_confidence(options.confidence)?;
        let tally = |plan: &PointPlan| Ok((plan.point, PointTally::new(golden, plan, options)?));
        Ok(Self { options, points: golden.points.iter().map(tally).collect::<Result<_, RecordError>>()? })
    }

    /// Trials of no point of the campaign are passed over.
    pub(crate) fn add(&mut self, golden: &Golden, trial: &TrialRecord) -> Result<(), RecordError> {
        match self.points.get_mut(&trial.point) {
            Some(tally) => tally.add(golden, trial, self.options.margin),
            None => Ok(()),
        }
    }

    pub(crate) fn finish(self, golden: &Golden) -> Result<Vec<PointSummary>, RecordError> {
        let empty = PointTally::default();
        let of_point = |plan: &PointPlan| {
            self.points.get(&plan.point).unwrap_or(&empty).summary(plan, golden, self.options)
        };
        golden.points.iter().map(of_point).collect()
    }
}

/// One point being summarised.
#[derive(Debug, Default)]
struct PointTally {
    trials: u64,
    images: u64,
    dropped: u64,
    /// Whether some trial ran on some of the images.
    has_subsets: bool,
    /// Whether some trial has no score.
    has_unscored: bool,
    /// The lowest score, and the first trial that has it.
    worst: Option<(f64, u64)>,
    /// Of each metric.
    moments: Vec<Moments>,
    /// Of each metric, the changes of trials that say with which weight they count.
    weighted: Vec<WeightedMean>,
    own: OwnTally,
    /// With a stopping rule.
    sequences: Option<Sequences>,
}

impl PointTally {
    fn new(golden: &Golden, plan: &PointPlan, options: SummaryOptions) -> Result<Self, RecordError> {
        let sequences = || Sequences::new(golden, plan, options.confidence, options.stop);
        let is_anytime = options.rule == IntervalRule::Anytime && plan.sampling != Sampling::Exhaustive;
        Ok(Self { sequences: is_anytime.then(sequences).transpose()?, ..Self::default() })
    }

    fn add(&mut self, golden: &Golden, trial: &TrialRecord, margin: f64) -> Result<(), RecordError> {
        self.trials += 1;
        self.images = self.images.max(trial.images);
        self.has_subsets |= trial.clean.is_some();
        match trial.score(&golden.metrics).zip(golden.score()) {
            Some((score, clean)) => self.add_score(score, clean - margin, trial.trial),
            None => self.has_unscored = true,
        }
        trial.host.as_ref().map_or(Ok(()), |host| self.own.add(host))?;
        self.moments.resize_with(METRICS.len(), Moments::new);
        for (metric, moments) in METRICS.iter().zip(&mut self.moments) {
            if let Some(value) = metric.of(trial, &golden.metrics) {
                moments.push(value)?;
            }
        }
        if let Some(weight) = trial.weight {
            self.weighted.resize_with(METRICS.len(), WeightedMean::new);
            for (metric, changes) in METRICS.iter().zip(&mut self.weighted) {
                let value = metric.of(trial, &golden.metrics).zip(control(metric, golden));
                value.map_or(Ok(()), |(value, clean)| changes.push(value - clean, weight))?;
            }
        }
        if let Some(sequences) = &mut self.sequences {
            sequences.push(golden, trial);
        }
        Ok(())
    }

    fn add_score(&mut self, score: f64, least: f64, trial: u64) {
        // The slack keeps a fall by exactly the margin from counting through rounding.
        self.dropped += u64::from(score < least - 1e-12);
        if self.worst.is_none_or(|worst| (score, trial) < worst) {
            self.worst = Some((score, trial));
        }
    }

    fn summary(
        &self,
        plan: &PointPlan,
        golden: &Golden,
        options: SummaryOptions,
    ) -> Result<PointSummary, RecordError> {
        let metrics = (0..METRICS.len()).map(|place| self.metric(place, plan, golden, options));
        let metrics: Vec<MetricSummary> = metrics.collect::<Result<_, RecordError>>()?;
        Ok(PointSummary {
            point: plan.point,
            amount: plan.amount,
            weight: plan.weight,
            trials: self.trials,
            images: if self.trials == 0 { golden.metrics.images } else { self.images },
            stop: self.stop(plan, golden, &metrics, options)?,
            metrics,
            own: self.own.finish(plan, golden, options)?,
            dropped: self.dropped(plan, options)?,
            worst_trial: self.worst.map(|(_, trial)| trial),
        })
    }

    fn dropped(&self, plan: &PointPlan, options: SummaryOptions) -> Result<Option<Estimate>, RecordError> {
        if self.has_subsets || self.has_unscored || plan.sampling == Sampling::Stratified {
            return Ok(None);
        }
        let share = share_estimate(self.dropped, self.trials, options.confidence)?;
        if options.rule == IntervalRule::FixedN {
            return Ok(share);
        }
        let mut sequence = ShareSequence::new();
        sequence.add(self.dropped, self.trials)?;
        let interval = sequence.interval(options.confidence)?;
        Ok(share.map(|share| Estimate { interval, ..share }))
    }

    /// What the stopping rule says, over all trials as it does.
    fn stop(
        &self,
        plan: &PointPlan,
        golden: &Golden,
        metrics: &[MetricSummary],
        options: SummaryOptions,
    ) -> Result<Option<StopStatus>, RecordError> {
        let Some((goal, sequences)) = options.stop.zip(self.sequences.as_ref()) else { return Ok(None) };
        let entry = metrics.iter().find(|entry| entry.metric == goal.metric);
        let Some(summary) = entry.and_then(|entry| entry.summary) else { return Ok(None) };
        let Some(interval) = sequences.at(goal.metric, goal.rule.confidence)? else { return Ok(None) };
        Ok(Some(goal.status(&golden.metrics, plan, summary.mean, interval)))
    }

    fn metric(
        &self,
        place: usize,
        plan: &PointPlan,
        golden: &Golden,
        options: SummaryOptions,
    ) -> Result<MetricSummary, RecordError> {
        let metric = &METRICS[place];
        let moments = self.moments.get(place).copied().unwrap_or_default();
        let (summary, interval) = if plan.sampling == Sampling::Stratified {
            let changes = self.weighted.get(place).copied().unwrap_or_default();
            let clean = control(metric, golden);
            let (summary, interval) = horvitz_thompson(&changes, clean, moments.range(), options.confidence)?;
            // The sum of weights is not quite the number of trials, so that the mean may lie a little beyond where a share can be.
            let cut = |mean: f64| if metric.is_share { mean.clamp(0.0, 1.0) } else { mean };
            (summary.map(|summary| Summary { mean: cut(summary.mean), ..summary }), interval)
        } else {
            let summary = moments.summary()?;
            let interval = summary.as_ref().map(|summary| t_interval(summary, options.confidence));
            (summary, interval.transpose()?.flatten())
        };
        let interval = match options.rule {
            // Trial after trial through the whole fault space is no sample.
            _ if plan.sampling == Sampling::Exhaustive => None,
            IntervalRule::FixedN => interval,
            IntervalRule::Anytime => {
                let of = |sequences: &Sequences| sequences.interval(place);
                // Without a trial that has the metric there is nothing to say.
                let sequences = self.sequences.as_ref().filter(|_| summary.is_some());
                sequences.map(of).transpose()?.flatten()
            }
        };
        // A metric that some trials lack (a loss that is not finite) has no mean over all of them.
        let of_all = summary.filter(|summary| summary.n == self.trials);
        let overall = plan.weight.zip(metric.of_golden(&golden.metrics)).zip(of_all);
        let overall =
            overall.map(|((weight, clean), summary)| Overall::new(weight, clean, summary.mean, interval));
        Ok(MetricSummary { metric: metric.name, summary, interval, overall })
    }
}

/// What trials of unequal weight are compared with: the golden run; in the number of faults a single upset, which each of them is.
fn control(metric: &Metric, golden: &Golden) -> Option<f64> {
    if metric.name == "faults" { Some(1.0) } else { metric.of_golden(&golden.metrics) }
}

/// The mean over the fault space from trials that say with which weight they count: the golden value plus the weighted mean of the
/// changes (Horvitz-Thompson). Trials of unequal weight have no standard deviation of their own.
fn horvitz_thompson(
    changes: &WeightedMean,
    clean: Option<f64>,
    extremes: Option<(f64, f64)>,
    confidence: f64,
) -> Result<(Option<Summary>, Option<Interval>), RecordError> {
    let (Some(clean), Some((min, max)), Some(change)) =
        (clean, extremes, changes.horvitz_thompson(confidence)?)
    else {
        return Ok((None, None));
    };
    let summary = Summary { n: change.n, mean: clean + change.value, std: None, min, max };
    Ok((Some(summary), change.interval.map(|interval| interval.shifted(clean))))
}

#[cfg(test)]
pub(crate) mod tests {
    use bitquake_stats::{MeanSequence, StopRule};

    use super::*;
    use crate::trial::tests::record;
    use crate::{CleanRecord, Counts, StorageRecord, StratumRecord};

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
                host: None,
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
            ["max_abs", "rel_l2", "cosine", "exceeded", "within"]
                .iter()
                .any(|measure| name.starts_with(measure))
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
        let options = SummaryOptions { confidence: 0.5, margin: 0.05, ..SummaryOptions::default() };
        let point = point(&[90, 80, 86], options);
        assert_eq!(point.metric("accuracy").unwrap().interval.unwrap().confidence, 0.5);
        let dropped = point.dropped.unwrap();
        assert_eq!((dropped.value, dropped.interval.unwrap().confidence), (1.0 / 3.0, 0.5));
    }

    #[test]
    fn a_wrong_confidence_is_an_error() {
        for confidence in [0.0, 1.0, f64::NAN] {
            let options = SummaryOptions { confidence, ..SummaryOptions::default() };
            let error = summarise(&golden(&[Amount::Count(1)]), &[] as &[TrialRecord], options).unwrap_err();
            assert!(matches!(error, RecordError::Stats(_)), "{confidence}");
        }
    }

    /// Options of a campaign that a rule ended.
    fn stopped(metric: &'static str, half_width: f64) -> SummaryOptions {
        let rule = StopRule { half_width: Some(half_width), ..StopRule::new(0.99, u64::MAX) };
        let stop = Some(StopGoal { metric, rule });
        SummaryOptions { rule: IntervalRule::Anytime, stop, ..SummaryOptions::default() }
    }

    #[test]
    fn with_a_stopping_rule_intervals_hold_at_every_number_of_trials() {
        let correct: Vec<u64> = (0..300).map(|trial| 88 + trial % 3).collect();
        let point = point(&correct, stopped("err", 0.02));
        let of = |name: &str| point.metric(name).unwrap().interval;
        for metric in METRICS {
            let entry = point.metric(metric.name).unwrap();
            let has_interval = metric.is_share && entry.summary.is_some();
            assert_eq!(entry.interval.is_some(), has_interval, "{}", metric.name);
            let Some(interval) = entry.interval else { continue };
            assert!(interval.method.is_anytime_valid() && interval.confidence == 0.95, "{}", metric.name);
            assert!(interval.contains(entry.summary.unwrap().mean), "{}", metric.name);
        }
        // That of the metric looked at is the sequence that the rule sees; the accuracy's is its mirror.
        let mut sequence = MeanSequence::new(0.0, 1.0, 0.99).unwrap();
        let err = |correct: &u64| 1.0 - *correct as f64 / 100.0;
        correct.iter().for_each(|correct| sequence.push(err(correct)).unwrap());
        let (wanted, looked) = (sequence.interval(0.95).unwrap(), sequence.interval(0.99).unwrap().unwrap());
        assert_eq!(of("err"), wanted);
        assert_eq!(of("accuracy").unwrap().lo, 1.0 - wanted.unwrap().hi);
        assert_eq!(of("top5_accuracy").unwrap().method.name(), "empirical-bernstein");
        let stop = point.stop.unwrap();
        assert_eq!((stop.metric, stop.interval), ("err", looked));
        assert!((stop.estimate - 0.11).abs() < 1e-12);
        assert_eq!(stop.is_met, looked.half_width() <= 0.02);
        assert!(!self::point(&correct, stopped("err", 0.001)).stop.unwrap().is_met);
        assert_eq!(self::point(&correct, SummaryOptions::default()).stop, None);
        let dropped = point.dropped.unwrap().interval.unwrap();
        assert_eq!(dropped.method.name(), "beta-binomial-mixture");
    }

    #[test]
    fn the_rule_may_look_at_either_of_two_mirrors_or_at_another_metric() {
        let correct: Vec<u64> = (0..100).map(|trial| 85 + trial % 7).collect();
        for metric in ["err", "accuracy", "golden_mismatch", "nonfinite", "err_union"] {
            let point = point(&correct, stopped(metric, 0.1));
            assert_eq!(point.stop.unwrap().metric, metric);
            for name in [metric, "err", "accuracy", "golden_mismatch"] {
                let interval = point.metric(name).unwrap().interval.unwrap();
                assert_eq!(interval.method.name(), "betting", "{metric} {name}");
            }
        }
        let golden = golden(&[Amount::Count(1)]);
        let trials: Vec<TrialRecord> =
            (0..20).map(|trial| crate::trial::tests::full_record(0, trial, 0)).collect();
        let golden = Golden {
            distance: Some(crate::DistanceRule { measure: crate::DistanceMeasure::RelL2, threshold: 1.0 }),
            ..golden
        };
        let trials = trials.iter().map(|trial| TrialRecord { clean: None, stratum: None, ..trial.clone() });
        let point = summarise(&golden, trials, stopped("within", 0.1)).unwrap().remove(0);
        let of = |name: &str| point.metric(name).unwrap().interval;
        assert!(of("within").is_some() && of("exceeded").is_some() && of("accuracy").is_none());
        assert_eq!(point.stop.unwrap().metric, "within");
    }

    #[test]
    fn conditioned_trials_are_judged_over_all_as_the_rule_does() {
        let mut golden = golden(&[Amount::Rate(1e-9)]);
        golden.points[0].weight = Some(0.1);
        let trials: Vec<TrialRecord> = (0..50).map(|trial| record(0, trial, 80)).collect();
        let point = summarise(&golden, &trials, stopped("err", 0.01)).unwrap().remove(0);
        let (stop, entry) = (point.stop.unwrap(), point.metric("err").unwrap());
        let overall = entry.overall.unwrap();
        assert!((stop.estimate - 0.11).abs() < 1e-12 && (overall.mean - 0.11).abs() < 1e-12);
        let ratio = overall.interval.unwrap().width() / entry.interval.unwrap().width();
        assert!((ratio - 0.1).abs() < 1e-9 && stop.interval.contains(0.11), "{ratio}");
    }

    #[test]
    fn single_values_of_trials_on_some_images_may_leave_the_range_of_shares_but_their_mean_cannot() {
        let clean = CleanRecord { correct: 9, top5_correct: 10, nonfinite: 0, loss: None };
        let trial =
            |trial, correct| TrialRecord { images: 10, clean: Some(clean), ..record(0, trial, correct) };
        let mut golden = golden(&[Amount::Count(1)]);
        golden.points[0].images = Some(10);
        let trials: Vec<TrialRecord> = (0..5).map(|n| trial(n, 10)).collect();
        let point = summarise(&golden, &trials, stopped("err", 0.01)).unwrap().remove(0);
        let interval = point.metric("accuracy").unwrap().interval.unwrap();
        assert!(interval.hi == 1.0 && interval.lo >= 0.0, "{interval:?}");
        let summary = point.metric("accuracy").unwrap().summary.unwrap();
        assert!((summary.mean - 1.0).abs() < 1e-12);
        // A value that cannot be is no reason for a wrong interval.
        let broken = TrialRecord { correct: 40, ..trial(5, 0) };
        let trials: Vec<TrialRecord> = trials.into_iter().chain([broken]).collect();
        let point = summarise(&golden, &trials, stopped("err", 0.01)).unwrap().remove(0);
        assert_eq!((point.metric("err").unwrap().interval, point.stop), (None, None));
    }

    /// Two strata of equal size, the second drawn nine times in ten: means over the space, with and without a rule.
    #[test]
    fn weighted_trials_count_by_their_weight() {
        let mut golden = golden(&[Amount::Count(1)]);
        golden.points[0].sampling = Sampling::Stratified;
        golden.strata = vec![StratumRecord { sites: 10, ..StratumRecord::default() }; 2];
        let trial = |n: u64| {
            let (stratum, weight, correct) =
                if n.is_multiple_of(10) { (0, 5.0, 90) } else { (1, 0.5 / 0.9, 60 + n % 20) };
            TrialRecord { stratum: Some(stratum), weight: Some(weight), ..record(0, n, correct) }
        };
        let trials: Vec<TrialRecord> = (0..2000).map(trial).collect();
        let changes: f64 = trials.iter().map(|t| t.weight.unwrap() * (t.correct as f64 / 100.0 - 0.9)).sum();
        for options in [SummaryOptions::default(), stopped("err", 0.1)] {
            let point = summarise(&golden, &trials, options).unwrap().remove(0);
            let accuracy = point.metric("accuracy").unwrap();
            let mean = accuracy.summary.unwrap().mean;
            assert!((mean - (0.9 + changes / 2000.0)).abs() < 1e-12, "{mean}");
            let interval = accuracy.interval.unwrap();
            assert!(interval.contains(mean) && interval.width() < 0.2, "{interval:?}");
            let is_anytime = options.rule == IntervalRule::Anytime;
            assert_eq!(interval.method.name(), if is_anytime { "betting" } else { "horvitz-thompson-t" });
            assert_eq!((point.dropped, point.stop.is_some()), (None, is_anytime));
        }
    }

    #[test]
    fn weighted_means_of_shares_are_shares() {
        let mut golden = golden(&[Amount::Count(1)]);
        golden.points[0].sampling = Sampling::Stratified;
        golden.strata = vec![StratumRecord { sites: 10, ..StratumRecord::default() }; 2];
        let trial =
            |n| TrialRecord { faults: 1, stratum: Some(0), weight: Some(5.0), ..record(0, n, 10 + n) };
        let trials: Vec<TrialRecord> = (0..9).map(trial).collect();
        let point = summarise(&golden, &trials, SummaryOptions::default()).unwrap().remove(0);
        // 0.9 + 5 * (0.14 - 0.9) is no share.
        assert_eq!(point.metric("accuracy").unwrap().summary.unwrap().mean, 0.0);
        assert_eq!(point.metric("err").unwrap().summary.unwrap().mean, 1.0);
        // Each has one fault, whatever its weight.
        assert_eq!(point.metric("faults").unwrap().summary.unwrap().mean, 1.0);
    }

    #[test]
    fn a_search_through_every_bit_has_no_intervals() {
        let mut golden = golden(&[Amount::Count(1)]);
        golden.points[0].sampling = Sampling::Exhaustive;
        let trials = [record(0, 0, 90), record(0, 1, 10)];
        let all = summarise(&golden, &trials, SummaryOptions::default()).unwrap().remove(0);
        assert_eq!(all.metric("accuracy").unwrap().interval, None);
    }

    #[test]
    fn trials_on_some_images() {
        let clean = CleanRecord { correct: 8, top5_correct: 10, nonfinite: 0, loss: None };
        let trial =
            |trial, correct| TrialRecord { images: 10, clean: Some(clean), ..record(0, trial, correct) };
        let golden = golden(&[Amount::Count(1)]);
        let trials = [trial(0, 8), trial(1, 10), trial(2, 6)];
        let point = summarise(&golden, &trials, SummaryOptions::default()).unwrap().remove(0);
        let accuracy = point.metric("accuracy").unwrap().summary.unwrap();
        assert!((accuracy.mean - 0.9).abs() < 1e-12 && (accuracy.max - 1.1).abs() < 1e-12);
        assert_eq!((point.images, point.dropped, point.worst_trial), (10, None, Some(2)));
    }
}
