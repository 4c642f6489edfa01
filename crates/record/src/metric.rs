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
    #[must_use]
    pub fn of(&self, trial: &TrialRecord) -> Option<f64> {
        (self.value)(trial)
    }

    /// The number of a trial without faults: that of the golden run.
    #[must_use]
    pub fn of_golden(&self, golden: &Counts) -> Option<f64> {
        (self.golden)(golden)
    }
}

macro_rules! share_of_images {
    ($name:literal, $field:ident, $golden:expr, $about:literal) => {
        Metric {
            name: $name,
            about: $about,
            is_share: true,
            value: |t| Some(share(t.$field, t.images)),
            golden: |counts| {
                let images: fn(&Counts) -> u64 = $golden;
                Some(share(images(counts), counts.images))
            },
        }
    };
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

/// All metrics, in the order of files. The last ones exist only where the memory is protected. `docs` and the report list them from here.
pub const METRICS: &[Metric] = &[
    share_of_images!("accuracy", correct, |g| g.correct, "share of images whose label is the best class"),
    share_of_images!(
        "top5_accuracy",
        top5_correct,
        |g| g.top5_correct,
        "share of images whose label is among the best five classes"
    ),
    share_of_images!(
        "golden_mismatch",
        golden_mismatch,
        |_| 0,
        "share of images whose best class differs from the golden run's (SDC-1)"
    ),
    share_of_images!(
        "nonfinite",
        nonfinite,
        |g| g.nonfinite,
        "share of images with a NaN or an infinity among their outputs"
    ),
    Metric {
        name: "err",
        about: "share of images wrong in the faulty run (robust error)",
        is_share: true,
        value: |t| Some(1.0 - t.accuracy()),
        golden: |counts| Some(1.0 - counts.accuracy()),
    },
    share_of_images!(
        "err_union",
        err_union,
        |g| g.images.saturating_sub(g.correct),
        "share of images wrong in the clean or in the faulty run"
    ),
    share_of_images!(
        "due",
        due,
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
