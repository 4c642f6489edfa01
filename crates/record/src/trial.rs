//! The record of one finished trial.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::golden::{Counts, Golden};
use crate::host::{HostRecord, known};
use crate::metric::METRICS;

/// How many faults a point asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// A bit error rate: a probability for each bit, in `[0, 1]`.
    Rate(f64),
    /// An exact number of events: distinct bits, bursts, words.
    Count(u64),
    /// A share of the elements, in `[0, 1]`.
    Fraction(f64),
    /// The supply voltage of a memory, in the unit of its map.
    Voltage(f64),
}

impl fmt::Display for Amount {
    /// A rate as `1e-5`, a count as `3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Rate(value) | Self::Fraction(value) | Self::Voltage(value) => {
                if *value == 0.0 || *value >= 0.01 { write!(f, "{value}") } else { write!(f, "{value:e}") }
            }
        }
    }
}

impl Amount {
    /// `rate`, `count`, `fraction` or `voltage`: the column that holds it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rate(_) => "rate",
            Self::Count(_) => "count",
            Self::Fraction(_) => "fraction",
            Self::Voltage(_) => "voltage",
        }
    }

    /// The number itself.
    #[must_use]
    pub fn value(&self) -> f64 {
        match self {
            Self::Count(count) => *count as f64,
            Self::Rate(value) | Self::Fraction(value) | Self::Voltage(value) => *value,
        }
    }

    /// A number that rises with the faults to expect: a lower voltage brings more.
    #[must_use]
    pub fn severity(&self) -> f64 {
        if let Self::Voltage(volts) = self { -volts } else { self.value() }
    }

    /// Whether no fault can occur.
    #[must_use]
    pub fn is_fault_free(&self) -> bool {
        !matches!(self, Self::Voltage(_)) && self.value() == 0.0
    }
}

/// One line of `trials-<shard>.jsonl`. Numbers of images count within [`images`](Self::images).
///
/// Fields that a file may lack, because an older version wrote it or because they do not apply, are options: what was not
/// counted is not 0. The default has no faults and no images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The point, from 0, in the order of the configuration.
    pub point: u32,
    /// The trial within the point, from 0.
    pub trial: u64,
    /// The point's bit error rate, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The point's exact number of events, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The point's share of the elements, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// The point's supply voltage, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voltage: Option<f64>,
    /// Bits changed in the memory, check bits included.
    pub faults: u64,
    /// Faults present that change nothing, such as a bit stuck at the value it has; always 0 for bit flips.
    pub dormant: u64,
    /// What became of the faults in protected memory, if any is protected.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub protection: Option<ProtectionRecord>,
    /// Images evaluated: all, or those of [`clean`](Self::clean).
    pub images: u64,
    /// Images whose label is the best class. A row with a NaN has no best class. This and the other numbers that need labels or
    /// classes are 0 where [`distance`](Self::distance) says that there are none.
    pub correct: u64,
    /// Images whose label is among the best five classes.
    pub top5_correct: u64,
    /// Images whose best class differs from the golden run's (SDC-1).
    pub golden_mismatch: u64,
    /// Images whose outputs are the golden run's, bit for bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<u64>,
    /// Images for which the golden run's best class is not among the best five (SDC-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdc5: Option<u64>,
    /// Images whose best class has a confidence that differs by more than 10 % from that of the golden run's best class
    /// (SDC-10 %); NaN and infinities differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdc10: Option<u64>,
    /// The same with 20 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdc20: Option<u64>,
    /// Images with a NaN or an infinity among their outputs.
    pub nonfinite: u64,
    /// Images wrong in the clean or in the faulty run.
    pub err_union: u64,
    /// Images without output, because the engine refused the faulty model (detected unrecoverable errors).
    pub due: u64,
    /// Mean cross-entropy over the images, in nats; none when it is not finite.
    pub loss: Option<f64>,
    /// Wall time of the trial.
    pub seconds: f64,
    /// Flips of a 0 to a 1; the other faults went from 1 to 0.
    pub to_one: u64,
    /// Floats of the network that became NaN, after protections and decoding.
    pub became_nan: u64,
    /// Floats of the network that became infinite, after protections and decoding.
    pub became_inf: u64,
    /// Flips at each bit position that has any.
    pub by_bit: BTreeMap<u32, u64>,
    /// Flips in each tensor that has any.
    pub by_tensor: BTreeMap<String, u64>,
    /// What the golden run gave on the same images, when these are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean: Option<CleanRecord>,
    /// How far the outputs lie from the golden run's, for models that are no classifiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<DistanceRecord>,
    /// What the host told that ran the network and judged it itself, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostRecord>,
    /// The bit that was hit, when exactly one fault was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteRecord>,
    /// The stratum that the trial was drawn from, a place in [`Golden::strata`](crate::Golden::strata).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratum: Option<u32>,
    /// With a stratum: the stratum's share of the fault space, over the probability with which it was chosen for this trial. What
    /// the faults changed, times this, has the mean over the whole fault space, whatever earlier trials made of the
    /// probabilities (Horvitz-Thompson).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// First 16 hex digits of the SHA-256 of the fault pattern; a replay must reproduce it.
    pub pattern: String,
}

