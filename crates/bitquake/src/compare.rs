//! Two campaigns, compared trial by trial.

use std::collections::BTreeMap;

use bitquake_config::identity_difference;
use bitquake_record::{
    Amount, Golden, IntervalRule, METRICS, Metric, RecordError, ResultDir, Sampling, SummaryOptions,
    TrialRecord,
};
use bitquake_stats::{
    Estimate, Interval, MeanSequence, SignFlip, StatsError, compare_paired, mcnemar, mean_estimate,
    sign_flip_counts,
};
use serde::Serialize;

use crate::error::Error;
use crate::results::configuration;

/// Random sign patterns, where there are too many to count them all.
const DRAWS: u32 = 100_000;
/// How far from a whole number of images a difference may lie through rounding.
const WHOLE: f64 = 1e-6;

/// Two campaigns on common trials: those with the same amount of faults and the same number.
///
/// Trials of one number draw from the same random stream, so in campaigns with the same seed what one memory suffers resembles what
/// the other does (common random numbers); with the same fault space and format the patterns are the same, bit for bit. The
/// differences then vary less than the results, and small ones can be told. Without that the comparison still holds, and shows less.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The metric compared.
    pub metric: &'static str,
    /// Whether it is a share, in [0, 1].
    pub is_share: bool,
    /// Confidence of the intervals: that of the first campaign.
    pub confidence: f64,
    /// The first campaign's name.
    pub first: String,
    /// The second campaign's name.
    pub second: String,
    /// In what the campaigns' identities differ.
    pub differences: String,
    /// Whether a rule that looked at the results ended the trials of either: then intervals are such that looking does no harm, and
    /// there are no p-values.
    pub is_stopped: bool,
    /// The common points, in the order of the first campaign.
    pub points: Vec<PointComparison>,
}

/// One point of a comparison. Differences are second minus first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointComparison {
    /// Its rate or count.
    pub amount: Amount,
    /// Trials that both campaigns have.
    pub pairs: u64,
    /// Pairs whose patterns are the same, bit for bit.
    pub same_patterns: u64,
    /// The first campaign's mean over the pairs.
    pub first: f64,
    /// The second's.
    pub second: f64,
    /// The mean difference with its interval: a t interval, or, after a stopping rule, a betting sequence (none for metrics without
    /// bounds).
    pub difference: Estimate,
    /// The sign-flip test of no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<SignFlip>,
    /// Which trials dropped below the margin in one campaign alone; none where trials ran on some of the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Discordant>,
}

/// Trials that dropped by more than the margin in one campaign and not in the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Discordant {
    /// In the first alone.
    pub first_only: u64,
    /// In the second alone.
    pub second_only: u64,
    /// McNemar's exact test of no difference; none after a stopping rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
}

/// What is kept of a trial.
#[derive(Clone, Copy, Debug)]
struct Kept {
    value: f64,
    images: u64,
    pattern: u64,
    dropped: Option<bool>,
}

/// Trials by number.
type Trials = BTreeMap<u64, Kept>;

/// A campaign that takes part.
struct Side {
    golden: Golden,
    options: SummaryOptions,
    /// By the point.
    trials: BTreeMap<u32, Trials>,
}

/// Compares two result directories by a metric of [`METRICS`].
///
/// # Errors
/// [`Error::Record`] when a directory cannot be read, the metric is not known or has no values, a campaign draws its bits with
/// unequal probabilities, or no trials pair: the campaigns then have no amount of faults in common, or no trial of one is finished
/// in the other.
pub fn compare(first: &ResultDir, second: &ResultDir, metric: &str) -> Result<Comparison, Error> {
    let invalid =
        |dir: &ResultDir, reason: String| RecordError::Invalid { path: dir.path().to_owned(), reason };
    let metric = METRICS
        .iter()
        .find(|known| known.name == metric)
        .ok_or_else(|| invalid(first, format!("metric `{metric}` is not known")))?;
    let a = Side::read(first, metric, None)?;
    let b = Side::read(second, metric, Some(a.options.margin))?;
    let mut points = Vec::new();
    for plan in &a.golden.points {
        let Some(other) = b.golden.points.iter().find(|other| other.amount == plan.amount) else { continue };
        let (Some(mine), Some(theirs)) = (a.trials.get(&plan.point), b.trials.get(&other.point)) else {
            continue;
        };
        let pairs: Vec<(Kept, Kept)> =
            mine.iter().filter_map(|(number, kept)| Some((*kept, *theirs.get(number)?))).collect();
        let subsets = [plan.images.is_some(), other.images.is_some()];
        points.extend(point(plan.amount, &pairs, metric, (&a, &b), subsets).map_err(RecordError::from)?);
    }
    if points.is_empty() {
        return Err(invalid(second, nothing_pairs(first, metric, &a, &b)).into());
    }
    Ok(Comparison {
        metric: metric.name,
        is_share: metric.is_share,
        confidence: a.options.confidence,
        first: a.golden.name.clone(),
        second: b.golden.name.clone(),
        differences: identity_difference(&a.golden.identity, &b.golden.identity),
        is_stopped: is_stopped(&a, &b),
        points,
    })
}

