//! The numbers that a trial is judged by: one table, from which summaries, files and reports are made.

use crate::golden::Counts;
use crate::trial::{TrialRecord, share};

/// One number of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in files.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// A fraction in `[0, 1]`, printed as a percentage.
    pub is_share: bool,
    value: fn(&TrialRecord) -> Option<f64>,
    golden: fn(&Counts) -> Option<f64>,
}

impl Metric {
    /// The number of one trial; none when the trial has none (a loss that is not finite).
    ///
    /// For a trial on some of the images it is an estimate of the number over all: the golden run's, plus what the faults
    /// changed on these images (a control variate). That is unbiased when the images were chosen at random, and may leave
    /// `[0, 1]`: cut at the bounds, it would no longer be.
    #[must_use]
    pub fn of(&self, trial: &TrialRecord, golden: &Counts) -> Option<f64> {
        let faulty = (self.value)(trial)?;
        let Some(clean) = trial.clean else { return Some(faulty) };
        let all = (self.golden)(golden)?;
        let these = (self.golden)(&clean.counts(trial.images))?;
        Some(if all == these { faulty } else { all + (faulty - these) })
    }

    /// What [`of`](Self::of) can give for a share of images, whatever the faults are; none for other metrics, which have no bounds.
    /// `is_subset` says whether trials run on some of the images.
    ///
    /// A trial on some of the images gives the golden value plus a change of -1 to 1, and no change can go beyond a golden value of
    /// 0 or 1, which all subsets share. Intervals that hold under a stopping rule rest on these bounds, so the rule and the report
    /// must take the same.
    #[must_use]
    pub fn bounds(&self, golden: &Counts, is_subset: bool) -> Option<(f64, f64)> {
        let all = self.of_golden(golden).unwrap_or(0.0);
        let is_plain = !is_subset || all == 0.0 || all == 1.0;
        self.is_share.then_some(if is_plain { (0.0, 1.0) } else { (all - 1.0, all + 1.0) })
    }

    /// Whether trials can have the metric, a share of images: of a classifier (`has_classes`), or of a model whose outputs are compared
    /// by a distance.
    #[must_use]
    pub fn is_of(&self, has_classes: bool) -> bool {
        let of_distances = ["exceeded", "within"].contains(&self.name);
        let of_both = ["masked", "nonfinite", "due"].contains(&self.name);
        self.is_share && (of_both || of_distances != has_classes)
    }

    /// The number of a trial without faults: that of the golden run.
    #[must_use]
    pub fn of_golden(&self, golden: &Counts) -> Option<f64> {
        (self.golden)(golden)
    }
}

/// A share of images, from the number of images that a trial has, if it has one.
macro_rules! share_of_images {
    ($name:literal, $number:expr, $golden:expr, $about:literal) => {
        Metric {
            name: $name,
            about: $about,
            is_share: true,
            value: |t| {
                let number: fn(&TrialRecord) -> Option<u64> = $number;
                Some(share(number(t)?, t.images))
            },
            golden: |counts| {
                let images: fn(&Counts) -> u64 = $golden;
                Some(share(images(counts), counts.images))
            },
        }
    };
}

/// A number of the outputs' distances.
macro_rules! of_distance {
    ($name:literal, $measure:ident, $part:ident, $golden:literal, $about:literal) => {
        Metric {
            name: $name,
            about: $about,
            is_share: false,
            value: |t| t.distance?.$measure.$part,
            golden: |_| Some($golden),
        }
    };
}

/// A count, by the name of its field, if it is known and the model is a classifier: other models have no labels and no classes.
fn of_classes(trial: &TrialRecord, count: &str, number: u64) -> Option<u64> {
    trial.known(count, number).filter(|_| trial.distance.is_none())
}

/// The share of images whose label is the best class: counted, or the bare number of a host that counts nothing.
fn accuracy(trial: &TrialRecord) -> Option<f64> {
    match &trial.host {
        _ if trial.distance.is_some() => None,
        Some(host) if !host.knows("correct") => host.accuracy(),
        _ => Some(trial.accuracy()),
    }
}

macro_rules! of_protection {
    ($field:ident, $about:literal) => {
        Metric {
            name: stringify!($field),
            about: $about,
            is_share: false,
            value: |t| t.protection.map(|protection| protection.$field as f64),
            golden: |_| Some(0.0),
        }
    };
}