/// What the protections of a memory did in one trial. Words are the code words of a protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionRecord {
    /// Words whose faults were corrected.
    pub corrected: u64,
    /// Words whose faults were detected and not corrected.
    pub detected: u64,
    /// Words whose faults were mistaken for others, so that the correction made new ones.
    pub miscorrected: u64,
    /// Words whose faults went unnoticed.
    pub silent: u64,
    /// Values that a range guard replaced.
    pub guarded: u64,
    /// Bits of the stored words, without check bits, that are wrong after the protections did their work.
    pub residual: u64,
}

/// What the golden run gave on the images of one trial, when these are not all.
///
/// It is a control variate: the golden results of all images are known, so a metric of such a trial is the golden run's over
/// all images plus the change over these, see [`Metric::of`](crate::Metric::of).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CleanRecord {
    /// Images whose label is the best class.
    pub correct: u64,
    /// Images whose label is among the best five classes.
    pub top5_correct: u64,
    /// Images with a NaN or an infinity among their outputs.
    pub nonfinite: u64,
    /// Mean cross-entropy over these images, in nats; none when it is not finite.
    pub loss: Option<f64>,
}

/// Address of one bit of the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// The tensor's name.
    pub tensor: String,
    /// The element in the flattened tensor, from 0.
    pub element: u64,
    /// The bit; 0 is the least significant.
    pub bit: u32,
}

/// How far the outputs of a trial lie from the golden run's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DistanceRecord {
    /// Images compared: those whose outputs are finite in both runs. The distances are over these.
    pub compared: u64,
    /// Images beyond the threshold of [`DistanceRule`](crate::DistanceRule), those that are not finite or have no output
    /// included.
    pub exceeded: u64,
    /// Largest absolute difference of two outputs.
    pub max_abs: Extent,
    /// Euclidean length of the difference, relative to the golden outputs'.
    pub rel_l2: Extent,
    /// Cosine similarity, whose worst is the smallest.
    pub cosine: Extent,
}

/// One measure over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    /// The mean; none without images, or when it is not finite.
    pub mean: Option<f64>,
    /// The worst image's; none likewise.
    pub worst: Option<f64>,
}

impl CleanRecord {
    /// The same numbers as those of a golden run over these images alone.
    pub(crate) fn counts(&self, images: u64) -> Counts {
        let Self { correct, top5_correct, nonfinite, loss } = *self;
        Counts { images, classes: 0, correct, top5_correct, nonfinite, loss, host: None }
    }
}

impl TrialRecord {
    /// How it cannot be a trial of this golden run; none if it can.
    pub(crate) fn contradiction(&self, golden: &Golden) -> Option<String> {
        let plan = golden.points.iter().find(|plan| plan.point == self.point)?;
        let told = match plan.amount {
            Amount::Rate(_) => self.rate,
            Amount::Count(_) => self.count.map(|count| count as f64),
            Amount::Fraction(_) => self.fraction,
            Amount::Voltage(_) => self.voltage,
        };
        let (kind, planned) = (plan.amount.kind(), plan.amount.value());
        let other = [self.rate, self.count.map(|count| count as f64), self.fraction, self.voltage];
        let is_other = told
            .map_or(other.iter().any(Option::is_some), |told| (told - planned).abs() > 1e-12 * planned.abs());
        if is_other {
            return Some(format!("is not of {kind} {planned}, as golden.json says of its point"));
        }
        let counted = [
            ("correct", self.correct),
            ("top5_correct", self.top5_correct),
            ("golden_mismatch", self.golden_mismatch),
            ("nonfinite", self.nonfinite),
            ("err_union", self.err_union),
            ("due", self.due),
        ];
        let (name, count) = counted.into_iter().find(|(_, count)| *count > self.images)?;
        Some(format!("{name} is {count} of {} images", self.images))
    }