fn is_stopped(a: &Side, b: &Side) -> bool {
    [a, b].iter().any(|side| side.options.rule == IntervalRule::Anytime)
}

fn nothing_pairs(first: &ResultDir, metric: &Metric, a: &Side, b: &Side) -> String {
    let amounts = |side: &Side| {
        let told = side.golden.points.iter().map(|plan| format!("{} {}", plan.amount.kind(), plan.amount));
        told.collect::<Vec<_>>().join(", ")
    };
    format!(
        "no trial with `{}` pairs with one of {}: here are {}, there {}",
        metric.name,
        first.path().display(),
        amounts(b),
        amounts(a)
    )
}

impl Side {
    /// What a trial may lose before it counts as dropped is `margin`, or what the campaign says.
    fn read(dir: &ResultDir, metric: &Metric, margin: Option<f64>) -> Result<Self, Error> {
        let golden = dir.require_golden()?;
        let options = configuration(dir)?.1;
        let margin = margin.unwrap_or(options.margin);
        if golden.points.iter().any(|plan| plan.sampling == Sampling::Stratified) {
            let reason = "its trials are drawn with unequal probabilities (sampling = \"importance\") and cannot be paired";
            return Err(RecordError::Invalid { path: dir.path().to_owned(), reason: reason.into() }.into());
        }
        if golden.points.iter().any(|plan| plan.weight.is_some()) {
            let reason = "its trials have at least one fault each (at_least = 1) and stand for other shares of all than another campaign's: compare the overall means in summary.csv";
            return Err(RecordError::Invalid { path: dir.path().to_owned(), reason: reason.into() }.into());
        }
        let mut trials: BTreeMap<u32, Trials> = BTreeMap::new();
        dir.for_each_trial(|trial| {
            if let Some(value) = metric.of(&trial, &golden.metrics) {
                let kept = kept(&trial, value, &golden, margin);
                trials.entry(trial.point).or_default().insert(trial.trial, kept);
            }
            Ok(())
        })?;
        Ok(Self { golden, options, trials })
    }
}

fn kept(trial: &TrialRecord, value: f64, golden: &Golden, margin: f64) -> Kept {
    // The same slack as in summaries.
    let scores = trial.score(&golden.metrics).zip(golden.score()).filter(|_| trial.clean.is_none());
    Kept {
        value,
        images: trial.images,
        pattern: u64::from_str_radix(&trial.pattern, 16).unwrap_or(0),
        dropped: scores.map(|(score, clean)| score < clean - margin - 1e-12),
    }
}

/// None without pairs.
fn point(
    amount: Amount,
    pairs: &[(Kept, Kept)],
    metric: &Metric,
    (a, b): (&Side, &Side),
    subsets: [bool; 2],
) -> Result<Option<PointComparison>, StatsError> {
    let values = |of: fn(&(Kept, Kept)) -> f64| -> Vec<f64> { pairs.iter().map(of).collect() };
    let (first, second) = (values(|pair| pair.0.value), values(|pair| pair.1.value));
    let confidence = a.options.confidence;
    let Some(paired) = compare_paired(&first, &second, confidence, DRAWS, 0)? else { return Ok(None) };
    let is_stopped = is_stopped(a, b);
    let difference = if is_stopped {
        let bounds =
            metric.bounds(&a.golden.metrics, subsets[0]).zip(metric.bounds(&b.golden.metrics, subsets[1]));
        let sequence =
            bounds.map(|bounds| sequence(bounds, &first, &second, confidence)).transpose()?.flatten();
        Estimate { interval: sequence, ..paired.difference }
    } else {
        paired.difference
    };
    let exact = whole_differences(pairs).and_then(|counts| sign_flip_counts(&counts));
    let test = exact.map_or(paired.test, |p_value| SignFlip { p_value, exact: true });
    let mean = |values: &[f64]| Ok(mean_estimate(values, confidence)?.map_or(0.0, |estimate| estimate.value));
    Ok(Some(PointComparison {
        amount,
        pairs: pairs.len() as u64,
        same_patterns: pairs.iter().filter(|(a, b)| a.pattern == b.pattern).count() as u64,
        first: mean(&first)?,
        second: mean(&second)?,
        difference,
        test: (!is_stopped).then_some(test),
        dropped: dropped(pairs, is_stopped)?,
    }))
}