/// All metrics, in the order of files. Those of classes exist for classifiers, those of distances for other models, those of
/// code words where the memory is protected. `docs` and the report list them from here.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "accuracy",
        about: "share of images whose label is the best class",
        is_share: true,
        value: accuracy,
        golden: Counts::known_accuracy,
    },
    share_of_images!(
        "top5_accuracy",
        |t| of_classes(t, "top5_correct", t.top5_correct),
        |g| g.top5_correct,
        "share of images whose label is among the best five classes"
    ),
    share_of_images!(
        "golden_mismatch",
        |t| of_classes(t, "golden_mismatch", t.golden_mismatch),
        |_| 0,
        "share of images whose best class differs from the golden run's (SDC-1)"
    ),
    share_of_images!(
        "masked",
        |t| t.masked,
        |g| g.images,
        "share of images whose outputs are the golden run's, bit for bit"
    ),
    share_of_images!(
        "benign",
        |t| {
            let mismatch = of_classes(t, "golden_mismatch", t.golden_mismatch)?;
            Some(t.images.saturating_sub(mismatch).saturating_sub(t.masked?))
        },
        |_| 0,
        "share of images with other outputs than the golden run's and the same best class"
    ),
    share_of_images!(
        "sdc5",
        |t| of_classes(t, "sdc5", t.sdc5?),
        |_| 0,
        "share of images for which the golden run's best class is not among the best five (SDC-5)"
    ),
    share_of_images!(
        "sdc10",
        |t| of_classes(t, "sdc10", t.sdc10?),
        |_| 0,
        "share of images whose confidence, the best class's probability, differs by more than 10 % from the golden run's"
    ),
    share_of_images!(
        "sdc20",
        |t| of_classes(t, "sdc20", t.sdc20?),
        |_| 0,
        "share of images whose confidence differs by more than 20 % from the golden run's"
    ),
    share_of_images!(
        "nonfinite",
        |t| t.known("nonfinite", t.nonfinite),
        |g| g.nonfinite,
        "share of images with a NaN or an infinity among their outputs"
    ),
    share_of_images!(
        "exceeded",
        |t| Some(t.distance?.exceeded),
        |_| 0,
        "share of images whose outputs lie beyond the threshold, those not finite included"
    ),
    Metric {
        name: "within",
        about: "share of images whose outputs lie within the threshold",
        is_share: true,
        value: |t| Some(1.0 - share(t.distance?.exceeded, t.images)),
        golden: |_| Some(1.0),
    },
    Metric {
        name: "err",
        about: "share of images wrong in the faulty run (robust error)",
        is_share: true,
        value: |t| accuracy(t).map(|accuracy| 1.0 - accuracy),
        golden: |counts| counts.known_accuracy().map(|accuracy| 1.0 - accuracy),
    },
    share_of_images!(
        "err_union",
        |t| of_classes(t, "err_union", t.err_union),
        |g| g.images.saturating_sub(g.correct),
        "share of images wrong in the clean or in the faulty run"
    ),
    share_of_images!(
        "due",
        |t| t.known("due", t.due),
        |_| 0,
        "share of images without output, because the engine refused the faulty model"
    ),
    Metric {
        name: "loss",
        about: "mean cross-entropy in nats, over the trials in which it is finite",
        is_share: false,
        value: |t| t.loss,
        golden: |counts| counts.loss,
    },
    of_distance!(
        "max_abs",
        max_abs,
        mean,
        0.0,
        "largest absolute difference of two outputs, mean over images"
    ),
    of_distance!(
        "max_abs_worst",
        max_abs,
        worst,
        0.0,
        "largest absolute difference of two outputs, worst image"
    ),
    of_distance!("rel_l2", rel_l2, mean, 0.0, "relative Euclidean distance of the outputs, mean over images"),
    of_distance!(
        "rel_l2_worst",
        rel_l2,
        worst,
        0.0,
        "relative Euclidean distance of the outputs, worst image"
    ),
    of_distance!("cosine", cosine, mean, 1.0, "cosine similarity of the outputs, mean over images"),
    of_distance!("cosine_worst", cosine, worst, 1.0, "cosine similarity of the outputs, worst image"),
    Metric {
        name: "faults",
        about: "bits changed",
        is_share: false,
        value: |t| Some(t.faults as f64),
        golden: |_| Some(0.0),
    },
    of_protection!(corrected, "code words whose faults were corrected (CE)"),
    of_protection!(detected, "code words whose faults were detected and not corrected (DUE)"),
    of_protection!(miscorrected, "code words whose faults were taken for others, and made worse"),
    of_protection!(silent, "code words whose faults went unnoticed"),
    of_protection!(guarded, "values that a range guard replaced"),
    of_protection!(residual, "bits of the stored words that are wrong after the protections did their work"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CleanRecord;
    use crate::trial::tests::{full_record, record};

    fn metric(name: &str) -> &'static Metric {
        METRICS.iter().find(|metric| metric.name == name).unwrap()
    }

    fn counts() -> Counts {
        Counts {
            images: 1000,
            classes: 10,
            correct: 900,
            top5_correct: 990,
            nonfinite: 10,
            loss: Some(0.5),
            host: None,
        }
    }

    #[test]
    fn trials_on_some_images_are_corrected_by_what_the_golden_run_gave_there() {
        let trial = TrialRecord { distance: None, nonfinite: 3, ..full_record(0, 0, 80) };
        let cases = [
            ("accuracy", 0.9 + (0.80 - 0.91)),
            ("top5_accuracy", 0.99 + (0.99 - 0.98)),
            ("nonfinite", 0.01 + (0.03 - 0.01)),
            ("err", 0.1 + (0.2 - 0.09)),
            ("err_union", 0.1 + (0.2 - 0.09)),
            ("loss", 0.5 + (0.25 - 0.125)),
            // What is known without faults needs no correction.
            ("golden_mismatch", 0.02),
            ("masked", 0.4),
            ("benign", 0.58),
            ("sdc5", 0.01),
            ("sdc10", 0.09),
            ("sdc20", 0.05),
            ("faults", 3.0),
        ];
        for (name, value) in cases {
            let found = metric(name).of(&trial, &counts()).unwrap();
            assert!((found - value).abs() < 1e-15, "{name}: {found}");
        }
        // Neither cut nor invented.
        let lucky = TrialRecord { correct: 100, ..trial.clone() };
        assert!((metric("accuracy").of(&lucky, &counts()).unwrap() - 0.99).abs() < 1e-15);
        let lucky = TrialRecord { clean: Some(CleanRecord { correct: 70, ..trial.clean.unwrap() }), ..lucky };
        assert!((metric("accuracy").of(&lucky, &counts()).unwrap() - 1.2).abs() < 1e-15);
        let lost = TrialRecord { clean: Some(CleanRecord { loss: None, ..trial.clean.unwrap() }), ..trial };
        assert_eq!(metric("loss").of(&lost, &counts()), None);
    }

    #[test]
    fn over_random_images_the_correction_is_unbiased() {
        // 4 images, of which the golden run has the first 3 right and the faulty run the last 2: every pair of images.
        let (clean, faulty) = ([1, 1, 1, 0], [0, 0, 1, 1]);
        let golden = Counts { images: 4, correct: 3, ..Counts::default() };
        let pairs = (0..4).flat_map(|a| (0..a).map(move |b| (a, b)));
        let value = |(a, b): (usize, usize)| {
            let before = CleanRecord { correct: clean[a] + clean[b], ..CleanRecord::default() };
            let correct = faulty[a] + faulty[b];
            let trial = TrialRecord { images: 2, correct, clean: Some(before), ..TrialRecord::default() };
            metric("accuracy").of(&trial, &golden).unwrap()
        };
        let mean = pairs.map(value).sum::<f64>() / 6.0;
        assert!((mean - 0.5).abs() < 1e-15, "{mean}");
    }

    #[test]
    fn every_value_lies_within_the_bounds() {
        for metric in METRICS.iter().filter(|metric| metric.is_share) {
            assert_eq!(metric.bounds(&counts(), false), Some((0.0, 1.0)), "{}", metric.name);
            let (lo, hi) = metric.bounds(&counts(), true).unwrap();
            for (clean, faulty) in [(0, 100), (100, 0), (37, 41)] {
                let before =
                    CleanRecord { correct: clean, top5_correct: clean, nonfinite: clean, loss: None };
                let trial = TrialRecord {
                    clean: Some(before),
                    distance: None,
                    top5_correct: faulty,
                    nonfinite: faulty,
                    err_union: 100 - faulty.min(clean),
                    ..full_record(0, 0, faulty)
                };
                if let Some(value) = metric.of(&trial, &counts()) {
                    assert!((lo..=hi).contains(&value), "{}: {value} not in {lo} to {hi}", metric.name);
                }
            }
        }
        assert_eq!(metric("accuracy").bounds(&counts(), true), Some((0.9 - 1.0, 1.9)));
        assert_eq!(metric("golden_mismatch").bounds(&counts(), true), Some((0.0, 1.0)));
        assert_eq!(metric("loss").bounds(&counts(), false), None);
    }

    #[test]
    fn models_without_classes_have_distances_in_place_of_labels() {
        let trial = TrialRecord { clean: None, loss: None, ..full_record(0, 0, 0) };
        let names = |trial: &TrialRecord| -> Vec<&str> {
            METRICS.iter().filter(|m| m.of(trial, &counts()).is_some()).map(|m| m.name).collect()
        };
        let wanted = [
            "masked",
            "nonfinite",
            "exceeded",
            "within",
            "due",
            "max_abs",
            "max_abs_worst",
            "rel_l2",
            "cosine",
            "cosine_worst",
            "faults",
        ];
        assert_eq!(names(&trial), wanted);
        assert_eq!(metric("cosine_worst").of(&trial, &counts()), Some(-0.5));
        assert_eq!(metric("exceeded").of(&trial, &counts()), Some(0.07));
    }

    #[test]
    fn every_kind_of_model_has_the_shares_that_its_trials_have() {
        let of_classes = TrialRecord { distance: None, clean: None, ..full_record(0, 0, 90) };
        let of_distances = TrialRecord { clean: None, ..full_record(0, 0, 90) };
        for metric in METRICS {
            for (has_classes, trial) in [(true, &of_classes), (false, &of_distances)] {
                let has = metric.is_share && metric.of(trial, &counts()).is_some();
                assert_eq!(metric.is_of(has_classes), has, "{}, {has_classes}", metric.name);
            }
        }
    }

    #[test]
    fn what_older_files_did_not_count_is_absent() {
        let old = record(0, 0, 90);
        for name in ["masked", "benign", "sdc5", "sdc10", "sdc20", "exceeded", "max_abs"] {
            assert_eq!(metric(name).of(&old, &counts()), None, "{name}");
        }
        assert_eq!(metric("accuracy").of(&old, &counts()), Some(0.9));
    }
}