    /// The point's amount of faults.
    #[must_use]
    pub fn amount(&self) -> Amount {
        let count = || Amount::Count(self.count.unwrap_or(0));
        let rate = self.rate.map(Amount::Rate);
        rate.or(self.fraction.map(Amount::Fraction))
            .or(self.voltage.map(Amount::Voltage))
            .unwrap_or_else(count)
    }

    /// Share of the images evaluated whose label is the best class. For a trial on some of the images the metric `accuracy` is
    /// the better number: it allows for which images these are.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share(self.correct, self.images)
    }

    /// Images that came out wrong by the criterion of the campaign: another best class than the golden run's (SDC-1), or, for
    /// models that are no classifiers, a distance beyond the threshold. Images without output count. None where the host did not
    /// tell them.
    #[must_use]
    pub fn failures(&self) -> Option<u64> {
        match self.distance {
            Some(distance) => Some(distance.exceeded),
            None => self.known("golden_mismatch", self.golden_mismatch),
        }
    }

    /// A number of the host's own, if it is there and finite.
    #[must_use]
    pub fn own(&self, name: &str) -> Option<f64> {
        self.host.as_ref()?.own.get(name).copied().flatten()
    }

    /// A count of the record, by the name of its field, if it is known: [`host`](Self::host) says which are.
    pub(crate) fn known(&self, count: &str, number: u64) -> Option<u64> {
        known(self.host.as_ref(), count, number)
    }

    /// The share of images that did not fail by the criterion that the campaign is told by, 1 at best: the accuracy over all
    /// images (see [`Metric::of`](crate::Metric::of)), or, for models that are no classifiers, the share within the threshold. None where
    /// a host tells neither correct images nor an accuracy.
    #[must_use]
    pub fn score(&self, golden: &Counts) -> Option<f64> {
        match self.distance {
            Some(distance) => Some(1.0 - share(distance.exceeded, self.images)),
            None => METRICS[0].of(self, golden),
        }
    }

    /// The same record without its time, for comparing runs.
    #[must_use]
    pub fn timeless(&self) -> Self {
        Self { seconds: 0.0, ..self.clone() }
    }
}