/// The interval of the mean difference that holds at every number of pairs.
fn sequence(
    (of_first, of_second): ((f64, f64), (f64, f64)),
    first: &[f64],
    second: &[f64],
    confidence: f64,
) -> Result<Option<Interval>, StatsError> {
    let mut sequence = MeanSequence::new(of_second.0 - of_first.1, of_second.1 - of_first.0, confidence)?;
    first.iter().zip(second).try_for_each(|(first, second)| sequence.push(second - first))?;
    let interval = sequence.interval(confidence)?;
    // Means of shares lie in [0, 1], whatever single values are.
    Ok(interval.map(|i| Interval { lo: i.lo.clamp(-1.0, 1.0), hi: i.hi.clamp(-1.0, 1.0), ..i }))
}

/// The differences as numbers of images, if they are such.
fn whole_differences(pairs: &[(Kept, Kept)]) -> Option<Vec<i64>> {
    let images = pairs.first()?.0.images;
    let whole = |(a, b): &(Kept, Kept)| {
        let difference = (b.value - a.value) * images as f64;
        let is_whole = (difference - difference.round()).abs() < WHOLE && difference.abs() <= images as f64;
        (a.images == images && b.images == images && is_whole).then_some(difference.round() as i64)
    };
    pairs.iter().map(whole).collect()
}