pub(crate) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(point: u32, trial: u64, correct: u64) -> TrialRecord {
        TrialRecord {
            point,
            trial,
            rate: Some(1e-5),
            faults: 3,
            images: 100,
            correct,
            top5_correct: 99,
            golden_mismatch: 2,
            err_union: 100 - correct,
            loss: Some(0.25),
            seconds: 0.5,
            to_one: 1,
            by_bit: BTreeMap::from([(30, 2), (3, 1)]),
            by_tensor: BTreeMap::from([("conv1.weight".into(), 3)]),
            pattern: "0123456789abcdef".into(),
            ..TrialRecord::default()
        }
    }

    /// The same with all that a trial can have.
    pub(crate) fn full_record(point: u32, trial: u64, correct: u64) -> TrialRecord {
        TrialRecord {
            masked: Some(40),
            sdc5: Some(1),
            sdc10: Some(9),
            sdc20: Some(5),
            clean: Some(CleanRecord { correct: 91, top5_correct: 98, nonfinite: 1, loss: Some(0.125) }),
            distance: Some(DistanceRecord {
                compared: 99,
                exceeded: 7,
                max_abs: Extent { mean: Some(0.5), worst: Some(2.0) },
                rel_l2: Extent { mean: Some(0.25), worst: None },
                cosine: Extent { mean: Some(0.75), worst: Some(-0.5) },
            }),
            site: Some(SiteRecord { tensor: "conv1, \"weight\"".into(), element: 12, bit: 30 }),
            stratum: Some(4),
            ..record(point, trial, correct)
        }
    }

    #[test]
    fn a_line_has_the_fields_that_scripts_read() {
        let line = serde_json::to_string(&record(1, 2, 90)).unwrap();
        assert_eq!(
            line,
            r#"{"point":1,"trial":2,"rate":0.00001,"faults":3,"dormant":0,"images":100,"correct":90,"top5_correct":99,"golden_mismatch":2,"nonfinite":0,"err_union":10,"due":0,"loss":0.25,"seconds":0.5,"to_one":1,"became_nan":0,"became_inf":0,"by_bit":{"3":1,"30":2},"by_tensor":{"conv1.weight":3},"pattern":"0123456789abcdef"}"#
        );
        assert_eq!(serde_json::from_str::<TrialRecord>(&line).unwrap(), record(1, 2, 90));
    }

    #[test]
    fn a_line_with_everything_reads_back() {
        let trial = full_record(1, 2, 90);
        let line = serde_json::to_string(&trial).unwrap();
        let wanted = r#""golden_mismatch":2,"masked":40,"sdc5":1,"sdc10":9,"sdc20":5,"nonfinite":0"#;
        assert!(line.contains(wanted), "{line}");
        let wanted = r#""site":{"tensor":"conv1, \"weight\"","element":12,"bit":30},"stratum":4,"pattern""#;
        assert!(line.contains(wanted), "{line}");
        assert_eq!(serde_json::from_str::<TrialRecord>(&line).unwrap(), trial);
    }

    #[test]
    fn failures_and_scores() {
        let counts = Counts { images: 1000, correct: 900, ..Counts::default() };
        let trial = record(0, 0, 80);
        assert_eq!((trial.failures(), trial.score(&counts)), (Some(2), Some(0.8)));
        let clean = CleanRecord { correct: 85, ..CleanRecord::default() };
        let some = TrialRecord { clean: Some(clean), ..trial.clone() };
        assert!((some.score(&counts).unwrap() - (0.9 - 0.05)).abs() < 1e-15);
        let distance = DistanceRecord { exceeded: 30, ..DistanceRecord::default() };
        let unlabelled = TrialRecord { distance: Some(distance), ..trial };
        assert_eq!((unlabelled.failures(), unlabelled.score(&counts)), (Some(30), Some(0.7)));
    }

    #[test]
    fn what_protections_did_stands_in_the_same_line() {
        let protection = ProtectionRecord {
            corrected: 4,
            detected: 3,
            miscorrected: 2,
            silent: 1,
            guarded: 5,
            residual: 9,
        };
        let trial = TrialRecord { protection: Some(protection), ..record(0, 0, 90) };
        let line = serde_json::to_string(&trial).unwrap();
        assert!(
            line.contains(
                r#""dormant":0,"corrected":4,"detected":3,"miscorrected":2,"silent":1,"guarded":5,"residual":9,"#
            ),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<TrialRecord>(&line).unwrap(), trial);
    }

    #[test]
    fn the_amount_is_the_one_that_the_trial_has() {
        let none = TrialRecord { rate: None, ..record(0, 0, 90) };
        let cases = [
            (record(0, 0, 90), Amount::Rate(1e-5)),
            (TrialRecord { count: Some(3), ..none.clone() }, Amount::Count(3)),
            (TrialRecord { fraction: Some(0.05), ..none.clone() }, Amount::Fraction(0.05)),
            (TrialRecord { voltage: Some(0.8), ..none }, Amount::Voltage(0.8)),
        ];
        for (trial, amount) in cases {
            assert_eq!(trial.amount(), amount);
        }
        assert!(Amount::Voltage(0.7).severity() > Amount::Voltage(0.8).severity());
        assert!(!Amount::Voltage(0.0).is_fault_free() && Amount::Fraction(0.0).is_fault_free());
    }

    #[test]
    fn amounts_as_text() {
        let cases = [(Amount::Rate(1e-5), "1e-5"), (Amount::Rate(0.0), "0"), (Amount::Rate(0.25), "0.25")];
        for (amount, text) in cases {
            assert_eq!(amount.to_string(), text);
        }
        assert_eq!(Amount::Count(1).to_string(), "1");
    }
}