fn dropped(pairs: &[(Kept, Kept)], is_stopped: bool) -> Result<Option<Discordant>, StatsError> {
    let both: Option<Vec<(bool, bool)>> = pairs.iter().map(|(a, b)| a.dropped.zip(b.dropped)).collect();
    let Some(both) = both else { return Ok(None) };
    let count = |wanted: (bool, bool)| both.iter().filter(|found| **found == wanted).count() as u64;
    let (first_only, second_only) = (count((true, false)), count((false, true)));
    let p_value = (!is_stopped).then(|| mcnemar(first_only, second_only)).transpose()?;
    Ok(Some(Discordant { first_only, second_only, p_value }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bitquake_record::{Appender, CleanRecord, Counts, PointPlan};

    use super::*;

    /// A result directory with a point for each amount, and these numbers of wrong images of 100 at every point.
    fn campaign(folder: &Path, name: &str, amounts: &[Amount], wrong: &[u64], run: &str) -> ResultDir {
        let dir = ResultDir::at(folder.join(name));
        dir.create().unwrap();
        let text = format!(
            "schema = 1\nname = \"{name}\"\n[model]\npath = \"m.onnx\"\n[data]\nformat = \"npz\"\nimages = \"d.npz\"\n\
             [fault]\nrates = [1e-5]\n{run}"
        );
        let points = (0..).zip(amounts).map(|(point, &amount)| PointPlan::new(point, amount)).collect();
        let metrics = Counts { images: 100, classes: 10, correct: 90, top5_correct: 99, ..Counts::default() };
        let identity = BTreeMap::from([("storage".to_owned(), name.to_owned())]);
        let golden = Golden { schema: 1, name: name.into(), points, metrics, identity, ..Golden::default() };
        dir.write_golden(&text, &golden).unwrap();
        let mut appender = Appender::open(&dir, 0).unwrap();
        for (point, _) in (0..).zip(amounts) {
            for (trial, wrong) in (0..).zip(wrong) {
                let record =
                    TrialRecord { point, trial, images: 100, correct: 100 - wrong, ..TrialRecord::default() };
                let pattern =
                    if trial % 2 == 0 { "00aa".into() } else { format!("{trial:04x}{}", name.len()) };
                appender.append(&TrialRecord { pattern, ..record }).unwrap();
            }
        }
        appender.sync().unwrap();
        dir
    }

    #[test]
    fn pairs_by_hand() {
        let temp = tempfile::tempdir().unwrap();
        let rates = [Amount::Rate(1e-5), Amount::Rate(1e-4)];
        let a = campaign(temp.path(), "a", &rates, &[10, 12, 14, 30, 11], "");
        let b = campaign(temp.path(), "bb", &rates[1..], &[11, 14, 15, 33], "");
        let all = compare(&a, &b, "err").unwrap();
        assert_eq!((all.points.len(), all.confidence, all.is_stopped), (1, 0.95, false));
        assert_eq!(all.differences, "storage is `a` here and `bb` there");
        let point = &all.points[0];
        assert_eq!((point.amount, point.pairs, point.same_patterns), (rates[1], 4, 2));
        assert!((point.first - 0.165).abs() < 1e-12 && (point.second - 0.1825).abs() < 1e-12);
        assert!((point.difference.value - 0.0175).abs() < 1e-12);
        // Differences 1, 2, 1, 3: all of one sign, so 2 of 16 patterns are as far; t is 3.1824, the error sqrt(11/12)/200.
        assert_eq!(point.test, Some(SignFlip { p_value: 0.125, exact: true }));
        let half = point.difference.interval.unwrap().half_width();
        assert!((half - 3.182_446_305 * (11.0_f64 / 12.0).sqrt() / 200.0).abs() < 1e-9, "{half}");
        // Beyond 11 wrong images, that is all but the first of each: the same in both.
        assert_eq!(point.dropped, Some(Discordant { first_only: 0, second_only: 0, p_value: Some(1.0) }));
        let back = compare(&b, &a, "err").unwrap();
        assert!((back.points[0].difference.value + 0.0175).abs() < 1e-12);
    }

    #[test]
    fn after_a_stopping_rule_only_what_then_holds() {
        let temp = tempfile::tempdir().unwrap();
        let rates = [Amount::Rate(1e-5)];
        let rule = "[run]\nstop = { half_width = 0.1 }\n";
        let (many, more): (Vec<u64>, Vec<u64>) = (0..60).map(|n| (10 + n % 3, 20 + n % 4)).unzip();
        let a = campaign(temp.path(), "a", &rates, &many, "");
        let b = campaign(temp.path(), "b", &rates, &more, rule);
        let all = compare(&a, &b, "err").unwrap();
        let point = &all.points[0];
        let interval = point.difference.interval.unwrap();
        assert!(all.is_stopped && point.test.is_none() && interval.method.is_anytime_valid());
        assert!(interval.contains(point.difference.value), "{interval:?}");
        assert!(point.dropped.unwrap().second_only > 0 && point.dropped.unwrap().p_value.is_none());
        assert!(compare(&a, &b, "faults").unwrap().points[0].difference.interval.is_none());
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let a = campaign(temp.path(), "a", &[Amount::Rate(1e-5)], &[10, 12], "");
        let b = campaign(temp.path(), "b", &[Amount::Count(1)], &[10, 12], "");
        let none = campaign(temp.path(), "none", &[Amount::Rate(1e-5)], &[], "");
        let error =
            |a: &ResultDir, b: &ResultDir, metric: &str| compare(a, b, metric).unwrap_err().to_string();
        let told = error(&a, &b, "err");
        assert!(told.contains("here are count 1, there rate 1e-5"), "{told}");
        assert!(error(&a, &none, "err").contains("no trial with `err` pairs"));
        assert!(error(&a, &a, "errr").contains("metric `errr` is not known"));
        assert!(error(&a, &a, "rel_l2").contains("no trial with `rel_l2` pairs"));
        assert!(error(&a, &ResultDir::at(temp.path()), "err").contains("no golden.json"));
    }

    #[test]
    fn differences_on_some_images_are_no_whole_numbers() {
        let kept = |value, images| Kept { value, images, pattern: 0, dropped: None };
        assert_eq!(whole_differences(&[(kept(0.1, 100), kept(0.13, 100))]), Some(vec![3]));
        assert_eq!(whole_differences(&[(kept(0.1, 100), kept(0.135, 100))]), None);
        assert_eq!(whole_differences(&[(kept(0.1, 100), kept(0.13, 200))]), None);
        let trial = TrialRecord { clean: Some(CleanRecord::default()), ..TrialRecord::default() };
        assert_eq!(super::kept(&trial, 0.0, &Golden::default(), 0.01).dropped, None);
    }
}
